//! The self-check: does the table of runtime layouts fit this very process? Asked of its memory before any probe.
//!
//! A wrong offset would not crash anything: it would make gostray tell stories. So relations that the runtime keeps
//! ([`Invariant`]) are read from a sample of at most 256 goroutines, those that the runtime itself started among
//! them. A relation that fails refuses the table, by field and goroutine.
//!
//! The process runs on while it is read. A goroutine counts only when all bytes of its g are the same before and
//! after it was judged; `g.trackingSeq` in their midst counts its transitions, so that one that ran and came back to
//! the same place is not taken for one that stood still. The sudog of one that waits is its own meanwhile; the channel and
//! the queue that it stands in are others' too, so a fault of theirs counts only where a second look shows the same words.
//! A fault must stay: it is looked for again, in rounds further and
//! further apart, and refuses only where it shows in most of the goroutines, for a thread may have been descheduled in
//! the middle of a change.
//!
//! **Covered**, 8 bytes off in either direction are noticed: `g.atomicstatus`, `goid`, `stack.lo`, `stack.hi`, `sched.sp`,
//! `sched.pc`, `sched.bp`, `startpc`, `gopc`, `parentGoid`, `waitreason`, `m`. While a goroutine runs or is in a system
//! call: `m.g0`, `m.curg`, `m.procid`, `g.syscallsp`, `g.syscallpc` (else [`Proof::unproven`] names them). While one
//! waits for a channel: `g.waiting`, `sudog.g`, `sudog.c`, `sudog.next`, `sudog.prev`, `hchan.qcount`, `dataqsiz`, `buf`, `elemsize`,
//! `elemtype`, first and last of the queues.
//!
//! **Not covered**, because nothing of a process at rest shows them: `g.coroexit`, `g.coroarg`, `m.waitlock` and `m.waitunlockf`
//! (set for a moment only); `g.waitsince` that is 0 everywhere (it is until the collector has run); `g.syscallbp`, `labels`,
//! `lockedm`, `parkingOnChan`, `hchan.closed` and `hchan.timer` (0 in most), `g.timer`, `sleepWhen`, `bubble`,
//! `timer.when`, `nextwhen`, `sudog.elem`, `ticket`, `isSelect`, `success`,
//! `parent`, `waitlink`, `waittail`; and from Go 1.26 on whether `sudog.c` is the word `vu` or the one before it,
//! which hold the same.

mod goroutine;
mod invariant;
pub mod surroundings;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use thiserror::Error;

use super::g::{self, G};
use super::{MemoryError, ReadMemory};
use crate::gobin::Layout;
pub use invariant::Invariant;

/// Goroutines that are looked at in one round.
const SAMPLE: u64 = 256;
/// Of them, the first of `allgs`: main and those that the runtime starts are there for good.
const FIRST: u64 = 16;
/// As in a look: more would need 27 GB in Go.
const MAX_GOROUTINES: u64 = 100_000_000;
/// Tries to find a goroutine at rest.
const TRIES: usize = 4;
/// What is waited before each round. A thread that was descheduled in the middle of a change runs again within that.
const ROUNDS: [u64; 9] = [0, 100, 300, 1_000, 3_000, 10_000, 20_000, 50_000, 100_000];
/// What may not be seen at once (a running goroutine) is looked for in so many rounds.
const ENOUGH_ROUNDS: usize = 3;
/// A fault that shows in fewer rounds, and never where the relation holds, is no fault of the table.
const FAULTY_ROUNDS: usize = 4;
/// With so many goroutines `runtime.main` has started the runtime's own; every process comes to that.
pub const STARTED: u64 = 4;

