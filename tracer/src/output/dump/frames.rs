//! Which frames of a stack are shown: Go's own rule (`runtime/traceback.go`, Go 1.27), for every form that people read.

use crate::dump::{Dump, Pc, Stack};
use crate::event::message::Frame;

/// One frame as Go counts them: inlined calls are frames of their own.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'d> {
    /// As it stands on the stack.
    pub pc: u64,
    /// Absent when nothing is known of the address; then [`because`](Self::because).
    pub frame: Option<&'d Frame>,
    pub because: &'d str,
    /// From the function's begin; of an inlined call nothing is known.
    pub offset: Option<u64>,
}

/// The frames that are shown of a stack, innermost first.
#[derive(Debug, Default)]
pub struct Listed<'d> {
    pub frames: Vec<Shown<'d>>,
    /// Of those that the reader of a very deep stack left out: how many of `frames` stand before them, and how many they are.
    pub left_out: Option<(usize, u64)>,
}

/// A line of a stack.
#[derive(Debug)]
pub enum Item<'s, 'd> {
    Frame(&'s Shown<'d>),
    /// So many frames are not shown here.
    LeftOut(u64),
}

impl<'d> Listed<'d> {
    /// At most `ends` frames of either end, and in their place how many there are between.
    pub fn cut(&self, ends: usize) -> Vec<Item<'_, 'd>> {
        let frames = &self.frames;
        let left_out = self.left_out.filter(|(_, n)| *n > 0);
        let all = frames.len() as u64 + left_out.map_or(0, |(_, n)| n);
        // As Go counts: nothing is elided in favour of a line that says so.
        let (head, tail, between) = if all > 2 * ends as u64 {
            let head = left_out.map_or(ends, |(after, _)| after.min(ends)).min(frames.len());
            let rest = left_out.map_or(frames.len() - head, |(after, _)| frames.len() - after);
            let tail = rest.min(ends);
            (head, tail, all - (head + tail) as u64)
        } else {
            let head = left_out.map_or(frames.len(), |(after, _)| after);
            (head, frames.len() - head, left_out.map_or(0, |(_, n)| n))
        };
        let mut items: Vec<Item<'_, 'd>> = frames[..head].iter().map(Item::Frame).collect();
        if between > 0 {
            items.push(Item::LeftOut(between));
        }
        items.extend(frames[frames.len() - tail..].iter().map(Item::Frame));
        items
    }
}

/// What Go would show; the runtime's own frames only where there are no others.
pub fn of<'d>(dump: &'d Dump, stack: &'d Stack) -> Listed<'d> {
    let shown = listed(dump, stack, false);
    if shown.frames.is_empty() { listed(dump, stack, true) } else { shown }
}

fn listed<'d>(dump: &'d Dump, stack: &'d Stack, runtime: bool) -> Listed<'d> {
    let mut frames = Vec::new();
    let mut left_out = None;
    let mut callee = "";
    for (i, pc) in stack.pcs.iter().enumerate() {
        if let Some(left) = stack.left_out.as_ref().filter(|l| l.after == i) {
            let each =
                left.at.iter().map(|(pc, n)| n * shown_at(dump, *pc, runtime, &mut "", false).len() as u64);
            left_out = Some((frames.len(), each.sum()));
        }
        let first = frames.is_empty();
        frames.extend(shown_at(dump, *pc, runtime, &mut callee, first));
    }
    Listed { frames, left_out }
}

/// The frames that are shown of one program counter, innermost first. `callee` is what it called, and becomes what it is.
fn shown_at<'d>(
    dump: &'d Dump,
    pc: Pc,
    runtime: bool,
    callee: &mut &'d str,
    mut first: bool,
) -> Vec<Shown<'d>> {
    let unknown = |because| vec![Shown { pc: pc.pc, frame: None, because, offset: None }];
    let Some(place) = dump.places.at(pc) else { return unknown("it was not looked up") };
    if place.frames.is_empty() {
        return unknown(&place.unknown_because);
    }
    let last = place.frames.len() - 1;
    let mut shown = Vec::new();
    for (i, frame) in place.frames.iter().enumerate() {
        let called = std::mem::replace(callee, &frame.function);
        let wrapper = i == last && place.wrapper;
        if runtime || is_shown(&frame.function, wrapper, called, first) {
            first = false;
            let offset = (i == last && place.entry != 0).then(|| pc.pc.saturating_sub(place.entry));
            shown.push(Shown { pc: pc.pc, frame: Some(frame), because: "", offset });
        }
    }
    shown
}

/// `showfuncinfo`
pub fn is_shown(name: &str, wrapper: bool, callee: &str, first: bool) -> bool {
    let panics = matches!(callee, "runtime.gopanic" | "runtime.sigpanic" | "runtime.panicwrap");
    if wrapper && !panics {
        return false;
    }
    match name {
        // Since Go 1.25 and 1.27: else nothing would tell what these goroutines do.
        "runtime.runFinalizers" | "runtime.runCleanups" => true,
        "runtime.gopanic" if !first => true,
        _ => name.contains('.') && name.strip_prefix("runtime.").is_none_or(is_exported),
    }
}

/// `isExportedRuntime`: an exported function, or an exported method of an exported type.
fn is_exported(name: &str) -> bool {
    let upper = |s: &str| s.starts_with(|c: char| c.is_ascii_uppercase());
    let (receiver, name) = name.rsplit_once('.').unwrap_or(("", name));
    let receiver = receiver.strip_prefix("(*").and_then(|r| r.strip_suffix(')')).unwrap_or(receiver);
    upper(name) && (receiver.is_empty() || upper(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_shows_and_what_it_hides() {
        let shown = [
            "main.main",
            "main.(*t).f",
            "runtime.Gosched",
            "runtime.(*Func).Entry",
            "runtime.Frame.Name",
            "sync.(*Mutex).Lock",
            "runtime.runFinalizers",
        ];
        for f in shown {
            assert!(is_shown(f, false, "", true), "{f}");
        }
        for f in
            ["runtime.gopark", "runtime.(*mheap).alloc", "runtime.mheap.Alloc", "memmove", "runtime.gopanic"]
        {
            assert!(!is_shown(f, false, "", true), "{f}");
        }
        assert!(is_shown("runtime.gopanic", false, "main.f", false));
        // A wrapper, but for the one that calls a panic.
        assert!(!is_shown("main.T.f", true, "main.(*T).f", true));
        assert!(is_shown("main.T.f", true, "runtime.panicwrap", true));
    }
}
