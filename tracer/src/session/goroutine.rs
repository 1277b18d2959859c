//! A living goroutine, and the words for what it does.

use crate::dump::Side;
use crate::event::status;

/// How its birth is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// A birth event; nanoseconds.
    Traced(u64),
    /// Not traced: between two looks, the later of which found it at this time.
    Found(u64),
    /// Alive when watching began; first seen at this time.
    Before(u64),
}

impl Born {
    /// The time from which on it is known to have lived.
    pub fn known_since_ns(self) -> u64 {
        match self {
            Self::Traced(t) | Self::Found(t) | Self::Before(t) => t,
        }
    }
}

/// What a goroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doing {
    /// Born, and neither looked at nor heard of since.
    NotSeen,
    Running,
    Runnable,
    Syscall,
    /// Waits for this reason: an index into the target's own table.
    Waiting(u32),
    /// Switched out of by `iter.Pull` (seen as a switch, so without the table's index).
    Coroutine,
    /// A status that no Go version up to 1.27 has.
    Unknown(u32),
}

impl Doing {
    /// From what a look read.
    pub fn from_look(status: u32, reason: u32) -> Self {
        match status {
            status::RUNNABLE | status::PREEMPTED => Self::Runnable,
            status::SYSCALL => Self::Syscall,
            status::WAITING | status::LEAKED => Self::Waiting(reason),
            status::RUNNING | status::COPYSTACK => Self::Running,
            other => Self::Unknown(other),
        }
    }
}

/// What it does, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    pub doing: Doing,
    pub since_ns: u64,
    /// It began at `since_ns` or earlier: only a look saw it.
    pub at_least: bool,
}

/// A living goroutine. There may be a million: what it is made of is packed, in 64 bytes.
#[derive(Clone, Debug)]
pub struct Goroutine {
    pub goid: u64,
    born_ns: u64,
    since_ns: u64,
    /// Since when each look found it doing that, whatever it did in between; with park events the same as its activity's.
    pub alike_since_ns: u64,
    /// The stack it was last seen blocked in; 0 when none was read.
    pub blocked: u64,
    /// What it waits on, where that is one object; kept by [`Objects`](super::objects::Objects).
    pub(super) on_addr: u64,
    /// Index of its creation site; [`NO_SITE`] beyond the session's limits.
    pub site: u32,
    /// Its labels, as last told; 0: none. A number of [`Objects`](super::objects::Objects).
    pub labels: u32,
    /// Wait reason or status, where it does something that has one.
    doing_value: u32,
    doing: u8,
    pub(super) on: Held,
    flags: u8,
    /// Looks that came after its birth and did not mention it, while none ever has.
    pub missed: u8,
}

const _: () = assert!(size_of::<Goroutine>() == 64);

/// How many objects a goroutine waits on, and at which side of the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Nothing,
    One(Side),
    Many,
}

/// Bits of `flags`.
mod flag {
    /// How its birth is known.
    pub const TRACED: u8 = 1;
    pub const FOUND: u8 = 2;
    /// What it does it does at least since then.
    pub const AT_LEAST: u8 = 4;
    /// A look saw it otherwise than the probes told; nobody has said more since.
    pub const DOUBTED: u8 = 8;
    /// A look has mentioned it.
    pub const LOOKED_AT: u8 = 16;
}

impl Goroutine {
    pub fn new(goid: u64, site: u32, born: Born, activity: Activity) -> Self {
        let mut new = Self {
            goid,
            born_ns: 0,
            since_ns: 0,
            alike_since_ns: activity.since_ns,
            blocked: 0,
            on_addr: 0,
            site,
            labels: 0,
            doing_value: 0,
            doing: 0,
            on: Held::Nothing,
            flags: 0,
            missed: 0,
        };
        new.set_born(born);
        new.set_activity(activity);
        new
    }

    pub fn born(&self) -> Born {
        match self.flags & (flag::TRACED | flag::FOUND) {
            flag::TRACED => Born::Traced(self.born_ns),
            flag::FOUND => Born::Found(self.born_ns),
            _ => Born::Before(self.born_ns),
        }
    }

    pub fn set_born(&mut self, born: Born) {
        self.born_ns = born.known_since_ns();
        self.set(flag::TRACED, matches!(born, Born::Traced(_)));
        self.set(flag::FOUND, matches!(born, Born::Found(_)));
    }

    pub fn activity(&self) -> Activity {
        let value = self.doing_value;
        let doing = match self.doing {
            0 => Doing::NotSeen,
            1 => Doing::Running,
            2 => Doing::Runnable,
            3 => Doing::Syscall,
            4 => Doing::Waiting(value),
            5 => Doing::Coroutine,
            _ => Doing::Unknown(value),
        };
        Activity { doing, since_ns: self.since_ns, at_least: self.is(flag::AT_LEAST) }
    }

    pub fn set_activity(&mut self, activity: Activity) {
        (self.doing, self.doing_value) = match activity.doing {
            Doing::NotSeen => (0, 0),
            Doing::Running => (1, 0),
            Doing::Runnable => (2, 0),
            Doing::Syscall => (3, 0),
            Doing::Waiting(reason) => (4, reason),
            Doing::Coroutine => (5, 0),
            Doing::Unknown(status) => (6, status),
        };
        self.since_ns = activity.since_ns;
        self.set(flag::AT_LEAST, activity.at_least);
    }

    /// The activity stays; it began then.
    pub fn set_since_ns(&mut self, since_ns: u64) {
        self.since_ns = since_ns;
    }

    /// A look saw it otherwise than the probes told; nobody has said more since.
    pub fn doubted(&self) -> bool {
        self.is(flag::DOUBTED)
    }

    pub fn set_doubted(&mut self, doubted: bool) {
        self.set(flag::DOUBTED, doubted);
    }

    /// A look has mentioned it.
    pub fn looked_at(&self) -> bool {
        self.is(flag::LOOKED_AT)
    }

    pub fn set_looked_at(&mut self) {
        self.set(flag::LOOKED_AT, true);
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }
}

/// The site of a goroutine whose site is beyond the limit.
pub const NO_SITE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let births = [Born::Traced(u64::MAX), Born::Found(1), Born::Before(0)];
        let doings = [
            Doing::NotSeen,
            Doing::Running,
            Doing::Runnable,
            Doing::Syscall,
            Doing::Waiting(u32::MAX),
            Doing::Coroutine,
            Doing::Unknown(77),
        ];
        for (born, doing) in births.iter().flat_map(|b| doings.map(|d| (*b, d))) {
            for at_least in [true, false] {
                let activity = Activity { doing, since_ns: 1 << 63, at_least };
                let mut g =
                    Goroutine::new(5, 6, Born::Found(9), Activity { doing: Doing::Running, ..activity });
                g.set_born(born);
                g.set_activity(activity);
                assert_eq!(
                    (g.born(), g.activity(), g.doubted(), g.looked_at()),
                    (born, activity, false, false)
                );
                g.set_doubted(true);
                g.set_looked_at();
                assert_eq!(
                    (g.born(), g.activity(), g.doubted(), g.looked_at()),
                    (born, activity, true, true)
                );
            }
        }
    }
}