/// What is known of the process besides its memory.
pub trait Surroundings {
    /// Entry (in memory) and name of the Go function of the executable that holds `pc`.
    fn function(&self, pc: u64) -> Option<(u64, &str)>;
    /// Name of the function that the compiler's own one with this entry (in memory) calls.
    fn wrapped(&self, entry: u64) -> Option<String>;
    /// The instruction before `pc` is a direct call.
    fn is_behind_a_call(&self, pc: u64) -> bool;
    /// Executable memory of another file: a plugin's Go code is there.
    fn is_foreign_code(&self, pc: u64) -> bool;
    /// A thread of the process has this id, as the process itself sees it; nothing where that cannot be told.
    fn is_thread(&self, id: u64) -> Option<bool>;
    /// The program's own names of wait reasons, if they could be read.
    fn wait_reasons(&self) -> Option<&[String]>;
    /// From the process's start to now, `CLOCK_MONOTONIC` nanoseconds.
    fn lifetime_ns(&self) -> (u64, u64);
    /// Lets time pass.
    fn pause(&self, time: Duration);
    /// How many goroutines may stand in the midst of a change for good: in a core one for each thread, in a process that runs
    /// none.
    fn amid(&self) -> u64 {
        0
    }
}

/// The table fits, as far as could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Entries of `allgs`, the dead among them.
    pub goroutines: u64,
    /// Goroutines that were at rest and judged.
    pub judged: u64,
    pub held: Vec<Invariant>,
    /// Nothing in the process showed whether they hold.
    pub unproven: Vec<Invariant>,
}

/// How the check came out, if not with a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fits(Proof),
    /// Nothing speaks against the table, and not enough for it: the program is on its way to `runtime.main`, or the table
    /// leads to where nothing is. Only time tells which; this is what it is to be refused for, should it stay so.
    TooEarly(Misfit),
}

/// What did not fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    #[error("`runtime.allgs` is no list of goroutines: {what}")]
    List { what: String },
    #[error("`runtime.allgs` at {at:#x} lists {len} goroutines, and every Go program comes to {STARTED}")]
    Few { at: u64, len: u64 },
    #[error(
        "`{}` of goroutine {goid} (at {addr:#x}) is {value:#x}, not {}; so in {broken} of {of} goroutines",
        .invariant.fields(),
        .invariant.says()
    )]
    Broken { invariant: Invariant, goid: u64, addr: u64, value: u64, broken: u64, of: u64 },
    #[error("none of {of} goroutines shows `{}` to be {}", .invariant.fields(), .invariant.says())]
    NoEvidence { invariant: Invariant, of: u64 },
}

#[derive(Debug, Error)]
pub enum CheckError {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// What one goroutine told of the invariants.
pub struct Told<'t> {
    to: &'t mut Vec<(Invariant, u64, bool)>,
}

impl Told<'_> {
    /// `value` was found where the invariant speaks of; nothing when it says neither yes nor no.
    fn of(&mut self, invariant: Invariant, value: u64, holds: Option<bool>) {
        self.to.extend(holds.map(|holds| (invariant, value, holds)));
    }
}

/// What all rounds together know of one invariant.
#[derive(Clone, Default)]
struct Record {
    /// In some round it held, but for a few.
    fine: bool,
    faulty_rounds: usize,
    worst: Option<Misfit>,
}

/// Goroutines of which all held, by address: their bytes, and what they told. As long as they are the same they tell it again;
/// a fault is looked for anew each time.
type Sound = HashMap<u64, (Vec<u8>, Vec<(Invariant, u64, bool)>)>;

/// One round's count.
#[derive(Clone, Default)]
struct Tally {
    held: u64,
    broken: u64,
    first: Option<(u64, u64, u64)>,
}

