//! What speaks against a circle of waits, asked only where one was found: that a goroutine has run since, so that its wait
//! was another one than that of the next; and that a goroutine which can go on leads to one of the objects.
//!
//! All g's were read before any of these is read again. Those that wait as they did then all stood still at one time between;
//! what the collector did with them meanwhile speaks for nobody.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use super::super::g::{self, G};
use super::super::walk::Code;
use super::super::{Area, MemoryError};
use super::holders::{ADDRESSES, Search, holders, searched};
use super::semaphores::Lists;
use super::stack::words;
use super::waits::{Reason, Waits, bytes};
use super::{Source, semaphores};
use crate::dump::cycles::{self, Has, Held, Hold};
use crate::dump::{Dump, Goroutine, ObjectKind};
use crate::event::status;

/// Times at which a suspect must be the same, each after a longer pause: a count of 8 bits tells whether it ran.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(3)];
/// Read together.
const BATCH: usize = 256;
/// Of what an address leads to, so many bytes are searched for further ones.
const AHEAD: usize = 256;
/// A lock that begins within so many bytes behind an address may be part of the struct there. Nearly all structs are smaller;
/// it may as well be the neighbour's, which clears somebody without need.
const PART: u64 = 1024;
/// Addresses followed from one to the next.
const HOPS: usize = 3;
/// Addresses followed in all.
const MAX_FOLLOWED: usize = 1 << 18;
/// How far an object's semaphore is from it at most (`sync.Cond.notify`).
const WITHIN: u64 = 16;

/// Names who has the address of which object, and returns all that [`cycles::find`] is to know of them; nothing where no circle is.
/// `image` is where the executable lies.
///
/// Whoever has come to wait while the others were read may wait for one whose stack was walked before. So where there seems to be a
/// circle all stacks are searched once more, now that all waits are known.
pub fn held(
    source: &Source<'_>,
    code: &mut dyn Code,
    dump: &mut Dump,
    image: Range<u64>,
) -> Result<Option<Held>, MemoryError> {
    let mut search = |dump: &mut Dump, search| -> Result<Held, MemoryError> {
        let held = holders(source.memory, source.layout, code, dump, search)?;
        Ok(Held { image: image.clone(), ..held })
    };
    let mut held = search(dump, Search::AsRead)?;
    if cycles::suspects(dump, &held).is_empty() {
        return Ok(None);
    }
    if source.standing.is_none() {
        held = search(dump, Search::Afresh)?;
    }
    question(source, dump, &mut held)?;
    Ok(Some(held))
}

/// Notes in `found` what speaks for those that [`cycles::suspects`] names.
pub(super) fn question(source: &Source<'_>, dump: &Dump, found: &mut Held) -> Result<(), MemoryError> {
    let suspects = cycles::suspects(dump, found);
    if suspects.is_empty() {
        return Ok(());
    }
    if source.standing.is_none() {
        have_moved(source, dump, found, &suspects)?;
    }
    let suspects = cycles::suspects(dump, found);
    if suspects.is_empty() { Ok(()) } else { lead_there(source, dump, found, &suspects) }
}

fn have_moved(
    source: &Source<'_>,
    dump: &Dump,
    found: &mut Held,
    suspects: &[u32],
) -> Result<(), MemoryError> {
    let size = g::window(source.layout);
    let semaphores = match source.semtable.filter(|_| !source.layout.semaphores_in_waiting) {
        Some(table) => semaphores::waiters(source.memory, &source.layout.sudog, table)?,
        None => HashMap::new(),
    };
    let mut now = Now { semaphores, lists: Lists::default(), waits: Waits::default() };
    let mut gs = Vec::new();
    for (n, pause) in PAUSES.into_iter().enumerate() {
        std::thread::sleep(pause);
        for batch in suspects.chunks(BATCH) {
            let addrs: Vec<u64> = batch.iter().map(|g| dump.goroutines[*g as usize].g).collect();
            if n == 0 {
                for at in batch {
                    let g = &dump.goroutines[*at as usize];
                    if !waits_there(source, dump, g, &mut now)? {
                        found.moved.insert(*at);
                    }
                }
            }
            gs.resize(batch.len() * size, 0);
            let mut ok = vec![false; batch.len()];
            source.memory.read_each(&addrs, size, &mut gs, &mut ok)?;
            for ((at, bytes), ok) in batch.iter().zip(gs.chunks_exact(size)).zip(ok) {
                let was = &dump.goroutines[*at as usize];
                let g = G::parse(was.g, bytes, source.layout);
                let waits = matches!(g.status(), status::WAITING | status::LEAKED);
                if !ok || !waits || !was.wait_mark.is_some_and(|mark| g.has_waited_since(mark)) {
                    found.moved.insert(*at);
                }
            }
        }
    }
    Ok(())
}

/// What tells now who waits on what; read once for all suspects, before their g's are.
struct Now {
    /// By address of the g, where goroutines do not tell it themselves.
    semaphores: HashMap<u64, u64>,
    lists: Lists,
    waits: Waits,
}

