//! A goroutine begins to run, by the scheduler or by a coroutine switch.

use tracer_common::wire::{CoroSwitch, Run, coro_flag, kind, loss, total};

use crate::emit::{count, header, send};
use crate::go::{field, read};
use crate::maps::layout;

#[inline(always)]
pub fn run(gp: u64) {
    count(total::RUNS);
    let goid = field::<u64>(gp, layout().g_goid).unwrap_or(0);
    send(Run { h: header(kind::RUN, 0, goid, gp) }, loss::SCHED_RING_FULL);
}

/// `gp` stops in favour of the goroutine that its `coroarg` holds, or ends (`coroexit`).
#[inline(always)]
pub fn coro_switch(gp: u64) {
    count(total::CORO_SWITCHES);
    let layout = layout();
    let goid = field::<u64>(gp, layout.g_goid).unwrap_or(0);
    let mut flags = 0;
    let mut cause = loss::SCHED_RING_FULL;
    if field::<u8>(gp, layout.g_coroexit).unwrap_or(0) != 0 {
        count(total::DEATHS);
        flags |= coro_flag::EXIT;
        cause = loss::DEATH_RING_FULL;
    }
    // `runtime.coro` begins with the g that waits in it (`coro.gp`, guintptr).
    let to_g = field::<u64>(gp, layout.g_coroarg).filter(|c| *c != 0).and_then(read::<u64>).unwrap_or(0);
    let to_goid = if to_g == 0 { None } else { field::<u64>(to_g, layout.g_goid) };
    if to_goid.is_none() {
        flags |= coro_flag::TO_UNKNOWN;
    }
    let h = header(kind::CORO_SWITCH, flags, goid, gp);
    send(
        CoroSwitch { h, to_g: if to_goid.is_some() { to_g } else { 0 }, to_goid: to_goid.unwrap_or(0) },
        cause,
    );
}
