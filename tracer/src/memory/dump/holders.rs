//! Who has the address of an object on its stack: who may be to end a wait.

use std::ops::Range;
use std::sync::Arc;

use foldhash::HashMap;

use super::super::g::{self, G};
use super::super::walk::Code;
use super::super::{Area, MemoryError, ReadMemory};
use super::stack::{start, words};
use crate::dump::cycles::{Has, Held, Hold};
use crate::dump::{Dump, Goroutine, ObjectKind, OnStack, Trace};
use crate::event::status;
use crate::gobin::Layout;

/// Goroutines read together.
const BATCH: usize = 256;
/// Of a stack, its inner end, that is searched for addresses.
pub(super) const MAX_STACK: u64 = 32 << 10;
/// Holders that are named in [`crate::dump::Object::holders`]; the others are counted.
const MAX_NAMED: usize = 16;
/// Addresses noted in all: 12 bytes each.
const MAX_HOLDS: usize = 8 << 20;
/// Addresses of a program: what lies outside is a number.
pub(super) const ADDRESSES: Range<u64> = 1 << 16..1 << 47;
/// Frames between a goroutine's end and the function that called `sync`.
const MAX_FRAMES: usize = 32;

/// What of these bytes of the goroutine's stack, from its stack pointer on, may be the address of something to wait on. Such
/// things lie at multiples of four, in no stack of the same goroutine.
pub(super) fn on_stack(bytes: &[u8], own: Range<u64>) -> Arc<[OnStack]> {
    (0..=u16::MAX)
        .zip(words(bytes))
        .filter(|(_, w)| w & 3 == 0 && ADDRESSES.contains(w) && !own.contains(w))
        .map(|(place, word)| OnStack::new(word, place))
        .collect::<Vec<_>>()
        .into()
}

/// Which stacks are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Stacks as they were when they were walked ([`Goroutine::on_stack`]); those of which that was not kept are read.
    AsRead,
    /// All are read once more: what is found was on a stack after all waits had been read.
    Afresh,
}

/// Notes who has the address of an object on its stack without waiting on it. A stack may keep addresses that are not needed
/// any more. Names noted before are forgotten.
///
/// A stack that is read is read once, after all else, between two reads of its g. Where these differ the bytes may be of a stack that was
/// given back and is somebody else's by then: nobody is named for them. Where they are the same the stack was its own all the time;
/// that it has run 256 rounds meanwhile (a coroutine or a system call: any number), so that the bytes are of several moments, is
/// not noticed.
pub fn holders(
    memory: &dyn ReadMemory,
    layout: &Layout,
    code: &mut dyn Code,
    dump: &mut Dump,
    search: Search,
) -> Result<Held, MemoryError> {
    for object in &mut dump.objects {
        object.holders.clear();
        object.holders_in_all = 0;
    }
    let mut found = Held::default();
    let objects = Addresses::of(dump);
    if objects.at.is_empty() {
        return Ok(found);
    }
    let mut rooms = Rooms::default();
    for first in (0..dump.goroutines.len()).step_by(BATCH) {
        let batch = first..dump.goroutines.len().min(first + BATCH);
        let kept = |g: &Goroutine| search == Search::AsRead && g.on_stack.is_some();
        let to_read: Vec<u32> =
            batch.clone().filter(|i| !kept(&dump.goroutines[*i])).map(|i| i as u32).collect();
        let mut read = rooms.read(memory, layout, &dump.goroutines, &to_read)?.into_iter().peekable();
        let mut hits: Vec<(u32, Has)> = Vec::new();
        for index in batch.start as u32..batch.end as u32 {
            let was = &dump.goroutines[index as usize];
            if let Some(now) = read.next_if(|now| now.index == index) {
                now.search(was, dump, code, &objects, &mut found, &mut hits);
            } else {
                let words = was.on_stack.iter().flat_map(|words| words.iter());
                let words = words.map(|word| (word.place(), word.word()));
                let own = own_frames(code, dump, was);
                find(words, was, own, &objects, &mut hits);
            }
            hits.sort_unstable_by_key(|(at, _)| *at);
            hits.dedup();
            for (object, has) in hits.drain(..) {
                if has == Has::Address {
                    let object = &mut dump.objects[object as usize];
                    object.holders_in_all += 1;
                    if object.holders.len() < MAX_NAMED {
                        object.holders.push(dump.goroutines[index as usize].goid);
                    }
                }
                if found.holds.len() < MAX_HOLDS {
                    found.holds.push(Hold { object, goroutine: index, has });
                } else {
                    found.unnamed.insert(object);
                }
            }
        }
    }
    Ok(found)
}

