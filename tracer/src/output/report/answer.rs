//! The first lines: which `go` statements leak.

use std::time::{Duration, UNIX_EPOCH};

use super::super::page::Page;
use super::super::style::Ink;
use super::super::words;
use crate::session::Snapshot;
use crate::session::snapshot::{Site, VerdictKind};

/// `go` statements that the first lines name; the rest is below.
const NAMED: usize = 10;

/// One `go` statement: several sites when it was reached along several call chains.
struct Statement<'a> {
    place: String,
    sites: Vec<&'a Site>,
}

impl Statement<'_> {
    fn live(&self) -> u64 {
        self.sites.iter().map(|s| s.live).sum()
    }

    /// `812 alive, +6.80/s, mostly in chan send`
    fn in_numbers(&self) -> String {
        let mut text = format!("{} alive", self.live());
        // A sum of slopes is a slope only if all are known.
        if let Some(slope) = self.sites.iter().map(|s| s.slope_per_s).sum::<Option<f64>>() {
            text.push_str(&format!(", {}", words::slope(slope)));
        }
        let mut waits: Vec<(&str, u64)> = Vec::new();
        for wait in self.sites.iter().flat_map(|s| words::known_waits(&s.waits)) {
            match waits.iter_mut().find(|(reason, _)| *reason == wait.reason) {
                Some((_, count)) => *count += wait.count,
                None => waits.push((&wait.reason, wait.count)),
            }
        }
        // `max_by_key` takes the last of equals; the first is the one the snapshot ranks higher.
        if let Some((reason, count)) = waits.iter().rev().max_by_key(|(_, count)| *count) {
            let how_many = if *count >= self.live() { "all" } else { "most" };
            let reason = words::clean(reason);
            if count * 2 > self.live() {
                text.push_str(&format!(", {how_many} in `{reason}`"));
            } else {
                text.push_str(&format!(", {count} of them in `{reason}`"));
            }
        }
        text
    }
}

fn statements(snapshot: &Snapshot, kind: VerdictKind) -> Vec<Statement<'_>> {
    let mut found: Vec<Statement<'_>> = Vec::new();
    for site in snapshot.sites.iter().filter(|s| s.verdict.kind == kind && !s.system) {
        let place = words::statement(site);
        match found.iter_mut().find(|s| s.place == place) {
            Some(statement) => statement.sites.push(site),
            None => found.push(Statement { place, sites: vec![site] }),
        }
    }
    found
}

/// `api-server (pid 4242)`
fn target(snapshot: &Snapshot) -> String {
    let t = &snapshot.target;
    match (t.comm.as_str(), t.pid) {
        ("", 0) => "the target (its name and pid are not in the stream)".to_owned(),
        ("", pid) => format!("pid {pid}"),
        (comm, 0) => words::clean(comm).into_owned(),
        (comm, pid) => format!("{} (pid {pid})", words::clean(comm)),
    }
}

/// The answer in one sentence, leaks first.
pub fn write(page: &mut Page, snapshot: &Snapshot) {
    let leaks = statements(snapshot, VerdictKind::Leak);
    let suspects = statements(snapshot, VerdictKind::Suspect);
    let unknowns = statements(snapshot, VerdictKind::Unknown);
    let who = target(snapshot);
    let (kind, word, list) = if !leaks.is_empty() {
        (VerdictKind::Leak, "LEAK", &leaks)
    } else if !suspects.is_empty() {
        (VerdictKind::Suspect, "SUSPECT", &suspects)
    } else if !unknowns.is_empty() {
        (VerdictKind::Unknown, "UNKNOWN", &unknowns)
    } else {
        let word = page.style().paint(Ink::Verdict(VerdictKind::Healthy), "NO LEAK");
        let own = snapshot.sites.iter().filter(|s| !s.system).count() as u64;
        let text = if own == 0 {
            format!("{word}  no goroutine of the program's own was seen in {who}.")
        } else {
            format!(
                "{word}  no `go` statement of {who} leaks: all {} are bounded.",
                words::count(own, "site")
            )
        };
        page.paragraph(&text);
        return;
    };
    let word = page.style().paint(Ink::Verdict(kind), word);
    let says = match (kind, list.len()) {
        (VerdictKind::Leak, 1) => "leaks goroutines",
        (VerdictKind::Leak, _) => "leak goroutines",
        (VerdictKind::Suspect, _) => "may leak goroutines (no leak is certain)",
        _ => "cannot be judged (no leak was found elsewhere)",
    };
    if let [only] = list.as_slice() {
        let place = page.style().paint(Ink::Strong, &only.place);
        page.paragraph(&format!(
            "{word}  the `go` statement at {place} in {who} {says}: {}.",
            only.in_numbers()
        ));
    } else {
        page.paragraph(&format!("{word}  {} `go` statements in {who} {says}:", list.len()));
        for s in list.iter().take(NAMED) {
            let place = page.style().paint(Ink::Strong, &s.place);
            page.raw(&format!("  {place}  {}", s.in_numbers()));
        }
        if list.len() > NAMED {
            page.raw(&format!("  … and {} more, see below", list.len() - NAMED));
        }
    }
    also(page, kind, &suspects, &unknowns);
}

