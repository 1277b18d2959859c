//! What goroutines wait on, in words.

use super::super::super::words;
use crate::dump::{Object, ObjectKind, Side};

/// `to send on channel 0xc0000100 (full: 2 of 2): 4 send, none receives; goroutines 1, 31 and 3 more have its address`
pub fn text(object: &Object, side: Side) -> String {
    let addr = object.addr;
    let mut text = match &object.kind {
        ObjectKind::Forever if addr == 0 => {
            "a nil channel, or a `select` without cases: nothing can end it".to_owned()
        }
        ObjectKind::Forever => "nothing that could end it".to_owned(),
        ObjectKind::Channel { .. } => {
            let to = match side {
                Side::Send => "to send on ",
                Side::Receive => "to receive from ",
                Side::Wait | Side::Unknown => "",
            };
            let others = format!("{}, {}", many(object.senders, "send"), many(object.receivers, "receive"));
            format!("{to}channel {addr:#x} ({}): {others}", object.kind.state())
        }
        kind @ ObjectKind::Mutex { .. } => format!("sync.Mutex {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::RwMutex { .. } => format!("sync.RWMutex {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::WaitGroup { .. } => format!("sync.WaitGroup {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::Cond { .. } => format!("sync.Cond {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::Semaphore { .. } => format!("semaphore {addr:#x} ({})", kind.state()),
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
    };
    if let Some(holders) = holders(object) {
        text.push_str("; ");
        text.push_str(&holders);
    }
    text
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
