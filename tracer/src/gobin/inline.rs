//! From a program counter to source frames, through the trees that say what the compiler inlined where.
//!
//! runtime/symtabinl.go (`inlineUnwinder`) and, for Go 1.19, runtime/symtab.go (`inlinedCall`): PCDATA 2 gives the
//! index of the innermost inlined call at a pc, FUNCDATA 3 the tree; an entry names the function and a pc in its
//! parent, at which the search goes on.

use super::bytes::{self, u32_at};
use super::error::Reason;
use super::pclntab::{Form, Func, FuncTable};
use super::pcvalue::{self, Runs};
use crate::event::message::Frame;

/// `internal/abi.PCDATA_InlTreeIndex`.
const PCDATA_INL_TREE_INDEX: u32 = 2;
/// `internal/abi.FUNCDATA_InlTree`.
const FUNCDATA_INL_TREE: u32 = 3;
/// The inliner's budget keeps real chains under a few dozen.
const MAX_DEPTH: usize = 256;
/// A real program of 100,000 functions takes a few million steps.
const MAX_STEPS: u64 = 1 << 28;

/// Inline trees of the executable: the bytes at `moduledata.gofunc`.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'d>(pub &'d [u8]);

struct Call {
    name: u32,
    parent_pc: u32,
}

impl<'d> Trees<'d> {
    fn call(&self, form: Form, tree: u32, index: u32) -> Option<Call> {
        let (size, name, parent_pc) = match form {
            Form::V118 => (20, 12, 16),
            Form::V120 => (16, 4, 8),
        };
        let entry = bytes::slice(self.0, u64::from(tree) + size * u64::from(index), size)?;
        Some(Call { name: u32_at(entry, name)?, parent_pc: u32_at(entry, parent_pc)? })
    }
}

/// Frames at `pc`, innermost inlined one first, the function itself last.
pub fn frames<'d>(
    table: &FuncTable<'d>,
    trees: Option<Trees<'d>>,
    f: &Func<'d>,
    pc: u64,
    version: &str,
) -> Result<Vec<Frame>, Reason> {
    if table.code_end(f).is_some_and(|end| pc >= end) {
        return Err(Reason::Padding);
    }
    let mut frames = Vec::new();
    let mut pc = pc;
    if let Some(tree) = table.funcdata(f, FUNCDATA_INL_TREE)
        && let Some(indices) = table.pcdata(f, PCDATA_INL_TREE_INDEX)
    {
        let trees = trees.ok_or_else(|| Reason::UnknownInlineForm { version: version.to_owned() })?;
        // No value at all means damage; a negative one that nothing is inlined here.
        while let Ok(index) = u32::try_from(
            pcvalue::at(indices, f.entry, f.end, pc)
                .ok_or(Reason::DamagedTable { what: "no inline index at the address" })?,
        ) {
            if frames.len() == MAX_DEPTH {
                return Err(Reason::DamagedTable { what: "inlined calls without an end" });
            }
            let damaged = Reason::DamagedTable { what: "an inlined call without a description" };
            let call = trees.call(table.form(), tree, index).ok_or(damaged.clone())?;
            let name = table.name(call.name).ok_or(damaged)?;
            frames.push(frame(table, f, name, pc, true));
            pc = f.entry + u64::from(call.parent_pc);
        }
    }
    frames.push(frame(table, f, f.name, pc, false));
    Ok(frames)
}

fn frame(table: &FuncTable<'_>, f: &Func<'_>, name: &str, pc: u64, inlined: bool) -> Frame {
    let (file, line) = table.file_line(f, pc);
    Frame { function: name.to_owned(), file: file.unwrap_or("").to_owned(), line: line.unwrap_or(0), inlined }
}

/// For each name, the entries of the functions into which the compiler inlined a function of that name.
pub fn copies<'d>(table: &FuncTable<'d>, trees: Trees<'d>, names: &[&str]) -> Result<Vec<Vec<u64>>, Reason> {
    let wanted: Vec<(u32, usize)> = names
        .iter()
        .enumerate()
        .flat_map(|(i, name)| table.name_offsets(name).into_iter().map(move |offset| (offset, i)))
        .collect();
    let mut found = vec![Vec::new(); names.len()];
    if wanted.is_empty() {
        return Ok(found);
    }
    let mut steps = 0u64;
    for f in table.iter() {
        let Some(tree) = table.funcdata(&f, FUNCDATA_INL_TREE) else { continue };
        let Some(indices) = table.pcdata(&f, PCDATA_INL_TREE_INDEX) else { continue };
        for (_, index) in Runs::new(indices, f.entry, f.end) {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(Reason::TooMuchWork { limit: MAX_STEPS });
            }
            let Ok(index) = u32::try_from(index) else { continue };
            let Some(call) = trees.call(table.form(), tree, index) else { continue };
            for &(_, i) in wanted.iter().filter(|w| w.0 == call.name) {
                if found[i].last() != Some(&f.entry) {
                    found[i].push(f.entry);
                }
            }
        }
    }
    Ok(found)
}
