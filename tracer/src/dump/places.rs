//! What program counters mean, each asked for once.

use std::collections::HashMap;

use super::Pc;
use crate::event::message::Frame;

/// Where a program counter is in the source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Innermost (inlined) first; the last one is the function that the code belongs to. Empty: see `unknown_because`.
    pub frames: Vec<Frame>,
    /// Where that function begins, as it stands in the process; 0 when unknown.
    pub entry: u64,
    /// It only adapts one way of calling to another: Go's own dumps leave such frames out.
    pub wrapper: bool,
    /// Why there are no frames; empty when there are.
    pub unknown_because: String,
    /// At the entry of a wrapper that the compiler made for `go f(x)`: `f`.
    pub starts: Option<Frame>,
}

/// The places of one dump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places(pub HashMap<Pc, Place>);

impl Places {
    pub fn get(&self, pc: u64, exact: bool) -> Option<&Place> {
        self.0.get(&Pc { pc, exact })
    }

    pub fn at(&self, pc: Pc) -> Option<&Place> {
        self.0.get(&pc)
    }

    /// The frame of the `go` statement that returns to `gopc`.
    pub fn creation(&self, gopc: u64) -> Option<&Frame> {
        self.get(gopc, false)?.frames.first()
    }

    /// What a goroutine that starts at `start_pc` runs; of a compiler's wrapper, what that calls.
    pub fn started(&self, start_pc: u64) -> Option<&Frame> {
        let place = self.get(start_pc, true)?;
        place.starts.as_ref().or(place.frames.last())
    }
}
