//! The creator's stack, by frame pointers, interned: the careful way, for stacks that `known` does not recognise.
//!
//! In `newproc1` the creator is held inside `systemstack` on this very thread, so its stack neither moves nor changes
//! while the program runs. That allows two walks instead of a scratch buffer (which another program on the same CPU
//! could overwrite where uprobe programs are preemptible): the first hashes, the second writes the definition into
//! the ring buffer, and only for a stack not seen before.

use tracer_common::walk::Hash;
use tracer_common::wire::{Header, MAX_FRAMES, StackDef, kind, loss, stack_end, total};

use super::known::remember;
use super::{forgotten, read};
use crate::emit::{count, drop_one, header, send_stack};
use crate::maps::{DELIVERED, PROMISED, STACKS, layout};

/// Frames of the runtime between the saved frame pointer and the `go` statement: `systemstack`, `newproc` (or
/// `newcoro`), and room for one more.
const RUNTIME_FRAMES: usize = 4;

/// What a walk found.
pub enum Walk {
    /// The stack's id and whether its definition may be missing.
    Id { stack: u64, lost: bool },
    /// No frame equals the `go` statement's return address.
    Unmatched,
}

/// Walks the stack of the goroutine `curg`, beginning with the frame whose return address is `gopc`.
#[inline(always)]
pub fn intern(curg: u64, gopc: u64, goid: u64) -> Walk {
    count(total::WALKS);
    let layout = layout();
    let Some([lo, hi]) = read::<[u64; 2]>(curg.wrapping_add(layout.g_stack_lo.into())) else {
        return Walk::Unmatched;
    };
    let Some(mut fp) = super::field::<u64>(curg, layout.g_sched_bp) else {
        return Walk::Unmatched;
    };
    // Find the `go` statement's frame.
    let mut found = false;
    for _ in 0..RUNTIME_FRAMES {
        if fp < lo || fp >= hi {
            return Walk::Unmatched;
        }
        let Some([next, ra]) = read::<[u64; 2]>(fp) else {
            return Walk::Unmatched;
        };
        if ra == gopc {
            found = true;
            break;
        }
        if next <= fp {
            return Walk::Unmatched;
        }
        fp = next;
    }
    if !found {
        return Walk::Unmatched;
    }

    let first = fp;
    let mut hash = Hash::START;
    let mut n = 0u64;
    let mut end = stack_end::TOO_DEEP;
    for _ in 0..MAX_FRAMES {
        if fp < lo || fp >= hi {
            end = stack_end::OUT_OF_BOUNDS;
            break;
        }
        let Some([next, ra]) = read::<[u64; 2]>(fp) else {
            end = stack_end::FAULT;
            break;
        };
        hash = hash.with(ra);
        n += 1;
        // A goroutine starts with a frame pointer of 0 (`runtime.gogo`).
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
    let n = forgotten(n, hash.bits());
    let stack = hash.id(n, end);

    // SAFETY: a byte is read; nobody writes anything else than one of two values there.
    if let Some(&state) = unsafe { STACKS.get(&stack) } {
        if state == DELIVERED {
            remember(stack);
        }
        return Walk::Id { stack, lost: false };
    }
    // A stack not met before, or not delivered yet.
    count(total::STACKS);
    const BPF_NOEXIST: u64 = 1;
    const BPF_EXIST: u64 = 2;
    const EEXIST: i32 = -17;
    let known = match STACKS.insert(&stack, &PROMISED, BPF_NOEXIST) {
        Ok(()) => true,
        // Another thread was quicker: it sends the definition.
        Err(e) if e as i32 == EEXIST => return Walk::Id { stack, lost: false },
        Err(_) => {
            drop_one(loss::STACK_MAP_FULL);
            false
        }
    };
    let h = header(kind::STACK_DEF, end, goid, 0);
    let mut whole = false;
    let sent = send_stack(|def| whole = define(def, &h, stack, n, first));
    if known && sent && whole {
        let _ = STACKS.insert(&stack, &DELIVERED, BPF_EXIST);
    } else if known {
        // So that the next birth with this stack tries again.
        let _ = STACKS.remove(&stack);
    }
    Walk::Id { stack, lost: !sent }
}

/// The second walk: the same frames, into the ring buffer. Where a page went away since the first one, fewer frames are
/// named, the definition says why, and the next birth with this stack tries again: then it is not whole.
#[inline(always)]
fn define(def: *mut StackDef, h: &Header, stack: u64, n: u64, first: u64) -> bool {
    let mut fp = first;
    // SAFETY: `def` is room for a whole `StackDef` in the ring buffer; `i` stays below MAX_FRAMES.
    unsafe {
        (&raw mut (*def).h).write(*h);
        (&raw mut (*def).stack).write(stack);
        (&raw mut (*def).nframes).write(n);
        for i in 0..MAX_FRAMES {
            if i as u64 >= n {
                break;
            }
            let Some([next, ra]) = read::<[u64; 2]>(fp) else {
                (&raw mut (*def).nframes).write(i as u64);
                (&raw mut (*def).h.flags).write(stack_end::FAULT);
                return false;
            };
            (&raw mut (*def).frames).cast::<u64>().add(i).write(ra);
            fp = next;
        }
    }
    true
}
