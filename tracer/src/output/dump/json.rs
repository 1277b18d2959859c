//! A dump as one JSON document, `gostray.dump/1`, written as it goes and read back with checks. Every field is described in
//! `docs/json.md`; a test holds the two together.
//!
//! As in the model, stacks, objects, labels and places stand there once, and goroutines refer to them by index.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use crate::dump::{Dump, Pc};

mod restore;
mod wire;

use wire::{Document, Each, Schema};

/// Adding a field does not raise it; removing or changing one does.
pub const SCHEMA: &str = "gostray.dump/1";
/// A longer document is refused: a million goroutines take about 300 MB.
const MAX_BYTES: u64 = 8 << 30;
const PIECE: usize = 64 << 10;

/// Which of the goroutines are in a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// As they were given; all hold of each goroutine.
    pub filters: Vec<String>,
    /// How many goroutines there were before.
    pub of: u64,
}

/// Why a text cannot be read as a dump.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error("it contradicts itself: {0}")]
    Damaged(String),
    /// No JSON, of another schema, or without a field.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The whole dump on one line, with its newline. The same dump always gives the same bytes.
pub fn write(dump: &Dump, selection: Option<&Selection>, out: &mut dyn Write) -> io::Result<()> {
    let pcs = Numbered::of(dump);
    let document = Document {
        schema: Schema,
        about: wire::about(&dump.about),
        selection: selection.cloned(),
        counts: dump.counts.into(),
        notes: dump.notes.iter().map(wire::note).collect(),
        wait_reasons: &dump.wait_reasons,
        places: Each(|| pcs.pcs.iter().map(|pc| wire::place(*pc, dump.places.at(*pc)))),
        stacks: Each(|| dump.stacks.iter().map(|s| wire::stack(s, &pcs))),
        objects: Each(|| dump.objects.iter().map(wire::object)),
        labels: &dump.labels,
        goroutines: Each(|| dump.goroutines.iter().map(|g| wire::goroutine(g, &pcs))),
        cycles: dump.cycles.iter().map(wire::cycle).collect(),
    };
    // It is written a few bytes at a time, whatever `out` is.
    let mut out = BufWriter::with_capacity(PIECE, out);
    serde_json::to_writer(&mut out, &document)?;
    out.write_all(b"\n")?;
    out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error)
}

/// Reads what [`write`] has written: one document, nothing behind it.
pub fn read(from: impl Read) -> Result<(Dump, Option<Selection>), ReadError> {
    read_at_most(from, MAX_BYTES)
}

fn read_at_most(from: impl Read, bytes: u64) -> Result<(Dump, Option<Selection>), ReadError> {
    // One byte more than allowed tells too long from long.
    let mut from = BufReader::new(from.take(bytes + 1));
    let document = serde_json::from_reader::<_, wire::Read>(&mut from);
    if from.get_ref().limit() == 0 {
        return Err(ReadError::TooLong(bytes));
    }
    restore::dump(document?).map_err(ReadError::Damaged)
}

/// The program counters of a dump in order, and the index of each.
struct Numbered {
    pcs: Vec<Pc>,
    index: HashMap<Pc, u32>,
}

impl Numbered {
    fn of(dump: &Dump) -> Self {
        let mut all: HashSet<Pc> = dump.places.0.keys().copied().collect();
        for stack in &dump.stacks {
            all.extend(&stack.pcs);
            all.extend(stack.left_out.iter().flat_map(|l| l.at.iter().map(|(pc, _)| *pc)));
        }
        let mut last = (0, 0);
        for g in &dump.goroutines {
            // Neighbours are alike.
            if last != (g.gopc, g.start_pc) {
                last = (g.gopc, g.start_pc);
                all.extend(creation(g.gopc));
                all.extend(start(g.start_pc));
            }
        }
        let mut pcs: Vec<Pc> = all.into_iter().collect();
        pcs.sort_unstable();
        let index = pcs.iter().enumerate().map(|(i, pc)| (*pc, i as u32)).collect();
        Self { pcs, index }
    }

    fn index(&self, pc: Pc) -> Option<u32> {
        self.index.get(&pc).copied()
    }
}

/// The return address of a `go` statement; 0 is none.
fn creation(gopc: u64) -> Option<Pc> {
    (gopc != 0).then_some(Pc { pc: gopc, exact: false })
}

/// The entry of a start function; 0 is none.
fn start(start_pc: u64) -> Option<Pc> {
    (start_pc != 0).then_some(Pc { pc: start_pc, exact: true })
}

#[cfg(test)]
mod tests;
