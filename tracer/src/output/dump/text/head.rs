//! Whose dump it is, how many goroutines do what, and what the reader must know of how it was read.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use super::super::super::page::Page;
use super::super::super::style::Ink;
use super::super::super::words;
use super::Options;
use super::group::state;
use crate::dump::{Dump, Origin, Trace};

/// States with their counts; the others are summed up.
const STATES: usize = 8;

pub fn write(page: &mut Page, dump: &Dump, options: &Options<'_>) {
    let style = page.style();
    let about = &dump.about;
    let own = dump.goroutines.iter().filter(|g| g.system).count() as u64;
    let programs = dump.goroutines.len() as u64 - own;
    let who = match (words::clean(&about.comm), about.pid) {
        (comm, 0) if comm.is_empty() => "a program".to_owned(),
        (comm, 0) => comm.into_owned(),
        (comm, pid) => format!("{comm} (pid {pid})"),
    };
    let who = match &about.source {
        Origin::Process => who,
        Origin::Core { path } => format!("{who}, core file {}", words::clean(path)),
    };
    let mut counts = words::count(programs, "goroutine");
    if own > 0 {
        counts.push_str(&format!(" (+ {own} of the runtime's)"));
    }
    if let Some(changes) = options.changes {
        counts.push_str(&match changes.total {
            0 => ", as many as in the last dump".to_owned(),
            n => format!(", {n:+} since the last dump"),
        });
    }
    page.paragraph(&format!("{}: {}", style.paint(Ink::Strong, &who), style.paint(Ink::Strong, &counts)));
    if let Some(selection) = options.selection {
        let filters: Vec<String> =
            selection.filters.iter().map(|f| format!("`{}`", words::clean(f))).collect();
        page.paragraph(&format!(
            "only those with {}: {} of {}",
            filters.join(" and "),
            dump.goroutines.len(),
            words::count(selection.of, "goroutine")
        ));
    }
    let known = [&about.go_version, &about.main_package, &about.exe].into_iter().filter(|t| !t.is_empty());
    let mut what: Vec<String> = known.map(|t| words::clean(t).into_owned()).collect();
    let at = match about.taken_unix_ns {
        0 => String::new(),
        ns => format!(" at {}", time(ns)),
    };
    what.push(format!("read in {}{at}", words::duration(about.took_ns)));
    page.paragraph(&what.join(" · "));
    let states = states(dump, options.all);
    if !states.is_empty() {
        page.paragraph(&states);
    }
    for text in caveats(dump) {
        page.paragraph(&style.paint(Ink::Warning, &text));
    }
}

/// UTC, to the second.
fn time(unix_ns: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}

/// `30 chan receive · 12 select · 1 running`, most frequent first.
fn states(dump: &Dump, all: bool) -> String {
    let mut by_state: HashMap<String, u64> = HashMap::new();
    for g in dump.goroutines.iter().filter(|g| all || !g.system) {
        *by_state.entry(state(dump, g)).or_default() += 1;
    }
    let mut states: Vec<(String, u64)> = by_state.into_iter().collect();
    states.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut parts: Vec<String> = states.iter().take(STATES).map(|(s, n)| format!("{n} {s}")).collect();
    if states.len() > STATES {
        let rest: u64 = states[STATES..].iter().map(|(_, n)| n).sum();
        let others = words::count((states.len() - STATES) as u64, "other");
        parts.push(format!("{rest} in {others}"));
    }
    parts.join(" · ")
}

/// What this dump does not know.
fn caveats(dump: &Dump) -> Vec<String> {
    let of = |which: fn(&Trace) -> bool| dump.goroutines.iter().filter(|g| which(&g.trace)).count() as u64;
    let n = |count, one| words::count(count, one);
    let counts = &dump.counts;
    let all = [
        (of(|t| *t == Trace::Running), "running as it was read, without a stack", ""),
        (
            of(|t| *t == Trace::Moving),
            "moving, without a stack",
            ": it ran between each two reads, and what is told was true at one of them",
        ),
        (of(|t| matches!(t, Trace::Partial { .. })), "with an incomplete stack", ", sure as far as it goes"),
        (of(|t| matches!(t, Trace::None { .. })), "with a stack that could not be read", ""),
        (counts.unreadable, "left out", ": the memory could not be read"),
        (counts.unsettled, "left out", ": never the same in two reads, most likely just born or just ending"),
        (
            counts.doubted,
            "with a stack that a frame pointer contradicts",
            ": what the function table says was followed, and the same was read twice",
        ),
    ];
    let told = all.into_iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, what, more)| format!("{} {what}{more}", n(count, "goroutine"))).collect()
}
