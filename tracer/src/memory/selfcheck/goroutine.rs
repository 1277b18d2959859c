//! One goroutine held against the invariants.

use super::super::g::G;
use super::super::{MemoryError, ReadMemory};
use super::invariant::Invariant;
use super::{Surroundings, Told};
use crate::event::status;
use crate::gobin::Layout;

/// Goroutines that `runtime.main` starts, created by goroutine 1, and what they wait for (`runtime/proc.go`,
/// `runtime/mgcsweep.go`, `runtime/mgcscavenge.go`). The last two have an argument, so that the compiler starts them by
/// functions of its own (in [`BY_WRAPPER`]); what those call is read off their code.
const KNOWN: [(&str, &[&str]); 3] = [
    ("runtime.forcegchelper", &["force gc (idle)"]),
    ("runtime.bgsweep", &["GC sweep wait"]),
    ("runtime.bgscavenge", &["GC scavenge wait", "sleep"]),
];
/// `runtime.gcenable.func1` and `func2` up to Go 1.21, then `gowrap1` and `gowrap2`.
const BY_WRAPPER: &str = "runtime.gcenable.";
/// So waits whoever the collector has stopped to look at its stack (`runtime/preempt.go`, `suspendG`).
const PREEMPTED: &str = "preempted";
/// `runtime.fixedStack` on Linux, and more than `debug.SetMaxStack` is ever set to.
const STACK_SIZES: std::ops::RangeInclusive<u64> = 2 << 10..=1 << 40;
/// More goroutines than that are not started in centuries.
pub const MAX_GOID: u64 = 1 << 48;

/// What the self-check asks of a g.
impl G {
    fn has_known_status(&self, l: &Layout) -> bool {
        let s = self.status();
        let plain = matches!(s, 0..=4 | status::DEAD | status::COPYSTACK | status::PREEMPTED);
        plain || l.status_dead_extra.is_some_and(|extra| s == extra || s == status::LEAKED)
    }

    pub fn alive(&self, l: &Layout) -> bool {
        let dead = matches!(self.status(), status::IDLE | status::DEAD);
        !dead && Some(self.status()) != l.status_dead_extra && self.has_known_status(l)
    }

    fn waits(&self) -> bool {
        matches!(self.status(), status::WAITING | status::LEAKED)
    }

    /// The placeholder of a thread that C code made: nobody started it.
    fn is_extra(&self) -> bool {
        self.gopc == 0 && self.startpc == 0
    }
}

