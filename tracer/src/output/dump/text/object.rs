//! What goroutines wait on, in words.

use super::super::super::words;
use crate::dump::{Object, ObjectKind, Side};

/// `to send on channel 0xc0000100 (full: 2 of 2): 4 send, none receives; its address is also with goroutine 1`
pub fn text(object: &Object, side: Side) -> String {
    let mut text = what(object, side);
    if matches!(object.kind, ObjectKind::Channel { .. }) {
        let others = format!("{}, {}", many(object.senders, "send"), many(object.receivers, "receive"));
        text.push_str(&format!(": {others}"));
    }
    if let Some(holders) = holders(object) {
        text.push_str("; ");
        text.push_str(&holders);
    }
    text
}

/// `to send on channel 0xc0000100 (full: 2 of 2)`: what it is, and its state.
pub fn what(object: &Object, side: Side) -> String {
    let addr = object.addr;
    match &object.kind {
        ObjectKind::Forever if addr == 0 => {
            "a nil channel, or a `select` without cases: nothing can end it".to_owned()
        }
        ObjectKind::Forever => "nothing that could end it".to_owned(),
        ObjectKind::Channel { len, cap, closed, elem_size: _ } => {
            let to = match side {
                Side::Send => "to send on ",
                Side::Receive => "to receive from ",
                Side::Wait | Side::Unknown => "",
            };
            let room = match (*len, *cap) {
                (0, 0) => "unbuffered".to_owned(),
                (len, cap) if len == cap => format!("full: {len} of {cap}"),
                (0, cap) => format!("empty: 0 of {cap}"),
                (len, cap) => format!("{len} of {cap}"),
            };
            let closed = if *closed { ", closed" } else { "" };
            format!("{to}channel {addr:#x} ({room}{closed})")
        }
        ObjectKind::Mutex { locked, starving, waiters } => {
            let state = if *locked { "locked" } else { "not locked at the moment" };
            let starving = if *starving { ", starving" } else { "" };
            format!("sync.Mutex {addr:#x} ({state}{starving}; {})", words::count((*waiters).into(), "waiter"))
        }
        ObjectKind::RwMutex { readers, writer, waiting_for_readers } => {
            let writer = if *writer { "a writer has it or waits" } else { "no writer" };
            let readers = match readers {
                n if *n < 0 => String::new(),
                n => format!(", {}", words::count(u64::from(n.unsigned_abs()), "reader")),
            };
            let waiting = match waiting_for_readers {
                0 => String::new(),
                n => format!(", the writer waits for {n} to leave"),
            };
            format!("sync.RWMutex {addr:#x} ({writer}{readers}{waiting})")
        }
        ObjectKind::WaitGroup { counter, waiters } => {
            let waiters = words::count((*waiters).into(), "waiter");
            format!("sync.WaitGroup {addr:#x} (counter {counter}; {waiters})")
        }
        ObjectKind::Cond { waiters } => {
            format!("sync.Cond {addr:#x} ({})", words::count((*waiters).into(), "waiter"))
        }
        ObjectKind::Semaphore { value } => format!("semaphore {addr:#x} (value {value})"),
        ObjectKind::Timer { in_ns } if *in_ns < 0 => {
            format!("a timer that should have fired {} ago", words::duration(in_ns.unsigned_abs()))
        }
        ObjectKind::Timer { in_ns } => {
            format!("a timer that fires in {}", words::duration(in_ns.unsigned_abs()))
        }
        ObjectKind::Descriptor { fd, peer: Some(peer) } => {
            format!("descriptor {fd} ({})", words::clean(peer))
        }
        ObjectKind::Descriptor { fd, peer: None } => format!("descriptor {fd}"),
    }
}

/// `none sends`, `1 sends`, `4 send`
fn many(n: u64, verb: &str) -> String {
    match n {
        0 => format!("none {verb}s"),
        1 => format!("1 {verb}s"),
        n => format!("{n} {verb}"),
    }
}

/// A stack may keep an address that is not needed any more: it is said what is seen, not what it means.
fn holders(object: &Object) -> Option<String> {
    let ids: Vec<String> = object.holders.iter().map(u64::to_string).collect();
    let more = object.holders_in_all.saturating_sub(ids.len() as u64);
    let who = match (ids.as_slice(), more) {
        ([], 0) => return None,
        ([], n) => format!("{} more", words::count(n, "goroutine")),
        ([one], 0) => format!("goroutine {one}"),
        (ids, 0) => format!("goroutines {}", ids.join(", ")),
        (ids, n) => format!("goroutines {} and {n} more", ids.join(", ")),
    };
    Some(format!("its address is also with {who}"))
}
