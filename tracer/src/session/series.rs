//! Counts over time: a point a second for the last two minutes, a point every five seconds for the last hour.
//!
//! What is kept is the *net* count: born minus gone since watching began. Those alive before are left out, because
//! a look may find them late, and a count that jumps when someone looks is not growth.

use std::collections::VecDeque;

const SECOND_NS: u64 = 1_000_000_000;
/// Points of the fine series.
pub const FINE_POINTS: usize = 121;
/// Points of the coarse series.
pub const COARSE_POINTS: usize = 721;
/// Nanoseconds between two fine points: a little less than a tick, so that a tick that comes early counts.
const FINE_NS: u64 = SECOND_NS * 9 / 10;
const COARSE_NS: u64 = SECOND_NS * 49 / 10;

/// When the points of all series were taken.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    pub fine: VecDeque<u64>,
    pub coarse: VecDeque<u64>,
}

/// Which series get a point now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub fine: bool,
    pub coarse: bool,
}

impl Clock {
    /// A tick: says which series get a point, and notes the time.
    pub fn tick(&mut self, now_ns: u64) -> Due {
        let due = |times: &mut VecDeque<u64>, gap, points| {
            let due = times.back().is_none_or(|last| now_ns >= last.saturating_add(gap));
            if due {
                push(times, now_ns, points);
            }
            due
        };
        Due {
            fine: due(&mut self.fine, FINE_NS, FINE_POINTS),
            coarse: due(&mut self.coarse, COARSE_NS, COARSE_POINTS),
        }
    }
}

/// One count at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Born minus gone, of those born while watched, minus those gone of the ones alive before.
    pub net: i64,
    /// Gone (died or vanished) since watching began.
    pub gone: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.net = self.net.saturating_add(other.net);
        self.gone = self.gone.saturating_add(other.gone);
    }
}

/// The counts of one creation site; its last point belongs to the clock's last time. A site that is younger than the
/// clock has fewer points: the missing ones are zero.
#[derive(Clone, Debug, Default)]
pub struct Series {
    fine: VecDeque<Count>,
    coarse: VecDeque<Count>,
}

impl Series {
    pub fn sample(&mut self, due: Due, count: Count) {
        if due.fine {
            push(&mut self.fine, count, FINE_POINTS);
        }
        if due.coarse {
            push(&mut self.coarse, count, COARSE_POINTS);
        }
    }

    /// Adds another site's counts of the same clock.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut VecDeque<Count>, from: &VecDeque<Count>| {
            while to.len() < from.len() {
                to.push_front(Count::default());
            }
            to.iter_mut().rev().zip(from.iter().rev()).for_each(|(a, b)| *a += *b);
        };
        add(&mut self.fine, &other.fine);
        add(&mut self.coarse, &other.coarse);
    }

    /// Points in time order with their times, ending with `now`.
    pub fn points(&self, clock: &Clock, now_ns: u64, now: Count) -> Points {
        let join = |times: &VecDeque<u64>, counts: &VecDeque<Count>| {
            let missing = times.len().saturating_sub(counts.len());
            let counts = std::iter::repeat_n(Count::default(), missing).chain(counts.iter().copied());
            let mut points: Vec<_> = times.iter().copied().zip(counts).collect();
            match points.last_mut() {
                Some(last) if last.0 >= now_ns => last.1 = now,
                _ => points.push((now_ns, now)),
            }
            points
        };
        Points { fine: join(&clock.fine, &self.fine), coarse: join(&clock.coarse, &self.coarse) }
    }
}

/// Counts with their times in nanoseconds, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Points {
    pub fine: Vec<(u64, Count)>,
    pub coarse: Vec<(u64, Count)>,
}

fn push<T>(ring: &mut VecDeque<T>, value: T, points: usize) {
    if ring.len() >= points {
        ring.pop_front();
    }
    ring.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(net: i64) -> Count {
        Count { net, gone: 0 }
    }

    #[test]
    fn ticks_give_a_point_a_second_and_one_in_five() {
        let mut clock = Clock::default();
        let dues: Vec<_> = (0..=10).map(|s| clock.tick(s * SECOND_NS)).collect();
        assert!(dues.iter().all(|d| d.fine));
        assert_eq!(dues.iter().filter(|d| d.coarse).count(), 3, "at 0, 5 and 10 s");
        assert!(!clock.tick(10 * SECOND_NS + 1).fine, "a second tick in the same second is no point");
    }

    #[test]
    fn rings_are_bounded_and_young_sites_are_zero_before() {
        let mut clock = Clock::default();
        let (mut old, mut young) = (Series::default(), Series::default());
        for s in 0..1000 {
            let due = clock.tick(s * SECOND_NS);
            old.sample(due, count(1));
            if s >= 990 {
                young.sample(due, count(5));
            }
        }
        let points = young.points(&clock, 999 * SECOND_NS, count(7));
        assert_eq!(points.fine.len(), FINE_POINTS);
        assert_eq!(points.fine[FINE_POINTS - 11].1.net, 0);
        assert_eq!(points.fine[FINE_POINTS - 10], (990 * SECOND_NS, count(5)));
        assert_eq!(
            points.fine.last(),
            Some(&(999 * SECOND_NS, count(7))),
            "now replaces a point of the same time"
        );
        young.add(&old);
        let sum = young.points(&clock, 2000 * SECOND_NS, count(9));
        assert_eq!(sum.fine[0].1.net, 1);
        assert_eq!(sum.fine[FINE_POINTS - 1].1.net, 6);
        assert_eq!(sum.fine.last().unwrap().1.net, 9);
    }
}