/// Checks the layout against the process. `allgs` is the runtime address of the slice header. Takes a millisecond or two
/// where it fits or is too early, up to 0.2 s before it refuses.
pub fn check(
    memory: &dyn ReadMemory,
    layout: &Layout,
    allgs: u64,
    around: &dyn Surroundings,
) -> Result<Outcome, CheckError> {
    let mut records = vec![Record::default(); Invariant::ALL.len()];
    let mut list = None;
    let (mut goroutines, mut judged) = (0, 0);
    let mut sound = Sound::new();
    for (round, wait) in ROUNDS.into_iter().enumerate() {
        around.pause(Duration::from_micros(wait));
        let sample = match sample(memory, allgs)? {
            Ok(sample) => sample,
            Err(misfit) => {
                list = Some(misfit);
                continue;
            }
        };
        list = None;
        goroutines = sample.len;
        if goroutines < STARTED {
            return Ok(Outcome::TooEarly(Misfit::Few { at: allgs, len: goroutines }));
        }
        let gs = judge_all(memory, layout, &sample.addrs, around, &mut sound, &mut records)?;
        judged = judged.max(gs);
        let settled = |i: &Invariant| {
            let r = &records[i.index()];
            r.fine || (!needed(*i, layout) && r.faulty_rounds == 0 && round + 1 >= ENOUGH_ROUNDS)
        };
        let missing = |i: &Invariant| records[i.index()].faulty_rounds == 0;
        let only_evidence_lacks = Invariant::ALL.iter().all(|i| settled(i) || missing(i));
        if only_evidence_lacks && round + 1 >= ENOUGH_ROUNDS || Invariant::ALL.iter().all(settled) {
            break;
        }
    }
    if let Some(misfit) = list {
        return Err(misfit.into());
    }
    verdict(&records, layout, goroutines, judged)
}

fn needed(i: Invariant, layout: &Layout) -> bool {
    let absent = i == Invariant::Parent && layout.kernel.g_parent_goid == tracer_common::config::ABSENT;
    i.is_always_seen() && !absent
}

fn verdict(records: &[Record], layout: &Layout, len: u64, judged: u64) -> Result<Outcome, CheckError> {
    let of = |i: &Invariant| &records[i.index()];
    let faulty = |i: &&Invariant| !of(i).fine && of(i).faulty_rounds >= FAULTY_ROUNDS;
    if let Some(misfit) = Invariant::ALL.iter().find(faulty).and_then(|i| of(i).worst.clone()) {
        return Err(misfit.into());
    }
    if let Some(&invariant) = Invariant::ALL.iter().find(|i| needed(**i, layout) && !of(i).fine) {
        return Ok(Outcome::TooEarly(Misfit::NoEvidence { invariant, of: judged }));
    }
    let (held, unproven) = Invariant::ALL.iter().partition(|i| of(i).fine);
    Ok(Outcome::Fits(Proof { goroutines: len, judged, held, unproven }))
}

struct Sample {
    len: u64,
    addrs: Vec<u64>,
}

/// Some entries of `allgs`: the first ones, the last ones, and others at even distances.
fn sample(memory: &dyn ReadMemory, allgs: u64) -> Result<Result<Sample, Misfit>, MemoryError> {
    let no = |what: String| Ok(Err(Misfit::List { what }));
    // Length first, then the array, then the capacity: see `goroutines`.
    let header = (memory.read_u64(allgs + 8), memory.read_u64(allgs), memory.read_u64(allgs + 16));
    let (Ok(len), Ok(array), Ok(cap)) = header else {
        return match header.0.and(header.1).and(header.2) {
            Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => Err(e),
            _ => no(format!("nothing can be read at {allgs:#x}")),
        };
    };
    if len > cap || len > MAX_GOROUTINES || !array.is_multiple_of(8) {
        return no(format!("length {len}, capacity {cap}, array at {array:#x}"));
    }
    let rest = len.saturating_sub(FIRST);
    let spread = SAMPLE - FIRST;
    let picked: Vec<u64> = if rest <= spread {
        (0..len).collect()
    } else {
        // The last one included.
        (0..FIRST).chain((0..spread).map(|i| FIRST + (rest - 1) * i / (spread - 1))).collect()
    };
    let at: Vec<u64> = picked.iter().map(|i| array.wrapping_add(i * 8)).collect();
    let mut words = vec![0; at.len() * 8];
    let mut ok = vec![false; at.len()];
    memory.read_each(&at, 8, &mut words, &mut ok)?;
    if ok.contains(&false) {
        return no(format!("its array at {array:#x} cannot be read"));
    }
    let addrs: Vec<u64> = words.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let mut distinct = HashSet::new();
    match addrs.iter().find(|a| **a == 0 || !a.is_multiple_of(8) || !distinct.insert(**a)) {
        Some(bad) => no(format!("an entry is {bad:#x}")),
        None => Ok(Ok(Sample { len, addrs })),
    }
}

