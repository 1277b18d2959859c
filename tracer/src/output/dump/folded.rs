//! A dump as folded stacks, one a line, for flame graphs (`flamegraph.pl`, `inferno-flamegraph`):
//!
//! ```text
//! created by main.main;main.worker;main.(*queue).put;runtime.chansend1;runtime.chansend;runtime.gopark 4
//! ```
//!
//! Outermost frame first, behind the function that holds the `go` statement. Frames are whole, the runtime's own too.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use crate::dump::{Dump, Goroutine, Pc, Trace};

/// All goroutines for which `which` holds; lines in order, each once.
pub fn write(dump: &Dump, which: impl Fn(&Goroutine) -> bool, out: &mut dyn Write) -> io::Result<()> {
    // A million goroutines have few stacks: each is written out once.
    let mut alike: HashMap<(u64, &Trace), u64> = HashMap::new();
    for g in dump.goroutines.iter().filter(|g| which(g)) {
        *alike.entry((creator(g), &g.trace)).or_default() += 1;
    }
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for ((gopc, trace), count) in alike {
        *lines.entry(line(dump, gopc, trace)).or_default() += count;
    }
    for (line, count) in lines {
        writeln!(out, "{line} {count}")?;
    }
    Ok(())
}

/// The return address of the `go` statement; 0 for the main goroutine, which the runtime's start code makes.
fn creator(g: &Goroutine) -> u64 {
    if g.goid == 1 { 0 } else { g.gopc }
}

/// Without the count.
fn line(dump: &Dump, gopc: u64, trace: &Trace) -> String {
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    names.push(match (gopc, dump.places.creation(gopc)) {
        (0, _) => "created by the runtime".into(),
        (_, Some(frame)) => format!("created by {}", escape(&frame.function)).into(),
        (_, None) => format!("created by {gopc:#x}").into(),
    });
    match trace {
        Trace::Whole(_) => {}
        Trace::Partial { because, .. } => names.push(format!("(stack incomplete: {because})").into()),
        Trace::Running => names.push("(running)".into()),
        Trace::Moving => names.push("(moving)".into()),
        Trace::None { because } => names.push(format!("(no stack: {because})").into()),
    }
    let stack = trace.stack().and_then(|s| dump.stacks.get(s as usize));
    if let Some(stack) = stack {
        for i in (0..=stack.pcs.len()).rev() {
            names.extend(stack.pcs.get(i).into_iter().flat_map(|pc| functions(dump, *pc)));
            if let Some(left) = stack.left_out.as_ref().filter(|l| l.after == i) {
                names.push(format!("({} frames left out)", left.frames).into());
            }
        }
    }
    names.join(";")
}

/// Outermost first.
fn functions(dump: &Dump, pc: Pc) -> Vec<Cow<'_, str>> {
    match dump.places.at(pc).filter(|p| !p.frames.is_empty()) {
        Some(place) => place.frames.iter().rev().map(|f| escape(&f.function)).collect(),
        None => vec![format!("{:#x}", pc.pc).into()],
    }
}

/// `;` parts frames and a newline stacks; other control characters are shown as escapes, as everywhere.
fn escape(name: &str) -> Cow<'_, str> {
    let harmful = |c: char| c == ';' || c.is_control();
    if !name.contains(harmful) {
        return Cow::Borrowed(name);
    }
    let each = |c: char| if harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(name.chars().map(each).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::*;

    #[test]
    fn all_sorts() {
        let mut out = Vec::new();
        write(&fixture(), |_| true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        insta::assert_snapshot!(text.replace(&";main.descend".repeat(60), ";main.descend…"));
        let counts = text.lines().map(|l| l.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
        assert_eq!(counts.sum::<usize>(), fixture().goroutines.len());
        assert!(!text.contains('\u{1b}') && text.contains("main.\\u{1b}[2Jevil\\u{3b}f 1\n"));
    }

    #[test]
    fn the_left_out_stand_in_their_place() {
        let mut dump = fixture();
        crate::dump::filter::keep(&mut dump, &["id=22".parse().unwrap()]);
        let mut out = Vec::new();
        write(&dump, |_| true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (outer, inner) = text.split_once(";(900 frames left out);").unwrap();
        assert_eq!(outer.matches("main.descend").count(), 60);
        assert!(outer.starts_with("created by main.main;main.worker;main.(*queue).put;main.descend;"));
        assert!(inner.ends_with("main.descend;runtime.gopark 1\n"));
    }
}
