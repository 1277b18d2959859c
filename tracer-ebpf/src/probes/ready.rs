//! A waiting goroutine may run again.

use tracer_common::wire::{Ready, kind, loss, total};

use crate::emit::{count, header, send};
use crate::go::field;
use crate::maps::layout;

#[inline(always)]
pub fn ready(gp: u64) {
    count(total::READIES);
    let goid = field::<u64>(gp, layout().g_goid).unwrap_or(0);
    send(Ready { h: header(kind::READY, 0, goid, gp) }, loss::SCHED_RING_FULL);
}
