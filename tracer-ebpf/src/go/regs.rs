//! Registers of Go's internal ABI on amd64 (`cmd/compile/abi-internal.md`): first argument and result in RAX, the
//! current g in R14.

use aya_ebpf::programs::ProbeContext;

#[inline(always)]
pub fn ax(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel hands a valid `pt_regs` to the program.
    unsafe { (*ctx.regs).rax }
}

#[inline(always)]
pub fn g(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `ax`.
    unsafe { (*ctx.regs).r14 }
}

/// The frame pointer: in Go's functions it leads to the caller's saved one, and beside that to the return address.
#[inline(always)]
pub fn bp(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `ax`.
    unsafe { (*ctx.regs).rbp }
}
