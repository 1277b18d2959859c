//! Records on their way out. Our own (looks, ticks, losses) wait until the ring buffer has delivered what happened before them.
//!
//! The ring buffer is in order of time but for the moment between a program's clock and its reservation. Ours are
//! stamped when they are made, and while the reader is behind that is ahead of what it reads next: passed on at
//! once, a look would carry the stream's time past everything still in the buffer and make it late.

use std::collections::VecDeque;

/// How many may wait. Beyond it the ring buffer must be read on until they are gone.
pub const ENOUGH: usize = 1 << 16;

/// The waiting records, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Own {
    waiting: VecDeque<(u64, Box<[u8]>)>,
}

impl Own {
    /// Adds a record that belongs at `time_ns` of the stream.
    pub fn push(&mut self, time_ns: u64, record: &[u8]) {
        self.waiting.push_back((time_ns, record.into()));
    }

    /// Adds a record that somebody else made, at its place among those that wait.
    pub fn insert(&mut self, time_ns: u64, record: &[u8]) {
        let later = self.waiting.iter().rev().take_while(|(t, _)| *t > time_ns).count();
        self.waiting.insert(self.waiting.len() - later, (time_ns, record.into()));
    }

    /// The next record, if the stream has come to `time_ns` and the record is not later.
    pub fn pop_until(&mut self, time_ns: u64) -> Option<Box<[u8]>> {
        self.waiting.pop_front_if(|(t, _)| *t <= time_ns).map(|(_, record)| record)
    }

    /// Drops what belongs later than `time_ns`.
    pub fn forget_after(&mut self, time_ns: u64) {
        self.waiting.retain(|(t, _)| *t <= time_ns);
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Records in the order of the stream that have not left yet.
#[derive(Debug, Default)]
pub struct Staged {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Staged {
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(from, to)| &self.bytes[from..*to])
    }

    /// Keeps its room, unless a burst has made it large.
    pub fn clear(&mut self) {
        const LARGE: usize = 4 << 20;
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(LARGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_later_than_the_stream_waits_and_keeps_back_what_was_made_after_it() {
        let mut own = Own::default();
        for (time, byte) in [(10, 1), (30, 2), (20, 3), (40, 4)] {
            own.push(time, &[byte]);
        }
        let mut until = |time| std::iter::from_fn(|| own.pop_until(time)).map(|r| r[0]).collect::<Vec<_>>();
        assert_eq!(until(9), [0; 0]);
        assert_eq!(until(25), [1]);
        assert_eq!(until(30), [2, 3]);
        assert_eq!(until(u64::MAX), [4]);
        assert_eq!(own.len(), 0);
    }

    #[test]
    fn what_is_inserted_leaves_before_what_is_later() {
        let mut own = Own::default();
        for time in [10, 30] {
            own.push(time, &[time as u8]);
        }
        for time in [40, 30, 5] {
            own.insert(time, &[time as u8 + 1]);
        }
        let all: Vec<u8> = std::iter::from_fn(|| own.pop_until(u64::MAX)).map(|r| r[0]).collect();
        assert_eq!(all, [6, 10, 30, 31, 41]);
    }

    #[test]
    fn what_belongs_after_the_end_is_forgotten() {
        let mut own = Own::default();
        for time in [10, 30, 20] {
            own.push(time, &[time as u8]);
        }
        own.forget_after(20);
        assert_eq!((own.pop_until(u64::MAX).unwrap()[0], own.pop_until(u64::MAX).unwrap()[0]), (10, 20));
        assert_eq!(own.len(), 0);
    }

    #[test]
    fn staged_records_come_back_whole_and_in_order() {
        let mut staged = Staged::default();
        for record in [&b"one"[..], b"", b"three"] {
            staged.push(record);
        }
        assert_eq!(staged.records().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        staged.clear();
        assert_eq!(staged.records().count(), 0);
    }
}
