//! What is known about the target's goroutines, built from events and nothing else.
//!
//! [`Session::apply`] is the only thing that changes a session; it takes any event in any order and never fails.
//! [`Session::snapshot`] draws the picture: the same events give the same bytes. No clock, no file, no
//! thread: time is the greatest time seen in the stream, and ticks drive what depends on it.
//!
//! Memory is bounded by the goroutines alive and the creation sites, each with a [limit](Limits); a goroutine that
//! ended leaves a count and its lifetime in a histogram.

mod apply;
pub mod distribution;
mod fnv;
mod frames;
mod goroutine;
mod limits;
mod living;
pub mod loss_ledger;
mod objects;
mod picture;
mod recent;
mod rows;
mod sampled;
pub mod series;
mod sites;
pub mod snapshot;
mod symbols;
mod waits;
pub mod watch;

use std::collections::HashMap;

use tracer_common::wire::{self, loss};

use crate::event::{Event, Note, ProbeSite, TargetInfo};

pub use limits::Limits;
pub use snapshot::Snapshot;

use living::Living;
use loss_ledger::LossLedger;
use objects::Objects;
use recent::Recent;
use series::Clock;
use sites::Sites;
use symbols::Symbols;
use watch::Watch;

/// Everything that events have told.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    /// Time of the first event that has a moment, and the greatest time since.
    first_ns: Option<u64>,
    now_ns: u64,
    target: Option<Box<TargetInfo>>,
    end: Option<wire::End>,
    kernel: Option<wire::Totals>,
    counts: Counts,
    losses: LossLedger,
    probes: Vec<ProbeSite>,
    notes: Vec<Note>,
    wait_reasons: Vec<String>,
    symbols: Symbols,
    goroutines: Living,
    /// Placeholders of extra Ms by goid; true while in use.
    extras: HashMap<u64, bool>,
    objects: Objects,
    recent: Recent,
    sites: Sites,
    clock: Clock,
    looks: Looks,
    watch: Watch,
    /// A create probe stands: whoever is born is told of.
    births_traced: bool,
}

/// Counts over all sites.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    events: u64,
    born: u64,
    found: u64,
    born_unidentified: u64,
    died: u64,
    died_unattributed: u64,
    before: u64,
    vanished: u64,
    /// Of `found` and `vanished`: while births and deaths were not watched.
    found_unwatched: u64,
    vanished_unwatched: u64,
}

/// The looks so far.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    ended: u64,
    begin_ns: Option<u64>,
    /// When the last one began, and the one before it.
    begun_ns: Option<u64>,
    begun_before_ns: Option<u64>,
    last_end_ns: Option<u64>,
    /// Of the last look.
    read: u64,
    unreadable: u64,
    /// Goroutines that a look saw wait although the probes told otherwise, and went on to.
    disagreed: u64,
    /// One of them really read something.
    saw_some: bool,
    /// One of them left out no more than a tenth ([`analysis::reads_enough`](crate::analysis::reads_enough)).
    saw_most: bool,
    /// One of them could read everything.
    saw_all: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self {
            first_ns: None,
            now_ns: 0,
            target: None,
            end: None,
            kernel: None,
            counts: Counts::default(),
            losses: LossLedger::default(),
            probes: Vec::new(),
            notes: Vec::new(),
            wait_reasons: Vec::new(),
            symbols: Symbols::default(),
            goroutines: Living::default(),
            extras: HashMap::new(),
            objects: Objects::default(),
            recent: Recent::new(limits.recent),
            sites: Sites::default(),
            clock: Clock::default(),
            looks: Looks::default(),
            watch: Watch::default(),
            births_traced: false,
            limits,
        }
    }

    /// Takes one event. Total: whatever the event and whatever came before.
    pub fn apply(&mut self, event: Event) {
        self.counts.events += 1;
        if !crate::order::is_definition(&event) || matches!(event, Event::Target(..)) {
            let t = event.time_ns();
            self.first_ns.get_or_insert(t);
            self.now_ns = self.now_ns.max(t);
        }
        match event {
            Event::Birth(e) => self.birth(&e),
            Event::Death(e) => self.death(e.h.goid, e.h.time_ns),
            Event::Park(e) => self.park(&e),
            Event::Ready(e) => self.wake(e.h.goid, e.h.time_ns, goroutine::Doing::Runnable),
            Event::Run(e) => self.wake(e.h.goid, e.h.time_ns, goroutine::Doing::Running),
            Event::CoroSwitch(e) => self.coro_switch(&e),
            Event::StackDef(def) => {
                if self.symbols.add_stack(def, &self.limits).is_err() {
                    self.limit_reached();
                }
            }
            Event::Seen(e) => self.seen(&e, true),
            Event::State(e) => self.seen(&e, false),
            Event::LookBegin(e) => {
                let begin = Some(e.h.time_ns);
                (self.looks.begin_ns, self.looks.begun_before_ns) = (begin, self.looks.begun_ns);
                self.looks.begun_ns = begin;
            }
            Event::LookEnd(e) => self.look_ended(&e),
            Event::Tick(h) => self.sites.sample(&mut self.clock, h.time_ns),
            Event::Loss(e) => self.losses.apply(&e),
            Event::Totals(e) => self.kernel = Some(*e),
            Event::End(e) => self.end = Some(e),
            Event::Blocked(e) => {
                if let Some(g) = self.goroutines.get_mut(e.h.goid) {
                    g.blocked = e.stack;
                }
            }
            Event::Cost(e) => self.watch.cost(*e),
            Event::Level(e) => self.level(e),
            Event::Object(_, object) => {
                if self.objects.tell(*object, &self.limits).is_err() {
                    self.limit_reached();
                }
            }
            Event::Waits(h, waits) => self.waits(h.goid, waits),
            Event::Labels(_, labels) => {
                if self.objects.tell_labels(labels, &self.limits).is_err() {
                    self.limit_reached();
                }
            }
            Event::Target(_, mut info) => {
                self.limits.cut_target(&mut info);
                self.target = Some(info);
            }
            Event::Symbol(_, symbol) => {
                if self.symbols.add_symbol(*symbol, &self.limits).is_err() {
                    self.limit_reached();
                }
            }
            Event::ProbeSite(_, probe) => self.probe(*probe),
            Event::WaitReasons(_, reasons) => {
                self.wait_reasons = reasons.names;
                self.wait_reasons.truncate(waits::MAX_REASONS);
                self.wait_reasons.iter_mut().for_each(|name| limits::cut(name, waits::MAX_WORD));
            }
            Event::Note(_, note) => self.note(note),
        }
    }

    /// The greatest time seen in the stream; 0 before the first event.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The session's last event has come.
    pub fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// What the stream said about the target.
    pub fn target(&self) -> Option<&TargetInfo> {
        self.target.as_deref()
    }

    /// The read-only picture, verdicts included. The same events give the same picture.
    pub fn snapshot(&self) -> Snapshot {
        picture::draw(self)
    }

    fn first_ns(&self) -> u64 {
        self.first_ns.unwrap_or(0)
    }

    fn limit_reached(&mut self) {
        self.losses.add(loss::SESSION_LIMIT.into(), 1, self.now_ns, self.now_ns);
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(crate) mod scenario;
#[cfg(test)]
mod tests;
