//! What an event takes from the target: the trap, which is measured on this machine, and what the kernel program does, which is
//! not.

use tracer_common::wire::total;

/// What a program does beside the trap, nanoseconds, by sort of event. The kernel tells how long programs run only to who
/// switches its statistics on for all; so these are what `cargo xtask bench price` found (docs/costs.md; births with eight frames
/// above them, coroutine switches and stack definitions by what they do more), and an estimate on any other machine.
const PROGRAM_NS: [u64; total::COUNT] = {
    let mut ns = [0; total::COUNT];
    // Recognising a stack that is known; walking it frame by frame comes on top.
    ns[total::BIRTHS] = 550;
    ns[total::DEATHS] = 250;
    ns[total::PARKS] = 400;
    ns[total::READIES] = 250;
    ns[total::RUNS] = 250;
    ns[total::CORO_SWITCHES] = 500;
    // Both by the program of a birth that was met already: there is no trap of its own.
    ns[total::WALKS] = 1_400;
    ns[total::STACKS] = 1_500;
    ns
};

/// What an emulated trap cost where [`PROGRAM_NS`] was measured, nanoseconds. Where it costs more, so do programs: the machine is
/// slower, or it is at the moment.
pub const TRAP_THERE_NS: f64 = 570.0;

/// Nanoseconds that one event of each sort takes from the target, as estimated; indexes as in [`total`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    pub each: [u64; total::COUNT],
    /// Of it, the trap.
    pub trap: [u64; total::COUNT],
}

impl Prices {
    /// `traps`: sorts of events, and what the trap at their site costs. A sort that has no site is never met and costs
    /// nothing. `slower`: how many times slower than where programs were measured this machine is.
    pub fn new(traps: impl IntoIterator<Item = (usize, f64)>, slower: f64) -> Self {
        let mut prices = Self::default();
        let program = |ns: u64| (ns as f64 * slower) as u64;
        for (sort, trap_ns) in traps {
            if let Some(ns) = PROGRAM_NS.get(sort) {
                prices.trap[sort] = trap_ns.max(0.0) as u64;
                prices.each[sort] = prices.trap[sort] + program(*ns);
            }
        }
        if prices.each[total::BIRTHS] > 0 {
            for sort in [total::WALKS, total::STACKS] {
                prices.each[sort] = program(PROGRAM_NS[sort]);
            }
        }
        prices
    }

    /// What so many events took, nanoseconds.
    pub fn cost(&self, counts: &[u64; total::COUNT]) -> u64 {
        sum(counts, &self.each)
    }

    /// The part of it that the traps took: as much is taken, and counted by nobody, from when a program is detached until its trap
    /// is gone.
    pub fn cost_of_traps(&self, counts: &[u64; total::COUNT]) -> u64 {
        sum(counts, &self.trap)
    }

    /// The part of [`cost`](Self::cost) that the probes at parks, readies and runs took.
    pub fn cost_of_waits(&self, counts: &[u64; total::COUNT]) -> u64 {
        let mut only = [0; total::COUNT];
        for sort in [total::PARKS, total::READIES, total::RUNS] {
            only[sort] = counts[sort];
        }
        self.cost(&only)
    }
}

fn sum(counts: &[u64; total::COUNT], prices: &[u64; total::COUNT]) -> u64 {
    let each = counts.iter().zip(prices).map(|(count, price)| count.saturating_mul(*price));
    each.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_costs_its_trap_and_its_program_and_nothing_where_no_probe_is() {
        let prices = Prices::new([(total::BIRTHS, 800.0), (total::DEATHS, 20_000.0)], 1.0);
        let mut counts = [0; total::COUNT];
        (counts[total::BIRTHS], counts[total::DEATHS], counts[total::PARKS]) = (10, 2, 1_000);
        assert_eq!(prices.cost(&counts), 10 * 1_350 + 2 * 20_250);
        assert_eq!(
            (prices.cost_of_waits(&counts), prices.cost_of_traps(&counts)),
            (0, 10 * 800 + 2 * 20_000)
        );
        assert_eq!(prices.cost(&[u64::MAX; total::COUNT]), u64::MAX);
        assert_eq!(Prices::new([(99, 1.0)], 1.0), Prices::default());
        let slow = Prices::new([(total::BIRTHS, 1_600.0)], 2.0);
        assert_eq!((slow.each[total::BIRTHS], slow.each[total::WALKS]), (2_700, 2_800));
    }
}
