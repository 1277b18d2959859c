//! From a runtime program counter to source frames, or to the reason why there are none.

mod cache;

use std::borrow::Borrow;
use std::marker::PhantomData;

use crate::event::message::{Frame, Symbol};
use crate::gobin::{GoBinary, Reason};
use cache::Cache;

/// A session's stacks share a few thousand program counters; a hostile one must not fill the memory.
const CACHED: usize = 32 * 1024;

/// Symbolizes the program counters of one executable, loaded at one place.
///
/// `B` is however the binary is held: by value, `&`, `Box`, `Rc` or `Arc`.
#[derive(Debug)]
pub struct Symbolizer<'d, B: Borrow<GoBinary<'d>>> {
    binary: B,
    load_bias: u64,
    build_id: Option<String>,
    cache: Cache<(u64, bool), Symbol>,
    data: PhantomData<&'d [u8]>,
}

impl<'d, B: Borrow<GoBinary<'d>>> Symbolizer<'d, B> {
    /// `load_bias` is how far the process has its segments above their linked addresses (0 unless position
    /// independent).
    pub fn new(binary: B, load_bias: u64, build_id: Option<String>) -> Self {
        Self { binary, load_bias, build_id, cache: Cache::new(CACHED), data: PhantomData }
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

    fn look_up(&self, pc: u64, exact: bool) -> Symbol {
        let linked = pc.checked_sub(self.load_bias).ok_or(Reason::OutsideExecutable);
        match linked.and_then(|linked| self.binary().frames(linked, exact)) {
            Ok(frames) => {
                let frames = frames.into_iter().map(printable).collect();
                Symbol { pc, frames, unknown_because: String::new(), exact }
            }
            Err(reason) => Symbol { pc, frames: Vec::new(), unknown_because: reason.to_string(), exact },
        }
    }
}

fn printable(frame: Frame) -> Frame {
    Frame { function: function_for_print(frame.function), ..frame }
}

/// `main.Map[go.shape.int]` as Go's tracebacks print it: `main.Map[...]` (runtime/symtab.go, `funcNameForPrint`).
fn function_for_print(name: String) -> String {
    match (name.find('['), name.rfind(']')) {
        (Some(open), Some(close)) if open < close => format!("{}[...]{}", &name[..open], &name[close + 1..]),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
