//! A bounded cache in two generations: what was asked for lately stays, the rest goes, without bookkeeping per use.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of the young ones.
    bytes: usize,
    /// Of one generation.
    max_entries: usize,
    max_bytes: usize,
    /// Bytes that an entry takes.
    weigh: fn(&V) -> usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    /// Holds at most `entries` (at least two), and of them at most `bytes` as `weigh` counts them; an entry that is larger
    /// than half of that is not kept.
    pub fn new(entries: usize, bytes: usize, weigh: fn(&V) -> usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            bytes: 0,
            max_entries: (entries / 2).max(1),
            max_bytes: bytes / 2,
            weigh,
        }
    }

    pub fn get(&mut self, key: &K) -> Option<&V> {
        // An entry in use moves back to the young ones.
        if let Some(value) = self.old.remove(key) {
            self.insert(*key, value);
        }
        self.young.get(key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if let Some(replaced) = self.young.remove(&key) {
            self.bytes -= (self.weigh)(&replaced);
        }
        let weight = (self.weigh)(&value);
        if weight > self.max_bytes {
            return;
        }
        if self.young.len() >= self.max_entries || self.bytes + weight > self.max_bytes {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += weight;
        self.young.insert(key, value);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    #[cfg(test)]
    fn weight(&self) -> usize {
        self.young.values().chain(self.old.values()).map(self.weigh).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_its_capacity() {
        let mut c = Cache::new(10, 1000, |_| 1);
        for i in 0..1000 {
            c.insert(i, i);
            assert!(c.len() <= 10);
            assert_eq!(c.get(&i), Some(&i));
        }
        assert_eq!(c.get(&0), None);
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut c = Cache::new(10, 1000, |_| 1);
        c.insert(0, 0);
        for i in 1..100 {
            c.insert(i, i);
            assert_eq!(c.get(&0), Some(&0), "after {i}");
        }
    }

    #[test]
    fn never_more_than_its_bytes() {
        let mut c: Cache<usize, String> = Cache::new(1000, 100, String::len);
        for i in 0..1000 {
            let text = "x".repeat(i % 51);
            c.insert(i, text.clone());
            assert!(c.weight() <= 100 && c.len() < 1000, "{} bytes after {i}", c.weight());
            assert_eq!(c.get(&i), Some(&text));
            // Also when it is inserted anew, and when an old one comes back.
            c.insert(i, text);
            c.get(&i.saturating_sub(3));
            assert!(c.weight() <= 100, "{} bytes after {i}", c.weight());
            let young: usize = c.young.values().map(String::len).sum();
            assert_eq!(c.bytes, young, "counted as it is");
        }
        c.insert(0, "x".repeat(51));
        assert_eq!(c.get(&0), None, "larger than a generation");
    }
}
