//! What a function that the compiler made for a `go` or `defer` statement, or for a method value, calls.
//!
//! `go f(x)` starts `main.g.gowrap1` (up to Go 1.21 `main.g.func1`), whose one deed is to call `f` with what it closed over
//! (cmd/compile/internal/typecheck, `normalizeWrapperCall`; from 1.22 walk and escape). A reader looks for `f`.

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::inline::{self, Trees};
use super::limits::MAX_PAIRS_PER_PC;
use super::pclntab::{Func, FuncTable};
use super::pcvalue::Steps;
use crate::event::message::Frame;

/// A wrapper has a hundred bytes, more with many arguments.
const MAX_SIZE: u64 = 4096;

/// The one function that `f` calls, when it is a wrapper and that can be read off its code: nothing when it calls through a
/// pointer (`go fn(x)` with a variable `fn`, or an interface's method), or several.
pub fn wrapped(table: &FuncTable<'_>, trees: Option<Trees<'_>>, f: &Func<'_>, code: &[u8]) -> Option<Frame> {
    if !table.is_wrapper(f) || f.size() > MAX_SIZE {
        return None;
    }
    let mut found: Option<Frame> = None;
    let mut add = |frame: Frame| match &found {
        Some(other) if *other != frame => None,
        _ => {
            found = Some(frame);
            Some(())
        }
    };
    let roots = match trees {
        Some(trees) => inline::roots(table, trees, f)?,
        // Without the trees a call may be an inlined function's own.
        None if inline::has_tree(table, f) => return None,
        None => Vec::new(),
    };
    for root in &roots {
        add(root.frame.clone())?;
    }
    let end = table.code_end(f)?;
    let len = usize::try_from(end - f.entry).ok()?.min(code.len());
    for i in &mut Decoder::with_ip(64, &code[..len], f.entry, DecoderOptions::NONE) {
        let leaves = |target: u64| target < f.entry || target >= f.end;
        let target = match i.flow_control() {
            FlowControl::Call => Some(i.near_branch_target()),
            FlowControl::UnconditionalBranch if leaves(i.near_branch_target()) => {
                Some(i.near_branch_target())
            }
            FlowControl::IndirectCall | FlowControl::IndirectBranch => None,
            _ if i.is_invalid() => None,
            _ => continue,
        };
        if roots.iter().any(|root| root.covers(i.ip())) {
            continue;
        }
        let callee = table.by_pc(target?)?;
        if is_helper(callee.name) {
            continue;
        }
        let (file, line) = table.file_line(callee.record(), callee.entry, &mut Steps(MAX_PAIRS_PER_PC));
        add(Frame {
            function: callee.name.to_owned(),
            file: file.unwrap_or_default().to_owned(),
            line: line.unwrap_or(0),
            ..Frame::default()
        })?;
    }
    found.filter(|frame| frame.function != f.name)
}

/// What the compiler calls of itself: to grow the stack, for the race detector and other sanitizers, to keep the garbage
/// collector informed, to report a nil pointer.
fn is_helper(name: &str) -> bool {
    const HELPERS: [&str; 9] =
        ["morestack", "race", "asan", "msan", "gcWriteBarrier", "wbMove", "wbZero", "panicwrap", "duff"];
    let Some(name) = name.strip_prefix("runtime.") else { return false };
    HELPERS.iter().any(|helper| name.starts_with(helper))
}
