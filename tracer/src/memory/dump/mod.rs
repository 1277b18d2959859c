//! Every goroutine with its whole stack, read from outside while the process runs on.
//!
//! What makes a stack that was read of a running process believable (go-runtime: `runtime/proc.go` casgstatus,
//! `runtime/stack.go` copystack, shrinkstack; Go 1.19 to 1.27):
//! - A parked goroutine's stack is written by itself alone, once it runs again, and by the collector when it shrinks it.
//!   Either changes its g: `trackingSeq` counts how often it has left a processor (modulo 256), and a shrunk stack lies
//!   elsewhere. So all bytes of the g are read before and after the stack, and must be the same.
//! - 256 rounds take a goroutine longer than [`SHORT`]. Where the reads took longer, the stack is copied once more, and
//!   must be the same too; not so where a collection has noted that the goroutine waits, which goes when it runs. Coroutine switches and system calls do not count rounds: their stacks are copied twice more.
//! - The walk must come to the frame that ends a stack, through functions of the program only; where a frame pointer
//!   contradicts it, the stack is copied once more.
//!
//! A goroutine that is never twice the same is read again, by itself, which takes a microsecond or two; after
//! [`TRIES`] it is told as moving.

pub mod again;
mod elsewhere;
pub mod holders;
pub mod labels;
pub mod network;
pub mod objects;
pub mod semaphores;
mod stack;
pub mod standing;
pub mod suspects;
pub mod waits;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::allgs::{self, AllGs};
use super::g::{self, G};
use super::walk::{self, Code, Walked};
use super::{Area, MemoryError, ReadMemory};
use crate::dump::{Broken, Counts, Goroutine, Object, Side, Since, Stack, Status, Trace, Wait, tell_since};
use crate::event::status;
use crate::gobin::Layout;
use network::Descriptors;
use stack::{Window, start, word};
use standing::Standing;
use waits::{Found, Reason, Waits};

/// Goroutines read together: few enough that the reads before and after are close, enough to share the system calls.
const BATCH: usize = 64;
/// A stack that is longer is read by itself, as the walk comes there: this much, then larger pieces.
const FIRST: u64 = 4 << 10;
/// A goroutine cannot leave a processor 256 times in that.
const SHORT: Duration = Duration::from_micros(20);
/// How often one that does not hold still is read.
const TRIES: u32 = 12;

/// A process to be read.
pub struct Source<'a> {
    pub memory: &'a dyn ReadMemory,
    pub layout: &'a Layout,
    /// Runtime address of the slice header `runtime.allgs`.
    pub allgs: u64,
    /// `CLOCK_MONOTONIC` as the process sees it, nanoseconds; absent where it is not known (a core file).
    pub now: Option<u64>,
    /// A new g is runnable for a moment while it still has its last owner's goid (before Go 1.24).
    pub goid_is_late: bool,
    /// Which form `g.labels` has.
    pub labels: labels::Form,
    /// What each wait reason is about, by its number.
    pub reasons: &'a [Reason],
    /// Runtime address of `runtime.semtable`; only asked where goroutines do not tell their semaphore themselves.
    pub semtable: Option<u64>,
    /// Tells what the process's descriptors are connected to; nothing to ask in a core file.
    pub descriptors: Option<&'a dyn Descriptors>,
    /// Nothing in this memory changes (a core file).
    pub standing: Option<Standing<'a>>,
    /// A start function is the runtime's own.
    pub is_system: &'a dyn Fn(u64) -> bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// In order of goid.
    pub goroutines: Vec<Goroutine>,
    pub stacks: Vec<Stack>,
    pub objects: Vec<Object>,
    pub labels: Vec<BTreeMap<String, String>>,
    pub counts: Counts,
    /// Goroutines of which it is not told what they wait on, as too many cases of a `select` were read before.
    pub waits_left_out: u64,
}

