//! The report: what a person on call reads when tracing has ended.
//!
//! The answer comes first ([`answer`]), then each site that is not healthy with its evidence ([`site`]), then what
//! bounds the answer: losses, probes, notes, and how sure it is ([`tail`]).

mod answer;
mod site;
mod tail;

use super::page::Page;
use super::style::Style;
use crate::session::Snapshot;
use crate::session::snapshot::VerdictKind;

/// How many healthy sites are named without [`Options::all`].
const HEALTHY_SHOWN: usize = 5;

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

    let in_full = |kind: VerdictKind, system: bool| options.all || (kind != VerdictKind::Healthy && !system);
    for (n, s) in snapshot.sites.iter().filter(|s| in_full(s.verdict.kind, s.system)).enumerate() {
        page.blank();
        site::write(&mut page, n + 1, s);
    }
    if !options.all {
        tail::healthy(&mut page, snapshot, HEALTHY_SHOWN);
    }
    tail::losses(&mut page, snapshot);
    tail::probes(&mut page, snapshot, options.all);
    tail::notes(&mut page, snapshot);
    page.blank();
    tail::ended(&mut page, snapshot);
    tail::certainty(&mut page, snapshot);
    page.finish()
}

#[cfg(test)]
mod tests;
