//! Looks at one process again and again: only goroutines that may have changed since the last look are read anew.
//!
//! What proves that a goroutine has been parked since the last look, without a read of its stack (`runtime/proc.go`
//! execute, `runtime/mgcmark.go` markroot; Go 1.19 to 1.27):
//! - `g.waitsince` is 0 when it is parked. The first collection that finds it so, from the process's second one on, writes the time
//!   at which the collection before ended its marking (`work.tstart`, set by gcMark), which each collection does once for each
//!   goroutine at most. Whoever makes it run again goes through `execute`, which writes 0; so the same time can never come
//!   back. (`trackingSeq` could: after 256 rounds all bytes of a g that works in a loop are what they were, but for this one.)
//! - So where goid, status, wait reason and a `waitsince` that is not 0 are those of the last look, it has waited all the
//!   time between, up to the moment when `waitsince` was read: its calls, what it waits on, its labels and its thread are
//!   what they were. That the collector may have moved its stack changes none of them.
//! - Which reasons: those that only `gopark` gives. Others are also given to goroutines that go on running on the system's
//!   stack (`casGToWaiting`), and a coroutine is resumed without `execute`.
//!
//! All others are read as in a first look: those that no collection has seen waiting yet, too. What the objects are in is
//! asked again for each object, before the g's: a goroutine that is then found to wait on it still has kept it alive.

use std::collections::{HashMap, HashSet};

use super::super::walk::Code;
use super::super::{Area, MemoryError};
use super::labels::Labels;
use super::waits::{self, Reason};
use super::{Read, Reader, Source, Tables, addresses};
use crate::dump::{Counts, Fires, Goroutine, Object, ObjectKind, Side, Stack, Status, Trace, tell_since};
use crate::gobin::Layout;

/// Goroutines and objects read by one call: what the kernel copies for them stays in the processor's cache.
const BATCH: usize = 256;
/// Stacks, objects and labels that nobody has any more are thrown away when the tables are that much longer, and twice as long.
const SPARE: usize = 1024;

/// Looks at one process, and what it has seen.
#[derive(Default)]
pub struct Looker {
    /// In order of `entry`.
    slots: Vec<Slot>,
    tables: Tables,
    /// How long the tables were when they were last tidied.
    tidied: usize,
    counts: Counts,
    waits_left_out: u64,
    /// The number of that wait reason.
    coroutine: Option<u8>,
    /// [`Source::now`] of the last look.
    now: Option<u64>,
}

struct Slot {
    /// Its index in `allgs`, which only grows.
    entry: u32,
    /// `g.waitsince`, if it can prove something: not 0.
    waitsince: Option<u64>,
    /// It was proven to wait still.
    waits_still: bool,
    /// Its g is nobody's now.
    ended: bool,
    goroutine: Goroutine,
}

/// What a look found, all in order of goid. The indices of goroutines are those of [`Looker::stacks`] and its neighbours until the
/// next look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Seen for the first time, or once more after they were lost.
    pub new: Vec<Goroutine>,
    /// Something of them is not what it was: where they stand, what they wait on, since when. The states of what goroutines wait
    /// on are not theirs: [`Looker::objects`] has them.
    pub changed: Vec<Goroutine>,
    /// Goids of those that have ended.
    pub gone: Vec<u64>,
    /// Goids of those that were seen before and could not be read this time ([`Counts::unreadable`], [`Counts::unsettled`]).
    pub lost: Vec<u64>,
    /// Of all that are alive, those that were proven to have waited since the last look and were not read.
    pub waited: u64,
    pub counts: Counts,
}

