//! Creation sites: goroutines with one creation stack, or with one `go` statement when no more is known, and one start
//! function. The function belongs to it: one `go` statement may start many (`time.goFunc` starts every callback
//! of `time.AfterFunc`), and they must not answer for each other.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::distribution::Distribution;
use super::goroutine::{Born, NO_SITE};
use super::limits::Limits;
use super::series::{Clock, Count, Series};

/// What makes two goroutines belong together while events come in. Only what the program counters prove; rows that
/// mean the same lines are joined later, in the snapshot, where symbols are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiteKey {
    /// The whole creation stack, and the entry of the start function.
    Stack { id: u64, start_pc: u64 },
    /// The `go` statement alone, and the entry of the start function.
    GoStatement { gopc: u64, start_pc: u64, why: NoStack },
}

/// Why a goroutine's creation stack is not known. Kept apart, so that the reader is told the right reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoStack {
    /// It was born before we watched, or its birth was not traced: a look found it.
    NotTraced,
    /// It had no creator: made on a thread's own stack while no goroutine ran there. So are the main goroutine, by the
    /// runtime's start code (`runtime.rt0_go`), and the callbacks of timers (time/sleep.go, goFunc, run by
    /// runtime/time.go).
    NoCreator,
    /// The creator's frames did not lead to the `go` statement.
    Unmatched,
    /// More creation stacks than the session tells apart.
    Limit,
}

/// A creation site as events built it.
#[derive(Clone, Debug)]
pub struct Site {
    pub key: SiteKey,
    /// Return address of the `go` statement; 0 when it could not be read.
    pub gopc: u64,
    /// Entry of the function that its goroutines run; 0 when it could not be read.
    pub start_pc: u64,
    pub first_seen_ns: u64,
    /// Births: traced, or found between two looks.
    pub born: u64,
    /// Births that no event traced.
    pub found: u64,
    pub died: u64,
    pub vanished: u64,
    /// Alive when watching began.
    pub before: u64,
    /// Of those alive when watching began, how many are gone.
    pub before_gone: u64,
    pub live: u64,
    /// Birth and death traced.
    pub lifetimes: Distribution,
    /// Birth or death seen by a look only: known to within the time between two looks.
    pub rough_lifetimes: Distribution,
    /// Of the rough ones those whose birth was traced: how long they lived for certain, and as if they had ended in the middle between
    /// then and the look that missed them.
    pub certain_lifetimes: Distribution,
    pub middle_lifetimes: Distribution,
    /// Waits that ended, from park events.
    pub past_waits: Distribution,
    pub series: Series,
}

impl Site {
    fn new(key: SiteKey, gopc: u64, start_pc: u64, time_ns: u64) -> Self {
        Self {
            key,
            gopc,
            start_pc,
            first_seen_ns: time_ns,
            born: 0,
            found: 0,
            died: 0,
            vanished: 0,
            before: 0,
            before_gone: 0,
            live: 0,
            lifetimes: Distribution::default(),
            rough_lifetimes: Distribution::default(),
            certain_lifetimes: Distribution::default(),
            middle_lifetimes: Distribution::default(),
            past_waits: Distribution::default(),
            series: Series::default(),
        }
    }

    /// Born minus gone while watched.
    pub fn count(&self) -> Count {
        let gone = self.died.saturating_add(self.vanished);
        Count { net: self.born as i64 - gone as i64, gone }
    }

    pub fn enter(&mut self, born: Born) {
        self.live += 1;
        match born {
            Born::Traced(_) => self.born += 1,
            Born::Found(_) => {
                self.born += 1;
                self.found += 1;
            }
            Born::Before(_) => self.before += 1,
        }
    }

    /// Takes back an [`enter`](Self::enter): the goroutine turned out to belong elsewhere.
    pub fn undo_enter(&mut self, born: Born) {
        self.live = self.live.saturating_sub(1);
        match born {
            Born::Traced(_) => self.born = self.born.saturating_sub(1),
            Born::Found(_) => {
                self.born = self.born.saturating_sub(1);
                self.found = self.found.saturating_sub(1);
            }
            Born::Before(_) => self.before = self.before.saturating_sub(1),
        }
    }

    /// A death event.
    pub fn leave(&mut self, born: Born, time_ns: u64) {
        self.live = self.live.saturating_sub(1);
        self.died += 1;
        match born {
            Born::Traced(t) => self.lifetimes.record(time_ns.saturating_sub(t)),
            Born::Found(t) => self.rough_lifetimes.record(time_ns.saturating_sub(t)),
            Born::Before(_) => self.before_gone += 1,
        }
    }

    /// A look no longer found it; until `alive_ns` its end would have been told, unless it was not born yet.
    pub fn vanish(&mut self, born: Born, alive_ns: u64, time_ns: u64) {
        self.live = self.live.saturating_sub(1);
        self.vanished += 1;
        match born {
            Born::Traced(t) => {
                let lived = alive_ns.clamp(t.min(time_ns), time_ns);
                self.rough_lifetimes.record(time_ns.saturating_sub(t));
                self.certain_lifetimes.record(lived.saturating_sub(t));
                self.middle_lifetimes.record((lived + (time_ns - lived) / 2).saturating_sub(t));
            }
            Born::Found(t) => self.rough_lifetimes.record(time_ns.saturating_sub(t)),
            Born::Before(_) => self.before_gone += 1,
        }
    }
}

/// All creation sites, in the order in which they were met.
#[derive(Debug, Default)]
pub struct Sites {
    list: Vec<Site>,
    by_key: HashMap<SiteKey, u32, RandomState>,
    stack_sites: usize,
}

impl Sites {
    /// The site with this key, made if it is new. Beyond the limit of stacks it is the `go` statement's; beyond the
    /// limit of sites it is [`NO_SITE`]. `limited` is set when a limit made the choice.
    pub fn find(
        &mut self,
        mut key: SiteKey,
        (gopc, start_pc): (u64, u64),
        time_ns: u64,
        limits: &Limits,
        limited: &mut bool,
    ) -> u32 {
        if let Some(&i) = self.by_key.get(&key) {
            return i;
        }
        if matches!(key, SiteKey::Stack { .. }) && self.stack_sites >= limits.stack_sites {
            *limited = true;
            key = SiteKey::GoStatement { gopc, start_pc, why: NoStack::Limit };
            if let Some(&i) = self.by_key.get(&key) {
                return i;
            }
        }
        if self.list.len() >= limits.sites {
            *limited = true;
            return NO_SITE;
        }
        let Ok(i) = u32::try_from(self.list.len()) else { return NO_SITE };
        self.stack_sites += usize::from(matches!(key, SiteKey::Stack { .. }));
        self.list.push(Site::new(key, gopc, start_pc, time_ns));
        self.by_key.insert(key, i);
        i
    }

    pub fn get_mut(&mut self, i: u32) -> Option<&mut Site> {
        self.list.get_mut(i as usize)
    }

    pub fn list(&self) -> &[Site] {
        &self.list
    }

    /// A tick: every site gets its point.
    pub fn sample(&mut self, clock: &mut Clock, now_ns: u64) {
        let due = clock.tick(now_ns);
        if due.fine || due.coarse {
            for site in &mut self.list {
                let count = site.count();
                site.series.sample(due, count);
            }
        }
    }
}
