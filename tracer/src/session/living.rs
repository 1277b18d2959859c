//! The living goroutines by goid: packed side by side, and a table of their places with four bytes for each.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::goroutine::Goroutine;

/// Room for fewer than this is not given back.
const FEW: usize = 4096;

#[derive(Debug, Default)]
pub struct Living {
    list: Vec<Goroutine>,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Living {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn get(&self, goid: u64) -> Option<&Goroutine> {
        self.place(goid).map(|at| &self.list[at])
    }

    pub fn get_mut(&mut self, goid: u64) -> Option<&mut Goroutine> {
        self.place(goid).map(|at| &mut self.list[at])
    }

    pub fn contains(&self, goid: u64) -> bool {
        self.place(goid).is_some()
    }

    /// Its goid must not be there yet. False: there is no room for more.
    pub fn insert(&mut self, g: Goroutine) -> bool {
        let Ok(at) = u32::try_from(self.list.len()) else { return false };
        let Self { list, places, hasher } = self;
        let hash = hasher.hash_one(g.goid);
        list.push(g);
        places.insert_unique(hash, at, |at| hasher.hash_one(list[*at as usize].goid));
        true
    }

    pub fn remove(&mut self, goid: u64) -> Option<Goroutine> {
        let Self { list, places, hasher } = self;
        let found = places.find_entry(hasher.hash_one(goid), |at| list[*at as usize].goid == goid).ok()?;
        let (at, _) = found.remove();
        // The last one takes its place.
        let last = list.len() - 1;
        if at as usize != last
            && let Some(moved) =
                places.find_mut(hasher.hash_one(list[last].goid), |place| *place as usize == last)
        {
            *moved = at;
        }
        let gone = list.swap_remove(at as usize);
        if list.capacity() > FEW && list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
            places.shrink_to(list.len() * 2, |at| hasher.hash_one(list[*at as usize].goid));
        }
        Some(gone)
    }

    /// In no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Goroutine> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Goroutine> {
        self.list.iter_mut()
    }

    fn place(&self, goid: u64) -> Option<usize> {
        let found =
            self.places.find(self.hasher.hash_one(goid), |at| self.list[*at as usize].goid == goid)?;
        Some(*found as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::goroutine::{Activity, Born, Doing};
    use super::super::scenario::Rng;
    use super::*;

    #[test]
    fn holds_what_a_set_holds_and_gives_room_back() {
        let (mut living, mut set, mut rng) = (Living::default(), BTreeSet::new(), Rng(1));
        let activity = Activity { doing: Doing::NotSeen, since_ns: 0, at_least: true };
        let mut most = 0;
        for i in 0..60_000u64 {
            // Grows to many thousands, then shrinks to few.
            let enters = if i < 30_000 { rng.unit() < 0.8 } else { rng.unit() < 0.1 };
            let goid = rng.next() % 30_000;
            if enters && set.insert(goid) {
                assert!(!living.contains(goid));
                assert!(living.insert(Goroutine::new(goid, 3, Born::Traced(goid), activity)));
            } else if !enters {
                let goid = set.range(goid..).next().copied().unwrap_or(goid);
                assert_eq!(living.remove(goid).map(|g| g.goid), set.take(&goid));
            }
            assert_eq!(living.len(), set.len());
            most = most.max(living.list.capacity());
        }
        assert!(set.iter().all(|goid| living.get(*goid).is_some_and(|g| g.born() == Born::Traced(*goid))));
        assert!(set.iter().all(|goid| living.get_mut(*goid).is_some()));
        assert_eq!(living.iter().map(|g| g.goid).collect::<BTreeSet<_>>(), set);
        assert!(most > 8192 && living.list.capacity() < most / 4, "{most} to {}", living.list.capacity());
    }
}
