//! Puts the meaning of every program counter into the stream, once, soon after it is met: a session file then needs
//! neither the binary nor the machine.
//!
//! Looking one up takes microseconds, or, where debug information has to be read first, much longer. So nothing is looked up
//! while the ring buffer is drained: what was met is noted, and described a little at a time when the buffer is empty.
//! Symbols are facts without a moment (`order`), so it does not matter that they come later.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use tracer_common::wire::{Header, STACK_DEF_FIXED, kind};

use crate::event::{Event, Note, header};
use crate::gobin::GoBinary;
use crate::symbol::{DebugSource, Symbolizer};

/// At most this many program counters are described; a program has about as many call sites as it has kilobytes of
/// code. Beyond it, frames show as addresses, and a note says so.
const MAX_PCS: usize = 1 << 20;

/// Watches records go by and describes what they refer to.
pub struct Annotator<'d> {
    symbolizer: Symbolizer<'d, &'d GoBinary<'d>>,
    /// Program counters met, and whether as an exact one or as a return address.
    known: HashSet<(u64, bool), RandomState>,
    /// Those not yet described, with the time at which they were met.
    waiting: VecDeque<(u64, bool, u64)>,
    full: bool,
}

impl<'d> Annotator<'d> {
    pub fn new(binary: &'d GoBinary<'d>, load_bias: u64, debug: Option<&'d dyn DebugSource>) -> Self {
        let symbolizer = Symbolizer::new(binary, load_bias, binary.build_id());
        let symbolizer = match debug {
            Some(debug) => symbolizer.with_debug(debug),
            None => symbolizer,
        };
        Self { symbolizer, known: HashSet::default(), waiting: VecDeque::new(), full: false }
    }

    /// Passes the record on, and notes the program counters that were not met before.
    pub fn pass(&mut self, record: &[u8], sink: &mut dyn FnMut(&[u8])) {
        sink(record);
        const HEADER: usize = size_of::<Header>();
        let Some(kind) = record.get(30).copied() else {
            return;
        };
        let time = || u64_at(record, 0);
        match kind {
            // parent_goid, gopc, start_pc stand behind the header in all three.
            kind::BIRTH | kind::SEEN | kind::STATE => {
                self.note(u64_at(record, HEADER + 8), false, time(), sink);
                self.note(u64_at(record, HEADER + 16), true, time(), sink);
            }
            kind::STACK_DEF => {
                let frames = record.get(STACK_DEF_FIXED..).unwrap_or_default();
                for frame in frames.as_chunks::<8>().0 {
                    self.note(u64::from_le_bytes(*frame), false, time(), sink);
                }
            }
            // The unlock function says what sort of lock it is.
            kind::PARK => self.note(u64_at(record, HEADER + 8), true, time(), sink),
            _ => {}
        }
    }

    fn note(&mut self, pc: u64, exact: bool, time_ns: u64, sink: &mut dyn FnMut(&[u8])) {
        if pc == 0 || self.known.contains(&(pc, exact)) {
            return;
        }
        if self.known.len() >= MAX_PCS {
            if !self.full {
                self.full = true;
                let text = format!("more than {MAX_PCS} program counters were met: later ones are not named");
                let note = Note { code: "symbols-full".to_owned(), text };
                let mut out = Vec::new();
                Event::Note(header(kind::NOTE, time_ns), note).encode(&mut out);
                sink(&out);
            }
            return;
        }
        self.known.insert((pc, exact));
        self.waiting.push_back((pc, exact, time_ns));
    }

    /// Describes what was noted, for so long at most, or one more; `None`: all.
    pub fn describe(&mut self, budget: Option<Duration>, sink: &mut dyn FnMut(&[u8])) {
        if self.waiting.is_empty() {
            return;
        }
        let begun = Instant::now();
        let mut out = Vec::with_capacity(256);
        while let Some((pc, exact, time_ns)) = self.waiting.pop_front() {
            let symbol = self.symbolizer.symbol(pc, exact);
            out.clear();
            Event::Symbol(header(kind::SYMBOL, time_ns), Box::new(symbol)).encode(&mut out);
            sink(&out);
            if budget.is_some_and(|budget| begun.elapsed() >= budget) {
                break;
            }
        }
    }
}

/// The time in a record's header, nanoseconds.
pub fn time_of(record: &[u8]) -> u64 {
    u64_at(record, 0)
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    record.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
}
