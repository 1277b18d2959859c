//! Disassembly of one function, and what the kernel does with a probed instruction of it.

use std::fmt;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter as _, GasFormatter, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

/// What a hit costs the target, by what the kernel does with the instruction that the trap replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostClass {
    /// The kernel emulates it: one exception (`arch/x86/kernel/uprobes.c`, `branch_setup_xol_ops` and
    /// `push_setup_xol_ops`).
    Emulated,
    /// The kernel executes it out of line and single-steps it: two exceptions.
    Stepped,
}

impl fmt::Display for CostClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emulated => "emulated",
            Self::Stepped => "stepped",
        })
    }
}

/// A function's code, decoded from its first byte, instruction after instruction.
pub struct Code<'d> {
    pub entry: u64,
    pub bytes: &'d [u8],
    instructions: Vec<Instruction>,
    whole: bool,
}

/// Longer functions are not decoded: the runtime's longest probed one has about 2 KiB.
const MAX_FUNCTION: usize = 64 << 10;

impl<'d> Code<'d> {
    /// Decodes until the end or the first byte that is no instruction; what lies behind is not reachable by
    /// [`Code::at`].
    pub fn decode(entry: u64, bytes: &'d [u8]) -> Self {
        let all = bytes.len();
        let bytes = &bytes[..all.min(MAX_FUNCTION)];
        let mut decoder = Decoder::with_ip(64, bytes, entry, DecoderOptions::NONE);
        let mut instructions = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            instructions.push(instruction);
        }
        let decoded: usize = instructions.iter().map(Instruction::len).sum();
        Self { entry, bytes, instructions, whole: decoded == all }
    }

    /// Every byte belongs to an instruction. Of other code nobody can say that nothing in it jumps into the middle of one.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The instruction that begins at `addr`, if linear decoding from the entry lands on it.
    pub fn at(&self, addr: u64) -> Option<&Instruction> {
        self.instructions.binary_search_by_key(&addr, Instruction::ip).ok().map(|i| &self.instructions[i])
    }

    pub fn bytes_at(&self, instruction: &Instruction) -> &'d [u8] {
        let from = (instruction.ip() - self.entry) as usize;
        &self.bytes[from..from + instruction.len()]
    }

    /// A direct branch within the function whose target is not the start of a decoded instruction: the decoding is
    /// not what the processor executes, or code overlaps.
    pub fn overlap(&self) -> Option<(u64, u64)> {
        let end = self.instructions.last().map_or(self.entry, Instruction::next_ip);
        self.instructions
            .iter()
            .filter_map(|i| Some((i.ip(), branch_target(i)?)))
            .find(|(_, to)| *to >= self.entry && *to < end && self.at(*to).is_none())
    }

    /// All direct branches within the function, (from, to).
    pub fn branches(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.instructions.iter().filter_map(|i| Some((i.ip(), branch_target(i)?)))
    }

    /// What the kernel does with this instruction when it is probed.
    pub fn cost(&self, instruction: &Instruction) -> CostClass {
        cost_class(self.bytes_at(instruction))
    }
}

/// Where a direct jump or conditional jump goes; calls leave the function and do not count.
pub fn branch_target(i: &Instruction) -> Option<u64> {
    match i.flow_control() {
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            if i.op0_kind() == OpKind::NearBranch64 =>
        {
            Some(i.near_branch_target())
        }
        _ => None,
    }
}

/// What Linux emulates on x86-64 in every version since 5.1: `nop`, `call rel32`, `jmp`, `jcc`, `push reg`.
/// Anything with a prefix other than REX.B on the push is stepped.
pub fn cost_class(bytes: &[u8]) -> CostClass {
    match bytes {
        [0x90] | [0xe8, ..] | [0xeb | 0xe9, ..] | [0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..] => {
            CostClass::Emulated
        }
        [0x50..=0x57] | [0x41, 0x50..=0x57] => CostClass::Emulated,
        _ => CostClass::Stepped,
    }
}

/// The instruction as `objdump` would write it.
pub fn text(i: &Instruction) -> String {
    let mut out = String::new();
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.format(i, &mut out);
    out
}

