//! A goroutine is born.

use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use tracer_common::config::ABSENT;
use tracer_common::wire::{Birth, birth_flag, kind, loss, total};

use crate::emit::{count, header, send};
use crate::go::known::recognise;
use crate::go::stack::{Walk, intern};
use crate::go::{Room, Struct, field, regs};
use crate::maps::layout;

/// From `g.goid` to `g.startpc`, in every Go release there is.
const OF_G: usize = 168;

/// `newg` is set up and not yet on a run queue's thread; `g0` is the current thread's system goroutine.
#[inline(always)]
pub fn birth(ctx: &ProbeContext, newg: u64, g0: u64) {
    count(total::BIRTHS);
    let layout = layout();
    let mut room = Room::<OF_G>::new();
    let new = Struct::read(&mut room, newg, layout.g_goid);
    let (Some(goid), Some(gopc), Some(start_pc)) = (
        new.field::<u64>(layout.g_goid),
        new.field::<u64>(layout.g_gopc),
        new.field::<u64>(layout.g_startpc),
    ) else {
        // Off the hot path, and verified away unless the user asked for the kernel side's log.
        debug!(ctx, "birth: the g at {:x} cannot be read", newg);
        let h = header(kind::BIRTH, birth_flag::FAULT, 0, newg);
        send(Birth { h, parent_goid: 0, gopc: 0, start_pc: 0, stack: 0 }, loss::BIRTH_RING_FULL);
        return;
    };
    let mut flags = 0;
    let mut stack = 0;
    if let Some(id) = recognise(regs::bp(ctx), gopc) {
        stack = id;
    } else {
        match creator(g0) {
            0 => flags |= birth_flag::NO_CREATOR,
            curg => match intern(curg, gopc, goid) {
                Walk::Id { stack: id, lost: false } => stack = id,
                Walk::Id { stack: id, lost: true } => {
                    stack = id;
                    flags |= birth_flag::STACK_LOST;
                }
                Walk::Unmatched => flags |= birth_flag::UNMATCHED,
            },
        }
    }
    let parent_goid = if layout.g_parent_goid != ABSENT {
        new.field::<u64>(layout.g_parent_goid)
    } else {
        match creator(g0) {
            0 => None,
            curg => {
                flags |= birth_flag::PARENT_FROM_CURG;
                field::<u64>(curg, layout.g_goid)
            }
        }
    };
    let h = header(kind::BIRTH, flags, goid, newg);
    send(Birth { h, parent_goid: parent_goid.unwrap_or(0), gopc, start_pc, stack }, loss::BIRTH_RING_FULL);
}

/// The goroutine that executed the `go` statement; 0 while the runtime starts the main goroutine.
#[inline(always)]
fn creator(g0: u64) -> u64 {
    let layout = layout();
    field::<u64>(g0, layout.g_m).and_then(|m| field::<u64>(m, layout.m_curg)).unwrap_or(0)
}
