//! What the objects of a dump are: a semaphore alone says nothing, the functions that wait for it do.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::super::g::{self, G};
use super::super::{MemoryError, ReadMemory};
use super::semaphores::Owner;
use crate::dump::{Dump, Goroutine, Object, ObjectKind, Side};
use crate::gobin::Layout;

/// Says of each semaphore and condition what it is part of, and what state that is in; several semaphores of one
/// RWMutex become one object. Those whose waiters have moved on since stay semaphores.
pub fn refine(memory: &dyn ReadMemory, layout: &Layout, dump: &mut Dump) -> Result<(), MemoryError> {
    let mut waiters: Vec<Option<usize>> = vec![None; dump.objects.len()];
    for (i, g) in dump.goroutines.iter().enumerate() {
        g.waits_on.iter().for_each(|wait| _ = waiters[wait.object as usize].get_or_insert(i));
    }
    for (object, waiter) in dump.objects.iter_mut().zip(waiters) {
        if !matches!(object.kind, ObjectKind::Semaphore { .. } | ObjectKind::Cond { .. }) {
            continue;
        }
        let Some(g) = waiter.map(|i| &dump.goroutines[i]) else { continue };
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
