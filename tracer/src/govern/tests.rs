//! The governor beside programs that are made up: time runs in steps of a millisecond, and probes take their time to go.

use proptest::prelude::*;
use tracer_common::wire::{level_why, total};

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// One per cent of a core.
const BUDGET: u64 = SECOND / 100;
const BIRTH: u64 = 2_000;
const DEATH: u64 = 1_000;

fn prices() -> Prices {
    let mut prices = Prices::default();
    (prices.each[total::BIRTHS], prices.each[total::DEATHS]) = (BIRTH, DEATH);
    (prices.each[total::PARKS], prices.each[total::RUNS]) = (BIRTH, DEATH);
    prices.trap = prices.each.map(|ns| ns / 3);
    prices
}

/// A program that is watched.
struct World {
    governor: Governor,
    now_ns: u64,
    counts: [u64; total::COUNT],
    /// What was really spent in each millisecond.
    spent: Vec<u64>,
    moves: Vec<(u64, Move)>,
    next_ns: u64,
    /// Until then the traps of probes that go are there, and then the move is done.
    going_until: Option<u64>,
    /// How long probes take to go.
    removal_ns: u64,
    part: [f64; 2],
}

impl World {
    fn new(budget: Option<u64>, top: Level) -> Self {
        Self {
            governor: Governor::new(prices(), budget, top, 7, 0),
            now_ns: 0,
            counts: [0; total::COUNT],
            spent: Vec::new(),
            moves: Vec::new(),
            next_ns: 0,
            going_until: None,
            removal_ns: 100 * MS,
            part: [0.0; 2],
        }
    }

    /// So long with `lives` births and deaths a second, and `waits` parks and runs.
    fn run(&mut self, ms: u64, lives: f64, waits: f64) {
        for _ in 0..ms {
            self.now_ns += MS;
            let standing = self.governor.standing();
            let mut new = [0; 2];
            for (part, (new, rate)) in self.part.iter_mut().zip(new.iter_mut().zip([lives, waits])) {
                *part += rate / 1_000.0;
                *new = part.floor() as u64;
                *part -= part.floor();
            }
            let before = self.counts;
            if standing.lives {
                self.counts[total::BIRTHS] += new[0];
            }
            if standing.lives {
                self.counts[total::DEATHS] += new[0];
            }
            if standing.waits {
                self.counts[total::PARKS] += new[1];
                self.counts[total::RUNS] += new[1];
            }
            // Traps of the programs that are detached, as long as half the way.
            let left = self.going_until.is_some_and(|until| self.now_ns + self.removal_ns / 2 < until);
            let uncounted = if left && !standing.lives {
                new[0] * (prices().trap[total::BIRTHS] + prices().trap[total::DEATHS])
            } else {
                0
            };
            self.spent.push(prices().cost(&self.counts) - prices().cost(&before) + uncounted);
            match self.going_until {
                Some(until) if self.now_ns >= until => {
                    self.going_until = None;
                    self.governor.done(self.now_ns, &self.counts);
                }
                Some(_) => {}
                None if self.now_ns >= self.next_ns => self.check(),
                None => {}
            }
        }
    }

    fn check(&mut self) {
        if let Some(made) = self.governor.step(self.now_ns, &self.counts) {
            self.moves.push((self.now_ns, made));
            let takes = if made.standing.lives { 10 * MS } else { self.removal_ns };
            self.going_until = Some(self.now_ns + takes);
        }
        self.next_ns = self.now_ns + self.governor.next_in_ns(self.now_ns);
    }

    /// The most that was spent within ten seconds.
    fn most(&self) -> u64 {
        let ten = (WINDOW_NS / MS) as usize;
        let (mut sum, mut most) = (0, 0);
        for (i, cost) in self.spent.iter().enumerate() {
            sum += cost;
            if i >= ten {
                sum -= self.spent[i - ten];
            }
            most = most.max(sum);
        }
        most
    }

    /// Changes of the level, without windows.
    fn levels(&self) -> Vec<(Level, Level)> {
        self.moves.iter().map(|(_, m)| (m.from, m.to)).filter(|(from, to)| from != to).collect()
    }
}

#[test]
fn a_calm_program_is_left_alone_and_without_a_budget_so_is_any() {
    let mut calm = World::new(Some(BUDGET), Level::Waits);
    calm.run(120_000, 1_000.0, 500.0);
    assert_eq!(calm.moves, []);
    let mut free = World::new(None, Level::Waits);
    free.run(20_000, 300_000.0, 300_000.0);
    assert_eq!((free.moves.len(), free.governor.budget_ns()), (0, 0));
    let spent = free.spent.iter().sum::<u64>();
    assert!((spent - spent / 1_000..=spent).contains(&free.governor.cost_ns()), "up to the last check");
}

