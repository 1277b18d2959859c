//! A goroutine ends.

use tracer_common::wire::{Death, kind, loss, total};

use crate::emit::{count, header, send};
use crate::go::field;
use crate::maps::layout;

/// Its goid stays readable until the g is used again.
#[inline(always)]
pub fn death(gp: u64) {
    count(total::DEATHS);
    let goid = field::<u64>(gp, layout().g_goid).unwrap_or(0);
    send(Death { h: header(kind::DEATH, 0, goid, gp) }, loss::DEATH_RING_FULL);
}
