//! What comes after the ill sites: the healthy ones, what was lost, and how sure the answer is.

use super::super::page::Page;
use super::super::style::Ink;
use super::super::words;
use crate::session::Snapshot;
use crate::session::snapshot::{Disagreements, EndReason, Site, VerdictKind};

/// Sites of one verdict in a table: the largest first, as the snapshot orders them.
pub fn table(page: &mut Page, kind: VerdictKind, sites: &[&Site], shown: usize) {
    if sites.is_empty() {
        return;
    }
    page.blank();
    let word = page.style().paint(Ink::Verdict(kind), &words::verdict(kind).to_uppercase());
    let live: u64 = sites.iter().map(|s| s.live).sum();
    page.paragraph(&format!(
        "{word}  {} with {} alive",
        words::count(sites.len() as u64, "site"),
        words::count(live, "goroutine")
    ));
    for s in sites.iter().take(shown) {
        page.raw(&format!(
            "  {:>7} alive  {}  {}",
            s.live,
            words::statement(s),
            page.style().paint(Ink::Faint, &words::clean(&s.verdict.why))
        ));
    }
    if sites.len() > shown {
        page.raw(&format!("  … and {} more (`--all` shows every one)", sites.len() - shown));
    }
}

/// The runtime's own sites, in one line.
pub fn system(page: &mut Page, sites: &[&Site]) {
    let own = sites.iter().filter(|s| s.system);
    let (count, live) = own.fold((0, 0), |(n, live), s| (n + 1, live + s.live));
    if count > 0 {
        let text = format!(
            "{} of the runtime's own with {} alive (`--all` shows every one)",
            words::count(count, "site"),
            words::count(live, "goroutine")
        );
        page.blank();
        page.raw(&text);
    }
}

/// `lost: 3 birth-ring-full`, or nothing when nothing was.
pub fn loss_in_short(snapshot: &Snapshot) -> Option<String> {
    let mut causes: Vec<(&str, u64)> = Vec::new();
    for loss in &snapshot.losses {
        match causes.iter_mut().find(|(cause, _)| *cause == loss.cause) {
            Some((_, count)) => *count = count.saturating_add(loss.count),
            None => causes.push((loss.cause, loss.count)),
        }
    }
    let causes: Vec<String> = causes.iter().map(|(cause, count)| format!("{count} × {cause}")).collect();
    (!causes.is_empty()).then(|| format!("lost: {} (see below)", causes.join(", ")))
}

pub fn losses(page: &mut Page, snapshot: &Snapshot) {
    if snapshot.losses.is_empty() {
        return;
    }
    page.blank();
    let title = page.style().paint(Ink::Warning, "LOSSES");
    page.raw(&title);
    for l in &snapshot.losses {
        page.field(
            &l.count.to_string(),
            &format!(
                "{} between {} and {}: {}",
                l.cause,
                words::duration(l.from_ns),
                words::duration(l.to_ns),
                l.meaning
            ),
        );
    }
}

pub fn probes(page: &mut Page, snapshot: &Snapshot, all: bool) {
    if snapshot.probes.is_empty() {
        return;
    }
    let (standing, refused): (Vec<_>, Vec<_>) =
        snapshot.probes.iter().partition(|p| p.refused_because.is_none());
    page.blank();
    let names: Vec<String> = standing
        .iter()
        .map(|p| {
            let at = format!("{} at {}+{:#x}", words::clean(&p.role), words::clean(&p.function), p.offset);
            if all {
                format!("{at} ({}, {})", words::clean(&p.instruction), words::clean(&p.cost_class))
            } else {
                at
            }
        })
        .collect();
    let what = if names.is_empty() { "none stands".to_owned() } else { names.join(", ") };
    page.paragraph(&format!("PROBES  {what}"));
    for p in refused {
        let why = p.refused_because.as_deref().unwrap_or_default();
        page.field(
            "refused",
            &format!(
                "{} at {}+{:#x}: {}",
                words::clean(&p.role),
                words::clean(&p.function),
                p.offset,
                words::clean(why)
            ),
        );
    }
}

