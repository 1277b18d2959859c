//! What one trap costs on this machine, measured on our own body.

use std::time::Instant;

use super::code::CostClass;
use super::load::{LoadError, Loaded, Placed};

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
const ROUNDS: u32 = 5;

/// Measures both. Takes about 0.1 s; the probes stand in gostray itself and are gone afterwards.
pub fn measure(loaded: &mut Loaded) -> Result<TrapCost, LoadError> {
    let one = |loaded: &mut Loaded, f: unsafe extern "C" fn(), calls: u32| {
        let bare = time(f, calls, ROUNDS);
        let link = loaded.attach_to_self("calibrate", f as *const () as u64)?;
        let trapped = time(f, calls, ROUNDS);
        drop(link);
        Ok::<_, LoadError>((trapped - bare).max(0.0))
    };
    Ok(TrapCost {
        emulated_ns: one(loaded, gostray_trap_emulated, EMULATED_CALLS)?,
        stepped_ns: one(loaded, gostray_trap_stepped, STEPPED_CALLS)?,
    })
}

const HURRIED_ROUNDS: u32 = 3;

/// What a hit on an instruction of this class costs, nanoseconds, in a few milliseconds: for a watch that is about to begin. The
/// probe is handed back; taking it away takes longer than measuring.
pub fn measure_hurried(loaded: &mut Loaded, class: CostClass) -> Result<(f64, Placed), LoadError> {
    let (f, calls): (unsafe extern "C" fn(), _) = match class {
        CostClass::Emulated => (gostray_trap_emulated, EMULATED_CALLS / 40),
        CostClass::Stepped => (gostray_trap_stepped, STEPPED_CALLS / 40),
    };
    let bare = time(f, calls, HURRIED_ROUNDS);
    let link = loaded.attach_to_self("calibrate", f as *const () as u64)?;
    let trapped = time(f, calls, HURRIED_ROUNDS);
    Ok(((trapped - bare).max(0.0), link))
}

/// The best of so many rounds, nanoseconds per call: the least disturbed one.
fn time(f: unsafe extern "C" fn(), calls: u32, rounds: u32) -> f64 {
    (0..rounds)
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
