//! What addresses and stack ids mean, as far as the stream has said.

use std::collections::HashMap;

use crate::event::{StackDef, Symbol, message};

use super::limits::Limits;

/// Symbols and stack definitions, bounded.
#[derive(Debug, Default)]
pub struct Symbols {
    /// By address and whether it is exact (a function's entry) or a return address.
    by_pc: HashMap<(u64, bool), Symbol>,
    stacks: HashMap<u64, StackDef>,
    text_bytes: usize,
}

/// The session keeps no more of this sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Symbols {
    /// A symbol that is already known is replaced: the later one may know more.
    pub fn add_symbol(&mut self, symbol: Symbol, limits: &Limits) -> Result<(), Full> {
        let bytes = symbol.unknown_because.len()
            + symbol.frames.iter().map(|f| f.function.len() + f.file.len() + size_of_val(f)).sum::<usize>();
        let known = self.by_pc.contains_key(&(symbol.pc, symbol.exact));
        if self.text_bytes + bytes > limits.text_bytes || (!known && self.by_pc.len() >= limits.symbols) {
            return Err(Full);
        }
        self.text_bytes += bytes;
        self.by_pc.insert((symbol.pc, symbol.exact), symbol);
        Ok(())
    }

    /// The first definition of a stack id holds.
    pub fn add_stack(&mut self, mut def: StackDef, limits: &Limits) -> Result<(), Full> {
        if self.stacks.contains_key(&def.stack) {
            return Ok(());
        }
        if self.stacks.len() >= limits.stacks {
            return Err(Full);
        }
        def.frames.truncate(tracer_common::wire::MAX_FRAMES);
        def.frames.shrink_to_fit();
        self.stacks.insert(def.stack, def);
        Ok(())
    }

    pub fn stack(&self, id: u64) -> Option<&StackDef> {
        self.stacks.get(&id)
    }

    /// The frames at a return address, innermost first, or why there are none.
    pub fn at_return(&self, pc: u64) -> Result<&[message::Frame], String> {
        self.frames((pc, false))
    }

    /// The frames at a function's entry, or why there are none.
    pub fn at_entry(&self, pc: u64) -> Result<&[message::Frame], String> {
        self.frames((pc, true))
    }

    fn frames(&self, key: (u64, bool)) -> Result<&[message::Frame], String> {
        match self.by_pc.get(&key) {
            Some(symbol) if !symbol.frames.is_empty() => Ok(&symbol.frames),
            Some(symbol) if !symbol.unknown_because.is_empty() => Err(symbol.unknown_because.clone()),
            Some(_) => Err("the symbol has no frames".to_owned()),
            None if key.0 == 0 => Err("the address is not known".to_owned()),
            None => Err("no symbol for this address is in the stream".to_owned()),
        }
    }
}