/// Holds one g, read twice with the same result, against every invariant but the goid's uniqueness.
pub fn judge(
    g: &G,
    l: &Layout,
    memory: &dyn ReadMemory,
    around: &dyn Surroundings,
    told: &mut Told<'_>,
) -> Result<(), MemoryError> {
    told.of(Invariant::Status, g.raw_status.into(), Some(g.has_known_status(l)));
    if !g.alive(l) {
        return Ok(());
    }
    let size = g.hi.wrapping_sub(g.lo);
    let stack =
        g.lo != 0 && g.lo.is_multiple_of(1 << 10) && size.is_power_of_two() && STACK_SIZES.contains(&size);
    told.of(Invariant::Stack, g.lo, Some(stack));
    let in_stack = |at: u64| at > g.lo && at <= g.hi && at.is_multiple_of(8);
    let idle = g.waits() || matches!(g.status(), status::RUNNABLE | status::PREEMPTED);
    // Waiting in name only: the garbage collector and others say so of goroutines that run (casGToWaiting).
    let saved = idle && g.m == 0;
    if saved {
        told.of(Invariant::SchedSp, g.sp, Some(in_stack(g.sp)));
        told.of(Invariant::SchedPc, g.pc, in_code(around, g.pc, |_, _| true));
    }
    if saved && g.waits() && g.bp != 0 {
        let caller = if in_stack(g.bp) && g.bp >= g.sp { word(memory, g.bp + 8)? } else { None };
        told.of(Invariant::SchedBp, g.bp, caller.map_or(Some(false), |c| in_code(around, c, |_, _| true)));
    }
    if !g.is_extra() {
        told.of(Invariant::StartPc, g.startpc, in_code(around, g.startpc, |entry, _| entry == g.startpc));
        let made = in_code(around, g.gopc, |_, _| around.is_behind_a_call(g.gopc));
        told.of(Invariant::GoPc, g.gopc, made);
    }
    let known = known(around, g.startpc);
    if let Some(parent) = g.parent {
        // 0 is the system's goroutine: a timer starts `time.AfterFunc`'s functions on it.
        let right = if known.is_some() { Some(parent == 1) } else { (parent >= MAX_GOID).then_some(false) };
        told.of(Invariant::Parent, parent, right);
    }
    if saved && g.waits() {
        told.of(Invariant::WaitReason, g.reason.into(), reason_is_right(g, known, around));
        let (from, to) = around.lifetime_ns();
        told.of(
            Invariant::WaitSince,
            g.waitsince,
            (g.waitsince != 0).then(|| (from..=to).contains(&g.waitsince)),
        );
        channel(g, l, memory, around, told)?;
    }
    if g.status() == status::SYSCALL {
        // Both are copies of what was saved to be resumed (`reentersyscall`); on the way to C code, and to the system stack,
        // that is saved once more, from further down (`gosave_systemstack_switch`).
        let copied = (g.syscallsp, g.syscallpc) == (g.sp, g.pc);
        let further_down = || {
            let switches = |_, name: &str| name == "runtime.systemstack_switch";
            g.sp < g.syscallsp && in_code(around, g.pc, switches) == Some(true)
        };
        let saved = (copied || further_down()) && in_stack(g.syscallsp);
        let pc = in_code(around, g.syscallpc, |_, _| true);
        told.of(Invariant::Syscall, g.syscallsp, if saved { pc } else { Some(false) });
    }
    thread(g, idle, l, memory, around, told)
}

/// Whether the address is in a Go function for which `also` holds; nothing where it is code of another file (a plugin).
fn in_code(around: &dyn Surroundings, pc: u64, also: impl Fn(u64, &str) -> bool) -> Option<bool> {
    match around.function(pc) {
        Some((entry, name)) => Some(also(entry, name)),
        None => (!around.is_foreign_code(pc)).then_some(false),
    }
}

/// What a goroutine of the runtime that starts there may wait for.
fn known(around: &dyn Surroundings, startpc: u64) -> Option<&'static [&'static str]> {
    let (_, name) = around.function(startpc).filter(|(entry, _)| *entry == startpc)?;
    let wrapped = if name.starts_with(BY_WRAPPER) { around.wrapped(startpc) } else { None };
    let name = wrapped.as_deref().unwrap_or(name);
    KNOWN.iter().find(|(start, _)| *start == name).map(|(_, reasons)| *reasons)
}

fn reason_is_right(g: &G, known: Option<&[&str]>, around: &dyn Surroundings) -> Option<bool> {
    let Some(names) = around.wait_reasons() else {
        // Without the table no more can be said than that there is a reason.
        return Some((1..64).contains(&g.reason));
    };
    match (names.get(usize::from(g.reason)), known) {
        (None, _) => Some(false),
        (Some(_), _) if g.reason == 0 => Some(false),
        (Some(name), Some(known)) => Some(name == PREEMPTED || known.contains(&name.as_str())),
        (Some(_), None) => None,
    }
}

/// A word, or nothing where nothing is mapped.
fn word(memory: &dyn ReadMemory, at: u64) -> Result<Option<u64>, MemoryError> {
    match memory.read_u64(at) {
        Ok(word) => Ok(Some(word)),
        Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => Err(e),
        Err(_) => Ok(None),
    }
}

