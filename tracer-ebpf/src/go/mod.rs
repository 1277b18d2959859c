//! How the target is read: registers by Go's calling convention, memory bounded and with every fault counted.

pub mod regs;
pub mod stack;

use aya_ebpf::helpers::bpf_probe_read_user;
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
