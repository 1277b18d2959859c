//! The text of Go's own full dump (`runtime.Stack`, `/debug/pprof/goroutine?debug=2`), so that tools that read those read
//! ours. Which frames are shown, and how they are named, is Go's rule ([`frames`]); arguments, which Go shows as numbers,
//! are left out as it leaves them out of inlined calls.

use std::fmt::Write as _;
use std::io;

use super::super::words::clean;
use super::frames::{self, Item, Shown};
use crate::dump::{Dump, Goroutine, Place, Stack, Status, Trace};
use crate::gobin::GoVersion;

/// Frames shown at each end of a deep stack (`tracebackInnerFrames`, `tracebackOuterFrames`).
const ENDS: usize = 50;

/// All goroutines for which `which` holds, in order of goid.
pub fn write(dump: &Dump, which: impl Fn(&Goroutine) -> bool, out: &mut dyn io::Write) -> io::Result<()> {
    let mut text = String::new();
    for g in dump.goroutines.iter().filter(|g| which(g)) {
        goroutine(dump, g, &mut text);
        out.write_all(text.as_bytes())?;
        text.clear();
        text.push('\n');
    }
    Ok(())
}

fn goroutine(dump: &Dump, g: &Goroutine, out: &mut String) {
    let mut state = clean(&dump.state(g)).into_owned();
    // What Go itself would say, right or not.
    let minutes = g.runtime_since.unwrap_or(0) / 60_000_000_000;
    // Of one that has leaked Go does not say it.
    if minutes >= 1 && g.status != Status::Leaked {
        let _ = write!(state, ", {minutes} minutes");
    }
    if g.locked {
        state.push_str(", locked to thread");
    }
    match &g.trace {
        Trace::Moving => state.push_str(", moving"),
        Trace::Partial { .. } => state.push_str(", stack incomplete"),
        Trace::Whole(_) | Trace::Running | Trace::None { .. } => {}
    }
    let _ = writeln!(out, "goroutine {} [{state}]{}:", g.goid, labels(dump, g));
    match dump.stack(g) {
        Some(stack) => frames(dump, stack, out),
        None if g.trace == Trace::Running => {
            out.push_str("\tgoroutine running on other thread; stack unavailable\n");
        }
        None => out.push_str("\tstack unavailable\n"),
    }
    created_by(dump, g, out);
}

/// As Go shows them from 1.27 on; before, it shows none, and what reads such dumps knows none.
fn labels(dump: &Dump, g: &Goroutine) -> String {
    let shows = GoVersion::parse(&dump.about.go_version).is_some_and(|v| v.at_least(1, 27));
    let Some(labels) = dump.labels(g).filter(|_| shows) else { return String::new() };
    let plain = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_'));
    let text = |s: &str| if plain(s) { s.to_owned() } else { quoted(s) };
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{}: {}", text(k), text(v))).collect();
    format!(" {{{}}}", pairs.join(", "))
}

/// `printquoted` (`runtime/print.go`)
fn quoted(s: &str) -> String {
    let mut out = String::from('"');
    for c in s.chars() {
        let _ = match c {
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\\' | '"' => write!(out, "\\{c}"),
            ' '..='~' => write!(out, "{c}"),
            '\0'..'\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            '\x7f'..'\u{10000}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

fn frames(dump: &Dump, stack: &Stack, out: &mut String) {
    for item in frames::of(dump, stack).cut(ENDS) {
        match item {
            Item::LeftOut(n) => {
                let _ = writeln!(out, "...{n} frames elided...");
            }
            Item::Frame(Shown { frame: Some(frame), offset, .. }) => {
                let name = if frame.function == "runtime.gopanic" { "panic" } else { &frame.function };
                let _ = writeln!(out, "{}(...)", clean(name));
                place(&frame.file, frame.line, *offset, out);
            }
            // Go has a name for all that it shows.
            Item::Frame(Shown { pc, .. }) => {
                let _ = writeln!(out, "{pc:#x}(...)");
                place("", 0, None, out);
            }
        }
    }
}

fn place(file: &str, line: u32, offset: Option<u64>, out: &mut String) {
    let file = if file.is_empty() { "?".into() } else { clean(file) };
    let _ = match offset.filter(|o| *o > 0) {
        Some(offset) => writeln!(out, "\t{file}:{line} +{offset:#x}"),
        None => writeln!(out, "\t{file}:{line}"),
    };
}

/// The function that holds the `go` statement, not one inlined into it: so Go has it.
fn created_by(dump: &Dump, g: &Goroutine, out: &mut String) {
    let Some(place @ Place { frames, .. }) = dump.places.get(g.gopc, false) else { return };
    let (Some(inner), Some(outer)) = (frames.first(), frames.last()) else { return };
    if g.goid == 1 || !frames::is_shown(&outer.function, place.wrapper, "", false) {
        return;
    }
    let parent = g.parent.map(|p| format!(" in goroutine {p}")).unwrap_or_default();
    let _ = writeln!(out, "created by {}{parent}", clean(&outer.function));
    self::place(&inner.file, inner.line, (place.entry != 0).then(|| g.gopc.saturating_sub(place.entry)), out);
}

#[cfg(test)]
mod tests;
