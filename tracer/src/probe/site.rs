//! Choosing the instruction: where in a runtime function the needed registers are known and a trap is cheap.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use thiserror::Error;

use super::code::{Code, CostClass, after_stack_check, branch_target, text, writes};

/// What a probe is for. `program` names the entry point in the eBPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Create,
    Exit,
    Park,
    Ready,
    Run,
    Coro,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Exit => "exit",
            Self::Park => "park",
            Self::Ready => "ready",
            Self::Run => "run",
            Self::Coro => "coro",
        }
    }
}

/// An instruction to probe. Planned only: nothing is placed before [`super::verify`] has compared the process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub role: Role,
    /// Entry point in the eBPF object.
    pub program: &'static str,
    pub function: String,
    /// ELF address of the function and of its end (from pclntab).
    pub entry: u64,
    pub end: u64,
    /// ELF address of the instruction.
    pub addr: u64,
    /// Its place in the file.
    pub file_offset: u64,
    pub instruction: String,
    pub cost: CostClass,
    /// Why a stepped instruction had to be taken; empty for an emulated one.
    pub fallback_because: String,
}

/// Why no site was chosen, or a chosen one is not used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("the program has no function `{function}`")]
    NoFunction { function: String },
    #[error("the code of `{function}` is not in the file")]
    NoBytes { function: String },
    #[error(
        "in `{function}` the jump at {from:#x} leads into the middle of an instruction at {to:#x}: code overlaps"
    )]
    Overlap { function: String, from: u64, to: u64 },
    #[error("no instruction of `{function}` begins at {addr:#x} when decoded from its first byte")]
    NotABoundary { function: String, addr: u64 },
    #[error("no usable instruction in `{function}`: {because}")]
    NoPlace { function: String, because: &'static str },
    #[error("`{function}` at +{at:#x}: the process's memory holds {memory}, the file {file}")]
    BytesDiffer { function: String, at: u64, memory: String, file: String },
    #[error("the process's memory at `{function}` cannot be read: {why}")]
    Unreadable { function: String, why: String },
    #[error(
        "`{function}` is inlined into {copies} other functions of this build, as a profile (`-pgo`) made the compiler do; what happens there would be missed"
    )]
    Inlined { function: String, copies: usize },
}

/// A place within a decoded function.
pub struct Place<'c> {
    pub instruction: &'c Instruction,
    pub fallback_because: &'static str,
}

/// After the stack check, where the arguments are still in their registers: `push %rbp` in Go 1.21 and later.
pub fn entry_place<'c>(function: &str, code: &'c Code<'_>) -> Result<Place<'c>, Refusal> {
    let instruction = after_stack_check(code).ok_or(Refusal::NoPlace {
        function: function.to_owned(),
        because: "its first instructions are not a stack check as the Go compiler writes it",
    })?;
    let fallback_because = match code.cost(instruction) {
        CostClass::Emulated => "",
        CostClass::Stepped => "the instruction after the stack check is not one that the kernel emulates",
    };
    Ok(Place { instruction, fallback_because })
}

/// The call of `runtime.mcall`, where R14 is the goroutine: for Go 1.19, whose prologue has nothing to emulate.
pub fn mcall_place<'c>(function: &str, code: &'c Code<'_>, mcall: u64) -> Result<Place<'c>, Refusal> {
    let mut calls = code.instructions().iter().filter(|i| {
        i.flow_control() == FlowControl::Call
            && i.op0_kind() == OpKind::NearBranch64
            && i.near_branch_target() == mcall
    });
    match (calls.next(), calls.next()) {
        (Some(instruction), None) => Ok(Place { instruction, fallback_because: "" }),
        _ => Err(Refusal::NoPlace {
            function: function.to_owned(),
            because: "it does not call `runtime.mcall` once",
        }),
    }
}

/// The first conditional jump to `newproc1`'s epilogue (the `releasem` test): RAX already is the result, the new g.
///
/// Why that is so can be read off the code, and is: the jump's way leads to `ret` without a write to RAX, which holds
/// the result there by Go's calling convention; the other way does not write RAX either before it joins; and nothing
/// else leads behind the jump, so that every return passes it exactly once.
pub fn epilogue_place<'c>(function: &str, code: &'c Code<'_>) -> Result<Place<'c>, Refusal> {
    let all = code.instructions();
    let no = |because| Refusal::NoPlace { function: function.to_owned(), because };
    let mut rets = all.iter().enumerate().filter(|(_, i)| i.mnemonic() == Mnemonic::Ret);
    let (Some((ret_at, ret)), None) = (rets.next(), rets.next()) else {
        return Err(no("it does not have exactly one return"));
    };
    if let Some(place) = epilogue_jump(code, ret_at) {
        return Ok(Place { instruction: place, fallback_because: "" });
    }
    // Stated fallback: at `ret` RAX is the new g by the calling convention, R14 = g0 (unchanged in the runtime).
    Ok(Place {
        instruction: ret,
        fallback_because: "no conditional jump to the epilogue has the new g in RAX on every path",
    })
}

