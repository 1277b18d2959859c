//! Numbers as bit lengths, which have few values and pack well, and the bits behind the first one, which do not.

/// Bits one after another, the lowest first.
#[derive(Debug, Default)]
pub struct BitWriter {
    out: Vec<u8>,
    held: u64,
    count: u32,
}

impl BitWriter {
    /// The lowest `n` bits of `v`; at most 63, and none above them is set.
    pub fn put(&mut self, v: u64, n: u32) {
        self.held |= v << self.count;
        if self.count + n >= 64 {
            self.out.extend_from_slice(&self.held.to_le_bytes());
            self.held = if self.count == 0 { 0 } else { v >> (64 - self.count) };
            self.count = self.count + n - 64;
        } else {
            self.count += n;
        }
    }

    /// Moves what was written into `to` and begins anew.
    pub fn finish_into(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.out);
        to.extend_from_slice(&self.held.to_le_bytes()[..self.count.div_ceil(8) as usize]);
        self.out.clear();
        (self.held, self.count) = (0, 0);
    }
}

/// Reads what [`BitWriter`] wrote; behind the end there are zeros, and [`BitReader::overrun`] says so.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `n` bits, at most 63.
    pub fn take(&mut self, n: u32) -> u64 {
        let (byte, shift) = (self.at / 8, self.at % 8);
        self.at += n as usize;
        let rest = self.bytes.get(byte..).unwrap_or_default();
        let mut word = [0; 16];
        match rest.first_chunk::<16>() {
            Some(whole) => word = *whole,
            None => word[..rest.len()].copy_from_slice(rest),
        }
        (u128::from_le_bytes(word) >> shift) as u64 & ((1 << n) - 1)
    }

    pub fn overrun(&self) -> bool {
        self.at > self.bytes.len() * 8
    }

    /// Nothing but the bits that fill up the last byte is left.
    pub fn is_used_up(&self) -> bool {
        self.at.div_ceil(8) == self.bytes.len()
    }
}

/// 0 for 0, else how many bits a number has.
pub fn length(v: u64) -> u8 {
    (u64::BITS - v.leading_zeros()) as u8
}

/// Small numbers for small differences, up or down.
pub fn zigzag(v: u64) -> u64 {
    (v << 1) ^ ((v as i64) >> 63) as u64
}

pub fn unzigzag(v: u64) -> u64 {
    (v >> 1) ^ (v & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back() {
        let values: Vec<(u64, u32)> =
            (0..500u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15), (i % 64) as u32)).collect();
        let (mut writer, mut bytes) = (BitWriter::default(), Vec::new());
        for (v, n) in &values {
            writer.put(v & ((1 << n) - 1), *n);
        }
        writer.finish_into(&mut bytes);
        let mut reader = BitReader::new(&bytes);
        for (v, n) in &values {
            assert_eq!(reader.take(*n), v & ((1 << n) - 1));
        }
        assert!(reader.is_used_up() && !reader.overrun());
        assert_eq!(reader.take(63), 0);
        assert!(reader.overrun());
    }

    #[test]
    fn differences_up_and_down_come_back() {
        for v in [0, 1, u64::MAX, 1 << 63, u64::MAX >> 1, 5u64.wrapping_neg()] {
            assert_eq!(unzigzag(zigzag(v)), v);
        }
        assert_eq!((zigzag(1), zigzag(1u64.wrapping_neg())), (2, 1));
        assert_eq!((length(0), length(1), length(u64::MAX)), (0, 1, 64));
    }
}
