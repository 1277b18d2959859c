//! The look: every goroutine of a running process, read from `allgs` while it runs on.
//!
//! What makes that safe to believe (go-runtime: `runtime/proc.go` allgadd, newproc1, gfget; checked for 1.19–1.27):
//! - `allgs` only grows ([`allgs`](super::allgs)).
//! - g structs are never freed or moved, but used again: a goroutine is its goid, a slot of `allgs` is not.
//! - Before Go 1.24 a new g is runnable for a moment while it still has its last owner's goid; a goid not known at its
//!   slot is therefore read twice and must stay.
//! - Living ones are stamped with a time before the read, gone ones with a time after it, so that a birth or death
//!   event from the kernel always finds its right place.

use std::collections::HashMap;

use tracer_common::wire::{self, Header, LookEdge, MAX_FRAMES, Seen, kind, stack_end};

use super::allgs::{self, AllGs};
use super::{MemoryError, ReadMemory};
use crate::event::{Event, StackDef, status};
use crate::gobin::Layout;

/// g structs read by one system call.
const BATCH: usize = 1024;
/// Blocked stacks read for one `go` statement and wait reason.
const EXAMPLES: u8 = 2;
/// Blocked stacks read in one look at most, so that a look stays cheap.
const EXAMPLES_PER_LOOK: usize = 64;
/// How much of a blocked goroutine's stack is read at most.
const MAX_STACK_READ: u64 = 32 << 10;

/// What was last seen in a slot of `allgs`.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0: nobody alive.
    goid: u64,
    status: u32,
    reason: u8,
}

/// Reads all goroutines again and again and tells what changed.
pub struct Looker {
    layout: Layout,
    /// Runtime address of the slice header `runtime.allgs`.
    allgs: u64,
    slots: Vec<Slot>,
    seq: u64,
    examples: HashMap<(u64, u8), u8>,
    stacks: HashMap<u64, ()>,
    // Reused from look to look.
    pointers: Vec<u8>,
    room: Vec<u8>,
}

/// The fields of a g that a look uses.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct G {
    goid: u64,
    parent: u64,
    gopc: u64,
    start_pc: u64,
    wait_since: u64,
    status: u32,
    reason: u8,
}

/// What reading a g again came to.
enum Settled {
    Is(G),
    /// It ended in between: nobody to tell of.
    Ended,
    InMotion,
}

impl G {
    fn alive(&self) -> bool {
        !matches!(self.status, status::IDLE | status::DEAD | status::DEAD_EXTRA)
    }
    /// Equal in what never changes while a goroutine lives.
    fn same_goroutine(&self, other: &Self) -> bool {
        (self.goid, self.gopc, self.start_pc) == (other.goid, other.gopc, other.start_pc) && other.alive()
    }
}

impl Looker {
    /// `allgs` is the runtime address of the slice header (ELF address plus load bias).
    pub fn new(layout: Layout, allgs: u64) -> Self {
        Self {
            layout,
            allgs,
            slots: Vec::new(),
            seq: 0,
            examples: HashMap::new(),
            stacks: HashMap::new(),
            pointers: Vec::new(),
            room: Vec::new(),
        }
    }

