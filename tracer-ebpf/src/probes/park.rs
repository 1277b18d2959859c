//! A goroutine begins to wait.

use tracer_common::config::ABSENT;
use tracer_common::wire::{Park, kind, loss, park_flag, total};

use crate::emit::{count, header, send};
use crate::go::field;
use crate::maps::layout;

/// `gopark` has stored the reason in the g, and the lock and its unlock function in the m, before it switched.
/// `on` is any g of the current thread (its `m` is what is wanted).
#[inline(always)]
pub fn park(gp: u64, on: u64) {
    count(total::PARKS);
    let layout = layout();
    let goid = field::<u64>(gp, layout.g_goid).unwrap_or(0);
    let reason = field::<u8>(gp, layout.g_waitreason).unwrap_or(0);
    let mut flags = park_flag::LOCK_UNKNOWN;
    let (mut lock, mut unlockf) = (0, 0);
    if layout.m_waitlock != ABSENT
        && layout.m_waitunlockf != ABSENT
        && let Some(m) = field::<u64>(on, layout.g_m)
        && let Some(l) = field::<u64>(m, layout.m_waitlock)
        && let Some(f) = field::<u64>(m, layout.m_waitunlockf)
    {
        flags = 0;
        lock = l;
        // A Go func value points to a closure whose first word is the code.
        unlockf = if f == 0 { 0 } else { crate::go::read(f).unwrap_or(0) };
    }
    let h = header(kind::PARK, flags, goid, gp);
    send(Park { h, lock, unlockf, reason: reason.into() }, loss::SCHED_RING_FULL);
}
