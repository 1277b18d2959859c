//! gostray's kernel side: entry points only. What they do stands in `probes/`, how they read the target in `go/`,
//! the one way out is `emit`.
//!
//! A site is an instruction of the target's runtime chosen by `tracer::probe::plan`. Two entry points of one probe
//! differ in the register that holds the goroutine there: attach cookies would tell too, but need kernel 5.15.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // one atomic add, see `emit`

mod emit;
mod go;
mod maps;
mod probes;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// `runtime.newproc1`, at the first jump to its epilogue: RAX = the new g, R14 = g0.
#[uprobe]
pub fn create(ctx: ProbeContext) -> u32 {
    probes::create::birth(&ctx, go::regs::ax(&ctx), go::regs::g(&ctx));
    0
}

/// `runtime.goexit0` after its stack check: RAX = the dying g.
#[uprobe]
pub fn exit_ax(ctx: ProbeContext) -> u32 {
    probes::exit::death(go::regs::ax(&ctx));
    0
}

/// `runtime.goexit1` at its `call mcall` (Go 1.19): R14 = the dying g.
#[uprobe]
pub fn exit_g(ctx: ProbeContext) -> u32 {
    probes::exit::death(go::regs::g(&ctx));
    0
}

/// `runtime.park_m` after its stack check: RAX = the parking g.
#[uprobe]
pub fn park_ax(ctx: ProbeContext) -> u32 {
    probes::park::park(go::regs::ax(&ctx));
    0
}

/// `runtime.gopark` at its `call mcall` (Go 1.19): R14 = the parking g.
#[uprobe]
pub fn park_g(ctx: ProbeContext) -> u32 {
    probes::park::park(go::regs::g(&ctx));
    0
}

/// `runtime.ready` after its stack check: RAX = the g made runnable.
#[uprobe]
pub fn ready_ax(ctx: ProbeContext) -> u32 {
    probes::ready::ready(go::regs::ax(&ctx));
    0
}

/// `runtime.execute` after its stack check: RAX = the g that runs next.
#[uprobe]
pub fn run_ax(ctx: ProbeContext) -> u32 {
    probes::run::run(go::regs::ax(&ctx));
    0
}

/// `runtime.coroswitch_m` after its stack check: RAX = the g that stops.
#[uprobe]
pub fn coro_ax(ctx: ProbeContext) -> u32 {
    probes::run::coro_switch(go::regs::ax(&ctx));
    0
}

/// Does nothing: `gostray doctor` hangs it on gostray's own body to measure what a trap costs here.
#[uprobe]
pub fn calibrate(_ctx: ProbeContext) -> u32 {
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // No path reaches this: the programs index nothing and unwrap nothing, and the verifier would refuse a loop.
    loop {}
}

// Some helpers (`bpf_probe_read_user` needs none of them, but aya's own do) are for GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
