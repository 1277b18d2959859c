//! The quick way to a stack's id: of a stack that was met before.
//!
//! It begins at the frame pointer of this very moment, which leads from `newproc1` over the system stack to the creator's,
//! so that neither m nor creator has to be looked up, and it copies pieces of the stack instead of reading frame by frame: the calls
//! are what costs. It checks nothing but whether the id comes out that the careful way (`stack`) has computed and
//! delivered before. If not, for whatever reason, the careful way is taken.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::walk::{CHUNK, FRAME, Hash, chunk_len};
use tracer_common::wire::{MAX_FRAMES, stack_end};

use super::{forgotten, hidden};
use crate::emit::add;
use crate::maps::{KNOWN, KNOWN_COUNT, ROOMS, Room};

/// Frames between the probed instruction and the `go` statement: `newproc1`, `newproc.func1`, `newproc` (or the like of
/// coroutines), and room for more.
const RUNTIME_FRAMES: usize = 6;

/// The id of the stack that begins with the frame that returns to `gopc`, if it is known.
///
/// The room is the CPU's, and where the kernel is preemptible, another thread's program may run here before this one is through.
/// So programs count themselves in before they look at the count, and use the room only when it says one. Of two that
/// are both in, the later to look sees both, whatever the order of the rest: so one uses the room at most, until it counts itself out.
/// (Program order is enough for that: the kernel does not move a program to another CPU while it runs. The add must be one instruction
/// all the same, for it may be preempted, too.)
#[inline(always)]
pub fn recognise(fp: u64, gopc: u64) -> Option<u64> {
    let room = ROOMS.get_ptr_mut(0)?;
    // SAFETY: the map gave a valid room that lives as long as the program.
    let id = unsafe {
        let users = &raw mut (*room).users;
        add(users, 1);
        let id = if users.read_volatile() == 1 { walk(room, fp, gopc) } else { None };
        add(users, 1u64.wrapping_neg());
        id?
    };
    (*KNOWN.get(id as u32 % KNOWN_COUNT)? == id).then_some(id)
}

/// The stack's definition is delivered and will stay so: it may be recognised from now on.
#[inline(always)]
pub fn remember(id: u64) {
    if let Some(place) = KNOWN.get_ptr_mut(id as u32 % KNOWN_COUNT) {
        // SAFETY: the map gave a valid, aligned word; words are written whole.
        unsafe { place.write_volatile(id) };
    }
}

#[inline(always)]
unsafe fn walk(room: *mut Room, mut fp: u64, gopc: u64) -> Option<u64> {
    // SAFETY: `room` is valid and ours.
    let mut piece = unsafe { Piece::read(room, fp) }?;
    let mut found = false;
    for _ in 0..RUNTIME_FRAMES {
        let (next, ra) = piece.frame(fp)?;
        if ra == gopc {
            found = true;
            break;
        }
        fp = next;
    }
    if !found {
        return None;
    }
    let mut hash = Hash::START;
    let mut n = 0;
    let mut end = stack_end::TOO_DEEP;
    for _ in 0..MAX_FRAMES {
        let (next, ra) = piece.frame(fp)?;
        hash = hash.with(ra);
        n += 1;
        if next == 0 {
            end = stack_end::COMPLETE;
            break;
        }
        // `next <= fp`; said so, the verifier would learn something new of the addresses in each round.
        if next.wrapping_sub(fp) as i64 <= 0 {
            return None;
        }
        fp = next;
    }
    Some(hash.id(forgotten(n, hash.bits()), end))
}

/// A piece of a stack, in the room.
struct Piece {
    room: *mut Room,
    /// The address of the first byte in the room.
    from: u64,
    /// Where in the room the last whole frame can begin.
    last: u64,
}

impl Piece {
    /// # Safety
    /// The room is valid and nobody else uses it.
    #[inline(always)]
    unsafe fn read(room: *mut Room, from: u64) -> Option<Self> {
        let last = forgotten(chunk_len(from) - FRAME, from);
        if last > CHUNK - FRAME {
            return None; // Never; but so the verifier knows, too.
        }
        let len = hidden(last) + FRAME;
        // SAFETY: the room has CHUNK bytes; the helper checks the address and fails on a bad one. Not counted as a loss: the careful
        // way reads again what is needed.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut (*room).bytes).cast(), len as u32, from as *const _) };
        // Forgotten, so that after a read the verifier knows no more than without one, and goes on from there once, not twice.
        (failed == 0).then_some(Self { room, from: forgotten(from, last), last })
    }

    /// What the frame at `fp` holds: its caller's frame pointer, its return address.
    #[inline(always)]
    fn frame(&mut self, fp: u64) -> Option<(u64, u64)> {
        if fp.wrapping_sub(self.from) > self.last {
            // SAFETY: the room is that of the piece before.
            *self = unsafe { Self::read(self.room, fp) }?;
        }
        let at = hidden(fp.wrapping_sub(self.from));
        if at > CHUNK - FRAME {
            return None;
        }
        // SAFETY: a whole frame from `at` on lies in the room. A frame pointer that is not aligned is not a problem for the
        // processors that this is compiled for.
        unsafe {
            let frame = (&raw const (*self.room).bytes).cast::<u8>().add(at as usize).cast::<u64>();
            Some((frame.read_volatile(), frame.add(1).read_volatile()))
        }
    }
}
