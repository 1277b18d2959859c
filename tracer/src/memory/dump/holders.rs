//! Who has the address of an object on its stack: who may be to end a wait.

use foldhash::HashMap;

use super::super::g::{self, G};
use super::super::walk::Code;
use super::super::{Area, MemoryError, ReadMemory};
use super::stack::start;
use crate::dump::cycles::{Has, Held, Hold};
use crate::dump::{Dump, Goroutine, ObjectKind, Trace};
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
/// Frames between a goroutine's end and the function that called `sync`.
const MAX_FRAMES: usize = 32;

/// Notes who has the address of an object on its stack without waiting on it. Read after all else: it may have moved on since
/// it was read first (which is noted, too), and a stack may keep addresses that are not needed any more.
///
/// Each stack is read once, between two reads of its g. Where these differ the bytes may be of a stack that was given back
/// and is somebody else's by then: nobody is named for them. Where they are the same the stack was its own all the time; that
/// it has run 256 rounds meanwhile (a coroutine or a system call: any number), so that the bytes are of several moments, is
/// not noticed.
pub fn holders(
    memory: &dyn ReadMemory,
    layout: &Layout,
    code: &mut dyn Code,
    dump: &mut Dump,
) -> Result<Held, MemoryError> {
    let mut found = Held::default();
    let objects = Addresses::of(dump);
    if objects.at.is_empty() {
        return Ok(found);
    }
    let size = g::window(layout);
    let (mut gs, mut after, mut stacks) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..dump.goroutines.len()).step_by(BATCH) {
        let batch = &dump.goroutines[first..dump.goroutines.len().min(first + BATCH)];
        let addrs: Vec<u64> = batch.iter().map(|g| g.g).collect();
        gs.resize(batch.len() * size, 0);
        let mut ok = vec![false; batch.len()];
        memory.read_each(&addrs, size, &mut gs, &mut ok)?;
        let read: Vec<Option<G>> = (batch.iter().zip(gs.chunks_exact(size)).zip(&ok))
            .map(|((was, bytes), ok)| {
                Some(G::parse(was.g, bytes, layout)).filter(|g| *ok && g.goid == was.goid)
            })
            .collect();
        let areas: Vec<Area> = batch
            .iter()
            .zip(&read)
            .map(|(was, g)| g.map_or(Area::NOTHING, |g| searched(was, &g).area))
            .collect();
        stacks.resize(areas.iter().map(|a| a.len).sum(), 0);
        let mut ok = vec![false; areas.len()];
        memory.read_areas(&areas, &mut stacks, &mut ok)?;
        after.resize(batch.len() * size, 0);
        let mut after_ok = vec![false; batch.len()];
        memory.read_each(&addrs, size, &mut after, &mut after_ok)?;
        let stayed: Vec<bool> = (read.iter().zip(after.chunks_exact(size)).zip(after_ok))
            .map(|((g, after), ok)| ok && g.is_some_and(|g| stood(&g, &G::parse(g.addr, after, layout))))
            .collect();
        let mut rest = &stacks[..];
        let mut named: Vec<(u32, u64)> = Vec::new();
        for (i, was) in batch.iter().enumerate() {
            let (bytes, behind) = rest.split_at(areas[i].len);
            rest = behind;
            let index = (first + i) as u32;
            let whole = read[i].is_some_and(|g| searched(was, &g).whole);
            // What it waits on may be another thing than it was, and its stack other than it was with that.
            let waits_still = |mark| read[i].is_some_and(|g| g.has_waited_since(mark));
            if was.wait_mark.is_some_and(|mark| !waits_still(mark)) {
                found.moved.insert(index);
            }
            if !ok[i] || !whole || !stayed[i] {
                found.unsearched.push(index);
            }
            if !ok[i] {
                continue;
            }
            let sure = stayed[i] && read[i].is_some_and(|g| stands(was, &g));
            let own = own_frames(code, dump, was, read[i].as_ref(), areas[i].addr, bytes);
            let mut hits: Vec<(u32, Has)> = Vec::new();
            for (n, word) in bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).enumerate() {
                let Some(at) = objects.at(word) else { continue };
                let waits = was.waits_on.iter().any(|wait| wait.object == at);
                if !sure {
                    hits.push((at, Has::Perhaps));
                } else if !waits {
                    hits.push((at, Has::Address));
                } else if own.is_some_and(|own| n * 8 >= own) {
                    hits.push((at, Has::FurtherOut));
                }
            }
            hits.sort_unstable_by_key(|(at, _)| *at);
            hits.dedup();
            for (object, has) in hits {
                if has == Has::Address {
                    named.push((object, was.goid));
                }
                if found.holds.len() < MAX_HOLDS {
                    found.holds.push(Hold { object, goroutine: index, has });
                } else {
                    found.unnamed.insert(object);
                }
            }
        }
        for (at, goid) in named {
            let object = &mut dump.objects[at as usize];
            object.holders_in_all += 1;
            if object.holders.len() < MAX_NAMED {
                object.holders.push(goid);
            }
        }
    }
    Ok(found)
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

/// Of a goroutine that waits for a lock: how many bytes of its stack belong to the lock's functions, to the one that called
/// them, and to that one's arguments. An address beyond that is there for another reason than this wait.
fn own_frames(
    code: &mut dyn Code,
    dump: &Dump,
    was: &Goroutine,
    g: Option<&G>,
    from: u64,
    bytes: &[u8],
) -> Option<usize> {
    let Trace::Whole(stack) = was.trace else { return None };
    let lock = |w: &crate::dump::Wait| {
        matches!(dump.objects[w.object as usize].kind, ObjectKind::Mutex { .. } | ObjectKind::RwMutex { .. })
    };
    let g = g.filter(|_| was.waits_on.iter().any(lock))?;
    let pcs = &dump.stacks[stack as usize].pcs;
    let mut at = 0usize;
    if g.sp != from || pcs.first().is_none_or(|pc| pc.pc != g.pc) {
        return None;
    }
    for pc in pcs.iter().take(MAX_FRAMES) {
        let step = code.step(pc.pc).ok()?;
        // Of what was inlined into a function, the function itself comes last.
        let name = &dump.places.at(*pc)?.frames.last()?.function;
        let library = ["sync.", "internal/sync.", "runtime.", "internal/runtime/"];
        at = at.checked_add(step.delta as usize)?.checked_add(8)?;
        if !library.iter().any(|l| name.starts_with(l)) {
            return at.checked_add(step.args as usize).filter(|own| *own <= bytes.len());
        }
    }
    None
}
