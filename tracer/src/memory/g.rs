//! One `runtime.g`, as it stands in memory.

use tracer_common::config::ABSENT;

use crate::event::status;
use crate::gobin::Layout;

/// What a g holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct G {
    pub addr: u64,
    pub raw_status: u32,
    pub goid: u64,
    pub lo: u64,
    pub hi: u64,
    pub sp: u64,
    pub pc: u64,
    pub bp: u64,
    pub m: u64,
    pub startpc: u64,
    pub gopc: u64,
    pub parent: Option<u64>,
    pub reason: u8,
    pub waitsince: u64,
    pub waiting: u64,
    pub syscallsp: u64,
    pub syscallpc: u64,
    pub labels: u64,
    pub lockedm: u64,
    /// Of `time.Sleep`; 0 also where it is not known where that is.
    pub timer: u64,
    /// Until when it sleeps, where g says so.
    pub sleep_when: Option<u64>,
    /// Its bubble of `testing/synctest`; 0 outside.
    pub bubble: u64,
    /// 0 where the layout does not tell it.
    pub tracking_seq: u8,
}

/// How many bytes of a g are read: up to its last field that is looked at.
pub fn window(l: &Layout) -> usize {
    let k = &l.kernel;
    let words = [
        k.g_stack_lo,
        k.g_stack_hi,
        k.g_m,
        k.g_sched_bp,
        k.g_goid,
        k.g_gopc,
        k.g_startpc,
        k.g_waitreason,
        l.g_status,
        l.g_sched_sp,
        l.g_sched_pc,
        l.g_waitsince,
        l.g_waiting,
        l.g_syscallsp,
        l.g_syscallpc,
        l.g_labels,
        l.g_lockedm,
    ];
    let parent = Some(k.g_parent_goid).filter(|&at| at != ABSENT);
    let optional = [parent, l.g_timer, l.g_sleep_when, l.g_bubble, l.g_tracking_seq];
    words.into_iter().chain(optional.into_iter().flatten()).max().unwrap_or(0) as usize + 8
}

/// A sum over a g's bytes, to tell later whether they are the same. It misses no change within 32 bits, as a count's is, and
/// one of four thousand million others.
pub fn sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

impl G {
    pub fn parse(addr: u64, bytes: &[u8], l: &Layout) -> Self {
        let word = |at: u32| {
            let at = at as usize;
            bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
        };
        let k = &l.kernel;
        Self {
            addr,
            raw_status: word(l.g_status) as u32,
            goid: word(k.g_goid),
            lo: word(k.g_stack_lo),
            hi: word(k.g_stack_hi),
            sp: word(l.g_sched_sp),
            pc: word(l.g_sched_pc),
            bp: word(k.g_sched_bp),
            m: word(k.g_m),
            startpc: word(k.g_startpc),
            gopc: word(k.g_gopc),
            parent: (k.g_parent_goid != ABSENT).then(|| word(k.g_parent_goid)),
            reason: bytes.get(k.g_waitreason as usize).copied().unwrap_or(0),
            waitsince: word(l.g_waitsince),
            waiting: word(l.g_waiting),
            syscallsp: word(l.g_syscallsp),
            syscallpc: word(l.g_syscallpc),
            labels: word(l.g_labels),
            lockedm: word(l.g_lockedm),
            timer: l.g_timer.map_or(0, word),
            sleep_when: l.g_sleep_when.map(word),
            bubble: l.g_bubble.map_or(0, word),
            tracking_seq: l.g_tracking_seq.and_then(|at| bytes.get(at as usize).copied()).unwrap_or(0),
        }
    }

    /// Of one that waits: a sum over what stays as it is until it runs, whatever the collector does with it meanwhile: it moves
    /// its stack, marks it anew in each cycle, and notes `waitsince` once.
    pub fn wait_mark(&self) -> u32 {
        self.wait_mark_with(self.waitsince)
    }

    /// It has waited since its [`wait_mark`](Self::wait_mark) was `mark`, if it waits. Not noticed is who has run a multiple of 256
    /// times meanwhile and waits at the same place, unless a collection had found it waiting before.
    pub fn has_waited_since(&self, mark: u32) -> bool {
        mark == self.wait_mark_with(self.waitsince) || mark == self.wait_mark_with(0)
    }

    fn wait_mark_with(&self, waitsince: u64) -> u32 {
        let counted = u64::from(self.reason) << 8 | u64::from(self.tracking_seq);
        let used = self.hi.wrapping_sub(self.sp);
        let words = [self.goid, counted, self.pc, used, self.waiting, waitsince];
        sum(words.map(u64::to_le_bytes).as_flattened())
    }

    /// Without the scan bit.
    pub fn status(&self) -> u32 {
        self.raw_status & !status::SCAN_BIT
    }
}
