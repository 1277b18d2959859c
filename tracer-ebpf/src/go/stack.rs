//! The creator's stack, by frame pointers, interned.
//!
//! In `newproc1` the creator is held inside `systemstack` on this very thread, so its stack neither moves nor changes
//! while the program runs. That allows two walks instead of a scratch buffer (which another program on the same CPU
//! could overwrite where uprobe programs are preemptible): the first hashes, the second writes the definition into
//! the ring buffer, and only for a stack not seen before.

use core::arch::asm;

use tracer_common::wire::{MAX_FRAMES, StackDef, kind, loss, stack_end, total};

use super::read;
use crate::emit::{count, drop_one, header, send_stack};
use crate::maps::{STACKS, layout};

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
    let mut hash = HASH_SEED;
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
        hash = mix(hash, ra);
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
    let n = unknown_to_the_verifier(n, hash);
    // 0 means "no stack" on the wire.
    let stack = mix(hash, n << 8 | u64::from(end)) | 1 << 63;

    // SAFETY: the value is not used, only whether there is one.
    if unsafe { STACKS.get(&stack) }.is_some() {
        return Walk::Id { stack, lost: false };
    }
    // A stack not met before, or not delivered yet.
    count(total::STACKS);
    const BPF_NOEXIST: u64 = 1;
    const EEXIST: i32 = -17;
    let known = match STACKS.insert(&stack, &1, BPF_NOEXIST) {
        Ok(()) => true,
        // Another thread was quicker: it sends the definition.
        Err(e) if e as i32 == EEXIST => return Walk::Id { stack, lost: false },
        Err(_) => {
            drop_one(loss::STACK_MAP_FULL);
            false
        }
    };
    let h = header(kind::STACK_DEF, end, goid, 0);
    let sent = send_stack(|def| define(def, &h, stack, n, first));
    if known && !sent {
        // So that the next birth with this stack tries again.
        let _ = STACKS.remove(&stack);
    }
    Walk::Id { stack, lost: !sent }
}

const HASH_SEED: u64 = 0x6c62_272e_07bb_0142;

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let x = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// `n` as it is. The verifier knows how often it went through a loop, and would follow the second walk once for every
/// length that the first one can have, which takes it a tenth of a second; of a number mixed with `any` twice it knows nothing.
#[inline(always)]
fn unknown_to_the_verifier(mut n: u64, any: u64) -> u64 {
    // SAFETY: two instructions on registers; the second undoes the first.
    unsafe {
        asm!("{n} ^= {any}", "{n} ^= {any}", n = inout(reg) n, any = in(reg) any, options(pure, nomem, nostack));
    }
    n
}

/// The second walk: the same frames, into the ring buffer. Where a page went away since the first one, fewer frames are
/// named, the definition says why, and the next birth with this stack tries again.
#[inline(always)]
fn define(def: *mut StackDef, h: &tracer_common::wire::Header, stack: u64, n: u64, first: u64) {
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
                // All of it here, nothing carried out of the loop: the verifier would follow each way on its own.
                (&raw mut (*def).nframes).write(i as u64);
                (&raw mut (*def).h.flags).write(stack_end::FAULT);
                let _ = STACKS.remove(&stack);
                break;
            };
            (&raw mut (*def).frames).cast::<u64>().add(i).write(ra);
            fp = next;
        }
    }
}