/// Reads all goroutines. `Gone` when the process ends meanwhile; `progress` hears how many of how many are done.
pub fn read(
    source: &Source<'_>,
    code: &mut dyn Code,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Read, MemoryError> {
    let addrs = addresses(source)?;
    read_these(source, code, &addrs, progress)
}

/// Reads those of these g's that are goroutines' at the moment.
pub fn read_these(
    source: &Source<'_>,
    code: &mut dyn Code,
    addrs: &[u64],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Read, MemoryError> {
    let mut reader = Reader::new(source, code, Tables::default());
    reader.read.counts.entries = addrs.len() as u64;
    reader.all(addrs, progress)?;
    let mut read = reader.read;
    read.waits_left_out = reader.waits.left_out;
    read.goroutines.sort_unstable_by_key(|g| g.goid);
    tell_since(&mut read.goroutines, |g| !is_coroutine(source, g));
    Ok(read)
}

/// It waits to be switched to. That it ran leaves no trace in what the runtime notes of it.
fn is_coroutine(source: &Source<'_>, g: &Goroutine) -> bool {
    g.reason.and_then(|r| source.reasons.get(usize::from(r))) == Some(&Reason::Coroutine)
}

/// The address of each g that the process has.
fn addresses(source: &Source<'_>) -> Result<Vec<u64>, MemoryError> {
    match allgs::addresses(source.memory, source.allgs, &mut Vec::new())? {
        AllGs::Read(addrs) => Ok(addrs),
        AllGs::Moved { .. } => {
            let why = std::io::Error::other("the list of goroutines grew each time it was read");
            Err(MemoryError::Other { addr: source.allgs, len: 24, source: why })
        }
    }
}

/// What goroutines share, each once, and where it is.
#[derive(Default)]
struct Tables {
    stacks: Vec<Stack>,
    known: HashMap<Stack, u32>,
    objects: Vec<Object>,
    objects_at: HashMap<u64, u32>,
    labels: Vec<labels::Labels>,
    labels_known: HashMap<labels::Labels, u32>,
}

struct Reader<'r, 'a> {
    source: &'r Source<'a>,
    code: &'r mut dyn Code,
    /// How many bytes of a g are read.
    size: usize,
    read: Read,
    /// Where each stack is in `read.stacks`.
    known: HashMap<Stack, u32>,
    /// Thread id by address of the `runtime.m`.
    threads: HashMap<u64, Option<u32>>,
    /// Where each object is in `read.objects`, by its address.
    objects: HashMap<u64, u32>,
    /// Where each set of labels is in `read.labels`; and those at an address, as long as nothing can have been put there
    /// since: within a batch.
    labels: HashMap<labels::Labels, u32>,
    labels_at: HashMap<u64, Option<u32>>,
    waits: Waits,
    rooms: Rooms,
    /// Addresses of g's that are counted as unreadable or unsettled.
    lost: Vec<u64>,
}

/// Kept from batch to batch.
#[derive(Default)]
struct Rooms {
    before: Vec<u8>,
    after: Vec<u8>,
    stacks: Vec<u8>,
    again: Vec<u8>,
}

/// What reading one goroutine by itself came to.
enum Once {
    /// The same before and after.
    Held(G, Option<Walked>, Vec<Found>),
    /// Changed meanwhile; who it is may be sure all the same.
    Moved {
        last: G,
        same_goroutine: bool,
    },
    Dead,
    Unreadable,
}

impl<'r, 'a> Reader<'r, 'a> {
    fn new(source: &'r Source<'a>, code: &'r mut dyn Code, tables: Tables) -> Self {
        let Tables { stacks, known, objects, objects_at, labels, labels_known } = tables;
        Self {
            source,
            code,
            size: g::window(source.layout),
            read: Read { stacks, objects, labels, ..Read::default() },
            known,
            threads: HashMap::default(),
            objects: objects_at,
            labels: labels_known,
            labels_at: HashMap::default(),
            waits: Waits::new(source.now),
            rooms: Rooms::default(),
            lost: Vec::new(),
        }
    }

    /// Reads the goroutines of these g's, with what they wait on.
    fn all(&mut self, addrs: &[u64], progress: &mut dyn FnMut(usize, usize)) -> Result<(), MemoryError> {
        for (i, batch) in addrs.chunks(BATCH).enumerate() {
            progress(i * BATCH, addrs.len());
            self.batch(batch)?;
        }
        if self.source.goid_is_late {
            self.settle_the_new()?;
        }
        if !self.source.layout.semaphores_in_waiting {
            self.find_semaphores()?;
        }
        self.find_descriptors()?;
        progress(addrs.len(), addrs.len());
        Ok(())
    }

    fn batch(&mut self, addrs: &[u64]) -> Result<(), MemoryError> {
        let (memory, size) = (self.source.memory, self.size);
        let mut rooms = std::mem::take(&mut self.rooms);
        let n = addrs.len();
        rooms.before.resize(n * size, 0);
        rooms.after.resize(n * size, 0);
        let begun = Instant::now();
        let mut ok = vec![false; n];
        memory.read_each(addrs, size, &mut rooms.before, &mut ok)?;
        let gs: Vec<Option<G>> = (0..n)
            .map(|i| ok[i].then(|| G::parse(addrs[i], &rooms.before[i * size..][..size], self.source.layout)))
            .collect();
        let areas: Vec<Area> = gs
            .iter()
            .map(|g| match g.and_then(|g| start(&g)).filter(|s| s.hi - s.sp <= FIRST) {
                Some(s) => Area { addr: s.sp, len: (s.hi - s.sp) as usize },
                None => Area::NOTHING,
            })
            .collect();
        let bytes = areas.iter().map(|a| a.len).sum();
        rooms.stacks.resize(bytes, 0);
        let mut stack_ok = vec![false; n];
        memory.read_areas(&areas, &mut rooms.stacks, &mut stack_ok)?;
        self.waits.forget();
        self.labels_at.clear();
        self.waits.fetch(memory, self.source.layout, gs.iter().flatten().copied())?;
        let mut found = Vec::with_capacity(n);
        for g in &gs {
            found.push(match g {
                Some(g) if Status::of(g.raw_status).is_alive() => self.found(g)?,
                _ => None,
            });
        }
        let mut after_ok = vec![false; n];
        memory.read_each(addrs, size, &mut rooms.after, &mut after_ok)?;
        // Those are copied once more that may have run so often that it does not show.
        let mut twice = vec![Area::NOTHING; n];
        if begun.elapsed() > SHORT {
            for ((twice, area), g) in twice.iter_mut().zip(&areas).zip(&gs) {
                if !g.is_some_and(|g| self.would_show(&g)) {
                    *twice = *area;
                }
            }
            rooms.again.resize(twice.iter().map(|a| a.len).sum(), 0);
            let mut again_ok = vec![false; n];
            memory.read_areas(&twice, &mut rooms.again, &mut again_ok)?;
            let asked = twice.iter().map(|a| a.len > 0);
            stack_ok
                .iter_mut()
                .zip(asked.zip(again_ok))
                .for_each(|(ok, (asked, again))| *ok &= !asked || again);
        }

        let (mut rest, mut rest_again) = (0..0, 0..0);
        for i in 0..n {
            rest = rest.end..rest.end + areas[i].len;
            rest_again = rest_again.end..rest_again.end + twice[i].len;
            let Some(g) = gs[i] else {
                self.read.counts.unreadable += 1;
                self.lost.push(addrs[i]);
                continue;
            };
            if !Status::of(g.raw_status).is_alive() || g.goid == 0 {
                self.read.counts.dead += 1;
                continue;
            }
            let own = i * size..(i + 1) * size;
            let held = after_ok[i] && rooms.before[own.clone()] == rooms.after[own];
            let stack = &rooms.stacks[rest.clone()];
            let sure = twice[i].len == 0 || stack == &rooms.again[rest_again.clone()];
            // What fits into one read, and needs no further proof; the others are read by themselves.
            let plain = g.status() != status::SYSCALL && !self.is_coroutine(&g);
            match (start(&g), found[i].take()) {
                (Some(s), Some(found)) if held && sure && plain && stack_ok[i] && s.hi - s.sp <= FIRST => {
                    let walked = walk::walk(self.code, s, &mut |at| word(stack, at.checked_sub(s.sp)?));
                    if walked.doubted {
                        self.alone(addrs[i])?;
                    } else {
                        self.add(g, Some(walked), found)?;
                        if let Some(g) = self.read.goroutines.last_mut().filter(|g| g.trace.stack().is_some())
                        {
                            g.on_stack = Some(holders::on_stack(stack, s.lo..s.hi));
                        }
                    }
                }
                (None, _) if held && g.status() == status::RUNNING && self.source.standing.is_none() => {
                    self.add(g, None, Vec::new())?;
                }
                _ => self.alone(addrs[i])?,
            }
        }
        self.rooms = rooms;
        Ok(())
    }

    fn reason(&self, g: &G) -> Reason {
        self.source.reasons.get(usize::from(g.reason)).copied().unwrap_or(Reason::Other)
    }

    /// If it had run, its g would be another, however often it did: `waitsince`, which a collection has written, would be 0
    /// ([`again`] says why).
    fn would_show(&self, g: &G) -> bool {
        matches!(g.status(), status::WAITING | status::LEAKED)
            && g.waitsince != 0
            && !matches!(self.reason(g), Reason::Coroutine | Reason::Other)
    }

    fn is_coroutine(&self, g: &G) -> bool {
        g.status() == status::WAITING && self.reason(g) == Reason::Coroutine
    }

    /// What it waits on; nothing where that is in the making.
    fn found(&mut self, g: &G) -> Result<Option<Vec<Found>>, MemoryError> {
        let reason = self.reason(g);
        self.waits.of(self.source.memory, self.source.layout, g, reason)
    }

    /// Reads one goroutine until it holds still.
    fn alone(&mut self, addr: u64) -> Result<(), MemoryError> {
        let mut who: Option<G> = None;
        for attempt in 0..TRIES {
            self.read.counts.retries += u64::from(attempt > 0);
            match self.once(addr)? {
                Once::Held(g, walked, found) => return self.add(g, walked, found),
                Once::Dead => {
                    self.read.counts.dead += 1;
                    return Ok(());
                }
                Once::Unreadable => {
                    self.read.counts.unreadable += 1;
                    self.lost.push(addr);
                    return Ok(());
                }
                Once::Moved { last, same_goroutine } => who = same_goroutine.then_some(last),
            }
        }
        match who {
            Some(g) => self.push(g, Trace::Moving, Vec::new())?,
            None => {
                self.read.counts.unsettled += 1;
                self.lost.push(addr);
            }
        }
        Ok(())
    }

    /// Reads those again that were about to run for the first time: their goids may be their last owners'.
    fn settle_the_new(&mut self) -> Result<(), MemoryError> {
        let stacks = &self.read.stacks;
        let new = |g: &Goroutine| {
            let stack = g.trace.stack().map(|stack| &stacks[stack as usize].pcs);
            g.status == Status::Runnable && stack.and_then(|pcs| pcs.first()).is_some_and(|pc| pc.exact)
        };
        let addrs: Vec<u64> = self.read.goroutines.iter().filter(|g| new(g)).map(|g| g.g).collect();
        if addrs.is_empty() {
            return Ok(());
        }
        // A thread that was descheduled between the two stores runs again within that.
        std::thread::sleep(Duration::from_millis(2));
        let again: HashSet<u64> = addrs.iter().copied().collect();
        self.read.goroutines.retain(|g| !again.contains(&g.g));
        addrs.into_iter().try_for_each(|addr| self.alone(addr))
    }

    fn once(&mut self, addr: u64) -> Result<Once, MemoryError> {
        let Some((before, g)) = self.one(addr)? else { return Ok(Once::Unreadable) };
        if !Status::of(g.raw_status).is_alive() || g.goid == 0 {
            return Ok(Once::Dead);
        }
        if let Some(standing) = &self.source.standing {
            let walked = standing.walk(self.source, self.code, &g);
            self.waits.forget();
            return Ok(Once::Held(g, Some(walked), self.found(&g)?.unwrap_or_default()));
        }
        let begun = Instant::now();
        let mut walked = None;
        let mut sure = true;
        if let Some(start) = start(&g) {
            let mut first = Window::new(self.source.memory, start);
            walked = Some(walk::walk(self.code, start, &mut |at| first.word(at)));
            let copies = match g.status() {
                status::SYSCALL => 2,
                _ if self.is_coroutine(&g) => 2,
                _ => usize::from(begun.elapsed() > SHORT || walked.as_ref().is_some_and(|w| w.doubted)),
            };
            for _ in 0..copies {
                let mut again = Window::new(self.source.memory, start);
                sure &= walked == Some(walk::walk(self.code, start, &mut |at| again.word(at)));
            }
        }
        self.waits.forget();
        let found = self.found(&g)?;
        let Some((after, last)) = self.one(addr)? else { return Ok(Once::Unreadable) };
        if let Some(found) = found
            && sure
            && before == after
            && g.status() != status::COPYSTACK
        {
            return Ok(Once::Held(g, walked, found));
        }
        let same = |a: &G, b: &G| (a.goid, a.gopc, a.startpc) == (b.goid, b.gopc, b.startpc);
        Ok(Once::Moved { last, same_goroutine: same(&g, &last) && Status::of(last.raw_status).is_alive() })
    }

    /// A g's bytes and what they say.
    fn one(&self, addr: u64) -> Result<Option<(Vec<u8>, G)>, MemoryError> {
        let mut bytes = vec![0; self.size];
        match self.source.memory.read(addr, &mut bytes) {
            Ok(()) => {
                let g = G::parse(addr, &bytes, self.source.layout);
                Ok(Some((bytes, g)))
            }
            Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => Err(e),
            Err(_) => Ok(None),
        }
    }

    fn add(&mut self, g: G, walked: Option<Walked>, found: Vec<Found>) -> Result<(), MemoryError> {
        let trace = match walked {
            None if g.status() == status::RUNNING => Trace::Running,
            None => Trace::None { because: Broken::OutOfBounds },
            Some(Walked { stack, broken: Some(because), .. }) if stack.pcs.is_empty() => {
                Trace::None { because }
            }
            Some(Walked { stack, broken, doubted }) => {
                self.read.counts.doubted += u64::from(doubted);
                let stack = self.stack(stack);
                broken.map_or(Trace::Whole(stack), |because| Trace::Partial { stack, because })
            }
        };
        let waits_on = found.into_iter().map(|found| self.object(found)).collect();
        self.push(g, trace, waits_on)
    }

    /// Enters what somebody waits on.
    fn object(&mut self, found: Found) -> Wait {
        let objects = &mut self.read.objects;
        let at = *self.objects.entry(found.addr).or_insert_with(|| {
            objects.push(Object::new(found.addr, found.kind.clone()));
            objects.len() as u32 - 1
        });
        let object = &mut objects[at as usize];
        // Its state as it was read last.
        object.kind = found.kind;
        match found.side {
            Side::Send => object.senders += 1,
            Side::Receive | Side::Wait | Side::Unknown => object.receivers += 1,
        }
        Wait { object: at, side: found.side }
    }

    fn stack(&mut self, stack: Stack) -> u32 {
        if let Some(known) = self.known.get(&stack) {
            return *known;
        }
        let at = self.read.stacks.len() as u32;
        self.read.stacks.push(stack.clone());
        self.known.insert(stack, at);
        at
    }

    fn push(&mut self, g: G, trace: Trace, waits_on: Vec<Wait>) -> Result<(), MemoryError> {
        let status = Status::of(g.raw_status);
        let on_thread = matches!(status, Status::Running | Status::Syscall);
        let m = if on_thread { g.m } else { g.lockedm };
        let thread = self.thread(m)?;
        let waits = matches!(status, Status::Waiting | Status::Leaked);
        let now = self.source.now.or(self.source.standing.as_ref().and_then(|s| s.now_at_least));
        let noted = (waits || status == Status::Syscall) && g.waitsince != 0;
        let runtime_since = now.filter(|_| noted).and_then(|now| now.checked_sub(g.waitsince));
        let labels = self.labels(&g)?;
        self.read.goroutines.push(Goroutine {
            goid: g.goid,
            g: g.addr,
            parent: g.parent.filter(|parent| *parent != 0),
            status,
            reason: waits.then_some(g.reason),
            since: Since::Unknown,
            runtime_since,
            gopc: g.gopc,
            start_pc: g.startpc,
            trace,
            thread,
            locked: g.lockedm != 0,
            labels,
            system: (self.source.is_system)(g.startpc),
            waits_on,
            wait_mark: waits.then(|| g.wait_mark()),
            on_stack: None,
        });
        Ok(())
    }

    /// Its labels. They stay what they are as long as it has them, which is asked once more after they were read.
    fn labels(&mut self, g: &G) -> Result<Option<u32>, MemoryError> {
        if g.labels == 0 {
            return Ok(None);
        }
        if let Some(known) = self.labels_at.get(&g.labels) {
            return Ok(*known);
        }
        let memory = self.source.memory;
        let labels = labels::read(memory, self.source.labels, g.labels)?.filter(|l| !l.is_empty());
        if self.one(g.addr)?.is_none_or(|(_, now)| (now.goid, now.labels) != (g.goid, g.labels)) {
            return Ok(None);
        }
        let at = labels.map(|labels| {
            *self.labels.entry(labels).or_insert_with_key(|labels| {
                self.read.labels.push(labels.clone());
                self.read.labels.len() as u32 - 1
            })
        });
        self.labels_at.insert(g.labels, at);
        Ok(at)
    }

    /// The thread id of the `runtime.m` at `m`, as the process itself sees it.
    fn thread(&mut self, m: u64) -> Result<Option<u32>, MemoryError> {
        if m == 0 {
            return Ok(None);
        }
        if let Some(known) = self.threads.get(&m) {
            return Ok(*known);
        }
        let id = match self.source.memory.read_u64(m.wrapping_add(self.source.layout.m_procid.into())) {
            Ok(id) => u32::try_from(id).ok().filter(|id| *id != 0),
            Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => return Err(e),
            Err(_) => None,
        };
        self.threads.insert(m, id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