    /// One look. `now` gives `CLOCK_BOOTTIME` nanoseconds. Events go to `out` in the order of the stream.
    pub fn look(
        &mut self,
        memory: &dyn ReadMemory,
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

        let (read, unreadable) = match self.walk(memory, now, out) {
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
        now: &dyn Fn() -> u64,
        out: &mut dyn FnMut(Event),
    ) -> Result<(u64, u64), MemoryError> {
        let addrs = match allgs::addresses(memory, self.allgs, &mut self.pointers)? {
            AllGs::Read(addrs) => addrs,
            AllGs::Moved { len } => return Ok((0, len)),
        };
        self.slots.resize(self.slots.len().max(addrs.len()), Slot::default());
        let mut unreadable = 0;
        let mut wants_stack = Vec::new();
        for (batch, addrs) in addrs.chunks(BATCH).enumerate() {
            unreadable += self.batch(memory, now, batch * BATCH, addrs, &mut wants_stack, out)?;
        }
        for (addr, g) in wants_stack {
            self.example(memory, now, addr, &g, out);
        }
        Ok((addrs.len() as u64, unreadable))
    }

    fn batch(
        &mut self,
        memory: &dyn ReadMemory,
        now: &dyn Fn() -> u64,
        first: usize,
        addrs: &[u64],
        wants_stack: &mut Vec<(u64, G)>,
        out: &mut dyn FnMut(Event),
    ) -> Result<u64, MemoryError> {
        let (from, size) = self.window();
        let at: Vec<u64> = addrs.iter().map(|a| a.wrapping_add(from)).collect();
        let mut room = std::mem::take(&mut self.room);
        room.resize(addrs.len() * size, 0);
        let mut ok = vec![false; addrs.len()];
        let before = now();
        memory.read_each(&at, size, &mut room, &mut ok)?;
        let after = now();
        let mut unreadable = 0;
        for (i, addr) in addrs.iter().enumerate() {
            if !ok[i] || *addr == 0 {
                unreadable += 1;
                continue;
            }
            let mut g = self.parse(&room[i * size..(i + 1) * size]);
            let slot = self.slots[first + i];
            let alive = g.alive() && g.goid != 0;
            if slot.goid != 0 && (!alive || g.goid != slot.goid) {
                // What stands in the g now is, if anybody's, its next owner's.
                let gone = G { goid: slot.goid, status: status::DEAD, ..G::default() };
                out(Event::State(seen(kind::STATE, after, *addr, &gone)));
                self.slots[first + i] = Slot::default();
            }
            if !alive {
                continue;
            }
            if g.goid != slot.goid {
                // Not known here: the goid may still be the last owner's.
                match self.settle(memory, addr.wrapping_add(from), g)? {
                    Settled::Is(settled) => g = settled,
                    Settled::Ended => continue,
                    Settled::InMotion => {
                        unreadable += 1;
                        continue;
                    }
                }
                out(Event::Seen(seen(kind::SEEN, before, *addr, &g)));
            } else if (g.status, g.reason) != (slot.status, slot.reason) {
                out(Event::State(seen(kind::STATE, before, *addr, &g)));
            } else if g.status == status::WAITING
                && wants_stack.len() < EXAMPLES_PER_LOOK
                && self.examples.get(&(g.gopc, g.reason)).is_none_or(|n| *n < EXAMPLES)
            {
                // It has waited since the last look at least: worth an example.
                *self.examples.entry((g.gopc, g.reason)).or_default() += 1;
                wants_stack.push((*addr, g));
            }
            self.slots[first + i] = Slot { goid: g.goid, status: g.status, reason: g.reason };
        }
        self.room = room;
        Ok(unreadable)
    }

    /// Reads a g until two reads agree on who it is. `at` is where [`window`](Self::window) begins in it.
    fn settle(&self, memory: &dyn ReadMemory, at: u64, first: G) -> Result<Settled, MemoryError> {
        let mut bytes = vec![0; self.window().1];
        let mut last = first;
        for _ in 0..3 {
            match memory.read(at, &mut bytes) {
                Ok(()) => {}
                Err(MemoryError::Gone) => return Err(MemoryError::Gone),
                Err(_) => return Ok(Settled::InMotion),
            }
            let again = self.parse(&bytes);
            if !again.alive() {
                return Ok(Settled::Ended);
            }
            if last.same_goroutine(&again) {
                return Ok(Settled::Is(again));
            }
            last = again;
        }
        Ok(Settled::InMotion)
    }

    /// The part of a g that is read: from its status to its start function.
    fn window(&self) -> (u64, usize) {
        let l = &self.layout;
        let from = l.g_status.min(l.kernel.g_goid);
        let to = l.kernel.g_startpc.max(l.kernel.g_gopc) + 8;
        (from.into(), (to - from) as usize)
    }

    fn parse(&self, bytes: &[u8]) -> G {
        let (from, _) = self.window();
        let l = &self.layout;
        let u64_at = |offset: u32| {
            let at = (u64::from(offset).wrapping_sub(from)) as usize;
            bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
        };
        let parent = l.kernel.g_parent_goid;
        G {
            goid: u64_at(l.kernel.g_goid),
            parent: if parent == tracer_common::config::ABSENT { 0 } else { u64_at(parent) },
            gopc: u64_at(l.kernel.g_gopc),
            start_pc: u64_at(l.kernel.g_startpc),
            wait_since: u64_at(l.g_waitsince),
            status: u64_at(l.g_status) as u32 & !status::SCAN_BIT,
            reason: bytes.get((u64::from(l.kernel.g_waitreason) - from) as usize).copied().unwrap_or(0),
        }
    }

    /// Reads the stack of a goroutine that waits, and tells it if the goroutine still waits the same way afterwards.
    fn example(
        &mut self,
        memory: &dyn ReadMemory,
        now: &dyn Fn() -> u64,
        addr: u64,
        g: &G,
        out: &mut dyn FnMut(Event),
    ) {
        let time_ns = now();
        let Some((frames, end)) = self.blocked_stack(memory, addr, g) else {
            return;
        };
        let stack = stack_id(&frames, end);
        let h =
            Header { time_ns, goid: g.goid, g: addr, kind: kind::STACK_DEF, flags: end, ..Header::default() };
        if self.stacks.insert(stack, ()).is_none() {
            out(Event::StackDef(StackDef { h, stack, frames }));
        }
        let h = Header { kind: kind::BLOCKED, flags: 0, ..h };
        out(Event::Blocked(wire::Blocked { h, stack }));
    }

    /// Frames by frame pointers: right for goroutines parked in `gopark`. Innermost first; the first is `sched.pc`.
    fn blocked_stack(&self, memory: &dyn ReadMemory, addr: u64, g: &G) -> Option<(Vec<u64>, u8)> {
        let l = &self.layout;
        let state = || {
            let field = |offset: u32| memory.read_u64(addr.wrapping_add(offset.into())).ok();
            Some([
                field(l.kernel.g_goid)?,
                u64::from(field(l.g_status)? as u32 & !status::SCAN_BIT),
                field(l.kernel.g_stack_lo)?,
                field(l.kernel.g_stack_hi)?,
                field(l.g_sched_sp)?,
                field(l.g_sched_pc)?,
                field(l.kernel.g_sched_bp)?,
            ])
        };
        let first = state()?;
        let [goid, now_status, lo, hi, sp, pc, mut fp] = first;
        if goid != g.goid || now_status != u64::from(status::WAITING) || sp < lo || sp >= hi {
            return None;
        }
        let mut copy = vec![0; (hi - sp).min(MAX_STACK_READ) as usize];
        memory.read(sp, &mut copy).ok()?;
        let mut frames = vec![pc];
        let mut end = stack_end::TOO_DEEP;
        while frames.len() < MAX_FRAMES {
            let Some(b) = fp.checked_sub(sp).and_then(|at| copy.get(at as usize..at as usize + 16)) else {
                end = stack_end::OUT_OF_BOUNDS;
                break;
            };
            let (next, ra) = b.split_at(8);
            let next = u64::from_le_bytes(next.try_into().ok()?);
            frames.push(u64::from_le_bytes(ra.try_into().ok()?));
            if next == 0 {
                end = stack_end::COMPLETE;
                break;
            }
            if next <= fp {
                end = stack_end::OUT_OF_BOUNDS;
                break;
            }
            fp = next;
        }
        // It may have run and parked again meanwhile, or its stack may have been moved.
        (state()? == first).then_some((frames, end))
    }
}

fn seen(kind: u8, time_ns: u64, addr: u64, g: &G) -> Seen {
    Seen {
        h: Header { time_ns, goid: g.goid, g: addr, kind, ..Header::default() },
        parent_goid: g.parent,
        gopc: g.gopc,
        start_pc: g.start_pc,
        wait_since: g.wait_since,
        status: g.status,
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
