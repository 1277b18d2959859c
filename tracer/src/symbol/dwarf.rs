//! Frames from debug information, for what Go's own tables cannot answer.

use std::fmt;

use addr2line::Context;
use gimli::AbbreviationsCacheStrategy;

use super::meter::{BUDGET, Exceeded, Meter, Metered};
use crate::event::message::Frame;
use crate::gobin::{CodeSymbols, DebugError, DebugSections, Reason};

/// How often what was read may be thrown away to make room for more. A program that needs more than a few is unknown.
const MAX_ROUNDS: u32 = 32;
/// A look-up's own price: finding the unit costs a little even when nothing is read.
const TOLL: u64 = 1024;
/// As in the trees of Go's own table.
const MAX_DEPTH: usize = 256;

/// Where debug information is; opened when it is first asked for.
pub trait DebugSource: fmt::Debug {
    fn sections(&self) -> Result<&DebugSections<'_>, DebugError>;

    fn symbols(&self) -> &CodeSymbols<'_>;

    fn meter(&self) -> &Meter;
}

/// Looks addresses up. Reads nothing before the first one, then only what that needs, and keeps it for the next.
pub struct Lookup<'s> {
    source: &'s dyn DebugSource,
    context: Option<Context<Metered<'s>>>,
    rounds: u32,
    budget: u64,
}

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("source", &self.source).field("rounds", &self.rounds).finish()
    }
}

impl<'s> Lookup<'s> {
    pub fn new(source: &'s dyn DebugSource) -> Self {
        Self { source, context: None, rounds: 0, budget: BUDGET }
    }

    /// Frames at `addr` (as linked, inside the instruction), innermost inlined one first. A frame's function is empty where
    /// only the line is known; no frames: the debug information does not speak of this address.
    pub fn frames(&mut self, addr: u64) -> Result<Vec<Frame>, Reason> {
        let meter = self.source.meter();
        // What others have read may leave too little: then once more, with nothing else in memory.
        loop {
            let fresh = self.context.is_none();
            if fresh {
                if self.rounds == MAX_ROUNDS {
                    return Err(Reason::TooMuchDebug);
                }
                self.rounds += 1;
                meter.refill(self.budget);
            }
            meter.enter();
            let answer = self.look_up(addr);
            match (answer, meter.exceeded()) {
                (Ok(frames), None) => return Ok(frames),
                (Err(Problem::Source(e)), _) => return Err(Reason::NoDebug { because: e.to_string() }),
                (Err(Problem::Dwarf(e)), None) => {
                    return Err(Reason::DamagedDebug { because: e.to_string() });
                }
                (_, Some(why)) => {
                    self.context = None;
                    meter.refill(0);
                    if fresh || why == Exceeded::Depth {
                        return Err(Reason::TooMuchDebug);
                    }
                }
            }
        }
    }

    /// The name of the function around `addr` in the ELF symbol table.
    pub fn symbol(&self, addr: u64) -> Option<&str> {
        self.source.symbols().at(addr)
    }

    fn look_up(&mut self, addr: u64) -> Result<Vec<Frame>, Problem> {
        let meter = self.source.meter();
        let context = match &mut self.context {
            Some(context) => context,
            none => none.insert(open(self.source, meter)?),
        };
        meter.charge(TOLL)?;
        let mut frames = Vec::new();
        let mut found = context.find_frames(addr).skip_all_loads()?;
        while let Some(frame) = found.next()? {
            if frames.len() == MAX_DEPTH {
                return Err(Problem::Dwarf(gimli::Error::TooManyIterations));
            }
            let name = frame.function.as_ref().map(|f| f.raw_name()).transpose()?;
            let location = frame.location.as_ref();
            frames.push(Frame {
                function: name.unwrap_or_default().into_owned(),
                file: location.and_then(|l| l.file).unwrap_or_default().to_owned(),
                line: location.and_then(|l| l.line).unwrap_or(0),
                inlined: true,
                full_name: String::new(),
            });
        }
        if let Some(last) = frames.last_mut() {
            last.inlined = false;
        }
        Ok(frames)
    }
}

fn open<'s>(source: &'s dyn DebugSource, meter: &'s Meter) -> Result<Context<Metered<'s>>, Problem> {
    let sections = source.sections().map_err(Problem::Source)?;
    let mut dwarf = sections.dwarf_of(|id, data| Metered::new(id, data, meter));
    // A Go program's units share one table of abbreviations.
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
    Ok(Context::from_dwarf(dwarf)?)
}

#[cfg(test)]
#[path = "dwarf_tests.rs"]
mod tests;

#[derive(Debug)]
enum Problem {
    Source(DebugError),
    Dwarf(gimli::Error),
}

impl From<gimli::Error> for Problem {
    fn from(e: gimli::Error) -> Self {
        Self::Dwarf(e)
    }
}