/// Does one of these instructions write the register (or a part of it)?
pub fn writes<'i>(instructions: impl IntoIterator<Item = &'i Instruction>, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    instructions.into_iter().any(|i| {
        factory.info(i).used_registers().iter().any(|used| {
            used.register().full_register() == register
                && matches!(
                    used.access(),
                    OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
                )
        })
    })
}

/// The first instruction after the stack check (`cmp 0x10(%r14), %rsp; jbe …`, or with a `lea` before for large
/// frames), or the function's first one when it has none (nosplit).
pub fn after_stack_check<'c>(code: &'c Code<'_>) -> Option<&'c Instruction> {
    let all = code.instructions();
    let reads_guard = |i: &Instruction| {
        i.mnemonic() == Mnemonic::Cmp
            && i.memory_base() == Register::R14
            && i.memory_displacement64() == 0x10
            && i.op_count() == 2
    };
    for (at, i) in all.iter().take(4).enumerate() {
        if reads_guard(i) {
            let jump = all.get(at + 1)?;
            return (jump.mnemonic() == Mnemonic::Jbe).then(|| all.get(at + 2)).flatten();
        }
        if !matches!(i.mnemonic(), Mnemonic::Lea) {
            break;
        }
    }
    all.first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_follows_the_kernels_list() {
        assert_eq!(cost_class(&[0x55]), CostClass::Emulated); // push %rbp
        assert_eq!(cost_class(&[0x41, 0x54]), CostClass::Emulated); // push %r12
        assert_eq!(cost_class(&[0x75, 0x12]), CostClass::Emulated); // jne
        assert_eq!(cost_class(&[0x0f, 0x86, 0, 0, 0, 0]), CostClass::Emulated); // jbe rel32
        assert_eq!(cost_class(&[0xe8, 0, 0, 0, 0]), CostClass::Emulated); // call
        assert_eq!(cost_class(&[0xc3]), CostClass::Stepped); // ret
        assert_eq!(cost_class(&[0x49, 0x3b, 0x66, 0x10]), CostClass::Stepped); // cmp 0x10(%r14), %rsp
        assert_eq!(cost_class(&[0x66, 0x90]), CostClass::Stepped); // a prefixed nop
        assert_eq!(cost_class(&[0x0f, 0x1f, 0x44, 0, 0]), CostClass::Stepped); // a long nop
    }

    #[test]
    fn the_stack_check_is_skipped() {
        // cmp 0x10(%r14), %rsp; jbe +0x18; push %rbp; mov %rsp, %rbp
        let bytes = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x18, 0x55, 0x48, 0x89, 0xe5];
        let code = Code::decode(0x1000, &bytes);
        assert_eq!(after_stack_check(&code).map(Instruction::ip), Some(0x1006));
        // nosplit: push %rbp first
        let code = Code::decode(0x1000, &bytes[6..]);
        assert_eq!(after_stack_check(&code).map(Instruction::ip), Some(0x1000));
    }

    #[test]
    fn code_is_whole_when_every_byte_is_decoded() {
        assert!(Code::decode(0x1000, &[0x90, 0xc3, 0xcc]).is_whole());
        assert!(!Code::decode(0x1000, &[0x90, 0x06, 0xc3]).is_whole(), "0x06 is no instruction");
        assert!(!Code::decode(0x1000, &[0x90, 0xe8, 0]).is_whole(), "cut off");
        assert!(!Code::decode(0x1000, &vec![0x90; MAX_FUNCTION + 1]).is_whole(), "too long");
    }

    #[test]
    fn a_jump_into_an_instruction_is_an_overlap() {
        // jmp +1 (into the mov); mov $0x1, %eax
        let code = Code::decode(0x1000, &[0xeb, 0x01, 0xb8, 1, 0, 0, 0]);
        assert_eq!(code.overlap(), Some((0x1000, 0x1003)));
        let code = Code::decode(0x1000, &[0xeb, 0x05, 0xb8, 1, 0, 0, 0, 0x90]);
        assert_eq!(code.overlap(), None);
    }
}