#[test]
fn park_timing_goes_first_and_alone_when_that_is_enough() {
    let mut world = World::new(Some(BUDGET), Level::Waits);
    world.run(60_000, 1_000.0, 20_000.0);
    assert_eq!(world.levels()[0], (Level::Waits, Level::Lives));
    assert!(world.levels().iter().all(|(from, to)| (*from).max(*to) <= Level::Lives), "{:?}", world.moves);
    assert!(world.most() <= BUDGET * 10, "{}", world.most());
}

#[test]
fn a_flood_is_watched_in_windows_and_its_end_brings_all_back() {
    let mut world = World::new(Some(BUDGET), Level::Lives);
    world.run(60_000, 30_000.0, 0.0);
    assert_eq!(world.levels(), [(Level::Lives, Level::Windows)], "{:?}", world.moves);
    let opened = world.moves.iter().filter(|(_, m)| m.why == level_why::WINDOW_OPENS).count();
    assert!((5..60).contains(&opened), "{opened} windows in a minute");
    assert!(world.most() <= BUDGET * 10, "{}", world.most());
    world.run(60_000, 100.0, 0.0);
    assert_eq!(world.levels().last(), Some(&(Level::Windows, Level::Lives)), "{:?}", world.moves);
    assert!(world.governor.standing().lives);
}

#[test]
fn where_no_window_fits_there_are_looks_alone_and_it_is_tried_less_and_less_often() {
    let mut world = World::new(Some(BUDGET / 10), Level::Lives);
    world.run(600_000, 300_000.0, 0.0);
    assert_eq!(world.governor.level(), Level::Looks);
    let tries = world.levels().iter().filter(|(from, _)| *from == Level::Looks).count();
    assert!((3..8).contains(&tries), "{tries} in ten minutes");
}

#[test]
fn probes_that_cannot_be_placed_again_are_not_tried_again() {
    let mut world = World::new(Some(BUDGET), Level::Lives);
    world.run(5_000, 30_000.0, 0.0);
    let failed = world.governor.failed(world.now_ns);
    assert_eq!((failed.to, failed.why, failed.standing.lives), (Level::Looks, level_why::FAILED, false));
    world.moves.clear();
    world.run(100_000, 0.0, 0.0);
    assert_eq!(world.moves, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the program does: what is spent beyond the budget is what it spends between a leap and the check that sees
    /// it, and until the probes are gone. With leaps of half a core that is 10 ms and a third of 100 ms.
    #[test]
    fn the_budget_is_held_over_any_ten_seconds(
        phases in prop::collection::vec((1..8_000_u64, 0.0..166_000.0_f64), 1..25),
        park in any::<bool>(),
    ) {
        let top = if park { Level::Waits } else { Level::Lives };
        let mut world = World::new(Some(BUDGET), top);
        for (ms, rate) in phases {
            world.run(ms, rate, if park { rate / 2.0 } else { 0.0 });
        }
        let leap = (SECOND as f64 * 0.75 * 0.11) as u64;
        prop_assert!(world.most() <= BUDGET * 10 + leap, "{} of {}", world.most(), BUDGET * 10);
    }

    /// Of a program that does the same all the time nothing is foreseen wrongly.
    #[test]
    fn the_budget_is_held_beside_a_steady_program(rate in 0.0..200_000.0_f64, seconds in 20..90_u64) {
        let mut world = World::new(Some(BUDGET), Level::Lives);
        world.run(seconds * 1_000, rate, 0.0);
        prop_assert!(world.most() <= BUDGET * 10, "{} of {}: {:?}", world.most(), BUDGET * 10, world.moves);
    }

    /// Levels change at most six times in any minute of a steady program, and windows open at most once a second.
    #[test]
    fn it_does_not_flap(lives in 0.0..100_000.0_f64, waits in 0.0..100_000.0_f64, park in any::<bool>()) {
        let mut world = World::new(Some(BUDGET), if park { Level::Waits } else { Level::Lives });
        world.run(300_000, lives, if park { waits } else { 0.0 });
        let times: Vec<u64> =
            world.moves.iter().filter(|(_, m)| m.from != m.to).map(|(t, _)| *t).collect();
        for at in &times {
            let minute = times.iter().filter(|t| (*at..at + 60 * SECOND).contains(t)).count();
            prop_assert!(minute <= 6, "{:?}", world.moves);
        }
        let opens = world.moves.iter().filter(|(_, m)| m.why == level_why::WINDOW_OPENS);
        let opens: Vec<u64> = opens.map(|(t, _)| *t).collect();
        prop_assert!(opens.windows(2).all(|w| w[1] - w[0] >= SECOND));
    }
}