impl Looker {
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks. The first one reads everything, as does one after an error.
    pub fn look(
        &mut self,
        source: &Source<'_>,
        code: &mut dyn Code,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Changes, MemoryError> {
        let mut before = std::mem::take(self);
        let changes = before.go_on(source, code, progress)?;
        *self = before;
        Ok(changes)
    }

    fn go_on(
        &mut self,
        source: &Source<'_>,
        code: &mut dyn Code,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Changes, MemoryError> {
        self.tidy();
        let coroutine = source.reasons.iter().position(|r| *r == Reason::Coroutine);
        self.coroutine = coroutine.and_then(|r| u8::try_from(r).ok());
        let addrs = addresses(source)?;
        let known = self.read_objects(source)?;
        let (again, dead) = self.sift(source, &addrs, &known)?;
        let waited = self.slots.iter().filter(|s| s.waits_still).count() as u64;
        let mut entries: HashMap<u64, u32> = again.iter().map(|e| (addrs[*e as usize], *e)).collect();
        let mut asked = Vec::new();
        for slot in self.slots.iter_mut().filter(|s| s.waits_still && s.asks(source)) {
            slot.waits_still = false;
            entries.insert(slot.goroutine.g, slot.entry);
            asked.push(Goroutine { waits_on: Vec::new(), ..slot.told(source.now) });
        }
        let mut old: HashMap<u64, Slot> =
            self.slots.extract_if(.., |s| !s.waits_still).map(|s| (s.goroutine.g, s)).collect();
        for wait in old.values().flat_map(|s| &s.goroutine.waits_on) {
            let object = &mut self.tables.objects[wait.object as usize];
            *count(object, wait.side) -= 1;
        }

        let mut reader = Reader::new(source, code, std::mem::take(&mut self.tables));
        let to_read: Vec<u64> = again.iter().map(|entry| addrs[*entry as usize]).collect();
        reader.read.goroutines = asked;
        reader.all(&to_read, progress)?;
        let lost: HashSet<u64> = reader.lost.iter().copied().collect();
        let (goroutines, counts) = self.take_back(reader);
        self.counts = Counts { entries: addrs.len() as u64, dead: counts.dead + dead, ..counts };
        self.now = source.now;

        let mut changes = Changes { waited, counts: self.counts, ..Changes::default() };
        for goroutine in goroutines {
            let Some(entry) = entries.get(&goroutine.g).copied() else { continue };
            let since = source.now.and_then(|now| now.checked_sub(goroutine.runtime_since?));
            let waitsince = since.filter(|_| can_prove(source, &goroutine));
            let slot = Slot { entry, waitsince, waits_still: false, ended: false, goroutine };
            match old.remove(&slot.goroutine.g) {
                Some(was) if was.goroutine.goid == slot.goroutine.goid => {
                    if !same(&was, &slot) {
                        changes.changed.push(slot.goroutine.clone());
                    }
                }
                was => {
                    changes.gone.extend(was.map(|s| s.goroutine.goid));
                    changes.new.push(slot.goroutine.clone());
                }
            }
            self.slots.push(slot);
        }
        self.slots.sort_by_key(|s| s.entry);
        for (addr, slot) in old {
            // It was read anew, and somebody else's or nobody's.
            let ended = slot.ended || entries.contains_key(&addr) && !lost.contains(&addr);
            let goids = if ended { &mut changes.gone } else { &mut changes.lost };
            goids.push(slot.goroutine.goid);
        }
        changes.new.sort_unstable_by_key(|g| g.goid);
        changes.changed.sort_unstable_by_key(|g| g.goid);
        changes.gone.sort_unstable();
        changes.lost.sort_unstable();
        Ok(changes)
    }

    /// Asks for the states of all objects that goroutines wait on, of which it is enough to know the address. Says of each
    /// whether it is known.
    fn read_objects(&mut self, source: &Source<'_>) -> Result<Vec<bool>, MemoryError> {
        let objects = &mut self.tables.objects;
        let passed = source.now.zip(self.now).map(|(now, then)| now.saturating_sub(then));
        let size = |kind: &ObjectKind| match kind {
            ObjectKind::Channel { timer: None, .. } => Some(source.layout.hchan.size),
            ObjectKind::Semaphore { .. } => Some(4),
            ObjectKind::Cond { .. } => Some(8),
            // Nothing of them is to be read. A timer of `time.Sleep` is set before the wait.
            ObjectKind::Forever | ObjectKind::Descriptor { .. } | ObjectKind::Timer { .. } => Some(0),
            // Their waiters are read anew.
            _ => None,
        };
        let mut known = vec![false; objects.len()];
        let waited_on = |o: &Object| o.receivers + o.senders > 0;
        let some: Vec<(usize, Area)> = (objects.iter().enumerate().filter(|(_, o)| waited_on(o)))
            .filter_map(|(i, o)| Some((i, Area { addr: o.addr, len: size(&o.kind)? as usize })))
            .collect();
        let (mut room, mut ok) = (Vec::new(), Vec::new());
        for batch in some.chunks(BATCH) {
            let areas: Vec<Area> = batch.iter().map(|(_, area)| *area).collect();
            room.resize(areas.iter().map(|a| a.len).sum(), 0);
            ok.clear();
            ok.resize(areas.len(), false);
            source.memory.read_areas(&areas, &mut room, &mut ok)?;
            let mut rest = &room[..];
            for ((i, area), ok) in batch.iter().zip(&ok) {
                let (bytes, behind) = rest.split_at(area.len);
                rest = behind;
                let kind = &mut objects[*i].kind;
                let now = match kind {
                    ObjectKind::Channel { .. } => waits::channel(bytes, &source.layout.hchan),
                    ObjectKind::Semaphore { .. } => Some(waits::semaphore_of(bytes)),
                    ObjectKind::Cond { .. } => Some(waits::cond_of(bytes)),
                    ObjectKind::Timer { fires: Fires::In(ns) } => passed
                        .and_then(|passed| ns.checked_sub(i64::try_from(passed).ok()?))
                        .map(|ns| ObjectKind::Timer { fires: Fires::In(ns) }),
                    _ => Some(kind.clone()),
                };
                if let Some(now) = now.filter(|_| *ok) {
                    (*kind, known[*i]) = (now, true);
                }
            }
        }
        Ok(known)
    }

    /// Marks those that wait still. Returns the entries of all others that are alive or could not be read, and how many are
    /// nobody's.
    fn sift(
        &mut self,
        source: &Source<'_>,
        addrs: &[u64],
        known: &[bool],
    ) -> Result<(Vec<u32>, u64), MemoryError> {
        let fields = Fields::of(source.layout);
        let (mut room, mut ok) = (Vec::new(), Vec::new());
        let (mut again, mut dead) = (Vec::new(), 0);
        self.slots.iter_mut().for_each(|s| s.waits_still = false);
        let mut slots = self.slots.iter_mut().peekable();
        // Nothing can be proven in a first look.
        if slots.peek().is_none() {
            return Ok(((0..addrs.len() as u32).collect(), 0));
        }
        let mut first = 0;
        for batch in addrs.chunks(BATCH) {
            let at: Vec<u64> = batch.iter().map(|addr| addr.wrapping_add(fields.from)).collect();
            room.resize(batch.len() * fields.size, 0);
            ok.clear();
            ok.resize(batch.len(), false);
            source.memory.read_each(&at, fields.size, &mut room, &mut ok)?;
            let read = batch.iter().zip(room.chunks_exact(fields.size)).zip(&ok);
            for (entry, ((addr, bytes), ok)) in (first..).zip(read) {
                let slot = slots.next_if(|s| s.entry == entry);
                let who = fields.parse(bytes);
                let mut slot = slot.filter(|s| *ok && s.goroutine.g == *addr);
                if *ok && (!who.status.is_alive() || who.goid == 0) {
                    slot.iter_mut().for_each(|s| s.ended = true);
                    dead += 1;
                    continue;
                }
                match slot.filter(|s| s.proves(&who) && s.known(known)) {
                    Some(slot) => slot.waits_still = true,
                    None => again.push(entry),
                }
            }
            first += batch.len() as u32;
        }
        Ok((again, dead))
    }

    /// The tables go on where they are.
    fn take_back(&mut self, reader: Reader<'_, '_>) -> (Vec<Goroutine>, Counts) {
        self.waits_left_out = reader.waits.left_out;
        let Read { goroutines, stacks, objects, labels, counts, .. } = reader.read;
        self.tables = Tables {
            stacks,
            known: reader.known,
            objects,
            objects_at: reader.objects,
            labels,
            labels_known: reader.labels,
        };
        (goroutines, counts)
    }

    /// The tables that goroutines have indices into, until the next look. They have entries that nobody has any more.
    pub fn stacks(&self) -> &[Stack] {
        &self.tables.stacks
    }

    pub fn objects(&self) -> &[Object] {
        &self.tables.objects
    }

    pub fn labels(&self) -> &[Labels] {
        &self.tables.labels
    }

    /// All that the last look knows, as [`super::read`] would tell it.
    pub fn picture(&self) -> Read {
        let mut goroutines: Vec<Goroutine> = self.slots.iter().map(|s| s.told(self.now)).collect();
        let Tables { stacks, objects, labels, .. } = &self.tables;
        let (stacks, objects, labels) = renumber(goroutines.iter_mut(), stacks, objects, labels);
        goroutines.sort_unstable_by_key(|g| g.goid);
        let is_coroutine = |g: &Goroutine| g.reason.is_some_and(|r| self.coroutine == Some(r));
        tell_since(&mut goroutines, |g| !is_coroutine(g));
        let (counts, waits_left_out) = (self.counts, self.waits_left_out);
        Read { goroutines, stacks, objects, labels, counts, waits_left_out }
    }

    /// Throws away what nobody has any more, if that is much.
    fn tidy(&mut self) {
        let Tables { stacks, objects, labels, .. } = &self.tables;
        if stacks.len() + objects.len() + labels.len() < 2 * self.tidied + SPARE {
            return;
        }
        let all = self.slots.iter_mut().map(|s| &mut s.goroutine);
        let (stacks, objects, labels) = renumber(all, stacks, objects, labels);
        self.tidied = stacks.len() + objects.len() + labels.len();
        let at = |i: usize| i as u32;
        self.tables = Tables {
            known: stacks.iter().enumerate().map(|(i, s)| (s.clone(), at(i))).collect(),
            objects_at: objects.iter().enumerate().map(|(i, o)| (o.addr, at(i))).collect(),
            labels_known: labels.iter().enumerate().map(|(i, l)| (l.clone(), at(i))).collect(),
            stacks,
            objects,
            labels,
        };
    }
}

/// What proves that a goroutine waits still.
#[derive(Clone, Copy, Debug)]
struct Who {
    goid: u64,
    status: Status,
    reason: u8,
    waitsince: u64,
}

/// The part of a g that holds [`Who`], and where in it each field is.
struct Fields {
    from: u64,
    size: usize,
    goid: u32,
    status: u32,
    reason: u32,
    waitsince: u32,
}

impl Fields {
    fn of(l: &Layout) -> Self {
        let at = [l.kernel.g_goid, l.g_status, l.kernel.g_waitreason, l.g_waitsince];
        let from = at.into_iter().min().unwrap_or(0);
        let [goid, status, reason, waitsince] = at.map(|at| at - from);
        let size = goid.max(status).max(reason).max(waitsince) as usize + 8;
        Self { from: from.into(), size, goid, status, reason, waitsince }
    }

    fn parse(&self, bytes: &[u8]) -> Who {
        Who {
            goid: waits::word(bytes, self.goid),
            status: Status::of(waits::word(bytes, self.status) as u32),
            reason: waits::word(bytes, self.reason) as u8,
            waitsince: waits::word(bytes, self.waitsince),
        }
    }
}

impl Slot {
    /// It has waited since it was read.
    fn proves(&self, now: &Who) -> bool {
        let was = &self.goroutine;
        (was.goid, was.status, was.reason, self.waitsince)
            == (now.goid, now.status, Some(now.reason), Some(now.waitsince))
    }

    /// The states of all that it waits on are known.
    fn known(&self, known: &[bool]) -> bool {
        self.goroutine.waits_on.iter().all(|wait| known[wait.object as usize])
    }

    /// What it waits for is to be asked each time: the other end of a connection can close it.
    fn asks(&self, source: &Source<'_>) -> bool {
        let reason = self.goroutine.reason.and_then(|r| source.reasons.get(usize::from(r)));
        source.descriptors.is_some() && reason == Some(&Reason::Network)
    }

    /// What is told of it now.
    fn told(&self, now: Option<u64>) -> Goroutine {
        let mut goroutine = self.goroutine.clone();
        if let (Some(since), Some(now)) = (self.waitsince, now) {
            goroutine.runtime_since = now.checked_sub(since);
        }
        goroutine
    }
}

/// Whether what was read of it stays true as long as its `waitsince` is the same.
fn can_prove(source: &Source<'_>, g: &Goroutine) -> bool {
    let parked = matches!(g.status, Status::Waiting | Status::Leaked);
    let reason = g.reason.and_then(|r| source.reasons.get(usize::from(r)));
    let known = match reason {
        Some(Reason::Sleep | Reason::Forever | Reason::Network) => true,
        Some(Reason::Send | Reason::Receive | Reason::Select) => {
            g.waits_on.iter().all(|w| w.side != Side::Unknown)
        }
        // What they wait on may not have been found.
        Some(Reason::Semaphore | Reason::Cond) => !g.waits_on.is_empty(),
        Some(Reason::Coroutine | Reason::Other) | None => false,
    };
    parked && known && matches!(g.trace, Trace::Whole(_))
}

/// Nothing of it is told otherwise than before. How long it has waited follows from `waitsince`.
fn same(was: &Slot, is: &Slot) -> bool {
    let facts =
        |s: &Slot| Goroutine { runtime_since: None, wait_mark: None, on_stack: None, ..s.goroutine.clone() };
    was.waitsince == is.waitsince && facts(was) == facts(is)
}

fn count(object: &mut Object, side: Side) -> &mut u64 {
    match side {
        Side::Send => &mut object.senders,
        Side::Receive | Side::Wait | Side::Unknown => &mut object.receivers,
    }
}

/// Which entries of a table are in use.
struct Used {
    to: Vec<Option<u32>>,
    order: Vec<u32>,
}

impl Used {
    fn new(len: usize) -> Self {
        Self { to: vec![None; len], order: Vec::new() }
    }

    /// The new place of what was at `at`.
    fn at(&mut self, at: u32) -> u32 {
        *self.to[at as usize].get_or_insert_with(|| {
            self.order.push(at);
            self.order.len() as u32 - 1
        })
    }

    fn of<T: Clone>(&self, table: &[T]) -> Vec<T> {
        self.order.iter().map(|at| table[*at as usize].clone()).collect()
    }
}

/// Leaves out of the tables what none of the goroutines has; their indices are those of the new tables.
fn renumber<'g>(
    goroutines: impl Iterator<Item = &'g mut Goroutine>,
    stacks: &[Stack],
    objects: &[Object],
    labels: &[Labels],
) -> (Vec<Stack>, Vec<Object>, Vec<Labels>) {
    let mut of_stacks = Used::new(stacks.len());
    let mut of_objects = Used::new(objects.len());
    let mut of_labels = Used::new(labels.len());
    for g in goroutines {
        if let Trace::Whole(stack) | Trace::Partial { stack, .. } = &mut g.trace {
            *stack = of_stacks.at(*stack);
        }
        g.waits_on.iter_mut().for_each(|wait| wait.object = of_objects.at(wait.object));
        g.labels = g.labels.map(|at| of_labels.at(at));
    }
    (of_stacks.of(stacks), of_objects.of(objects), of_labels.of(labels))
}
