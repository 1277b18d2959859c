//! The look: every goroutine of a running process, read from `allgs` while it runs on.
//!
//! What makes that safe to believe (go-runtime: `runtime/proc.go` allgadd, newproc1, gfget; checked for 1.19–1.27):
//! - `allgs` only grows ([`allgs`](super::allgs)).
//! - g structs are never freed or moved, but used again: a goroutine is its goid, a slot of `allgs` is not.
//! - Before Go 1.24 a new g is runnable for a moment while it still has its last owner's goid; a goid not known at its
//!   slot is therefore read twice and must stay.
//! - Living ones are stamped with a time before the read, gone ones with a time after it, so that a birth or death
//!   event from the kernel always finds its right place.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};

use tracer_common::wire::{self, Header, LookEdge, MAX_FRAMES, Seen, kind, stack_end};

use super::allgs::{self, AllGs};
use super::g::{self, G};
use super::{MemoryError, ReadMemory};
use crate::dump::{Dump, Goroutine, ObjectKind, Stack, Status, Trace};
use crate::event::message::{Label, WaitOn};
use crate::event::{Event, Labels, Note, StackDef, Waits, status};
use crate::gobin::Layout;

/// g structs read by one system call.
const BATCH: usize = 1024;
/// Goroutines whose stacks are read before they are told.
const CHUNK: usize = 1 << 16;
/// Channels of one `select` that are told; the others are counted.
const MAX_CASES: usize = 64;

/// Different sets of labels that are told, as many as a session keeps: a program that labels each request has any number.
const MAX_LABEL_SETS: usize = 16_384;

/// Reads the stacks of goroutines and what they wait on.
pub trait Detail {
    /// Those of these goroutines that are alive, by the addresses of their g's. `ask` the kernel who is at the other
    /// end of connections, too.
    fn read(&mut self, addrs: &[u64], ask: bool) -> Result<Dump, MemoryError>;
}

/// What a look is to tell besides states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Stacks and objects of those that have not moved since the last look (in the first look: of all that wait), as far as
    /// they were not told.
    AtRest { ask: bool },
    /// Of all that wait.
    All,
}

/// What was last seen in a slot of `allgs`.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0: nobody alive.
    goid: u64,
    status: u8,
    reason: u8,
    /// Who is at the other end was not asked.
    unasked: bool,
    /// Sum of the g's bytes: the same as long as nothing happens to it, not even by the collector.
    bytes: u32,
    /// Hash of what is the same as long as it does not run.
    place: u32,
    /// Hash of the stack and the objects that were told of it; 0: none were.
    told: u32,
}

/// Reads all goroutines again and again and tells what changed.
pub struct Looker {
    layout: Layout,
    /// Runtime address of the slice header `runtime.allgs`.
    allgs: u64,
    slots: Vec<Slot>,
    seq: u64,
    stacks: HashSet<u64>,
    labels: HashSet<u64>,
    // Reused from look to look.
    pointers: Vec<u8>,
    room: Vec<u8>,
}

impl Slot {
    /// A goroutine in the slot of which `was` was known; `sum` is its g's.
    fn of(g: &G, sum: u32, was: &Self) -> Self {
        Self {
            goid: g.goid,
            status: g.status() as u8,
            reason: g.reason,
            bytes: sum,
            place: place(g),
            unasked: was.unasked,
            told: was.told,
        }
    }
}

/// What reading a g again came to.
enum Settled {
    /// And the sum of its bytes.
    Is(G, u32),
    /// It ended in between: nobody to tell of.
    Ended,
    InMotion,
}

fn is_alive(g: &G) -> bool {
    Status::of(g.raw_status).is_alive()
}

/// Equal in what never changes while a goroutine lives.
fn same_goroutine(a: &G, b: &G) -> bool {
    (a.goid, a.gopc, a.startpc) == (b.goid, b.gopc, b.startpc) && is_alive(b)
}

fn waits(g: &G) -> bool {
    matches!(g.status(), status::WAITING | status::LEAKED)
}

impl Looker {
    /// `allgs` is the runtime address of the slice header (ELF address plus load bias).
    pub fn new(layout: Layout, allgs: u64) -> Self {
        Self {
            layout,
            allgs,
            slots: Vec::new(),
            seq: 0,
            stacks: HashSet::new(),
            labels: HashSet::new(),
            pointers: Vec::new(),
            room: Vec::new(),
        }
    }

