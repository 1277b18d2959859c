//! What addresses and stack ids mean, as far as the stream has said.

use std::collections::HashMap;

use crate::event::{StackDef, Symbol, message};

use super::fnv::Fnv;
use super::limits::{Limits, cut};

/// Symbols and stack definitions, bounded.
#[derive(Debug, Default)]
pub struct Symbols {
    /// By address and whether it is exact (a function's entry) or a return address.
    by_pc: HashMap<(u64, bool), Known>,
    stacks: HashMap<u64, StackDef>,
    text_bytes: usize,
}

/// What is known of one address.
#[derive(Debug)]
pub struct Known {
    /// Innermost first; the last one is the function that the code belongs to.
    pub frames: Vec<message::Frame>,
    /// How many were left out right before the last one: too many.
    pub left_out: usize,
    /// Function, file and line of each frame, hashed once: many stacks name one address.
    pub hashes: Vec<u64>,
    unknown_because: String,
    /// What the function is a wrapper of.
    pub starts: Option<message::Frame>,
    /// Where the frames are from; empty for Go's function table.
    pub source: String,
}

impl Known {
    fn new(symbol: Symbol, limits: &Limits) -> Self {
        let Symbol { mut frames, mut unknown_because, mut starts, mut source, .. } = symbol;
        let left_out = frames.len().saturating_sub(limits.symbol_frames.max(1));
        if left_out > 0 {
            let last = frames.len() - 1;
            frames.drain(last - left_out..last);
        }
        frames.shrink_to_fit();
        cut(&mut unknown_because, limits.name_bytes);
        cut(&mut source, limits.name_bytes);
        for f in frames.iter_mut().chain(&mut starts) {
            cut(&mut f.function, limits.name_bytes);
            cut(&mut f.file, limits.name_bytes);
            cut(&mut f.full_name, limits.name_bytes);
        }
        let hashes = frames.iter().map(|f| {
            let mut hash = Fnv::default();
            hash.part(f.function.as_bytes());
            hash.part(f.file.as_bytes());
            hash.part(&f.line.to_le_bytes());
            hash.0
        });
        Self { hashes: hashes.collect(), frames, left_out, unknown_because, starts, source }
    }

    fn bytes(&self) -> usize {
        let frames = self.frames.iter().chain(&self.starts);
        let frames = frames.map(|f| f.function.len() + f.file.len() + f.full_name.len() + size_of_val(f) + 8);
        self.unknown_because.len() + self.source.len() + frames.sum::<usize>()
    }
}

/// The session keeps no more of this sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Symbols {
    /// A symbol that is already known is replaced: the later one may know more.
    pub fn add_symbol(&mut self, symbol: Symbol, limits: &Limits) -> Result<(), Full> {
        let key = (symbol.pc, symbol.exact);
        let new = Known::new(symbol, limits);
        let old = self.by_pc.get(&key).map(Known::bytes);
        let text_bytes = self.text_bytes - old.unwrap_or(0) + new.bytes();
        if text_bytes > limits.text_bytes || (old.is_none() && self.by_pc.len() >= limits.symbols) {
            return Err(Full);
        }
        self.text_bytes = text_bytes;
        self.by_pc.insert(key, new);
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
    pub fn at_return(&self, pc: u64) -> Result<&Known, &str> {
        self.known((pc, false))
    }

    /// The frames at a function's entry, or why there are none.
    pub fn at_entry(&self, pc: u64) -> Result<&Known, &str> {
        self.known((pc, true))
    }

    fn known(&self, key: (u64, bool)) -> Result<&Known, &str> {
        match self.by_pc.get(&key) {
            Some(known) if !known.frames.is_empty() => Ok(known),
            Some(known) if !known.unknown_because.is_empty() => Err(&known.unknown_because),
            Some(_) => Err("the symbol has no frames"),
            None if key.0 == 0 => Err("the address is not known"),
            None => Err("no symbol for this address is in the stream"),
        }
    }
}