pub fn notes(page: &mut Page, snapshot: &Snapshot) {
    if snapshot.notes.is_empty() {
        return;
    }
    page.blank();
    page.raw("NOTES");
    for note in &snapshot.notes {
        page.raw(&format!("  {} [{}]", words::clean(&note.text), words::clean(&note.code)));
    }
}

pub fn ended(page: &mut Page, snapshot: &Snapshot) {
    let text = match &snapshot.end {
        None => "it still runs, or the recording was cut off".to_owned(),
        Some(EndReason::Asked) => "by request".to_owned(),
        Some(EndReason::Duration) => "after the duration asked for".to_owned(),
        Some(EndReason::TargetExited { wait_status: None }) => {
            "the target exited (its status is not known to us)".to_owned()
        }
        Some(EndReason::TargetExited { wait_status: Some(status) }) => exit_status(*status),
        Some(EndReason::TargetExeced) => "the target executed another program".to_owned(),
        Some(EndReason::OutputFailed) => {
            "the recording could not be written any further: what came later is missing".to_owned()
        }
    };
    page.paragraph(&format!("Ended: {text}."));
}

/// A wait status as wait(2) gives it (Linux: low 7 bits the signal, next byte the exit code).
fn exit_status(status: u32) -> String {
    match status & 0x7f {
        0 => format!("the target exited with status {}", status >> 8 & 0xff),
        signal => format!("the target was killed by signal {signal}"),
    }
}

/// The last line: what the verdicts rest on.
pub fn certainty(page: &mut Page, snapshot: &Snapshot) {
    let mut doubts = Vec::new();
    let lost = snapshot.losses.iter().fold(0u64, |sum, l| sum.saturating_add(l.count));
    if lost > 0 {
        doubts.push(format!("{} lost", words::count(lost, "event")));
    }
    let refused = snapshot.probes.iter().filter(|p| p.refused_because.is_some()).count() as u64;
    if refused > 0 {
        doubts.push(format!("{} refused", words::count(refused, "probe")));
    }
    if snapshot.probes.is_empty() {
        doubts.push("no probes: goroutines that lived between two looks were not seen".to_owned());
    }
    if let Some(watching) = words::unwatched(snapshot) {
        let share = words::percent(watching.share());
        doubts.push(format!("births and deaths were watched {share} of the time"));
    }
    let t = &snapshot.totals;
    if let Some(d) = snapshot.looks.disagreements.filter(Disagreements::any) {
        let waits = d.waits_not_told.unwrap_or(0);
        let parts = [(d.births_not_told, "birth"), (d.deaths_not_told, "death"), (waits, "wait")];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| words::count(n, what));
        let parts = parts.collect::<Vec<_>>().join(", ");
        doubts.push(format!("looks and probes disagree: {parts} seen by looks that no probe told"));
    }
    if t.born_unidentified > 0 {
        doubts.push(format!("{} that could not be read", words::count(t.born_unidentified, "birth")));
    }
    if snapshot.end.is_none() {
        doubts.push("no end in the stream".to_owned());
    }
    let waiting = snapshot
        .sites
        .iter()
        .filter(|s| !s.system && s.verdict.kind != VerdictKind::Leak && !s.verdict.missing.is_empty())
        .count() as u64;
    if waiting > 0 {
        let needs = if waiting == 1 { "needs" } else { "need" };
        doubts.push(format!("{} {needs} more to be judged", words::count(waiting, "site")));
    }
    let basis = "verdicts are from growth and survival, which is strong evidence and no proof";
    let text = if doubts.is_empty() {
        format!("How sure: nothing was lost and no site is undecided; {basis}.")
    } else {
        format!("How sure: less than it could be ({}); {basis}.", doubts.join("; "))
    };
    page.paragraph(&text);
}

#[cfg(test)]
mod tests {
    use super::exit_status;

    #[test]
    fn wait_status_is_read_as_linux_writes_it() {
        assert_eq!(exit_status(0x0300), "the target exited with status 3");
        assert_eq!(exit_status(9), "the target was killed by signal 9");
        assert_eq!(exit_status(0x86), "the target was killed by signal 6");
    }
}
