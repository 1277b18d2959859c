//! How much was spent within the last ten seconds.

use std::collections::VecDeque;

/// The window that the budget is for.
pub const WINDOW_NS: u64 = 10_000_000_000;
/// What is spent within such a time is kept as one number: the window is too long by as much, never too short.
const SLOT_NS: u64 = 100_000_000;

/// A sum over the last [`WINDOW_NS`].
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// Number of the slot, and what was spent in it.
    slots: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Spent {
    pub fn add(&mut self, now_ns: u64, cost_ns: u64) {
        let slot = now_ns / SLOT_NS;
        self.sum = self.sum.saturating_add(cost_ns);
        match self.slots.back_mut() {
            // A clock that goes back is no reason to forget.
            Some(last) if last.0 >= slot => last.1 = last.1.saturating_add(cost_ns),
            _ => self.slots.push_back((slot, cost_ns)),
        }
        self.forget(now_ns);
    }

    /// What was spent in the ten seconds before `now_ns`, and perhaps a tenth of a second more.
    pub fn sum(&mut self, now_ns: u64) -> u64 {
        self.forget(now_ns);
        self.sum
    }

    fn forget(&mut self, now_ns: u64) {
        while let Some((_, cost)) =
            self.slots.pop_front_if(|(slot, _)| (*slot + 1) * SLOT_NS + WINDOW_NS <= now_ns)
        {
            self.sum = self.sum.saturating_sub(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Never less than was really spent, and nothing that is older than the window and a slot.
        #[test]
        fn the_sum_covers_the_window(steps in prop::collection::vec((0..3_000_000_000_u64, 0..1_000_000_u64), 1..60)) {
            let mut spent = Spent::default();
            let (mut now, mut all) = (5_000_000_000, Vec::new());
            for (pause, cost) in steps {
                now += pause;
                spent.add(now, cost);
                all.push((now, cost));
                let since = |ns: u64| all.iter().filter(|(t, _)| t + ns > now).map(|(_, c)| c).sum::<u64>();
                let sum = spent.sum(now);
                prop_assert!(sum >= since(WINDOW_NS) && sum <= since(WINDOW_NS + SLOT_NS));
            }
        }
    }
}
