//! What the objects of a dump are: a semaphore alone says nothing, the functions that wait for it do.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::super::g::{self, G};
use super::super::{Area, MemoryError, ReadMemory};
use super::semaphores::Owner;
use crate::dump::{Dump, Goroutine, Object, ObjectKind, Side};
use crate::event::status;
use crate::gobin::Layout;

/// Goroutines read together.
const BATCH: usize = 256;
/// Of a stack, its inner end, that is searched for addresses.
const MAX_STACK: u64 = 32 << 10;
/// Holders that are named; the others are counted.
const MAX_HOLDERS: usize = 16;

/// Says of each semaphore and condition what it is part of, and what state that is in; several semaphores of one
/// RWMutex become one object. Those whose waiters have moved on since stay semaphores.
pub fn refine(memory: &dyn ReadMemory, layout: &Layout, dump: &mut Dump) -> Result<(), MemoryError> {
    let mut waiter: HashMap<u32, usize> = HashMap::new();
    for (i, g) in dump.goroutines.iter().enumerate() {
        g.waits_on.iter().for_each(|wait| _ = waiter.entry(wait.object).or_insert(i));
    }
    for (at, object) in dump.objects.iter_mut().enumerate() {
        if !matches!(object.kind, ObjectKind::Semaphore { .. } | ObjectKind::Cond { .. }) {
            continue;
        }
        let Some(g) = waiter.get(&(at as u32)).map(|i| &dump.goroutines[*i]) else { continue };
        let pcs = g.trace.stack().map_or(&[][..], |stack| &dump.stacks[stack as usize].pcs);
        let frames = pcs.iter().flat_map(|pc| dump.places.at(*pc).map_or(&[][..], |place| &place.frames));
        let owner = Owner::of(frames.map(|f| f.function.as_str()));
        if let Some((addr, kind)) = owner.describe(memory, object.addr)?
            && still_waits(memory, layout, g)?
        {
            (object.addr, object.kind) = (addr, kind);
        }
    }
    merge(dump);
    Ok(())
}

/// The same goroutine in the same wait.
fn still_waits(memory: &dyn ReadMemory, layout: &Layout, was: &Goroutine) -> Result<bool, MemoryError> {
    let mut bytes = vec![0; g::window(layout)];
    match memory.read(was.g, &mut bytes) {
        Ok(()) => {
            let g = G::parse(was.g, &bytes, layout);
            Ok((g.goid, crate::dump::Status::of(g.raw_status), Some(g.reason))
                == (was.goid, was.status, was.reason))
        }
        Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => Err(e),
        Err(_) => Ok(false),
    }
}

/// Notes who has the address of an object on its stack without waiting on it: who may be to end the wait. Read after all
/// else, each stack once: it may have moved on since, and a stack may keep addresses that are not needed any more.
pub fn holders(memory: &dyn ReadMemory, layout: &Layout, dump: &mut Dump) -> Result<(), MemoryError> {
    let mut by_addr: HashMap<u64, u32> = HashMap::new();
    for (at, object) in dump.objects.iter().enumerate().filter(|(_, o)| o.addr != 0) {
        by_addr.entry(object.addr).or_insert(at as u32);
    }
    let (Some(least), Some(most)) = (by_addr.keys().min().copied(), by_addr.keys().max().copied()) else {
        return Ok(());
    };
    let size = g::window(layout);
    let (mut gs, mut stacks) = (Vec::new(), Vec::new());
    for batch in dump.goroutines.chunks(BATCH) {
        let addrs: Vec<u64> = batch.iter().map(|g| g.g).collect();
        gs.resize(batch.len() * size, 0);
        let mut ok = vec![false; batch.len()];
        memory.read_each(&addrs, size, &mut gs, &mut ok)?;
        let areas: Vec<Area> = (batch.iter().zip(gs.chunks_exact(size)).zip(ok))
            .map(|((was, bytes), ok)| {
                let g = G::parse(was.g, bytes, layout);
                let same = ok && g.goid == was.goid && was.trace.stack().is_some();
                let sp = if g.status() == status::SYSCALL { g.syscallsp } else { g.sp };
                let start = sp & !7;
                let len = if same && g.lo <= start { g.hi.saturating_sub(start).min(MAX_STACK) } else { 0 };
                Area { addr: start, len: len as usize }
            })
            .collect();
        stacks.resize(areas.iter().map(|a| a.len).sum(), 0);
        let mut ok = vec![false; areas.len()];
        memory.read_areas(&areas, &mut stacks, &mut ok)?;
        let mut rest = &stacks[..];
        for ((g, area), ok) in batch.iter().zip(&areas).zip(ok) {
            let (bytes, behind) = rest.split_at(area.len);
            rest = behind;
            let words = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
            let mut held: Vec<u32> = words
                .filter(|w| ok && (least..=most).contains(w))
                .filter_map(|w| by_addr.get(&w).copied())
                .filter(|at| g.waits_on.iter().all(|wait| wait.object != *at))
                .collect();
            held.sort_unstable();
            held.dedup();
            for at in held {
                let object = &mut dump.objects[at as usize];
                object.holders_in_all += 1;
                if object.holders.len() < MAX_HOLDERS {
                    object.holders.push(g.goid);
                }
            }
        }
    }
    Ok(())
}

/// Makes one of objects of the same address and kind.
fn merge(dump: &mut Dump) {
    let mut first: HashMap<(u64, Discriminant<ObjectKind>), u32> = HashMap::new();
    let mut kept: Vec<Object> = Vec::new();
    let mut moved = Vec::with_capacity(dump.objects.len());
    for object in std::mem::take(&mut dump.objects) {
        let at = *first.entry((object.addr, discriminant(&object.kind))).or_insert_with(|| {
            kept.push(Object::new(object.addr, object.kind.clone()));
            kept.len() as u32 - 1
        });
        kept[at as usize].kind = object.kind;
        moved.push(at);
    }
    for wait in dump.goroutines.iter_mut().flat_map(|g| &mut g.waits_on) {
        wait.object = moved[wait.object as usize];
        let object = &mut kept[wait.object as usize];
        match wait.side {
            Side::Send => object.senders += 1,
            Side::Receive | Side::Wait | Side::Unknown => object.receivers += 1,
        }
    }
    dump.objects = kept;
}
