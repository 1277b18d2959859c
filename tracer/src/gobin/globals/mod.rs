//! Addresses of runtime variables, read out of the instructions that use them: a stripped file has no other record.
//!
//! Found this way and equal to the symbol table's answer in Go 1.19.8 and 1.21.13 to 1.27.3 (see
//! `tests/tests/gobin_real.rs`). Where a symbol table exists the two must agree, else neither is believed.

mod registers;
mod scheduler;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use registers::Registers;

use super::elf::Image;
use super::error::Reason;
use super::pclntab::FuncTable;

/// `runtime.forEachG` and its like have some hundred bytes.
const MAX_FUNCTION: u64 = 16 * 1024;

/// Where runtime variables are, as linked (without load bias); each with its own reason when it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// `runtime.allgs`, a slice header: pointer, length, capacity.
    pub allgs: Result<u64, Reason>,
    /// `runtime.allglen`, a word: what the runtime's own lock-free readers read before `allgptr`.
    pub allglen: Result<u64, Reason>,
    /// `runtime.allgptr`, a word: the array that `allglen` counts.
    pub allgptr: Result<u64, Reason>,
    pub wait_reasons: Result<WaitReasonTable, Reason>,
    /// `runtime.sched`, the scheduler's state.
    pub sched: Result<u64, Reason>,
    /// `runtime.semtable`, who waits on which semaphore.
    pub semtable: Result<u64, Reason>,
    /// `runtime.mheap_`, the heap.
    pub mheap: Result<u64, Reason>,
    /// `runtime.firstmoduledata`. Found in the data, by what it points to.
    pub firstmoduledata: u64,
}

/// `runtime.waitReasonStrings`: `len` Go strings (pointer, length) from `addr` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitReasonTable {
    pub addr: u64,
    /// The bound that `waitReason.String` compares with; so it is the target's own, not a guess by version.
    pub len: u64,
}

pub fn find(image: &Image<'_>, table: &FuncTable<'_>, firstmoduledata: u64) -> Globals {
    let [
        allgs_symbol,
        allglen_symbol,
        allgptr_symbol,
        reasons_symbol,
        sched_symbol,
        semtable_symbol,
        mheap_symbol,
    ] = image.data_symbols([
        "runtime.allgs",
        "runtime.allglen",
        "runtime.allgptr",
        "runtime.waitReasonStrings",
        "runtime.sched",
        "runtime.semtable",
        "runtime.mheap_",
    ]);
    let allgs = allgs(image, table).and_then(|at| agree("allgs", at, allgs_symbol));
    let (allglen, allgptr) = match &allgs {
        Ok(at) => published(image, table, *at),
        Err(e) => (Err(e.clone()), Err(e.clone())),
    };
    let wait_reasons = wait_reasons(image, table);
    Globals {
        allgs,
        allglen: allglen.and_then(|at| agree("allglen", at, allglen_symbol)),
        allgptr: allgptr.and_then(|at| agree("allgptr", at, allgptr_symbol)),
        wait_reasons: wait_reasons
            .and_then(|t| agree("waitReasonStrings", t.addr, reasons_symbol).map(|_| t)),
        sched: scheduler::sched(image, table).and_then(|at| agree("sched", at, sched_symbol)),
        semtable: scheduler::semtable(image, table).and_then(|at| agree("semtable", at, semtable_symbol)),
        mheap: scheduler::mheap(image, table).and_then(|at| agree("mheap_", at, mheap_symbol)),
        firstmoduledata,
    }
}

fn agree(global: &'static str, code: u64, symbol: Option<u64>) -> Result<u64, Reason> {
    match symbol {
        Some(symbol) if symbol != code => Err(Reason::Disagreement { global, code, symbol }),
        _ => Ok(code),
    }
}

/// All instructions of a function, from its first byte.
fn decode(
    image: &Image<'_>,
    table: &FuncTable<'_>,
    function: &'static str,
) -> Result<Vec<Instruction>, Reason> {
    let missing = Reason::NoFunction { function };
    let f = table.by_name(function).ok_or(missing.clone())?;
    if f.size() > MAX_FUNCTION {
        return Err(Reason::DamagedTable { what: "a function far longer than it can be" });
    }
    let code = image.bytes(f.entry, f.size()).ok_or(missing)?;
    Ok(Decoder::with_ip(64, code, f.entry, DecoderOptions::NONE).iter().collect())
}

fn is_load(i: &Instruction) -> bool {
    i.code() == Code::Mov_r64_rm64 && i.is_ip_rel_memory_operand()
}

