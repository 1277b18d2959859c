//! The scheduler, the semaphores and the heap.

use iced_x86::{Instruction, Mnemonic, Register};

use super::registers::Registers;
use super::{decode, only};
use crate::gobin::elf::Image;
use crate::gobin::error::Reason;
use crate::gobin::pclntab::FuncTable;

/// `_GoidCacheBatch` (runtime/proc.go): how many ids `newproc1` takes from `sched.goidgen` at once.
const GOID_BATCH: u64 = 16;

/// `sched.goidgen`, with which `sched` begins, in `newproc1`: the word to which 16 is added atomically. The other atomic
/// additions there add something else.
pub fn sched(image: &Image<'_>, table: &FuncTable<'_>) -> Result<u64, Reason> {
    const FUNCTION: &str = "runtime.newproc1";
    let mut registers = Registers::new();
    let mut found = Vec::new();
    for i in &decode(image, table, FUNCTION)? {
        // `lock xadd [r], 16`; without inlining a call with both in the first two argument registers.
        if i.mnemonic() == Mnemonic::Xadd && registers.number(i.op1_register()) == Some(GOID_BATCH) {
            let direct = i.is_ip_rel_memory_operand().then(|| i.ip_rel_memory_address());
            found.extend(direct.or_else(|| registers.points_to(i.memory_base())));
        } else if calls(table, i).is_some_and(|name| name.ends_with("atomic.(*Uint64).Add"))
            && registers.number(Register::RBX) == Some(GOID_BATCH)
        {
            found.extend(registers.points_to(Register::RAX));
        }
        registers.step(i);
    }
    only(found.into_iter().filter(|&at| image.is_writable(at)), FUNCTION, "sched")
}

/// The receiver of `mheap_.init()` in `mallocinit`.
pub fn mheap(image: &Image<'_>, table: &FuncTable<'_>) -> Result<u64, Reason> {
    const FUNCTION: &str = "runtime.mallocinit";
    let mut registers = Registers::new();
    let mut found = Vec::new();
    for i in &decode(image, table, FUNCTION)? {
        if calls(table, i) == Some("runtime.(*mheap).init") {
            found.extend(registers.points_to(Register::RAX));
        }
        registers.step(i);
    }
    only(found.into_iter().filter(|&at| image.is_writable(at)), FUNCTION, "mheap_")
}

/// The one zeroed variable whose address `semacquire1` takes (`semroot`, where Go 1.19 calls it). What else it takes the
/// address of (texts, function values) has contents in the file.
pub fn semtable(image: &Image<'_>, table: &FuncTable<'_>) -> Result<u64, Reason> {
    const FUNCTION: &str = "runtime.semacquire1";
    let in_function = |function| {
        let code = decode(image, table, function)?;
        let leas = code.iter().filter(|i| i.mnemonic() == Mnemonic::Lea && i.is_ip_rel_memory_operand());
        let zeroed = leas
            .map(Instruction::ip_rel_memory_address)
            .filter(|&at| image.is_writable(at) && image.file_offset(at).is_none());
        only(zeroed, function, "semtable")
    };
    match in_function(FUNCTION) {
        Err(Reason::NoPattern { .. }) if table.by_name("runtime.semroot").is_some() => {
            in_function("runtime.semroot")
        }
        found => found,
    }
}

/// Name of the function that a direct call goes to.
fn calls<'d>(table: &FuncTable<'d>, i: &Instruction) -> Option<&'d str> {
    if !i.is_call_near() {
        return None;
    }
    table.by_pc(i.near_branch_target()).filter(|f| f.entry == i.near_branch_target()).map(|f| f.name)
}
