//! The one way out: reserve room in the ring buffer or count the drop.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_smp_processor_id, generated::bpf_ktime_get_boot_ns,
};
use tracer_common::wire::{Header, StackDef, loss};

use crate::maps::{DROPS, EVENTS, TOTALS};

/// One more event of this sort was met.
#[inline(always)]
pub fn count(index: usize) {
    if let Some(slot) = TOTALS.get_ptr_mut(index as u32) {
        add(slot, 1);
    }
}

/// One more drop of this cause.
#[inline(always)]
pub fn drop_one(cause: u32) {
    if let Some(slot) = DROPS.get_ptr_mut(cause) {
        add(slot, 1);
    }
}

/// Adds atomically; `slot` must point into a map.
#[inline(always)]
pub fn add(slot: *mut u64, n: u64) {
    // `AtomicU64::fetch_add` does not exist for this target (it has no compare-and-swap below cpu v3, which kernel 5.10
    // lacks); the atomic add itself has been there since the first BPF.
    // SAFETY: the map gave a valid, aligned slot that lives as long as the program; others add to it atomically too.
    unsafe { asm!("lock *(u64 *)({slot} + 0) += {n}", slot = in(reg) slot, n = in(reg) n, options(nostack)) };
}

/// The header of an event that happens now, on this thread, to this goroutine.
#[inline(always)]
pub fn header(kind: u8, flags: u8, goid: u64, g: u64) -> Header {
    Header {
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        goid,
        g,
        tid: bpf_get_current_pid_tgid() as u32,
        // SAFETY: a helper without arguments.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        kind,
        flags,
    }
}

/// Sends an event, or counts it as lost under `cause`.
#[inline(always)]
pub fn send<T: 'static>(event: T, cause: u32) {
    match EVENTS.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(BPF_RB_NO_WAKEUP.into());
        }
        None => drop_one(cause),
    }
}

/// Room for a stack definition, or `None` and the drop counted. `fill` gets the raw room and must write all of the
/// fixed part and as many frames as it names; the reader cuts the rest off.
#[inline(always)]
pub fn send_stack(fill: impl FnOnce(*mut StackDef)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<StackDef>(0) else {
        drop_one(loss::STACK_RING_FULL);
        return false;
    };
    let room: &mut MaybeUninit<StackDef> = &mut entry;
    fill(room.as_mut_ptr());
    entry.submit(BPF_RB_NO_WAKEUP.into());
    true
}