    /// One look. `now` gives `CLOCK_BOOTTIME` nanoseconds. Events go to `out` in the order of the stream.
    pub fn look(
        &mut self,
        memory: &dyn ReadMemory,
        detail: Option<(&mut dyn Detail, Depth)>,
        now: &dyn Fn() -> u64,
        out: &mut dyn FnMut(Event),
    ) -> Result<(), MemoryError> {
        self.seq += 1;
        let seq = self.seq;
        let edge = |kind, time_ns, read, unreadable| LookEdge {
            h: Header { time_ns, kind, ..Header::default() },
            seq,
            read,
            unreadable,
        };
        out(Event::LookBegin(edge(kind::LOOK_BEGIN, now(), 0, 0)));

        let (read, unreadable) = match self.walk(memory, detail, now, out) {
            Ok(counts) => counts,
            Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => return Err(e),
            // Told as a look that saw nothing of those it knew of: the next one may.
            Err(MemoryError::Unmapped { .. } | MemoryError::Other { .. }) => {
                (0, self.slots.len().max(1) as u64)
            }
        };
        out(Event::LookEnd(edge(kind::LOOK_END, now(), read, unreadable)));
        Ok(())
    }

    /// Entries of `allgs` that were read, and that were not.
    fn walk(
        &mut self,
        memory: &dyn ReadMemory,
        detail: Option<(&mut dyn Detail, Depth)>,
        now: &dyn Fn() -> u64,
        out: &mut dyn FnMut(Event),
    ) -> Result<(u64, u64), MemoryError> {
        let addrs = match allgs::addresses(memory, self.allgs, &mut self.pointers)? {
            AllGs::Read(addrs) => addrs,
            AllGs::Moved { len } => return Ok((0, len)),
        };
        self.slots.resize(self.slots.len().max(addrs.len()), Slot::default());
        let mut unreadable = 0;
        let mut wanted = Vec::new();
        let depth = detail.as_ref().map(|(_, depth)| *depth);
        for (batch, addrs) in addrs.chunks(BATCH).enumerate() {
            unreadable += self.batch(memory, now, batch * BATCH, addrs, depth, &mut wanted, out)?;
        }
        if let Some((detail, depth)) = detail {
            let ask = depth != Depth::AtRest { ask: false };
            for chunk in wanted.chunks(CHUNK) {
                match self.details(detail, ask, now, chunk, out) {
                    Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => return Err(e),
                    // What they do is told; the next look tries again.
                    Ok(()) | Err(MemoryError::Unmapped { .. } | MemoryError::Other { .. }) => {}
                }
            }
        }
        Ok((addrs.len() as u64, unreadable))
    }

    /// How many could not be read. Slots and addresses of those whose stacks are wanted go to `wanted`.
    #[expect(clippy::too_many_arguments, reason = "one step of `walk`")]
    fn batch(
        &mut self,
        memory: &dyn ReadMemory,
        now: &dyn Fn() -> u64,
        first: usize,
        addrs: &[u64],
        depth: Option<Depth>,
        wanted: &mut Vec<(usize, u64)>,
        out: &mut dyn FnMut(Event),
    ) -> Result<u64, MemoryError> {
        let size = g::window(&self.layout);
        let mut room = std::mem::take(&mut self.room);
        room.resize(addrs.len() * size, 0);
        let mut ok = vec![false; addrs.len()];
        let before = now();
        memory.read_each(addrs, size, &mut room, &mut ok)?;
        let after = now();
        let mut unreadable = 0;
        for (i, addr) in addrs.iter().enumerate() {
            if !ok[i] || *addr == 0 {
                unreadable += 1;
                continue;
            }
            let bytes = &room[i * size..(i + 1) * size];
            let mut g = G::parse(*addr, bytes, &self.layout);
            let slot = self.slots[first + i];
            let alive = is_alive(&g) && g.goid != 0;
            if slot.goid != 0 && (!alive || g.goid != slot.goid) {
                // What stands in the g now is, if anybody's, its next owner's.
                out(Event::State(gone(after, *addr, slot.goid)));
                self.slots[first + i] = Slot::default();
            }
            if !alive {
                continue;
            }
            let mut now_there = Slot::of(&g, g::sum(bytes), &slot);
            if g.goid != slot.goid {
                // Not known here: the goid may still be the last owner's.
                match self.settle(memory, g)? {
                    Settled::Is(settled, sum) => {
                        g = settled;
                        now_there = Slot::of(&g, sum, &Slot::default());
                    }
                    Settled::Ended => continue,
                    Settled::InMotion => {
                        unreadable += 1;
                        continue;
                    }
                }
                out(Event::Seen(seen(kind::SEEN, before, &g)));
            } else if (now_there.status, now_there.reason) != (slot.status, slot.reason)
                || waits(&g) && now_there.place != slot.place
            {
                // What was told of it is no longer so.
                (now_there.unasked, now_there.told) = (false, 0);
                out(Event::State(seen(kind::STATE, before, &g)));
            }
            let rests = self.seq == 1 || (now_there.goid, now_there.bytes) == (slot.goid, slot.bytes);
            let wants = match depth {
                None => false,
                Some(Depth::All) => true,
                Some(Depth::AtRest { ask }) => rests && (now_there.told == 0 || ask && now_there.unasked),
            };
            // One whose bytes alone have changed may have been at the same place by another way.
            let doubtful = now_there.told != 0 && now_there.bytes != slot.bytes;
            if waits(&g) && depth.is_some() && (wants || doubtful) {
                wanted.push((first + i, *addr));
            }
            self.slots[first + i] = now_there;
        }
        self.room = room;
        Ok(unreadable)
    }

