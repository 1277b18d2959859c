//! What the two sides share. Sizes are set again by the loader.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use tracer_common::config::GoLayout;
use tracer_common::wire::{loss, total};

/// Every event goes through here. No wake-up per event: the reader drains it by time.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Stack ids whose definition was delivered.
#[map]
pub static STACKS: HashMap<u64, u8> = HashMap::with_max_entries(65_536, 0);

/// Drops by cause, since attach. Written on the drop path only.
#[map]
pub static DROPS: Array<u64> = Array::with_max_entries(loss::KERNEL_COUNT as u32, 0);

/// Events met, delivered or not. One slot a CPU, added to atomically: a program may be preempted by another of the
/// same CPU on kernels that run uprobe programs preemptibly.
#[map]
pub static TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(total::COUNT as u32, 0);

/// The target's runtime layout. The loader writes it before the program is verified, so the verifier sees
/// constants and drops what this Go version does not have.
#[unsafe(no_mangle)]
static LAYOUT: Global<GoLayout> = Global::new(GoLayout::UNKNOWN);

#[inline(always)]
pub fn layout() -> GoLayout {
    LAYOUT.load()
}