/// What is less than the worst, in one line.
fn also(page: &mut Page, said: VerdictKind, suspects: &[Statement<'_>], unknowns: &[Statement<'_>]) {
    let mut also = Vec::new();
    for (kind, word, list) in
        [(VerdictKind::Suspect, "suspect", suspects), (VerdictKind::Unknown, "cannot be judged", unknowns)]
    {
        if said < kind && !list.is_empty() {
            let mut places: Vec<&str> = list.iter().take(3).map(|s| s.place.as_str()).collect();
            let rest = format!("{} more", list.len() - places.len());
            if list.len() > places.len() {
                places.push(&rest);
            }
            let be = if list.len() == 1 && kind == VerdictKind::Suspect { "is " } else { "" };
            let be = if list.len() > 1 && kind == VerdictKind::Suspect { "are " } else { be };
            also.push(format!("{} {be}{word}", places.join(", ")));
        }
    }
    if !also.is_empty() {
        page.paragraph(&format!("Also: {}.", also.join("; ")));
    }
}

/// What was watched, in two lines.
pub fn context(page: &mut Page, snapshot: &Snapshot, show_time: bool) {
    let t = &snapshot.target;
    let mut what = Vec::new();
    if show_time {
        what.push(format!("watched {}", words::duration(snapshot.watched_ns)));
        if let Some(ns) = snapshot.started_unix_ns {
            what.push(format!("from {}", time_of_day(ns)));
        }
    }
    what.push(if t.from_start { "from its first goroutine" } else { "attached while it ran" }.to_owned());
    if t.looks_only {
        what.push("looked at, without probes".to_owned());
    }
    for part in [&t.go_version, &t.main_package, &t.exe] {
        if !part.is_empty() {
            what.push(words::clean(part).into_owned());
        }
    }
    let totals = &snapshot.totals;
    let least = if words::unwatched(snapshot).is_some() { "at least " } else { "" };
    let mut counts = format!(
        "{} alive (+ {} of the runtime's), {least}{} born, {least}{} died, {} were there before",
        words::count(totals.live, "goroutine"),
        totals.live_system,
        totals.born,
        totals.died,
        totals.before
    );
    if totals.live_extra > 0 {
        counts.push_str(&format!(", {} for cgo callbacks", totals.live_extra));
    }
    if totals.vanished > 0 && t.looks_only {
        counts.push_str(&format!(", {} gone", totals.vanished));
    } else if totals.vanished > 0 {
        counts.push_str(&format!(", {} gone without a death event", totals.vanished));
    }
    if totals.born_unidentified > 0 {
        counts.push_str(&format!(", {} born that could not be read", totals.born_unidentified));
    }
    if totals.died_unattributed > 0 {
        counts.push_str(&format!(", {} died that no site is known of", totals.died_unattributed));
    }
    page.paragraph(&what.join(" · "));
    page.paragraph(&counts);
    if let Some(watching) = words::unwatched(snapshot) {
        let text = format!(
            "births and deaths were watched {} of the time, to keep the budget; looks tell who is alive (see below)",
            words::percent(watching.share())
        );
        let text = page.style().paint(Ink::Warning, &text);
        page.paragraph(&text);
    }
    if let Some(loss) = super::tail::loss_in_short(snapshot) {
        let loss = page.style().paint(Ink::Warning, &loss);
        page.paragraph(&loss);
    }
}

/// UTC, to the second: `2026-11-21T00:27:54Z`.
fn time_of_day(unix_ns: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}