    /// Reads a g until two reads agree on who it is.
    fn settle(&self, memory: &dyn ReadMemory, first: G) -> Result<Settled, MemoryError> {
        let mut bytes = vec![0; g::window(&self.layout)];
        let mut last = first;
        for _ in 0..3 {
            match memory.read(first.addr, &mut bytes) {
                Ok(()) => {}
                Err(MemoryError::Gone) => return Err(MemoryError::Gone),
                Err(_) => return Ok(Settled::InMotion),
            }
            let again = G::parse(first.addr, &bytes, &self.layout);
            if !is_alive(&again) {
                return Ok(Settled::Ended);
            }
            if same_goroutine(&last, &again) {
                return Ok(Settled::Is(again, g::sum(&bytes)));
            }
            last = again;
        }
        Ok(Settled::InMotion)
    }

    /// Tells the stacks of these goroutines and what they wait on, where that is not what was told of them.
    fn details(
        &mut self,
        detail: &mut dyn Detail,
        ask: bool,
        now: &dyn Fn() -> u64,
        wanted: &[(usize, u64)],
        out: &mut dyn FnMut(Event),
    ) -> Result<(), MemoryError> {
        let time_ns = now();
        let at: HashMap<u64, usize> = wanted.iter().map(|(slot, addr)| (*addr, *slot)).collect();
        let Self { slots, stacks, labels: known_labels, .. } = self;
        let addrs: Vec<u64> = wanted.iter().map(|(_, addr)| *addr).collect();
        let dump = detail.read(&addrs, ask)?;
        let mut objects_told = HashSet::new();
        let mut stack_ids: HashMap<u32, Option<u64>> = HashMap::new();
        for g in &dump.goroutines {
            let Some(slot) = at.get(&g.g).and_then(|i| slots.get_mut(*i)) else { continue };
            // It has gone on meanwhile, or the next look would say so.
            if g.goid != slot.goid || !matches!(g.status, Status::Waiting | Status::Leaked) {
                continue;
            }
            let h = Header { time_ns, goid: g.goid, g: g.g, ..Header::default() };
            let stack = g.trace.stack().and_then(|at| {
                *stack_ids.entry(at).or_insert_with(|| {
                    let (frames, end) = frames(dump.stacks.get(at as usize)?, &g.trace);
                    let stack = stack_id(&frames, end);
                    if stacks.insert(stack) {
                        let h = Header { kind: kind::STACK_DEF, flags: end, ..h };
                        out(Event::StackDef(StackDef { h, stack, frames }));
                    }
                    Some(stack)
                })
            });
            let labels = labels_of(known_labels, &dump, g, &h, out);
            let mut on: Vec<WaitOn> = Vec::new();
            for wait in &g.waits_on {
                if let Some(object) = dump.objects.get(wait.object as usize) {
                    on.push(WaitOn { addr: object.addr, side: wait.side.tell() });
                }
            }
            let more = on.len().saturating_sub(MAX_CASES) as u64;
            on.truncate(MAX_CASES);
            let news = ask && slot.unasked;
            slot.unasked = !ask && waits_for_descriptor(&dump, g);
            let told = told(stack, &on, labels);
            if slot.told == told && !news {
                continue;
            }
            slot.told = told;
            for wait in g.waits_on.iter().take(MAX_CASES).filter(|w| objects_told.insert(w.object)) {
                if let Some(object) = dump.objects.get(wait.object as usize) {
                    let h = Header { kind: kind::OBJECT, goid: 0, g: 0, ..h };
                    out(Event::Object(h, Box::new(object.kind.tell(object.addr))));
                }
            }
            let blocked = Header { kind: kind::BLOCKED, ..h };
            out(Event::Blocked(wire::Blocked { h: blocked, stack: stack.unwrap_or(0) }));
            out(Event::Waits(Header { kind: kind::WAITS, ..h }, Waits { on, more, labels }));
        }
        Ok(())
    }
}

