//! A living goroutine, and the words for what it does.

use super::objects::On;
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

/// A living goroutine.
#[derive(Clone, Debug)]
pub struct Goroutine {
    /// Index of its creation site; [`NO_SITE`] beyond the session's limits.
    pub site: u32,
    pub born: Born,
    pub activity: Activity,
    /// Since when each look found it doing that, whatever it did in between; with park events the same as its activity's.
    pub alike_since_ns: u64,
    /// The stack it was last seen blocked in; 0 when none was read.
    pub blocked: u64,
    /// What it waits on.
    pub on: On,
    /// Id of its labels, as last told; 0: none.
    pub labels: u64,
    /// A look saw it otherwise than the probes told; nobody has said more since.
    pub doubted: bool,
    /// A look has mentioned it.
    pub looked_at: bool,
    /// Looks that came after its birth and did not mention it, while none ever has.
    pub missed: u8,
}

impl Goroutine {
    /// It is no longer where it was: what was known of the wait goes.
    pub fn unblock(&mut self) -> On {
        self.blocked = 0;
        std::mem::take(&mut self.on)
    }
}

/// The site of a goroutine whose site is beyond the limit.
pub const NO_SITE: u32 = u32::MAX;