/// The thread that runs it, and that thread's own goroutine, point to each other.
fn thread(
    g: &G,
    idle: bool,
    l: &Layout,
    memory: &dyn ReadMemory,
    around: &dyn Surroundings,
    told: &mut Told<'_>,
) -> Result<(), MemoryError> {
    let on_thread = matches!(g.status(), status::RUNNING | status::SYSCALL);
    if g.m == 0 {
        if on_thread {
            told.of(Invariant::M, 0, Some(false));
        }
        return Ok(());
    }
    if !on_thread && !idle {
        return Ok(());
    }
    let field = |base: Option<u64>, at: u32| match base {
        Some(base) => word(memory, base.wrapping_add(at.into())),
        None => Ok(None),
    };
    let g0 = field(Some(g.m), l.m_g0)?;
    let back = field(g0, l.kernel.g_m)? == Some(g.m);
    let curg = field(Some(g.m), l.kernel.m_curg)?;
    let procid = field(Some(g.m), l.m_procid)?;
    told.of(Invariant::M, g.m, Some(back));
    if on_thread {
        told.of(Invariant::Curg, curg.unwrap_or(0), Some(curg == Some(g.addr)));
        let procid = procid.unwrap_or(0);
        told.of(Invariant::Procid, procid, around.is_thread(procid));
    }
    Ok(())
}

/// A goroutine that waits for a channel stands in its queue, and the channel gives it reason to wait.
fn channel(
    g: &G,
    l: &Layout,
    memory: &dyn ReadMemory,
    around: &dyn Surroundings,
    told: &mut Told<'_>,
) -> Result<(), MemoryError> {
    let name = around.wait_reasons().and_then(|names| names.get(usize::from(g.reason)));
    let receives = match name.map(String::as_str) {
        Some("chan receive" | "chan receive (durable)" | "chan receive (synctest)") => true,
        Some("chan send" | "chan send (durable)" | "chan send (synctest)") => false,
        _ => return Ok(()),
    };
    let (s, h) = (&l.sudog, &l.hchan);
    let field = |base: u64, at: u32| word(memory, base.wrapping_add(at.into()));
    let owner = field(g.waiting, s.g)?;
    told.of(Invariant::Sudog, g.waiting, Some(owner == Some(g.addr)));
    let Some(c) = field(g.waiting, s.c)?.filter(|c| *c != 0) else {
        told.of(Invariant::Channel, g.waiting, Some(false));
        return Ok(());
    };
    // Others may use the channel meanwhile: a fault counts only when two looks show the same words.
    let state = || {
        let words = [h.qcount, h.dataqsiz, h.buf, h.elemtype, h.elemsize, h.closed];
        let mut state = [0; 6];
        for (word, at) in state.iter_mut().zip(words) {
            *word = field(c, at)?.unwrap_or(u64::MAX);
        }
        Ok(state)
    };
    let is_right = |[count, room, buf, typ, size, closed]: [u64; 6]| {
        let (size, open) = (size & 0xffff, closed as u32 == 0);
        let full_or_empty = if receives { count == 0 } else { count == room };
        // `makechan`: without room the buffer's place is the field itself. `abi.Type` begins with the type's size.
        let buffer = (room == 0 || size == 0) == (buf == c.wrapping_add(h.buf.into()));
        let element = field(typ, 0)? == Some(size);
        Ok(open && full_or_empty && count <= room && buffer && element)
    };
    told.of(Invariant::Channel, c, steady(state, is_right)?);
    let (first, last) = if receives { (h.recvq_first, h.recvq_last) } else { (h.sendq_first, h.sendq_last) };
    let linked = |neighbour: Option<u64>, edge: u32, back: u32| match neighbour {
        Some(0) => field(c, edge),
        Some(at) => field(at, back),
        None => Ok(None),
    };
    let queue = || {
        let (before, behind) = (field(g.waiting, s.prev)?, field(g.waiting, s.next)?);
        Ok([before, behind, linked(before, first, s.next)?, linked(behind, last, s.prev)?])
    };
    let me = Some(g.waiting);
    let stands = steady(queue, |[_, _, ahead, after]| Ok(ahead == me && after == me))?;
    told.of(Invariant::Queue, g.waiting, stands);
    Ok(())
}

/// Whether `right` holds for what `look` reads; nothing when it does not and a second look reads something else.
fn steady<T: Copy + PartialEq>(
    look: impl Fn() -> Result<T, MemoryError>,
    right: impl Fn(T) -> Result<bool, MemoryError>,
) -> Result<Option<bool>, MemoryError> {
    let seen = look()?;
    if right(seen)? {
        return Ok(Some(true));
    }
    Ok((look()? == seen).then_some(false))
}