/// One round. Returns how many goroutines were at rest.
fn judge_all(
    memory: &dyn ReadMemory,
    layout: &Layout,
    addrs: &[u64],
    around: &dyn Surroundings,
    sound: &mut Sound,
    records: &mut [Record],
) -> Result<u64, CheckError> {
    let size = g::window(layout);
    let mut room = vec![0; addrs.len() * size];
    let mut ok = vec![false; addrs.len()];
    memory.read_each(addrs, size, &mut room, &mut ok)?;
    let mut tallies = vec![Tally::default(); Invariant::ALL.len()];
    let mut judged = 0;
    let mut goids = HashSet::new();
    let mut told = Vec::new();
    for ((addr, bytes), _) in addrs.iter().zip(room.chunks_exact_mut(size)).zip(ok).filter(|(_, ok)| *ok) {
        let g = match sound.get(addr) {
            Some((was, what)) if was == bytes => {
                told.clone_from(what);
                Some(G::parse(*addr, bytes, layout))
            }
            _ => {
                let g = at_rest(memory, layout, *addr, bytes, around, &mut told)?;
                sound.remove(addr);
                if g.is_some() && told.iter().all(|(.., holds)| *holds) {
                    sound.insert(*addr, (bytes.to_vec(), told.clone()));
                }
                g
            }
        };
        let Some(g) = g else { continue };
        judged += 1;
        if g.alive(layout) {
            let alone = goids.insert(g.goid);
            let plausible = g.goid != 0 && g.goid < goroutine::MAX_GOID;
            told.push((Invariant::Goid, g.goid, alone && plausible));
        }
        for &(invariant, value, holds) in &told {
            let t = &mut tallies[invariant.index()];
            if holds {
                t.held += 1;
            } else {
                t.broken += 1;
                t.first.get_or_insert((g.goid, g.addr, value));
            }
        }
    }
    for (invariant, t) in Invariant::ALL.iter().map(|i| (*i, &tallies[i.index()])) {
        let record = &mut records[invariant.index()];
        let few = if invariant.has_exceptions() { t.held / 4 } else { 0 };
        let amid = around.amid();
        record.fine |= t.held > 0 && t.broken <= few.max(amid.min(t.held));
        if let Some((goid, addr, value)) = t.first.filter(|_| t.broken > amid) {
            record.faulty_rounds += 1;
            let of = t.held + t.broken;
            record.worst = Some(Misfit::Broken { invariant, goid, addr, value, broken: t.broken, of });
        }
    }
    Ok(judged)
}

/// Judges one g whose bytes were just read; `told` is what it said. Nothing when it never stood still.
fn at_rest(
    memory: &dyn ReadMemory,
    layout: &Layout,
    addr: u64,
    bytes: &mut [u8],
    around: &dyn Surroundings,
    told: &mut Vec<(Invariant, u64, bool)>,
) -> Result<Option<G>, CheckError> {
    let mut again = vec![0; bytes.len()];
    for _ in 0..TRIES {
        let g = G::parse(addr, bytes, layout);
        told.clear();
        goroutine::judge(&g, layout, memory, around, &mut Told { to: told })?;
        match memory.read(addr, &mut again) {
            Ok(()) if again == bytes => return Ok(Some(g)),
            Ok(()) => bytes.copy_from_slice(&again),
            Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => return Err(e.into()),
            Err(_) => return Ok(None),
        }
    }
    told.clear();
    Ok(None)
}
