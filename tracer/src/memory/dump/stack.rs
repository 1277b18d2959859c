//! The bytes of a stack.

use super::super::ReadMemory;
use super::super::g::G;
use super::super::walk::Start;
use super::FIRST;
use crate::event::status;

/// What is read of a long stack at a time, after its begin.
const MORE: u64 = 64 << 10;

/// Where the stack of a goroutine begins that is not on a processor. Nothing, too, where the bounds cannot be.
pub(super) fn start(g: &G) -> Option<Start> {
    let (pc, sp) = match g.status() {
        status::SYSCALL => (g.syscallpc, g.syscallsp),
        status::RUNNABLE | status::WAITING | status::PREEMPTED | status::LEAKED => (g.pc, g.sp),
        _ => return None,
    };
    let fits = g.lo <= sp && sp < g.hi && sp % 8 == 0 && pc != 0;
    fits.then_some(Start { pc, sp, lo: g.lo, hi: g.hi })
}

pub(super) fn word(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// All of them that are whole.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b))
}

/// A stack, copied piece by piece as the walk comes there.
pub(super) struct Window<'m> {
    memory: &'m dyn ReadMemory,
    hi: u64,
    from: u64,
    bytes: Vec<u8>,
}

impl<'m> Window<'m> {
    pub(super) fn new(memory: &'m dyn ReadMemory, start: Start) -> Self {
        Self { memory, hi: start.hi, from: start.sp, bytes: Vec::new() }
    }

    pub(super) fn word(&mut self, at: u64) -> Option<u64> {
        if let Some(word) = word(&self.bytes, at.checked_sub(self.from)?) {
            return Some(word);
        }
        // The walk goes upwards only; what a large frame skips is not read.
        let first = self.bytes.is_empty() && at - self.from < FIRST - 8;
        self.from = if first { self.from } else { at };
        let len = self.hi.checked_sub(self.from)?.min(if first { FIRST } else { MORE });
        self.bytes.resize(len as usize, 0);
        self.memory.read(self.from, &mut self.bytes).ok()?;
        word(&self.bytes, at - self.from)
    }
}
