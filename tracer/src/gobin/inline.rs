//! From a program counter to source frames, through the trees that say what the compiler inlined where.
//!
//! runtime/symtabinl.go (`inlineUnwinder`) and, for Go 1.19, runtime/symtab.go (`inlinedCall`): PCDATA 2 gives the
//! index of the innermost inlined call at a pc, FUNCDATA 3 the tree; an entry names the function and a pc in its
//! parent, at which the search goes on.

use super::bytes::{self, u32_at};
use super::error::Reason;
use super::limits::{MAX_DEPTH, MAX_FRAMES_TEXT, MAX_INLINE_STEPS, MAX_PAIRS_PER_PC, MAX_ROOT_PAIRS};
use super::pclntab::{Form, Func, FuncTable, Record};
use super::pcvalue::{self, Runs, Steps};
use crate::event::message::Frame;

/// `internal/abi.PCDATA_InlTreeIndex`.
const PCDATA_INL_TREE_INDEX: u32 = 2;
/// `internal/abi.FUNCDATA_InlTree`.
const FUNCDATA_INL_TREE: u32 = 3;

/// Inline trees of the executable: the bytes at `moduledata.gofunc`.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'d>(pub &'d [u8]);

struct Call {
    name: u32,
    parent_pc: u32,
    /// Where the inlined function begins; 0 where the form does not tell.
    start_line: u32,
}

impl<'d> Trees<'d> {
    fn call(&self, form: Form, tree: u32, index: u32) -> Option<Call> {
        let (size, name, parent_pc) = match form {
            Form::V118 => (20, 12, 16),
            Form::V120 => (16, 4, 8),
        };
        let entry = bytes::slice(self.0, u64::from(tree) + size * u64::from(index), size)?;
        let start_line = if form == Form::V120 { u32_at(entry, 12)? } else { 0 };
        Some(Call { name: u32_at(entry, name)?, parent_pc: u32_at(entry, parent_pc)?, start_line })
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
    let record = f.record();
    let mut walk = Walk { table, record, steps: Steps(MAX_PAIRS_PER_PC), text: 0, frames: Vec::new() };
    if table.record_end(record, &mut walk.steps).is_some_and(|end| pc >= end) {
        walk.in_time()?;
        return Err(Reason::Padding);
    }
    let mut pc = pc;
    if let Some(tree) = table.funcdata(record, FUNCDATA_INL_TREE)
        && let Some(indices) = table.pcdata(record, PCDATA_INL_TREE_INDEX)
    {
        let trees = trees.ok_or_else(|| Reason::UnknownInlineForm { version: version.to_owned() })?;
        loop {
            let index = pcvalue::at(indices, f.entry, f.end, pc, &mut walk.steps);
            walk.in_time()?;
            // No value at all means damage; a negative one that nothing is inlined here.
            let index = index.ok_or(Reason::DamagedTable { what: "no inline index at the address" })?;
            let Ok(index) = u32::try_from(index) else { break };
            if walk.frames.len() == MAX_DEPTH {
                return Err(Reason::DamagedTable { what: "inlined calls without an end" });
            }
            let damaged = Reason::DamagedTable { what: "an inlined call without a description" };
            let call = trees.call(table.form(), tree, index).ok_or(damaged.clone())?;
            let name = table.name(call.name).ok_or(damaged)?;
            walk.push(name, pc, true)?;
            // Beyond the address space there is no function, so the next turn names the damage.
            pc = f.entry.saturating_add(u64::from(call.parent_pc));
        }
    }
    walk.push(f.name, pc, false)?;
    Ok(walk.frames)
}

/// The frames of one address, and what they have cost.
struct Walk<'a, 'd> {
    table: &'a FuncTable<'d>,
    record: &'a Record,
    steps: Steps,
    /// Bytes of names and paths.
    text: usize,
    frames: Vec<Frame>,
}

impl Walk<'_, '_> {
    fn push(&mut self, name: &str, pc: u64, inlined: bool) -> Result<(), Reason> {
        let (file, line) = self.table.file_line(self.record, pc, &mut self.steps);
        self.in_time()?;
        let file = file.unwrap_or("");
        self.text += name.len() + file.len();
        if self.text > MAX_FRAMES_TEXT {
            return Err(Reason::DamagedTable { what: "names far longer than they can be" });
        }
        let line = line.unwrap_or(0);
        let (function, file) = (name.to_owned(), file.to_owned());
        self.frames.push(Frame { function, file, line, inlined, full_name: String::new() });
        Ok(())
    }