fn waits_for_descriptor(dump: &Dump, g: &Goroutine) -> bool {
    let kind = |wait: &crate::dump::Wait| dump.objects.get(wait.object as usize).map(|o| &o.kind);
    g.waits_on.iter().any(|wait| matches!(kind(wait), Some(ObjectKind::Descriptor { .. })))
}

/// The id of a goroutine's labels; tells them where they are new.
fn labels_of(
    known: &mut HashSet<u64>,
    dump: &Dump,
    g: &Goroutine,
    h: &Header,
    out: &mut dyn FnMut(Event),
) -> u64 {
    let Some(labels) = dump.labels(g) else { return 0 };
    let mut hasher = DefaultHasher::new();
    for text in labels.iter().flat_map(|(key, value)| [key, value]) {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    let id = hasher.finish().max(1);
    if known.len() >= MAX_LABEL_SETS && !known.contains(&id) {
        // No set has this id.
        if known.len() == MAX_LABEL_SETS && known.insert(0) {
            let text = format!(
                "more than {MAX_LABEL_SETS} different sets of labels were met: later ones are not told"
            );
            let note = Note { code: "labels-full".to_owned(), text };
            out(Event::Note(Header { kind: kind::NOTE, goid: 0, g: 0, ..*h }, note));
        }
        return 0;
    }
    if known.insert(id) {
        let label = |(key, value): (&String, &String)| Label { key: key.clone(), value: value.clone() };
        let labels = labels.iter().map(label).collect();
        let h = Header { kind: kind::LABELS, goid: 0, g: 0, ..*h };
        out(Event::Labels(h, Labels { id, labels }));
    }
    id
}

/// The frames as the stream has them: all are return addresses, so that one behind an instruction that was next stands for
/// it; and how they end.
fn frames(stack: &Stack, trace: &Trace) -> (Vec<u64>, u8) {
    let frames = stack.pcs.iter().map(|pc| pc.pc.wrapping_add(u64::from(pc.exact)));
    let cut = stack.left_out.as_ref().map_or(stack.pcs.len(), |left_out| left_out.after);
    let frames: Vec<u64> = frames.take(cut.min(MAX_FRAMES)).collect();
    let end = match trace {
        _ if frames.len() < stack.pcs.len() => stack_end::TOO_DEEP,
        Trace::Whole(_) => stack_end::COMPLETE,
        _ => stack_end::OUT_OF_BOUNDS,
    };
    (frames, end)
}

/// What changes when a goroutine that waits has run and waits again; the collector changes none of it. The same means that it
/// has not run, or that it has run a multiple of 256 times (where the layout tells the count) and is back at the very place.
fn place(g: &G) -> u32 {
    let mut hasher = DefaultHasher::new();
    for word in [g.hi.wrapping_sub(g.sp), g.pc, g.waiting, g.sleep_when.unwrap_or(0)] {
        hasher.write_u64(word);
    }
    hasher.write_u8(g.tracking_seq);
    hasher.finish() as u32
}

fn told(stack: Option<u64>, on: &[WaitOn], labels: u64) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(stack.unwrap_or(0));
    for on in on {
        hasher.write_u64(on.addr);
        hasher.write_u32(on.side);
    }
    hasher.write_u64(labels);
    (hasher.finish() as u32).max(1)
}

fn gone(time_ns: u64, addr: u64, goid: u64) -> Seen {
    Seen {
        h: Header { time_ns, goid, g: addr, kind: kind::STATE, ..Header::default() },
        status: status::DEAD,
        ..Seen::default()
    }
}

fn seen(kind: u8, time_ns: u64, g: &G) -> Seen {
    Seen {
        h: Header { time_ns, goid: g.goid, g: g.addr, kind, ..Header::default() },
        parent_goid: g.parent.unwrap_or(0),
        gopc: g.gopc,
        start_pc: g.startpc,
        wait_since: g.waitsince,
        status: g.status(),
        reason: g.reason.into(),
    }
}

/// Ids given by the user side have bit 62 set and bit 63 clear, those of the kernel bit 63.
fn stack_id(frames: &[u64], end: u8) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ u64::from(end);
    for f in frames {
        hash = (hash ^ f).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash & !(1 << 63) | 1 << 62
}

#[cfg(test)]
mod tests;
