//! What goroutines wait on, in words.

use super::super::super::words;
use crate::dump::{Fires, Object, ObjectKind, Side};

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
        ObjectKind::Channel { timer, .. } => {
            let to = match side {
                Side::Send => "to send on ",
                Side::Receive => "to receive from ",
                Side::Wait | Side::Unknown => "",
            };
            let timer = timer.map_or(String::new(), |fires| format!(", of a timer that {}", when(fires)));
            format!("{to}channel {addr:#x} ({}{timer})", object.kind.state())
        }
        kind @ ObjectKind::Mutex { .. } => format!("sync.Mutex {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::RwMutex { .. } => format!("sync.RWMutex {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::WaitGroup { .. } => format!("sync.WaitGroup {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::Cond { .. } => format!("sync.Cond {addr:#x} ({})", kind.state()),
        kind @ ObjectKind::Semaphore { .. } => format!("semaphore {addr:#x} ({})", kind.state()),
        ObjectKind::Timer { fires } => format!("a timer that {}", when(*fires)),
        ObjectKind::Descriptor { fd, peer: Some(peer) } => {
            format!("descriptor {fd} ({})", words::clean(peer))
        }
        ObjectKind::Descriptor { fd, peer: None } => format!("descriptor {fd}"),
    }
}

/// `fires in 3.20s`
fn when(fires: Fires) -> String {
    match fires {
        Fires::In(ns) if ns < 0 => format!("should have fired {} ago", words::duration(ns.unsigned_abs())),
        Fires::In(ns) => format!("fires in {}", words::duration(ns.unsigned_abs())),
        Fires::Not => "is stopped or has fired".to_owned(),
        Fires::Unknown => "fires at a time that is not known".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_timer_fires() {
        let channel =
            |timer| ObjectKind::Channel { len: 0, cap: 1, closed: false, elem_size: 24, timer: Some(timer) };
        let told = |kind| text(&Object::new(0x40, kind), Side::Receive);
        let cases = [
            (Fires::In(3_209_000_000), "fires in 3.20s"),
            (Fires::In(0), "fires in 0s"),
            (Fires::In(-5_000_000), "should have fired 5.00ms ago"),
            (Fires::In(i64::MIN), "should have fired 106751d23h ago"),
            (Fires::Not, "is stopped or has fired"),
            (Fires::Unknown, "fires at a time that is not known"),
        ];
        for (fires, says) in cases {
            assert_eq!(told(ObjectKind::Timer { fires }), format!("a timer that {says}"));
            let begins = format!("to receive from channel 0x40 (empty: 0 of 1, of a timer that {says}): ");
            let text = told(channel(fires));
            assert!(text.starts_with(&begins), "{text}");
        }
    }
}
