//! How the target is read: registers by Go's calling convention, memory bounded and with every fault counted.

pub mod known;
pub mod regs;
pub mod stack;

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_probe_read_user, generated};
use tracer_common::config::ABSENT;
use tracer_common::wire::loss;

use crate::emit::drop_one;

/// Reads a value from the target. A failed read is counted, never guessed.
#[inline(always)]
pub fn read<T: Copy>(addr: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one; every `T` used here is an integer or an array of
    // integers.
    match unsafe { bpf_probe_read_user(addr as *const T) } {
        Ok(value) => Some(value),
        Err(_) => {
            drop_one(loss::READ_FAULT);
            None
        }
    }
}

/// Reads a field, or `None` where this Go version does not have it or where the read fails.
#[inline(always)]
pub fn field<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    read(base.wrapping_add(u64::from(offset)))
}

/// Room for `N` bytes of a struct.
#[repr(C, align(8))]
pub struct Room<const N: usize>(MaybeUninit<[u8; N]>);

impl<const N: usize> Room<N> {
    #[inline(always)]
    pub const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

/// A struct of which `N` bytes were read at once: a read of a hundred bytes costs the target what one of eight does.
pub struct Struct<'r, const N: usize> {
    base: u64,
    first: u32,
    bytes: Option<&'r Room<N>>,
}

impl<'r, const N: usize> Struct<'r, N> {
    /// The struct at `base`, from the field at offset `first` on.
    #[inline(always)]
    pub fn read(room: &'r mut Room<N>, base: u64, first: u32) -> Self {
        let from = base.wrapping_add(u64::from(first)) as *const _;
        // SAFETY: the room has N bytes; the helper checks the address and fails on a bad one. Not counted as a loss then: what is
        // needed is read again.
        let failed = unsafe { generated::bpf_probe_read_user(room.0.as_mut_ptr().cast(), N as u32, from) };
        Self { base, first, bytes: (failed == 0).then_some(room) }
    }

    /// A field: out of what was read, or by a read of its own where a layout has it elsewhere. Which of these, the verifier knows.
    #[inline(always)]
    pub fn field<T: Copy>(&self, offset: u32) -> Option<T> {
        let at = offset.wrapping_sub(self.first) as usize;
        if let Some(bytes) = self.bytes
            && at <= N - size_of::<T>()
            && at.is_multiple_of(align_of::<T>())
        {
            // SAFETY: all N bytes were read, and the field lies inside of them, aligned; every `T` used here is an integer.
            return Some(unsafe { bytes.0.as_ptr().cast::<u8>().add(at).cast::<T>().read() });
        }
        field(self.base, offset)
    }
}

/// `n` as it is, but the compiler does not know it: so that it leaves a check in that only the verifier needs.
#[inline(always)]
pub fn hidden(mut n: u64) -> u64 {
    // SAFETY: a register is copied into itself. (Nothing at all would be enough for the compiler, but then two places of the source
    // have one instruction, which kernels refuse.)
    unsafe { asm!("{n} = {n}", n = inout(reg) n, options(pure, nomem, nostack)) };
    n
}

/// `n` as it is, but the verifier does not know it. It knows how often it went through a loop, and would follow what comes after
/// the loop once for every number of rounds; of a number mixed with `any` twice it knows nothing.
#[inline(always)]
pub fn forgotten(mut n: u64, any: u64) -> u64 {
    // SAFETY: two instructions on registers; the second undoes the first.
    unsafe {
        asm!("{n} ^= {any}", "{n} ^= {any}", n = inout(reg) n, any = in(reg) any, options(pure, nomem, nostack));
    }
    n
}
