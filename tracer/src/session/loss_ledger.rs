//! What was lost, when, and what that means for a reader.

use std::collections::VecDeque;

use tracer_common::wire::{self, loss};

use super::snapshot;

/// How many intervals are remembered one by one for each cause; older ones are joined.
const INTERVALS: usize = 64;

/// Stable name and meaning of each cause, in the order of their numbers.
const CAUSES: [(&str, &str); loss::COUNT] = [
    (
        "birth-ring-full",
        "births were not delivered: those goroutines are known only if a look found them, without their creation stack",
    ),
    (
        "death-ring-full",
        "deaths were not delivered: live counts are too high until the next look finds the goroutine gone",
    ),
    ("sched-ring-full", "parks and runs were not delivered: wait times have gaps; counts are not affected"),
    (
        "stack-ring-full",
        "stack definitions were not delivered: some goroutines show only their `go` statement",
    ),
    (
        "stack-map-full",
        "the kernel's table of stacks is full: stacks are sent again and again, nothing is missing",
    ),
    (
        "read-fault",
        "the kernel could not read the target's memory: some goroutines have no identity or no stack",
    ),
    ("undecodable", "records did not decode: what they said is missing"),
    ("late", "events came later than the ordering window allows and were applied out of order"),
    ("session-limit", "a limit of the session's memory was reached: the rest is counted but not followed"),
    ("look-unreadable", "a look could not read some goroutines: they may be missing"),
];

/// Losses by cause.
#[derive(Clone, Debug, Default)]
pub struct LossLedger {
    causes: [Entry; loss::COUNT],
}

#[derive(Clone, Debug, Default)]
struct Entry {
    count: u64,
    intervals: VecDeque<Interval>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    from_ns: u64,
    to_ns: u64,
    count: u64,
}

impl LossLedger {
    pub fn apply(&mut self, loss: &wire::Loss) {
        self.add(loss.cause, loss.count, loss.from_ns.min(loss.h.time_ns), loss.h.time_ns);
    }

    /// A cause that does not exist is not counted: the decoder refuses it.
    pub fn add(&mut self, cause: u64, count: u64, from_ns: u64, to_ns: u64) {
        let Some(entry) = usize::try_from(cause).ok().and_then(|c| self.causes.get_mut(c)) else { return };
        if count == 0 {
            return;
        }
        entry.count = entry.count.saturating_add(count);
        if let Some(last) = entry.intervals.back_mut()
            && (last.from_ns..=last.to_ns).contains(&from_ns)
        {
            last.from_ns = last.from_ns.min(from_ns);
            last.to_ns = last.to_ns.max(to_ns);
            last.count = last.count.saturating_add(count);
            return;
        }
        entry.intervals.push_back(Interval { from_ns, to_ns, count });
        if entry.intervals.len() == INTERVALS {
            // Join the two oldest: what is long past needs no detail.
            if let (Some(a), Some(b)) = (entry.intervals.pop_front(), entry.intervals.front_mut()) {
                b.from_ns = b.from_ns.min(a.from_ns);
                b.to_ns = b.to_ns.max(a.to_ns);
                b.count = b.count.saturating_add(a.count);
            }
        }
    }

    /// All losses of a cause.
    pub fn total(&self, cause: u32) -> u64 {
        self.causes.get(cause as usize).map_or(0, |e| e.count)
    }

    /// Losses of a cause whose interval reaches beyond `since_ns`.
    pub fn since(&self, cause: u32, since_ns: u64) -> u64 {
        let Some(entry) = self.causes.get(cause as usize) else { return 0 };
        entry.intervals.iter().filter(|i| i.to_ns >= since_ns).fold(0, |sum, i| sum.saturating_add(i.count))
    }

    /// For the snapshot: times since `start_ns`, in the order of the causes' numbers.
    pub fn view(&self, start_ns: u64) -> Vec<snapshot::Loss> {
        let named = self.causes.iter().zip(CAUSES);
        named
            .filter(|(e, _)| e.count > 0)
            .map(|(e, (cause, meaning))| snapshot::Loss {
                cause,
                count: e.count,
                from_ns: e.intervals.iter().map(|i| i.from_ns).min().unwrap_or(0).saturating_sub(start_ns),
                to_ns: e.intervals.iter().map(|i| i.to_ns).max().unwrap_or(0).saturating_sub(start_ns),
                meaning,
            })
            .collect()
    }
}

/// Stable name of a loss cause, for instance `birth-ring-full`.
pub fn cause_name(cause: u64) -> Option<&'static str> {
    CAUSES.get(usize::try_from(cause).ok()?).map(|(name, _)| *name)
}

/// The number of a loss cause by its stable name.
pub fn cause_by_name(name: &str) -> Option<u64> {
    CAUSES.iter().position(|(n, _)| *n == name).map(|i| i as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_bounded_and_nothing_is_forgotten() {
        let mut ledger = LossLedger::default();
        for i in 0..10_000 {
            ledger.add(loss::LATE.into(), 2, i * 10, i * 10 + 5);
        }
        assert_eq!(ledger.total(loss::LATE), 20_000);
        assert!(ledger.causes[loss::LATE as usize].intervals.len() <= INTERVALS);
        assert_eq!(ledger.since(loss::LATE, 99_990), 2, "the last interval alone");
        assert_eq!(ledger.since(loss::LATE, 0), 20_000);
        let view = ledger.view(0);
        assert_eq!((view[0].from_ns, view[0].to_ns, view[0].count), (0, 99_995, 20_000));
    }

    #[test]
    fn an_impossible_cause_is_ignored_and_names_agree() {
        let mut ledger = LossLedger::default();
        ledger.add(u64::MAX, 1, 0, 1);
        assert!(ledger.view(0).is_empty());
        for cause in 0..loss::COUNT as u64 {
            assert_eq!(cause_by_name(cause_name(cause).unwrap()), Some(cause));
        }
    }
}
