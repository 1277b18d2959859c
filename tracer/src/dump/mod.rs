//! A dump: every goroutine that a process had at one time, each as it was read, with what could not be read said of it.
//!
//! Pure data. [`crate::memory::dump`] reads one out of a process, [`crate::output::dump`] shows it. The process runs on
//! while it is read: each goroutine is right by itself, not all of them at one instant ([`About::took_ns`] tells how far
//! apart two may be).

pub mod cycles;
pub mod filter;
pub mod group;
pub mod places;
mod since;
pub mod status;
mod told;

pub use cycles::Cycle;
pub use filter::Filter;
pub use group::{Group, groups};
pub use places::{Place, Places};
pub use since::{Since, tell_since};
pub use status::Status;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::message::Note;

/// All that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    pub about: About,
    /// In order of goid.
    pub goroutines: Vec<Goroutine>,
    /// Each stack once; [`Trace::stack`] is an index.
    pub stacks: Vec<Stack>,
    /// What goroutines wait on, each once; [`Goroutine::waits_on`] are indices.
    pub objects: Vec<Object>,
    /// Sets of pprof labels, each once; [`Goroutine::labels`] is an index.
    pub labels: Vec<BTreeMap<String, String>>,
    /// What the program counters of stacks, creation sites and start functions mean.
    pub places: Places,
    /// The target's own names of wait reasons.
    pub wait_reasons: Vec<String>,
    /// Limits, fallbacks, surprises.
    pub notes: Vec<Note>,
    pub counts: Counts,
    /// Goroutines that wait for each other, the surest first.
    pub cycles: Vec<Cycle>,
}

/// Which process, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// 0 when it was read from a core file that does not say.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// Path of the executable.
    pub exe: String,
    /// As Go writes it: `go1.26.6`.
    pub go_version: String,
    pub build_id: String,
    pub arch: String,
    pub main_package: String,
    /// Which facts about the runtime's layout were used and where they come from.
    pub layout: String,
    pub source: Origin,
    /// Wall clock at the first read, nanoseconds since the Unix epoch; 0 of a core, which does not tell.
    pub taken_unix_ns: u64,
    /// From the first read to the last; 0 of a core, which is of one instant.
    pub took_ns: u64,
    pub gostray_version: String,
}

/// What a dump was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Process,
    /// A core file, and its path as it was given.
    Core { path: String },
}

/// What became of the entries of `allgs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries in `allgs`: alive, dead and not yet used.
    pub entries: u64,
    /// Nobody's at the moment, kept by the runtime for the next goroutine.
    pub dead: u64,
    /// Not to be read (an address that is not mapped).
    pub unreadable: u64,
    /// Never the same twice, so that not even the id is sure; they are not among [`Dump::goroutines`].
    pub unsettled: u64,
    /// Walks that had to be made again because the goroutine had run in between.
    pub retries: u64,
    /// Stacks, the same each time they were read, of which a saved frame pointer leads elsewhere than the walk.
    pub doubted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutine {
    pub goid: u64,
    /// Address of its `runtime.g`.
    pub g: u64,
    /// The goroutine that created it; absent for the first one and where the version does not tell (Go 1.19, 1.20).
    pub parent: Option<u64>,
    pub status: Status,
    /// Index into [`Dump::wait_reasons`]; only of a waiting one.
    pub reason: Option<u8>,
    pub since: Since,
    /// Nanoseconds that it waits by the runtime's own word (`g.waitsince`, which Go's dump tells in minutes): since the
    /// collection *before* the one that found it waiting ended, which can be longer than it waits.
    pub runtime_since: Option<u64>,
    /// Return address of the `go` statement; 0 for the first goroutine.
    pub gopc: u64,
    /// Entry of its function.
    pub start_pc: u64,
    pub trace: Trace,
    /// The thread that runs it, or that is in its system call.
    pub thread: Option<u32>,
    /// Bound to that thread by `runtime.LockOSThread`.
    pub locked: bool,
    /// Index into [`Dump::labels`].
    pub labels: Option<u32>,
    /// The runtime's own, by its start function.
    pub system: bool,
    /// Indices into [`Dump::objects`]: none, one, or all channels of a `select`.
    pub waits_on: Vec<Wait>,
    /// Of one that waits: tells later whether it has waited since it was read ([`crate::memory::g::G::wait_mark`]). Not stored.
    pub wait_mark: Option<u32>,
    /// What on its stack may be addresses, as the stack was when it was walked; absent where it was not kept. Not stored.
    pub on_stack: Option<Arc<[OnStack]>>,
}

/// A word of a small stack that may be an address, and where it is: how many words from the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnStack(u64);

impl OnStack {
    /// An address of a program needs the other bits.
    const PLACE_BITS: u32 = 16;

    pub fn new(word: u64, place: u16) -> Self {
        Self(word << Self::PLACE_BITS | u64::from(place))
    }

    pub fn word(self) -> u64 {
        self.0 >> Self::PLACE_BITS
    }

    pub fn place(self) -> usize {
        (self.0 & ((1 << Self::PLACE_BITS) - 1)) as usize
    }
}

/// What could be read of a goroutine's stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trace {
    /// Index into [`Dump::stacks`]. Read whole: the same goroutine before and after, every pc in the program's code, the
    /// last frame one that ends stacks.
    Whole(u32),
    /// The frames to where the walk had to stop, and why. They are sure as far as they go.
    Partial { stack: u32, because: Broken },
    /// It is on a processor: its stack changes as it is read. Not so in a core, where all stand still.
    Running,
    /// It ran between each two reads: what is told of it was true at one of them.
    Moving,
    /// Nothing to be read, and why.
    None { because: Broken },
}

