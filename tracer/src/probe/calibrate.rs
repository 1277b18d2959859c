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
/// Of a measurement that has to be over in a few milliseconds: a part of the calls, and fewer rounds.
const HURRIED_PART: u32 = 40;
const HURRIED_ROUNDS: u32 = 3;

/// Measures both. Takes about 0.1 s; the probes stand in gostray itself and are gone afterwards.
pub fn measure(loaded: &mut Loaded) -> Result<TrapCost, LoadError> {
    Ok(TrapCost {
        emulated_ns: hit(loaded, CostClass::Emulated, 1, ROUNDS)?.0,
        stepped_ns: hit(loaded, CostClass::Stepped, 1, ROUNDS)?.0,
    })
}

/// What a hit on an instruction of this class costs, nanoseconds: for a watch that is about to begin. The
/// probe is handed back; taking it away takes longer than measuring.
pub fn measure_hurried(loaded: &mut Loaded, class: CostClass) -> Result<(f64, Placed), LoadError> {
    hit(loaded, class, HURRIED_PART, HURRIED_ROUNDS)
}

/// With one of `part` of the calls.
fn hit(loaded: &mut Loaded, class: CostClass, part: u32, rounds: u32) -> Result<(f64, Placed), LoadError> {
    let (f, calls): (unsafe extern "C" fn(), _) = match class {
        CostClass::Emulated => (gostray_trap_emulated, EMULATED_CALLS),
        CostClass::Stepped => (gostray_trap_stepped, STEPPED_CALLS),
    };
    let bare = time(f, calls / part, rounds);
    let link = loaded.attach_to_self("calibrate", f as *const () as u64)?;
    let trapped = time(f, calls / part, rounds);
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
