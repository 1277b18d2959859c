//! What the objects of a dump are: a semaphore alone says nothing, the functions that wait for it do.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::super::g::{self, G};
use super::super::{MemoryError, ReadMemory};
use super::semaphores::Owner;
use crate::dump::{Dump, Goroutine, Object, ObjectKind, Side, Status};
use crate::gobin::Layout;

/// Waiters of one object that are asked whether they wait still.
const MAX_ASKED: usize = 8;

/// Says of each semaphore and condition what it is part of, and what state that is in; several semaphores of one
/// RWMutex become one object. Those whose waiters have moved on since stay semaphores.
pub fn refine(memory: &dyn ReadMemory, layout: &Layout, dump: &mut Dump) -> Result<(), MemoryError> {
    let mut waiters: Vec<(u32, usize)> = Vec::new();
    for (i, g) in dump.goroutines.iter().enumerate() {
        let part = |object: &u32| {
            let kind = &dump.objects[*object as usize].kind;
            matches!(kind, ObjectKind::Semaphore { .. } | ObjectKind::Cond { .. })
        };
        waiters.extend(g.waits_on.iter().map(|wait| wait.object).filter(part).map(|object| (object, i)));
    }
    waiters.sort_unstable();
    for waiters in waiters.chunk_by(|a, b| a.0 == b.0) {
        for (object, i) in waiters.iter().take(MAX_ASKED) {
            let (object, g) = (&mut dump.objects[*object as usize], &dump.goroutines[*i]);
            let pcs = g.trace.stack().map_or(&[][..], |stack| &dump.stacks[stack as usize].pcs);
            let frames = pcs.iter().flat_map(|pc| dump.places.at(*pc).map_or(&[][..], |place| &place.frames));
            let owner = Owner::of(frames.map(|f| f.function.as_str()));
            if let Some((addr, kind)) = owner.describe(memory, object.addr)?
                && waits_still(memory, layout, g)?
            {
                (object.addr, object.kind) = (addr, kind);
                break;
            }
        }
    }
    merge(dump);
    Ok(())
}

/// It is in the wait in which its stack was read, so that what it waits on is what it was then ([`G::has_waited_since`] says
/// what is not noticed).
fn waits_still(memory: &dyn ReadMemory, layout: &Layout, was: &Goroutine) -> Result<bool, MemoryError> {
    let mut bytes = vec![0; g::window(layout)];
    match memory.read(was.g, &mut bytes) {
        Ok(()) => {
            let g = G::parse(was.g, &bytes, layout);
            let same = was.wait_mark.is_some_and(|mark| g.has_waited_since(mark));
            Ok(same
                && (g.goid, Status::of(g.raw_status), Some(g.reason)) == (was.goid, was.status, was.reason))
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