impl Trace {
    /// Index into [`Dump::stacks`].
    pub fn stack(&self) -> Option<u32> {
        match self {
            Self::Whole(stack) | Self::Partial { stack, .. } => Some(*stack),
            Self::Running | Self::Moving | Self::None { .. } => None,
        }
    }
}

/// Why a stack ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Broken {
    #[error("address {pc:#x} on the stack is in none of the program's functions")]
    NoFunction { pc: u64 },
    #[error("the function table does not tell the frame at {pc:#x}")]
    NoFrame { pc: u64 },
    #[error("a frame leaves the bounds of the stack")]
    OutOfBounds,
    #[error("the stack's memory cannot be read")]
    Unreadable,
    #[error("more than {limit} frames")]
    TooDeep { limit: u64 },
    #[error("none of the core's threads is known to run it")]
    NoThread,
    #[error("its thread is on another stack, which does not lead back to its own")]
    OtherStack,
}

/// Innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    pub pcs: Vec<Pc>,
    /// Frames left out of the middle of a very deep stack.
    pub left_out: Option<LeftOut>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// How many stand in [`Stack::pcs`] before them.
    pub after: usize,
    pub frames: u64,
    /// How often each of their program counters stood there, in order of address; nearly all of them.
    pub at: Vec<(Pc, u64)>,
}

/// A program counter as it stands in the process (load bias included).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pc {
    pub pc: u64,
    /// The instruction that was next; else a return address.
    pub exact: bool,
}

/// One thing that a goroutine waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Index into [`Dump::objects`].
    pub object: u32,
    pub side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Send,
    Receive,
    /// A lock, a counter, a timer: there is one side only.
    Wait,
    /// Of a `select`, where the channel's own queue could not be read.
    Unknown,
}

/// Something goroutines wait on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is; 0 for a nil channel.
    pub addr: u64,
    pub kind: ObjectKind,
    /// Goroutines of this dump that wait on it, by side ([`Side::Wait`] and [`Side::Unknown`] count as receivers).
    pub receivers: u64,
    pub senders: u64,
    /// Goids of those that do not wait on it and have its address on their stack, the first few. A stack may keep an address
    /// that its owner does not need any more.
    pub holders: Vec<u64>,
    /// How many there are in all.
    pub holders_in_all: u64,
}

impl Object {
    /// Nobody waits on it yet.
    pub fn new(addr: u64, kind: ObjectKind) -> Self {
        Self { addr, kind, receivers: 0, senders: 0, holders: Vec::new(), holders_in_all: 0 }
    }
}

/// When a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fires {
    /// In that many nanoseconds from the moment the dump was begun; negative: it should have before.
    In(i64),
    /// It is stopped or has fired, and stays silent unless it is reset.
    Not,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Channel {
        len: u64,
        cap: u64,
        closed: bool,
        elem_size: u16,
        /// Of a channel that a timer or ticker sends to, where the runtime tells (Go 1.23 on).
        timer: Option<Fires>,
    },
    /// A send or receive on a channel that is nil: nothing can ever end it. So does a `select` without cases.
    Forever,
    Mutex {
        locked: bool,
        starving: bool,
        waiters: u32,
    },
    /// `readers` hold it; a negative count means that a writer is waiting or has it.
    RwMutex {
        readers: i32,
        writer: bool,
        waiting_for_readers: i32,
    },
    WaitGroup {
        counter: i32,
        waiters: u32,
    },
    Cond {
        waiters: u32,
    },
    /// A semaphore of which it is not known what it belongs to.
    Semaphore {
        value: u32,
    },
    /// Of `time.Sleep`.
    Timer {
        fires: Fires,
    },
    /// A network or other polled descriptor; `peer` as `/proc/PID/net` tells it.
    Descriptor {
        fd: u32,
        peer: Option<String>,
    },
}

impl Dump {
    pub fn stack(&self, goroutine: &Goroutine) -> Option<&Stack> {
        self.stacks.get(goroutine.trace.stack()? as usize)
    }

    pub fn labels(&self, goroutine: &Goroutine) -> Option<&BTreeMap<String, String>> {
        self.labels.get(goroutine.labels? as usize)
    }

    /// The name of its wait reason, as the target itself has it; a number where it has none.
    pub fn reason(&self, goroutine: &Goroutine) -> Option<String> {
        let reason = goroutine.reason?;
        let name = self.wait_reasons.get(usize::from(reason)).filter(|n| !n.is_empty());
        Some(name.cloned().unwrap_or_else(|| format!("wait reason {reason}")))
    }

    /// What it waits for, else its status, as Go's own dumps say it (`runtime/traceback.go`, `goroutineheader`); names from
    /// the target's memory are in it as they are there.
    pub fn state(&self, goroutine: &Goroutine) -> String {
        let mut state = self.reason(goroutine).unwrap_or_else(|| goroutine.status.name());
        if goroutine.status == Status::Leaked {
            state.push_str(" (leaked)");
        }
        state
    }
}

/// A goroutine that waits and of which nothing else is known, for tests that set what they are about.
#[cfg(test)]
pub(crate) fn nobody(goid: u64) -> Goroutine {
    Goroutine {
        goid,
        g: 0,
        parent: None,
        status: Status::Waiting,
        reason: None,
        since: Since::Unknown,
        runtime_since: None,
        gopc: 0,
        start_pc: 0,
        trace: Trace::Moving,
        thread: None,
        locked: false,
        labels: None,
        system: false,
        waits_on: Vec::new(),
        wait_mark: None,
        on_stack: None,
    }
}
