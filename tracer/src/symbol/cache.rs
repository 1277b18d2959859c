//! A bounded cache in two generations: what was asked for lately stays, the rest goes, without bookkeeping per use.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Entries in one generation.
    limit: usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    /// Holds at most `capacity` entries (at least two).
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit: (capacity / 2).max(1) }
    }

    pub fn get(&mut self, key: &K) -> Option<&V> {
        // An entry in use moves back to the young ones.
        if let Some(value) = self.old.remove(key) {
            self.insert(*key, value);
        }
        self.young.get(key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_its_capacity() {
        let mut c = Cache::new(10);
        for i in 0..1000 {
            c.insert(i, i);
            assert!(c.len() <= 10);
            assert_eq!(c.get(&i), Some(&i));
        }
        assert_eq!(c.get(&0), None);
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut c = Cache::new(10);
        c.insert(0, 0);
        for i in 1..100 {
            c.insert(i, i);
            assert_eq!(c.get(&0), Some(&0), "after {i}");
        }
    }
}