/// What a goroutine has that stood still: of these words, and where they are.
fn find(
    words: impl Iterator<Item = (usize, u64)>,
    was: &Goroutine,
    own: Option<usize>,
    objects: &Addresses,
    hits: &mut Vec<(u32, Has)>,
) {
    for (place, word) in words {
        let Some(at) = objects.at(word) else { continue };
        if !was.waits_on.iter().any(|wait| wait.object == at) {
            hits.push((at, Has::Address));
        } else if own.is_some_and(|own| place * 8 >= own) {
            hits.push((at, Has::FurtherOut));
        }
    }
}

/// Kept from batch to batch.
#[derive(Default)]
struct Rooms {
    gs: Vec<u8>,
    after: Vec<u8>,
    stacks: Vec<u8>,
}

/// A goroutine that is read once more.
struct Now<'r> {
    /// Into the dump's goroutines.
    index: u32,
    g: Option<G>,
    /// What of its stack was read, and where that lies; nothing where it could not be read.
    bytes: Option<&'r [u8]>,
    from: u64,
    /// It stood at one place while that was read.
    stayed: bool,
}

impl Rooms {
    /// These of the goroutines, in that order.
    fn read(
        &mut self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        goroutines: &[Goroutine],
        which: &[u32],
    ) -> Result<Vec<Now<'_>>, MemoryError> {
        let size = g::window(layout);
        let batch: Vec<&Goroutine> = which.iter().map(|i| &goroutines[*i as usize]).collect();
        let addrs: Vec<u64> = batch.iter().map(|g| g.g).collect();
        self.gs.resize(batch.len() * size, 0);
        let mut ok = vec![false; batch.len()];
        memory.read_each(&addrs, size, &mut self.gs, &mut ok)?;
        let gs: Vec<Option<G>> = (batch.iter().zip(self.gs.chunks_exact(size)).zip(&ok))
            .map(|((was, bytes), ok)| {
                Some(G::parse(was.g, bytes, layout)).filter(|g| *ok && g.goid == was.goid)
            })
            .collect();
        let areas: Vec<Area> = batch
            .iter()
            .zip(&gs)
            .map(|(was, g)| g.map_or(Area::NOTHING, |g| searched(was, &g).area))
            .collect();
        self.stacks.resize(areas.iter().map(|a| a.len).sum(), 0);
        let mut ok = vec![false; areas.len()];
        memory.read_areas(&areas, &mut self.stacks, &mut ok)?;
        self.after.resize(batch.len() * size, 0);
        let mut after_ok = vec![false; batch.len()];
        memory.read_each(&addrs, size, &mut self.after, &mut after_ok)?;
        let mut rest = &self.stacks[..];
        let mut read = Vec::with_capacity(batch.len());
        for (i, g) in gs.into_iter().enumerate() {
            let (bytes, behind) = rest.split_at(areas[i].len);
            rest = behind;
            let after = &self.after[i * size..][..size];
            read.push(Now {
                index: which[i],
                g,
                bytes: ok[i].then_some(bytes),
                from: areas[i].addr,
                stayed: after_ok[i] && g.is_some_and(|g| stood(&g, &G::parse(g.addr, after, layout))),
            });
        }
        Ok(read)
    }
}

impl Now<'_> {
    fn search(
        &self,
        was: &Goroutine,
        dump: &Dump,
        code: &mut dyn Code,
        objects: &Addresses,
        found: &mut Held,
        hits: &mut Vec<(u32, Has)>,
    ) {
        let whole = self.g.is_some_and(|g| searched(was, &g).whole);
        // What it waits on may be another thing than it was, and its stack other than it was with that.
        if was.wait_mark.is_some_and(|mark| !self.g.is_some_and(|g| g.has_waited_since(mark))) {
            found.moved.insert(self.index);
        }
        if self.bytes.is_none() || !whole || !self.stayed {
            found.unsearched.push(self.index);
        }
        let Some(bytes) = self.bytes else { return };
        let words = words(bytes);
        match self.g.filter(|g| self.stayed && stands(was, g)) {
            Some(g) => {
                let own = own_frames(code, dump, was).filter(|own| {
                    g.sp == self.from && Some(g.pc) == innermost(dump, was) && *own <= bytes.len()
                });
                find(words.enumerate(), was, own, objects, hits);
            }
            None => hits.extend(words.filter_map(|word| Some((objects.at(word)?, Has::Perhaps)))),
        }
    }
}