fn epilogue_jump<'c>(code: &'c Code<'_>, ret_at: usize) -> Option<&'c Instruction> {
    let all = code.instructions();
    // The epilogue: back from `ret` over `pop`, `add $n, %rsp` and a frame restored from the stack.
    let mut first = ret_at;
    while first > 0 {
        let i = &all[first - 1];
        let restores = i.mnemonic() == Mnemonic::Pop
            || (i.mnemonic() == Mnemonic::Add && i.op0_register() == Register::RSP)
            || (i.mnemonic() == Mnemonic::Mov
                && i.op0_register() == Register::RBP
                && i.memory_base() == Register::RSP);
        if !restores {
            break;
        }
        first -= 1;
    }
    let epilogue = all[first].ip();
    let ret = all[ret_at].ip();
    let jump = all[..first].iter().position(|i| {
        i.flow_control() == FlowControl::ConditionalBranch && branch_target(i) == Some(epilogue)
    })?;
    let jump_ip = all[jump].ip();
    if writes(&all[jump + 1..=ret_at], Register::RAX) || writes(&all[jump..=ret_at], Register::R14) {
        return None;
    }
    // Straight on from the jump to the return: no call, no way out, no way in.
    let straight = all[jump + 1..ret_at].iter().all(|i| match i.flow_control() {
        FlowControl::Next => true,
        FlowControl::ConditionalBranch => branch_target(i) == Some(epilogue),
        _ => false,
    });
    let enters =
        code.branches().any(|(from, to)| to > jump_ip && to <= ret && (from < jump_ip || from > ret));
    (straight && !enters && code.cost(&all[jump]) == CostClass::Emulated).then_some(&all[jump])
}

/// Makes a [`Site`] of a place, after the last check: decoding from the first byte lands on it, nothing overlaps.
#[allow(clippy::too_many_arguments)] // all of them are the site
pub fn finish(
    role: Role,
    program: &'static str,
    function: &str,
    code: &Code<'_>,
    end: u64,
    addr: u64,
    file_offset: u64,
    fallback_because: &str,
) -> Result<Site, Refusal> {
    let instruction = code.at(addr).ok_or(Refusal::NotABoundary { function: function.to_owned(), addr })?;
    if !code.is_whole() {
        return Err(Refusal::NoPlace {
            function: function.to_owned(),
            because: "it is not instructions to its end, or far longer than it can be",
        });
    }
    if let Some((from, to)) = code.overlap() {
        return Err(Refusal::Overlap { function: function.to_owned(), from, to });
    }
    Ok(Site {
        role,
        program,
        function: function.to_owned(),
        entry: code.entry,
        end,
        addr,
        file_offset,
        instruction: text(instruction),
        cost: code.cost(instruction),
        fallback_because: fallback_because.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dec of m.locks, `jne` to the epilogue, the preempt test, `je` to the epilogue, store, epilogue: as Go 1.26
    /// compiles the end of `newproc1`.
    const NEWPROC1_END: &[u8] = &[
        0x8b, 0x91, 0x08, 0x01, 0, 0, // mov 0x108(%rcx), %edx
        0x83, 0xfa, 0x01, // cmp $1, %edx
        0x75, 0x12, // jne epilogue
        0x41, 0x80, 0xbe, 0xb1, 0, 0, 0, 0, // cmpb $0, 0xb1(%r14)
        0x74, 0x08, // je epilogue
        0x49, 0xc7, 0x46, 0x10, 0xde, 0xfa, 0xff, 0xff, // movq $-1314, 0x10(%r14)
        0x48, 0x83, 0xc4, 0x50, // add $0x50, %rsp
        0x5d, // pop %rbp
        0xc3, // ret
    ];

    #[test]
    fn the_jump_to_the_epilogue_is_chosen() {
        let code = Code::decode(0x1000, NEWPROC1_END);
        let place = epilogue_place("f", &code).unwrap();
        assert_eq!(place.instruction.ip(), 0x1009);
        assert_eq!(place.fallback_because, "");
    }

    #[test]
    fn a_write_to_rax_behind_the_jump_makes_it_fall_back_to_ret() {
        let mut bytes = NEWPROC1_END.to_vec();
        bytes.splice(bytes.len() - 6..bytes.len() - 6, [0x31, 0xc0]); // xor %eax, %eax before the epilogue
        bytes[10] += 2;
        bytes[20] += 2;
        let code = Code::decode(0x1000, &bytes);
        let place = epilogue_place("f", &code).unwrap();
        assert_eq!(place.instruction.mnemonic(), Mnemonic::Ret);
        assert_ne!(place.fallback_because, "");
    }

    #[test]
    fn another_way_past_the_jump_makes_it_fall_back_to_ret() {
        let mut bytes = vec![0xeb, 0x0b]; // jmp over the jne, onto the preempt test
        bytes.extend_from_slice(NEWPROC1_END);
        let code = Code::decode(0x1000, &bytes);
        assert_eq!(code.overlap(), None);
        assert_eq!(epilogue_place("f", &code).unwrap().instruction.mnemonic(), Mnemonic::Ret);
    }

    #[test]
    fn code_that_is_not_understood_to_its_end_is_refused() {
        // Behind the return: a byte that is no instruction, then a jump into the middle of the first one.
        let bytes = [NEWPROC1_END, &[0x06, 0xeb, 0xdc]].concat();
        let code = Code::decode(0x1000, &bytes);
        let made = finish(Role::Create, "create", "f", &code, 0x1000, 0x1009, 0, "");
        assert!(matches!(made, Err(Refusal::NoPlace { .. })), "{made:?}");
    }

    #[test]
    fn a_place_off_the_boundaries_is_refused() {
        let code = Code::decode(0x1000, NEWPROC1_END);
        for off in 0..NEWPROC1_END.len() as u64 {
            let made = finish(Role::Create, "create", "f", &code, 0x1000, 0x1000 + off, 0, "");
            assert_eq!(made.is_ok(), code.at(0x1000 + off).is_some(), "offset {off}");
        }
        let refused = finish(Role::Create, "create", "f", &code, 0x1000, 0x100a, 0, "");
        assert_eq!(refused, Err(Refusal::NotABoundary { function: "f".into(), addr: 0x100a }));
    }
}
