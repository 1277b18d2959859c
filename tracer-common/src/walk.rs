//! What a walk over a stack by frame pointers computes, apart from the reading: the stack's id, and how much to read at once.

use crate::wire::MAX_FRAMES;

/// A saved frame pointer and a return address.
pub const FRAME: u64 = 16;
/// At most so much of a stack is read at once. A read costs what a dozen of kilobytes' copying does, so it is generous.
pub const CHUNK: u64 = 1024;
/// The smallest page there is. A page that holds a frame is there; what lies behind it may not be.
const PAGE: u64 = 4096;

/// How much to read from the frame at `fp` on: to the end of its page, so that the read does not fail for what nobody wants;
/// a frame that lies on the border takes the next page too.
#[inline(always)]
pub fn chunk_len(fp: u64) -> u64 {
    let rest = PAGE - fp % PAGE;
    if (FRAME..CHUNK).contains(&rest) { rest } else { CHUNK }
}

/// The identity of a stack, computed frame by frame.
#[derive(Clone, Copy)]
pub struct Hash(u64);

impl Hash {
    pub const START: Self = Self(0x6c62_272e_07bb_0142);

    /// With one more return address, the next one outwards.
    #[inline(always)]
    #[must_use]
    pub fn with(self, word: u64) -> Self {
        let x = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(x ^ (x >> 29))
    }

    /// The id of a stack of `n` frames that ended so ([`crate::wire::stack_end`]). Never 0, which means "no stack" on the wire.
    #[inline(always)]
    pub fn id(self, n: u64, end: u8) -> u64 {
        self.with(n << 8 | u64::from(end)).0 | 1 << 63
    }

    /// As a number of which the verifier can be made to forget what it knows.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        self.0
    }
}

const _: () = assert!(MAX_FRAMES as u64 * FRAME <= CHUNK && CHUNK < PAGE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stack_end;

    #[test]
    fn a_chunk_holds_a_frame_and_leaves_the_page_only_for_it() {
        for fp in (0x1000..0x3000).step_by(8) {
            let len = chunk_len(fp);
            assert!((FRAME..=CHUNK).contains(&len), "{fp:#x}: {len}");
            let (first, last) = (fp / PAGE, (fp + len - 1) / PAGE);
            let frame_ends_in = (fp + FRAME - 1) / PAGE;
            assert_eq!(last, frame_ends_in, "{fp:#x}: {len} bytes, from page {first}");
        }
    }

    #[test]
    fn a_stack_is_told_by_its_frames_their_order_their_number_and_its_end() {
        let of = |frames: &[u64], end| {
            frames.iter().fold(Hash::START, |h, f| h.with(*f)).id(frames.len() as u64, end)
        };
        let complete = |frames| of(frames, stack_end::COMPLETE);
        let all = [
            complete(&[]),
            complete(&[0]),
            complete(&[1, 2]),
            complete(&[2, 1]),
            complete(&[1, 2, 0]),
            of(&[1, 2], stack_end::TOO_DEEP),
        ];
        for (i, a) in all.iter().enumerate() {
            assert_ne!(*a, 0);
            assert!(all[..i].iter().all(|b| a != b), "{all:x?}");
        }
        assert_eq!(complete(&[1, 2]), all[2]);
    }
}
