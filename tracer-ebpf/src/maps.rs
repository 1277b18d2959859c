//! What the two sides share. Sizes are set again by the loader.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use tracer_common::config::GoLayout;
use tracer_common::walk::CHUNK;
use tracer_common::wire::{loss, total};

/// Every event goes through here. No wake-up per event: the reader drains it by time.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Stack ids, and what became of each one's definition: [`PROMISED`] or [`DELIVERED`].
#[map]
pub static STACKS: HashMap<u64, u8> = HashMap::with_max_entries(65_536, 0);
/// A program is about to send it.
pub const PROMISED: u8 = 1;
/// It is in the ring buffer, whole.
pub const DELIVERED: u8 = 2;

/// Some of the ids whose definition was delivered, each at the place that its lowest bits name: asked before `STACKS`, for
/// looking into an array is no call.
#[map]
pub static KNOWN: Array<u64> = Array::with_max_entries(KNOWN_COUNT, 0);
pub const KNOWN_COUNT: u32 = 1 << 14;

/// Room for a piece of a stack.
#[map]
pub static ROOMS: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
pub struct Room {
    /// How many programs are between their entry and their exit here ([`crate::go::known`]).
    pub users: u64,
    pub bytes: [u8; CHUNK as usize],
}

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
