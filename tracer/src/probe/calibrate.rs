//! What one trap costs on this machine, measured on our own body.

use std::time::Instant;

use super::load::{LoadError, Loaded};

// Two functions of ours whose first instruction the kernel emulates or single-steps. Written in assembly so that
// their bytes are known.
core::arch::global_asm!(
    ".pushsection .text",
    ".globl gostray_trap_emulated",
    "gostray_trap_emulated:",
    "push rbp",
    "pop rbp",
    "ret",
    ".globl gostray_trap_stepped",
    "gostray_trap_stepped:",
    "cmp rsp, rax",
    "push rbp",
    "pop rbp",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn gostray_trap_emulated();
    fn gostray_trap_stepped();
}

/// Nanoseconds per hit, of a probe with an empty program.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct TrapCost {
    pub emulated_ns: f64,
    pub stepped_ns: f64,
}

const EMULATED_CALLS: u32 = 20_000;
const STEPPED_CALLS: u32 = 2_000;

/// Measures both. Takes about 0.1 s; the probes stand in gostray itself and are gone afterwards.
pub fn measure(loaded: &mut Loaded) -> Result<TrapCost, LoadError> {
    let one = |loaded: &mut Loaded, f: unsafe extern "C" fn(), calls: u32| {
        let bare = time(f, calls);
        let link = loaded.attach_to_self("calibrate", f as *const () as u64)?;
        let trapped = time(f, calls);
        drop(link);
        Ok::<_, LoadError>((trapped - bare).max(0.0))
    };
    Ok(TrapCost {
        emulated_ns: one(loaded, gostray_trap_emulated, EMULATED_CALLS)?,
        stepped_ns: one(loaded, gostray_trap_stepped, STEPPED_CALLS)?,
    })
}

/// The best of five rounds, nanoseconds per call: the least disturbed one.
fn time(f: unsafe extern "C" fn(), calls: u32) -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                // SAFETY: an assembly function of ours that touches nothing but its own stack slot.
                unsafe { f() };
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}
