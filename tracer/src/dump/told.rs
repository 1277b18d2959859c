//! Objects as the stream of events tells them.

use super::{Fires, ObjectKind, Side};
use crate::event::Object;
use tracer_common::wire::side;

impl ObjectKind {
    /// Its name in the stream and in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Channel { .. } => "channel",
            Self::Forever => "forever",
            Self::Mutex { .. } => "mutex",
            Self::RwMutex { .. } => "rw-mutex",
            Self::WaitGroup { .. } => "wait-group",
            Self::Cond { .. } => "cond",
            Self::Semaphore { .. } => "semaphore",
            Self::Timer { .. } => "timer",
            Self::Descriptor { .. } => "descriptor",
        }
    }

    /// The state that it is in, in a few words: `full: 2 of 2`, `locked, starving; 3 waiters`.
    pub fn state(&self) -> String {
        let waiters = |n: u32| if n == 1 { "1 waiter".to_owned() } else { format!("{n} waiters") };
        match self {
            Self::Channel { len, cap, closed, elem_size: _, timer: _ } => {
                let room = match (*len, *cap) {
                    (0, 0) => "unbuffered".to_owned(),
                    (len, cap) if len == cap => format!("full: {len} of {cap}"),
                    (0, cap) => format!("empty: 0 of {cap}"),
                    (len, cap) => format!("{len} of {cap}"),
                };
                room + if *closed { ", closed" } else { "" }
            }
            Self::Forever => "nothing can end it".to_owned(),
            Self::Mutex { locked, starving, waiters: n } => {
                let state = if *locked { "locked" } else { "not locked at the moment" };
                format!("{state}{}; {}", if *starving { ", starving" } else { "" }, waiters(*n))
            }
            Self::RwMutex { readers, writer, waiting_for_readers } => {
                let writer = if *writer { "a writer has it or waits" } else { "no writer" };
                let readers = match readers {
                    n if *n < 0 => String::new(),
                    1 => ", 1 reader".to_owned(),
                    n => format!(", {n} readers"),
                };
                let waiting = match waiting_for_readers {
                    0 => String::new(),
                    n => format!(", the writer waits for {n} to leave"),
                };
                format!("{writer}{readers}{waiting}")
            }
            Self::WaitGroup { counter, waiters: n } => format!("counter {counter}; {}", waiters(*n)),
            Self::Cond { waiters: n } => waiters(*n),
            Self::Semaphore { value } => format!("value {value}"),
            Self::Timer { fires: Fires::Not } => "is stopped or has fired".to_owned(),
            Self::Timer { fires: Fires::Unknown } => "fires at a time that is not known".to_owned(),
            Self::Timer { fires: Fires::In(ns) } => {
                let time = std::time::Duration::from_nanos(ns.unsigned_abs());
                if *ns < 0 {
                    format!("should have fired {time:.1?} ago")
                } else {
                    format!("fires {time:.1?} after the look")
                }
            }
            Self::Descriptor { fd, peer: Some(peer) } => format!("{fd}, {peer}"),
            Self::Descriptor { fd, peer: None } => fd.to_string(),
        }
    }

    /// The event's message of one at `addr`.
    pub fn tell(&self, addr: u64) -> Object {
        let object = Object { addr, kind: self.name().to_owned(), ..Object::default() };
        match self.clone() {
            Self::Channel { len, cap, closed, elem_size, timer } => {
                let channel = Object { len, cap, closed, elem_size: elem_size.into(), ..object };
                timer.map_or(channel.clone(), |fires| fires.tell(channel))
            }
            Self::Forever => object,
            Self::Mutex { locked, starving, waiters } => Object { locked, starving, waiters, ..object },
            Self::RwMutex { readers, writer, waiting_for_readers } => {
                Object { readers, writer, waiting_for_readers, ..object }
            }
            Self::WaitGroup { counter, waiters } => Object { counter, waiters, ..object },
            Self::Cond { waiters } => Object { waiters, ..object },
            Self::Semaphore { value } => Object { value, ..object },
            Self::Timer { fires } => fires.tell(object),
            Self::Descriptor { fd, peer } => Object { fd, peer: peer.unwrap_or_default(), ..object },
        }
    }

    /// What a message tells; nothing of a kind that is not known here.
    pub fn told(o: Object) -> Option<Self> {
        let timer = Fires::told(&o);
        Some(match o.kind.as_str() {
            "channel" => Self::Channel {
                len: o.len,
                cap: o.cap,
                closed: o.closed,
                elem_size: u16::try_from(o.elem_size).unwrap_or(u16::MAX),
                timer,
            },
            "forever" => Self::Forever,
            "mutex" => Self::Mutex { locked: o.locked, starving: o.starving, waiters: o.waiters },
            "rw-mutex" => Self::RwMutex {
                readers: o.readers,
                writer: o.writer,
                waiting_for_readers: o.waiting_for_readers,
            },
            "wait-group" => Self::WaitGroup { counter: o.counter, waiters: o.waiters },
            "cond" => Self::Cond { waiters: o.waiters },
            "semaphore" => Self::Semaphore { value: o.value },
            "timer" => Self::Timer { fires: timer.unwrap_or(Fires::Unknown) },
            "descriptor" => Self::Descriptor { fd: o.fd, peer: Some(o.peer).filter(|p| !p.is_empty()) },
            _ => return None,
        })
    }
}