/// The two loads of pointer and length in `forEachG`: their targets are eight bytes apart.
fn allgs(image: &Image<'_>, table: &FuncTable<'_>) -> Result<u64, Reason> {
    const FUNCTION: &str = "runtime.forEachG";
    let code = decode(image, table, FUNCTION)?;
    let loads: Vec<u64> = code.iter().filter(|i| is_load(i)).map(|i| i.ip_rel_memory_address()).collect();
    let pairs = loads.windows(2).filter(|w| w[1] == w[0].wrapping_add(8) && image.is_writable(w[0]));
    only(pairs.map(|w| w[0]), FUNCTION, "allgs")
}

/// `allglen` and `allgptr` in `allgadd`: what `allgs.len` is stored to atomically, and what `allgs.ptr` is compared
/// with.
fn published(
    image: &Image<'_>,
    table: &FuncTable<'_>,
    allgs: u64,
) -> (Result<u64, Reason>, Result<u64, Reason>) {
    const FUNCTION: &str = "runtime.allgadd";
    let code = match decode(image, table, FUNCTION) {
        Ok(code) => code,
        Err(e) => return (Err(e.clone()), Err(e)),
    };
    let mut registers = Registers::new();
    let (mut lens, mut ptrs) = (Vec::new(), Vec::new());
    for i in &code {
        match i.mnemonic() {
            // `xchg [r], len`: the atomic store of the length that was just loaded.
            Mnemonic::Xchg if registers.loaded_from(i.op1_register()) == Some(allgs.wrapping_add(8)) => {
                let direct = i.is_ip_rel_memory_operand().then(|| i.ip_rel_memory_address());
                lens.extend(direct.or_else(|| registers.points_to(i.memory_base())));
            }
            // `cmp [rip+d], ptr`: is the array still the published one?
            Mnemonic::Cmp
                if i.is_ip_rel_memory_operand() && registers.loaded_from(i.op1_register()) == Some(allgs) =>
            {
                ptrs.push(i.ip_rel_memory_address());
            }
            _ => {}
        }
        registers.step(i);
    }
    let writable = |v: Vec<u64>| v.into_iter().filter(|&at| image.is_writable(at));
    (only(writable(lens), FUNCTION, "allglen"), only(writable(ptrs), FUNCTION, "allgptr"))
}

/// In `waitReason.String`: the one `lea` that points to writable memory, and the bound the reason is compared with.
fn wait_reasons(image: &Image<'_>, table: &FuncTable<'_>) -> Result<WaitReasonTable, Reason> {
    const FUNCTION: &str = "runtime.waitReason.String";
    const GLOBAL: &str = "waitReasonStrings";
    let code = decode(image, table, FUNCTION)?;
    let targets = code.iter().filter(|i| i.mnemonic() == Mnemonic::Lea && i.is_ip_rel_memory_operand());
    let addr = only(
        targets.map(Instruction::ip_rel_memory_address).filter(|&at| image.is_writable(at)),
        FUNCTION,
        GLOBAL,
    )?;
    let len = bound(&code).ok_or(Reason::NoPattern { function: FUNCTION, global: GLOBAL })?;
    image
        .is_writable(addr.saturating_add(16 * len - 1))
        .then_some(WaitReasonTable { addr, len })
        .ok_or(Reason::NoPattern { function: FUNCTION, global: GLOBAL })
}

/// `cmp al, N` with the jump that follows it: below (or not below) N, or above (or not above) N.
fn bound(code: &[Instruction]) -> Option<u64> {
    code.windows(2).find_map(|w| {
        let immediate = w[0].mnemonic() == Mnemonic::Cmp
            && w[0].op0_kind() == OpKind::Register
            && w[0].op1_kind() == OpKind::Immediate8;
        let n = immediate.then(|| u64::from(w[0].immediate8()))?;
        match w[1].mnemonic() {
            Mnemonic::Jb | Mnemonic::Jae => (n > 0).then_some(n),
            Mnemonic::Ja | Mnemonic::Jbe => Some(n + 1),
            _ => None,
        }
    })
}

/// The single value, however often it was seen.
fn only(
    found: impl Iterator<Item = u64>,
    function: &'static str,
    global: &'static str,
) -> Result<u64, Reason> {
    let mut found: Vec<u64> = found.collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [one] => Ok(one),
        [] => Err(Reason::NoPattern { function, global }),
        _ => Err(Reason::Ambiguous { function, global, count: found.len() }),
    }
}