/// Where the objects are. Nearly every word that it is asked for is none of them.
struct Addresses {
    at: HashMap<u64, u32>,
    /// A bit for some of the addresses each: where it is not set, there is none.
    some: Vec<u64>,
    /// There are 2 to the power of that many.
    bits: u32,
}

impl Addresses {
    fn of(dump: &Dump) -> Self {
        // 16 for each object; 32 KB, which a processor keeps at hand, to 2 MB.
        let bits = (dump.objects.len() * 16).next_power_of_two().ilog2().clamp(18, 24);
        let mut addresses = Self { at: HashMap::default(), some: vec![0; 1 << (bits - 6)], bits };
        for (at, object) in dump.objects.iter().enumerate().filter(|(_, o)| o.addr != 0) {
            addresses.at.entry(object.addr).or_insert(at as u32);
            let (word, bit) = addresses.bit(object.addr);
            addresses.some[word] |= bit;
        }
        addresses
    }

    fn bit(&self, addr: u64) -> (usize, u64) {
        // Fibonacci hashing: neighbours are far from each other.
        let bit = addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.bits);
        ((bit >> 6) as usize, 1 << (bit & 63))
    }

    fn at(&self, addr: u64) -> Option<u32> {
        let (word, bit) = self.bit(addr);
        if self.some[word] & bit == 0 {
            return None;
        }
        self.at.get(&addr).copied()
    }
}

/// What of a stack is searched, and whether that is all of it, and stays as it is.
pub(super) struct Searched {
    pub area: Area,
    pub whole: bool,
}

/// It stood when its stack was read, and stands now. One that runs has an old stack pointer in its g, or none.
fn stands(was: &Goroutine, g: &G) -> bool {
    was.trace.stack().is_some() && start(g).is_some()
}

/// Two reads show a goroutine at one place of one stack. The collector's marks are not asked for.
fn stood(before: &G, after: &G) -> bool {
    let place = |g: &G| {
        let stack = (g.lo, g.hi, g.sp, g.pc, g.syscallsp, g.syscallpc);
        (g.goid, g.status(), g.tracking_seq, g.waiting, stack)
    };
    place(before) == place(after)
}

/// Of a goroutine that stands, what it uses; of one that runs, all up to the outer end.
pub(super) fn searched(was: &Goroutine, g: &G) -> Searched {
    let stands = stands(was, g);
    let sp = match g.status() {
        _ if !stands => g.lo.max(g.hi.saturating_sub(MAX_STACK)),
        status::SYSCALL => g.syscallsp,
        _ => g.sp,
    };
    let start = sp & !7;
    let all = if g.lo <= start { g.hi.saturating_sub(start) } else { 0 };
    let whole = stands && all > 0 && all <= MAX_STACK;
    Searched { area: Area { addr: start, len: all.min(MAX_STACK) as usize }, whole }
}

/// Where it stood when its stack was walked.
fn innermost(dump: &Dump, was: &Goroutine) -> Option<u64> {
    let Trace::Whole(stack) = was.trace else { return None };
    dump.stacks[stack as usize].pcs.first().map(|pc| pc.pc)
}

/// Of a goroutine that waits for a lock: how many bytes of its stack belong to the lock's functions, to the one that called
/// them, and to that one's arguments. An address beyond that is there for another reason than this wait.
fn own_frames(code: &mut dyn Code, dump: &Dump, was: &Goroutine) -> Option<usize> {
    let Trace::Whole(stack) = was.trace else { return None };
    let lock = |w: &crate::dump::Wait| {
        matches!(dump.objects[w.object as usize].kind, ObjectKind::Mutex { .. } | ObjectKind::RwMutex { .. })
    };
    if !was.waits_on.iter().any(lock) {
        return None;
    }
    let mut at = 0usize;
    for pc in dump.stacks[stack as usize].pcs.iter().take(MAX_FRAMES) {
        let step = code.step(pc.pc).ok()?;
        // Of what was inlined into a function, the function itself comes last.
        let name = &dump.places.at(*pc)?.frames.last()?.function;
        let library = ["sync.", "internal/sync.", "runtime.", "internal/runtime/"];
        at = at.checked_add(step.delta as usize)?.checked_add(8)?;
        if !library.iter().any(|l| name.starts_with(l)) {
            return at.checked_add(step.args as usize);
        }
    }
    None
}
