//! Goroutines that are gone, remembered for a while: what comes late about them must not wake them up again.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// How a goroutine left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its death was applied.
    Died,
    /// Its death came, but nothing was known of it: it lived before watching, or its birth is still to come.
    DiedUnknown,
    /// A look no longer found it; its death may still come. `site` is the index of its creation site.
    Vanished { site: u32 },
}

/// The last goroutines that left, by goid (never reused by Go), up to a limit.
#[derive(Debug)]
pub struct Recent {
    by_goid: HashMap<u64, (u64, Gone), RandomState>,
    order: VecDeque<u64>,
    limit: usize,
}

impl Recent {
    pub fn new(limit: usize) -> Self {
        Self { by_goid: HashMap::default(), order: VecDeque::new(), limit: limit.max(1) }
    }

    /// Notes that a goroutine left at `time_ns`. Forgets the one noted longest ago when full.
    pub fn note(&mut self, goid: u64, time_ns: u64, gone: Gone) {
        if self.by_goid.insert(goid, (time_ns, gone)).is_some() {
            return;
        }
        self.order.push_back(goid);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_goid.remove(&oldest);
        }
    }

    /// When and how it left, if it is still remembered.
    pub fn get(&self, goid: u64) -> Option<(u64, Gone)> {
        self.by_goid.get(&goid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_stays_bounded() {
        let mut recent = Recent::new(3);
        for goid in 1..=5 {
            recent.note(goid, goid * 10, Gone::Died);
        }
        assert_eq!(recent.get(2), None);
        assert_eq!(recent.get(3), Some((30, Gone::Died)));
        recent.note(3, 31, Gone::DiedUnknown);
        assert_eq!(recent.get(3), Some((31, Gone::DiedUnknown)));
        assert_eq!((recent.order.len(), recent.by_goid.len()), (3, 3));
    }
}