impl Fires {
    fn tell(self, object: Object) -> Object {
        let (timer, in_ns) = match self {
            Self::In(ns) => ("fires", ns),
            Self::Not => ("stopped", 0),
            Self::Unknown => ("unknown", 0),
        };
        Object { timer: timer.to_owned(), in_ns, ..object }
    }

    fn told(object: &Object) -> Option<Self> {
        match object.timer.as_str() {
            "" => None,
            "fires" => Some(Self::In(object.in_ns)),
            "stopped" => Some(Self::Not),
            _ => Some(Self::Unknown),
        }
    }
}

impl Side {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Wait => "wait",
            Self::Unknown => "unknown",
        }
    }

    /// Its number in the stream.
    pub fn tell(self) -> u32 {
        match self {
            Self::Send => side::SEND,
            Self::Receive => side::RECEIVE,
            Self::Wait => side::WAIT,
            Self::Unknown => side::UNKNOWN,
        }
    }

    pub fn told(number: u32) -> Self {
        match number {
            side::SEND => Self::Send,
            side::RECEIVE => Self::Receive,
            side::WAIT => Self::Wait,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_it_was() {
        for kind in [
            ObjectKind::Channel { len: 1, cap: 2, closed: true, elem_size: 8, timer: None },
            ObjectKind::Channel { len: 0, cap: 1, closed: false, elem_size: 8, timer: Some(Fires::Not) },
            ObjectKind::Forever,
            ObjectKind::Mutex { locked: true, starving: true, waiters: 3 },
            ObjectKind::RwMutex { readers: -4, writer: true, waiting_for_readers: 2 },
            ObjectKind::WaitGroup { counter: -1, waiters: 2 },
            ObjectKind::Cond { waiters: 5 },
            ObjectKind::Semaphore { value: 6 },
            ObjectKind::Timer { fires: Fires::In(-7) },
            ObjectKind::Timer { fires: Fires::Unknown },
            ObjectKind::Descriptor { fd: 8, peer: Some("127.0.0.1:80".to_owned()) },
            ObjectKind::Descriptor { fd: 8, peer: None },
        ] {
            assert_eq!(ObjectKind::told(kind.tell(1)), Some(kind));
        }
        assert_eq!(ObjectKind::told(Object { kind: "newer".to_owned(), ..Object::default() }), None);
        for side in [Side::Send, Side::Receive, Side::Wait, Side::Unknown] {
            assert_eq!(Side::told(side.tell()), side);
        }
    }
}
