//! pc tables: a value for every pc of a function, as pairs of deltas (runtime/symtab.go: `step`, `pcvalue`).

use super::bytes::uvarint;
use super::limits::MAX_PAIRS;

/// How many pairs may still be walked for one question.
#[derive(Debug)]
pub struct Steps(pub usize);

/// Walks a table: yields `(end, value)`, the value holding for the pcs before `end` (and from the previous `end`).
/// Ends at the table's end, at the function's end, and at anything damaged.
pub struct Runs<'d> {
    rest: &'d [u8],
    pc: u64,
    end: u64,
    value: i32,
    pairs: usize,
}

impl<'d> Runs<'d> {
    /// `table` begins at the function's first pair; the function covers `entry..end`.
    pub fn new(table: &'d [u8], entry: u64, end: u64) -> Self {
        Self { rest: table, pc: entry, end, value: -1, pairs: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = (u64, i32);

    fn next(&mut self) -> Option<Self::Item> {
        if self.pc >= self.end || self.pairs == MAX_PAIRS {
            return None;
        }
        let (delta, rest) = uvarint(self.rest)?;
        // A zero ends the table, except as the first pair: value −1 may hold from the entry on.
        if delta == 0 && self.pairs > 0 {
            return None;
        }
        let (pcs, rest) = uvarint(rest)?;
        // A run of no instructions is not written by any linker, and would let a damaged table run for ever.
        if pcs == 0 {
            return None;
        }
        let zigzag = (delta >> 1) as i32 ^ -((delta & 1) as i32);
        self.value = self.value.wrapping_add(zigzag);
        self.pc = self.pc.checked_add(u64::from(pcs))?;
        self.rest = rest;
        self.pairs += 1;
        Some((self.pc, self.value))
    }
}

/// The value that holds at `pc`; nothing, too, when the steps are used up.
pub fn at(table: &[u8], entry: u64, end: u64, pc: u64, steps: &mut Steps) -> Option<i32> {
    if pc < entry || pc >= end {
        return None;
    }
    let mut runs = Runs::new(table, entry, end).take(steps.0);
    let found = runs.by_ref().inspect(|_| steps.0 -= 1).find(|&(until, _)| pc < until);
    found.map(|(_, value)| value)
}

/// Where the table ends, and so the function's code; nothing, too, when the steps are used up.
pub fn end(table: &[u8], entry: u64, end: u64, steps: &mut Steps) -> Option<u64> {
    Runs::new(table, entry, end).take(steps.0).inspect(|_| steps.0 -= 1).last().map(|(until, _)| until)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value 0 for 4 bytes, then 8 for 2 bytes, then −1 for 10.
    const TABLE: &[u8] = &[2, 4, 16, 2, 17, 10, 0];

    fn at(table: &[u8], entry: u64, end: u64, pc: u64) -> Option<i32> {
        super::at(table, entry, end, pc, &mut Steps(100))
    }

    #[test]
    fn values_hold_up_to_the_next_change() {
        let value = |pc| at(TABLE, 100, 116, pc);
        assert_eq!([value(100), value(103), value(104), value(105)], [Some(0), Some(0), Some(8), Some(8)]);
        assert_eq!([value(106), value(115)], [Some(-1), Some(-1)]);
        assert_eq!([value(99), value(116)], [None, None]);
    }

    #[test]
    fn first_pair_may_have_no_delta() {
        assert_eq!(at(&[0, 4, 2, 4, 0], 0, 8, 3), Some(-1));
        assert_eq!(at(&[0, 4, 2, 4, 0], 0, 8, 4), Some(0));
    }

    #[test]
    fn every_pair_walked_is_a_step() {
        let mut steps = Steps(5);
        assert_eq!(super::at(TABLE, 100, 116, 105, &mut steps), Some(8));
        assert_eq!(steps.0, 3);
        assert_eq!(end(TABLE, 100, 116, &mut steps), Some(116));
        assert_eq!((steps.0, super::at(TABLE, 100, 116, 100, &mut steps)), (0, None));
    }

    #[test]
    fn damaged_tables_end() {
        assert_eq!(at(&[2, 0, 2, 0], 0, 8, 3), None, "runs of no length");
        assert_eq!(at(&[2, 0x80], 0, 8, 3), None, "cut off");
        assert_eq!(at(&[2, 4, 0], 0, 8, 6), None, "ends before the pc");
        assert_eq!(Runs::new(&[3, 1].repeat(100), 0, 8).count(), 8, "ends with the function");
    }
}