/// It waits on what the dump says that it waits on.
fn waits_there(
    source: &Source<'_>,
    dump: &Dump,
    was: &Goroutine,
    elsewhere: &mut Now,
) -> Result<bool, MemoryError> {
    let (memory, layout) = (source.memory, source.layout);
    let Some(read) = bytes(memory, was.g, g::window(layout) as u32)? else { return Ok(false) };
    let g = G::parse(was.g, &read, layout);
    let reason = source.reasons.get(usize::from(g.reason)).copied().unwrap_or(Reason::Other);
    let now: Vec<u64> = match reason {
        Reason::Semaphore if !layout.semaphores_in_waiting => {
            elsewhere.semaphores.get(&g.addr).copied().into_iter().collect()
        }
        Reason::Cond if !layout.semaphores_in_waiting => {
            let at = (g.addr, g.sp, g.hi);
            elsewhere.lists.cond_of(memory, &layout.sudog, at)?.into_iter().collect()
        }
        _ => {
            elsewhere.waits.forget();
            let found = elsewhere.waits.of(memory, layout, &g, reason)?.unwrap_or_default();
            found.into_iter().map(|f| f.addr).collect()
        }
    };
    let same = |(wait, now): (&crate::dump::Wait, &u64)| {
        let addr = dump.objects[wait.object as usize].addr;
        addr <= *now && *now - addr <= WITHIN
    };
    Ok(now.len() == was.waits_on.len() && was.waits_on.iter().zip(&now).all(same))
}

/// Follows the addresses on the stacks of those that can go on to what the suspects wait on.
fn lead_there(
    source: &Source<'_>,
    dump: &Dump,
    found: &mut Held,
    suspects: &[u32],
) -> Result<(), MemoryError> {
    let suspect: HashSet<u32> = suspects.iter().copied().collect();
    let mut objects: Vec<Near> = Vec::new();
    for g in suspects {
        let waits = dump.goroutines[*g as usize].waits_on.iter();
        objects.extend(waits.map(|w| {
            let object = &dump.objects[w.object as usize];
            // A channel is no part of anything.
            let part = if matches!(object.kind, ObjectKind::Channel { .. }) { 1 } else { PART };
            Near { addr: object.addr, part, object: w.object }
        }));
    }
    objects.sort_unstable();
    objects.dedup();
    let size = g::window(source.layout);
    let mut seen: HashSet<u64> = HashSet::new();
    for (i, was) in dump.goroutines.iter().enumerate() {
        let i = i as u32;
        if was.system || suspect.contains(&i) || cycles::never_goes_on(dump, was) {
            continue;
        }
        let Some(g) = bytes(source.memory, was.g, size as u32)? else { continue };
        let area = searched(was, &G::parse(was.g, &g, source.layout)).area;
        let Some(stack) = bytes(source.memory, area.addr, area.len as u32)? else { continue };
        let mut reached: HashSet<u32> = HashSet::new();
        let mut next = leads(&stack, &found.image, &mut seen);
        for hop in 0..=HOPS {
            reached.extend(next.iter().flat_map(|from| ahead(&objects, *from)));
            if hop == HOPS {
                break;
            }
            let mut further = Vec::new();
            for batch in next.chunks(BATCH) {
                let areas: Vec<Area> = batch.iter().map(|addr| Area { addr: *addr, len: AHEAD }).collect();
                let mut room = vec![0; areas.len() * AHEAD];
                let mut ok = vec![false; areas.len()];
                source.memory.read_areas(&areas, &mut room, &mut ok)?;
                for (bytes, _) in room.chunks_exact(AHEAD).zip(ok).filter(|(_, ok)| *ok) {
                    further.extend(leads(bytes, &found.image, &mut seen));
                }
            }
            next = further;
        }
        for object in reached {
            found.holds.push(Hold { object, goroutine: i, has: Has::Perhaps });
        }
        if seen.len() >= MAX_FOLLOWED {
            // Of the others it is not known.
            let rest = (i + 1..dump.goroutines.len() as u32).filter(|g| !suspect.contains(g));
            let known: HashSet<u32> = found.unsearched.iter().copied().collect();
            found.unsearched.extend(rest.filter(|g| !known.contains(g)));
            return Ok(());
        }
    }
    Ok(())
}

/// An object, and how many bytes before it an address leads to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Near {
    addr: u64,
    part: u64,
    object: u32,
}

/// Objects that an address leads to.
fn ahead(objects: &[Near], from: u64) -> impl Iterator<Item = u32> {
    let first = objects.partition_point(|o| o.addr < from);
    let within = objects[first..].iter().take_while(move |o| o.addr - from < PART);
    within.filter(move |o| o.addr - from < o.part).map(|o| o.object)
}

/// Addresses outside the executable that were not followed yet.
fn leads(bytes: &[u8], image: &Range<u64>, seen: &mut HashSet<u64>) -> Vec<u64> {
    let mut new = Vec::new();
    for word in words(bytes).filter(|w| ADDRESSES.contains(w) && !image.contains(w)) {
        if seen.len() < MAX_FOLLOWED && seen.insert(word) {
            new.push(word);
        }
    }
    new
}
