//! Goroutines that are gone, remembered for a while: what comes late about them must not wake them up again.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

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

/// The last goroutines that left, by goid (never reused by Go), up to a limit. Asked at each birth, so what is searched is
/// small: a table of places with four bytes for each. What is remembered is written one after another, round and round.
#[derive(Debug)]
pub struct Recent {
    ring: Vec<Left>,
    /// Where the next one goes.
    next: usize,
    places: HashTable<u32>,
    hasher: RandomState,
    limit: usize,
}

#[derive(Debug)]
struct Left {
    goid: u64,
    time_ns: u64,
    gone: Gone,
}

impl Recent {
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, u32::MAX as usize);
        let (places, hasher) = (HashTable::new(), RandomState::default());
        Self { ring: Vec::new(), next: 0, places, hasher, limit }
    }

    /// Notes that a goroutine left at `time_ns`. Forgets the one noted longest ago when full.
    pub fn note(&mut self, goid: u64, time_ns: u64, gone: Gone) {
        if let Some(at) = self.place(goid) {
            (self.ring[at].time_ns, self.ring[at].gone) = (time_ns, gone);
            return;
        }
        let Self { ring, next, places, hasher, limit } = self;
        let (at, new) = (*next, Left { goid, time_ns, gone });
        *next = (at + 1) % *limit;
        if at == ring.len() {
            ring.push(new);
        } else {
            if let Ok(oldest) = places.find_entry(hasher.hash_one(ring[at].goid), |p| *p as usize == at) {
                oldest.remove();
            }
            ring[at] = new;
        }
        places.insert_unique(hasher.hash_one(goid), at as u32, |p| hasher.hash_one(ring[*p as usize].goid));
    }

    /// When and how it left, if it is still remembered.
    pub fn get(&self, goid: u64) -> Option<(u64, Gone)> {
        self.place(goid).map(|at| (self.ring[at].time_ns, self.ring[at].gone))
    }

    fn place(&self, goid: u64) -> Option<usize> {
        let found = self.places.find(self.hasher.hash_one(goid), |p| self.ring[*p as usize].goid == goid)?;
        Some(*found as usize)
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
        assert_eq!((recent.ring.len(), recent.places.len()), (3, 3));
    }
}
