//! What registers hold, as far as a function's instructions tell.

use std::collections::HashMap;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};

use super::is_load;

/// What registers hold while a function is read from top to bottom; jumps are not followed.
pub struct Registers {
    held: HashMap<Register, Held>,
    info: InstructionInfoFactory,
}

#[derive(Clone, Copy)]
enum Held {
    /// `lea r, [rip+d]`
    Address(u64),
    /// `mov r, [rip+d]`
    LoadedFrom(u64),
    /// `mov r, N`
    Number(u64),
}

impl Registers {
    pub fn new() -> Self {
        Self { held: HashMap::new(), info: InstructionInfoFactory::new() }
    }

    pub fn step(&mut self, i: &Instruction) {
        // Go keeps nothing in registers over a call.
        if matches!(i.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            self.held.clear();
            return;
        }
        for used in self.info.info(i).used_registers() {
            use iced_x86::OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
            if matches!(used.access(), Write | CondWrite | ReadWrite | ReadCondWrite) {
                self.held.remove(&used.register().full_register());
            }
        }
        if i.code() == Code::Lea_r64_m && i.is_ip_rel_memory_operand() {
            self.held.insert(i.op0_register(), Held::Address(i.ip_rel_memory_address()));
        } else if is_load(i) {
            self.held.insert(i.op0_register(), Held::LoadedFrom(i.ip_rel_memory_address()));
        } else if matches!(i.code(), Code::Mov_r32_imm32 | Code::Mov_rm64_imm32)
            && i.op0_kind() == OpKind::Register
        {
            self.held.insert(i.op0_register().full_register(), Held::Number(i.immediate(1)));
        }
    }

    pub fn points_to(&self, r: Register) -> Option<u64> {
        match self.held.get(&r) {
            Some(Held::Address(at)) => Some(*at),
            _ => None,
        }
    }

    pub fn loaded_from(&self, r: Register) -> Option<u64> {
        match self.held.get(&r) {
            Some(Held::LoadedFrom(at)) => Some(*at),
            _ => None,
        }
    }

    pub fn number(&self, r: Register) -> Option<u64> {
        match self.held.get(&r.full_register()) {
            Some(Held::Number(n)) => Some(*n),
            _ => None,
        }
    }
}
