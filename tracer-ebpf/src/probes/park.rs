//! A goroutine begins to wait.

use tracer_common::config::ABSENT;
use tracer_common::wire::{Park, kind, loss, park_flag, total};

use crate::emit::{count, header, send};
use crate::go::{Room, Struct};
use crate::maps::layout;

/// From `g.m` to `g.waitreason`, in every Go release there is.
const OF_G: usize = 144;
/// `m.waitunlockf` and `m.waitlock`.
const OF_M: usize = 16;

/// `gopark` has stored the reason in the g, and the lock and its unlock function in the m, before it switched. The g has its m
/// still: `park_m` takes it away later.
#[inline(always)]
pub fn park(gp: u64) {
    count(total::PARKS);
    let layout = layout();
    let mut room = Room::<OF_G>::new();
    let g = Struct::read(&mut room, gp, layout.g_m);
    let goid = g.field::<u64>(layout.g_goid).unwrap_or(0);
    let reason = g.field::<u8>(layout.g_waitreason).unwrap_or(0);
    let mut flags = park_flag::LOCK_UNKNOWN;
    let (mut lock, mut unlockf) = (0, 0);
    if layout.m_waitlock != ABSENT
        && layout.m_waitunlockf != ABSENT
        && let Some(m) = g.field::<u64>(layout.g_m)
    {
        let mut room = Room::<OF_M>::new();
        let m = Struct::read(&mut room, m, layout.m_waitunlockf);
        if let (Some(l), Some(f)) = (m.field::<u64>(layout.m_waitlock), m.field::<u64>(layout.m_waitunlockf))
        {
            flags = park_flag::UNLOCKF_VALUE;
            lock = l;
            unlockf = f;
        }
    }
    let h = header(kind::PARK, flags, goid, gp);
    send(Park { h, lock, unlockf, reason: reason.into() }, loss::SCHED_RING_FULL);
}