    /// A walk that used up its steps has not seen what it was to see.
    fn in_time(&self) -> Result<(), Reason> {
        if self.steps.0 > 0 { Ok(()) } else { Err(Reason::TooMuchWork { limit: MAX_PAIRS_PER_PC as u64 }) }
    }
}

/// A call that the compiler inlined into the function itself, not into another inlined one.
pub struct Root {
    pub frame: Frame,
    /// Addresses whose code belongs to it, or to what was inlined into it: (begin, end).
    runs: Vec<(u64, u64)>,
}

impl Root {
    pub fn covers(&self, pc: u64) -> bool {
        self.runs.iter().any(|&(begin, end)| begin <= pc && pc < end)
    }
}

/// Whether anything is inlined into the function.
pub fn has_tree(table: &FuncTable<'_>, f: &Func<'_>) -> bool {
    table.funcdata(f.record(), FUNCDATA_INL_TREE).is_some()
}

/// The outermost inlined calls of a small function; nothing when there are more than a small function has. File and line
/// are where the inlined function begins, as far as the tree knows: its line since Go 1.20.
pub fn roots(table: &FuncTable<'_>, trees: Trees<'_>, f: &Func<'_>) -> Option<Vec<Root>> {
    let mut roots: Vec<(u32, Root)> = Vec::new();
    let f = f.record();
    let Some(tree) = table.funcdata(f, FUNCDATA_INL_TREE) else { return Some(Vec::new()) };
    let Some(indices) = table.pcdata(f, PCDATA_INL_TREE_INDEX) else { return Some(Vec::new()) };
    let mut begin = f.entry;
    let (mut steps, mut text) = (Steps(MAX_ROOT_PAIRS), 0);
    for (end, index) in Runs::new(indices, f.entry, f.end) {
        let run = (std::mem::replace(&mut begin, end), end);
        let Ok(mut index) = u32::try_from(index) else { continue };
        // Up to the call that stands in the function itself.
        for _ in 0..MAX_DEPTH {
            let Some(call) = trees.call(table.form(), tree, index) else { break };
            let parent = f.entry.saturating_add(u64::from(call.parent_pc));
            let above = pcvalue::at(indices, f.entry, f.end, parent, &mut steps);
            if steps.0 == 0 {
                return None;
            }
            if let Some(above) = above.and_then(|i| u32::try_from(i).ok()) {
                index = above;
                continue;
            }
            match roots.iter_mut().find(|(i, _)| *i == index) {
                Some((_, root)) => root.runs.push(run),
                None => {
                    let Some(name) = table.name(call.name) else { break };
                    let file = table.file_line(f, run.0, &mut steps).0.unwrap_or_default().to_owned();
                    text += name.len() + file.len();
                    if text > MAX_FRAMES_TEXT {
                        return None;
                    }
                    let (function, line) = (name.to_owned(), call.start_line);
                    let frame = Frame { function, file, line, inlined: true, full_name: String::new() };
                    roots.push((index, Root { frame, runs: vec![run] }));
                }
            }
            break;
        }
    }
    Some(roots.into_iter().map(|(_, root)| root).collect())
}

/// For each name, the entries of the functions into which the compiler inlined a function of that name.
pub fn copies<'d>(table: &FuncTable<'d>, trees: Trees<'d>, names: &[&str]) -> Result<Vec<Vec<u64>>, Reason> {
    let wanted = table.name_offsets(names)?;
    let mut found = vec![Vec::new(); names.len()];
    if wanted.is_empty() {
        return Ok(found);
    }
    let mut steps = 0u64;
    let mut step = || {
        steps += 1;
        if steps > MAX_INLINE_STEPS { Err(Reason::TooMuchWork { limit: MAX_INLINE_STEPS }) } else { Ok(()) }
    };
    for f in table.records() {
        step()?;
        let Some(tree) = table.funcdata(&f, FUNCDATA_INL_TREE) else { continue };
        let Some(indices) = table.pcdata(&f, PCDATA_INL_TREE_INDEX) else { continue };
        for (_, index) in Runs::new(indices, f.entry, f.end) {
            step()?;
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
