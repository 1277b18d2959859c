//! From a runtime program counter to source frames, or to the reason why there are none.

mod cache;
mod dwarf;
mod meter;
mod names;
mod source;

use std::borrow::Borrow;
use std::marker::PhantomData;

use crate::event::message::{Frame, Symbol};
use crate::gobin::{GoBinary, Reason};
use cache::Cache;
pub use dwarf::DebugSource;
use dwarf::Lookup;
pub use meter::Meter;
pub use source::DebugInfo;

/// A session's stacks share a few thousand program counters; a hostile one must not fill the memory.
const CACHED: usize = 32 * 1024;
/// A hostile executable has names of 16 KB and frames without end, for each of them.
const CACHED_BYTES: usize = 32 << 20;

/// Symbolizes the program counters of one executable, loaded at one place.
///
/// `B` is however the binary is held: by value, `&`, `Box`, `Rc` or `Arc`.
#[derive(Debug)]
pub struct Symbolizer<'d, B: Borrow<GoBinary<'d>>> {
    binary: B,
    load_bias: u64,
    build_id: Option<String>,
    cache: Cache<(u64, bool), Symbol>,
    debug: Option<Lookup<'d>>,
    data: PhantomData<&'d [u8]>,
}

impl<'d, B: Borrow<GoBinary<'d>>> Symbolizer<'d, B> {
    /// `load_bias` is how far the process has its segments above their linked addresses (0 unless position
    /// independent).
    pub fn new(binary: B, load_bias: u64, build_id: Option<String>) -> Self {
        let cache = Cache::new(CACHED, CACHED_BYTES, bytes);
        Self { binary, load_bias, build_id, cache, debug: None, data: PhantomData }
    }

    /// Asks this where the function table has no answer.
    pub fn with_debug(self, source: &'d dyn DebugSource) -> Self {
        Self { debug: Some(Lookup::new(source)), ..self }
    }

    /// Which executable the answers are about.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    pub fn binary(&self) -> &GoBinary<'d> {
        self.binary.borrow()
    }

    /// What `pc` means. A return address (`exact` false) is looked up one byte before it, inside the call.
    pub fn symbol(&mut self, pc: u64, exact: bool) -> Symbol {
        if let Some(known) = self.cache.get(&(pc, exact)) {
            return known.clone();
        }
        let symbol = self.look_up(pc, exact);
        self.cache.insert((pc, exact), symbol.clone());
        symbol
    }

    fn look_up(&mut self, pc: u64, exact: bool) -> Symbol {
        let linked = pc.checked_sub(self.load_bias).ok_or(Reason::OutsideExecutable);
        let answer = linked.and_then(|linked| match self.binary().frames(linked, exact) {
            Ok(frames) => Ok((frames, "")),
            Err(reason) => self.other_ways(linked, exact, reason),
        });
        match answer {
            Ok((frames, source)) => Symbol {
                pc,
                frames: frames.into_iter().map(names::printable).collect(),
                unknown_because: String::new(),
                exact,
                source: source.to_owned(),
                starts: self.started(pc, exact).map(names::printable),
            },
            Err(reason) => Symbol { pc, exact, unknown_because: reason.to_string(), ..Symbol::default() },
        }
    }

    /// What a wrapper that begins at `pc` calls.
    fn started(&self, pc: u64, exact: bool) -> Option<Frame> {
        self.binary().wrapped(pc.checked_sub(self.load_bias).filter(|_| exact)?)
    }

    /// What the function table does not know, as far as the debug information does.
    fn other_ways(
        &mut self,
        linked: u64,
        exact: bool,
        reason: Reason,
    ) -> Result<(Vec<Frame>, &'static str), Reason> {
        let Some(lookup) = &mut self.debug else { return Err(reason) };
        let addr = if exact { linked } else { linked.saturating_sub(1) };
        match reason {
            Reason::NotGoCode => {
                let answer = lookup.frames(addr);
                if let Ok(frames) = &answer
                    && !frames.is_empty()
                    && frames.iter().all(|f| !f.function.is_empty())
                {
                    return answer.map(|frames| (frames, source::DWARF));
                }
                let Some(function) = lookup.symbol(addr).map(str::to_owned) else {
                    return Err(match answer {
                        Err(because) => Reason::NoName { because: Box::new(because) },
                        Ok(_) => reason,
                    });
                };
                Ok((vec![Frame { function, ..Frame::default() }], source::SYMBOL_TABLE))
            }
            Reason::UnknownInlineForm { .. } => {
                let frames = lookup.frames(addr).unwrap_or_default();
                let table = self.binary().functions().by_pc(addr).map(|f| f.name);
                match (frames.last(), table) {
                    (Some(last), Some(name)) if last.function == name => Ok((frames, source::DWARF)),
                    (Some(last), Some(name)) => {
                        Err(Reason::OtherFunction { table: name.to_owned(), debug: last.function.clone() })
                    }
                    _ => Err(reason),
                }
            }
            reason => Err(reason),
        }
    }
}

/// What a symbol takes in memory, roughly.
fn bytes(symbol: &Symbol) -> usize {
    let frames = symbol.frames.iter().chain(&symbol.starts);
    let texts = frames.map(|f| size_of::<Frame>() + f.function.len() + f.file.len() + f.full_name.len());
    size_of::<Symbol>() + symbol.unknown_because.len() + symbol.source.len() + texts.sum::<usize>()
}

#[cfg(test)]
mod tests;
