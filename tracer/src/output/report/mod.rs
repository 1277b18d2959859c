//! The report: what a person on call reads when tracing has ended.
//!
//! The answer comes first ([`answer`]), then each site that is not healthy with its evidence ([`site`]), then what
//! bounds the answer: losses, probes, notes, and how sure it is ([`tail`]).

mod answer;
mod site;
mod tail;
mod watching;

use super::page::Page;
use super::style::Style;
use crate::session::Snapshot;
use crate::session::snapshot::{Site, VerdictKind};

/// Without [`Options::all`], as many suspects are shown in full: the rest, like all that is healthy or unknown, gets a
/// line in a table. Leaks are always shown in full.
const SUSPECTS_IN_FULL: usize = 5;
/// And as many lines has such a table.
const TABLE_LINES: usize = 5;

/// What a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub style: Style,
    /// Every site in full, the healthy and the runtime's own ones too.
    pub all: bool,
    /// Without it, the time of day at which watching began and how long it lasted are left out. Nothing else depends
    /// on when a report is made: ages, waits and slopes are computed from the stream's own times and are the same
    /// for a live session and for its replay.
    pub show_time: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { style: Style::PLAIN, all: false, show_time: true }
    }
}

/// The whole report, ending with a newline. The same snapshot and options always give the same bytes.
pub fn text(snapshot: &Snapshot, options: &Options) -> String {
    let mut page = Page::new(options.style);
    answer::write(&mut page, snapshot);
    answer::context(&mut page, snapshot, options.show_time);

    let (full, short) = choose(snapshot, options.all);
    for (n, s) in full.iter().enumerate() {
        page.blank();
        site::write(&mut page, n + 1, s);
    }
    for kind in [VerdictKind::Suspect, VerdictKind::Unknown, VerdictKind::Healthy] {
        let sites: Vec<&Site> =
            short.iter().copied().filter(|s| s.verdict.kind == kind && !s.system).collect();
        tail::table(&mut page, kind, &sites, TABLE_LINES);
    }
    tail::system(&mut page, &short);
    tail::losses(&mut page, snapshot);
    watching::write(&mut page, snapshot, options.show_time);
    tail::probes(&mut page, snapshot, options.all);
    tail::notes(&mut page, snapshot);
    page.blank();
    tail::ended(&mut page, snapshot);
    tail::certainty(&mut page, snapshot);
    page.finish()
}

/// Which sites are shown in full, and which in short.
fn choose(snapshot: &Snapshot, all: bool) -> (Vec<&Site>, Vec<&Site>) {
    let mut suspects = 0;
    snapshot.sites.iter().partition(|s| {
        if s.verdict.kind == VerdictKind::Suspect && !s.system {
            suspects += 1;
        }
        all || match s.verdict.kind {
            _ if s.system => false,
            VerdictKind::Leak => true,
            VerdictKind::Suspect => suspects <= SUSPECTS_IN_FULL,
            VerdictKind::Unknown | VerdictKind::Healthy => false,
        }
    })
}

#[cfg(test)]
mod tests;
