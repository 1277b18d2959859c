//! The shapes on the wire: what the eBPF programs write and what a session file keeps.

/// The most frames a stack definition carries. The innermost ones are kept: those next to the `go` statement.
pub const MAX_FRAMES: usize = 64;

/// Event kinds. Append-only: numbers below 32 come from the kernel, from 32 on from the user side, from 64 on
/// they carry a protobuf message after the header.
pub mod kind {
    /// [`super::Birth`]
    pub const BIRTH: u8 = 1;
    /// [`super::Death`]
    pub const DEATH: u8 = 2;
    /// [`super::Park`]
    pub const PARK: u8 = 3;
    /// [`super::Ready`]
    pub const READY: u8 = 4;
    /// [`super::Run`]
    pub const RUN: u8 = 5;
    /// [`super::CoroSwitch`]
    pub const CORO_SWITCH: u8 = 6;
    /// [`super::StackDef`], cut after its last frame
    pub const STACK_DEF: u8 = 7;

    /// [`super::Seen`]: a goroutine found by a look and not known to the looker before.
    pub const SEEN: u8 = 32;
    /// [`super::Seen`]: a goroutine known before, whose status or wait reason changed since the last look.
    pub const STATE: u8 = 33;
    /// [`super::LookEdge`]: a look begins.
    pub const LOOK_BEGIN: u8 = 34;
    /// [`super::LookEdge`]: a look has ended.
    pub const LOOK_END: u8 = 35;
    /// [`super::Header`] alone: a second has passed. Drives everything that depends on time.
    pub const TICK: u8 = 36;
    /// [`super::Loss`]
    pub const LOSS: u8 = 37;
    /// [`super::Totals`]
    pub const TOTALS: u8 = 38;
    /// [`super::End`]
    pub const END: u8 = 39;
    /// [`super::Blocked`]
    pub const BLOCKED: u8 = 40;
    /// [`super::Cost`]
    pub const COST: u8 = 41;
    /// [`super::Level`]
    pub const LEVEL: u8 = 42;

    /// protobuf `TargetInfo`
    pub const TARGET: u8 = 64;
    /// protobuf `Symbol`
    pub const SYMBOL: u8 = 65;
    /// protobuf `ProbeSite`
    pub const PROBE_SITE: u8 = 66;
    /// protobuf `WaitReasons`
    pub const WAIT_REASONS: u8 = 67;
    /// protobuf `Note`
    pub const NOTE: u8 = 68;
    /// protobuf `Object`: something goroutines wait on, as a look found it
    pub const OBJECT: u8 = 69;
    /// protobuf `Waits`: what a goroutine waits on, and which labels it has
    pub const WAITS: u8 = 70;
    /// protobuf `Labels`: a set of pprof labels
    pub const LABELS: u8 = 71;
}

/// What every event begins with.
///
/// `time_ns` is `CLOCK_BOOTTIME`. `goid` and `g` (the address of the `runtime.g`) are 0 where the event concerns
/// no goroutine. `flags` means something else for each kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    pub time_ns: u64,
    pub goid: u64,
    pub g: u64,
    pub tid: u32,
    pub cpu: u16,
    pub kind: u8,
    pub flags: u8,
}

/// Flags of [`Birth`].
pub mod birth_flag {
    /// The creator had no user stack (the main goroutine, made by the runtime's start code): `stack` is 0.
    pub const NO_CREATOR: u8 = 1;
    /// No frame of the creator's stack equalled `gopc`: `stack` is 0, only `gopc` is known.
    pub const UNMATCHED: u8 = 2;
    /// The stack's definition could not be delivered; a loss of cause [`super::loss::STACK_RING_FULL`] or
    /// [`super::loss::STACK_MAP_FULL`] counts it. `stack` may never be defined. Without this flag, too, when another birth
    /// with the same stack had promised the definition at that moment and could not deliver it.
    pub const STACK_LOST: u8 = 4;
    /// The runtime has no `g.parentGoid` (Go 1.19): `parent_goid` is the creator's goid, read from `m.curg`.
    pub const PARENT_FROM_CURG: u8 = 8;
    /// A read of the new g failed: `goid`, `gopc`, `start_pc` may be 0.
    pub const FAULT: u8 = 16;
}

/// A goroutine was created (`runtime.newproc1`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Birth {
    pub h: Header,
    pub parent_goid: u64,
    /// Return address of the `go` statement.
    pub gopc: u64,
    /// Entry of the function that the goroutine runs.
    pub start_pc: u64,
    /// Id of the creator's stack ([`StackDef`]), beginning with `gopc`; 0 when there is none.
    pub stack: u64,
}

/// A goroutine ended (`runtime.goexit0`). The end of an `iter.Pull` coroutine is a [`CoroSwitch`] with `EXIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Death {
    pub h: Header,
}

/// Flags of [`Park`].
pub mod park_flag {
    /// The layout of `runtime.m` is not known well enough to read the lock: `lock` and `unlockf` are 0.
    pub const LOCK_UNKNOWN: u8 = 1;
    /// `unlockf` is the func value: the address of a word that holds the function's address. Without this flag, in older
    /// session files, it is the function's address itself.
    pub const UNLOCKF_VALUE: u8 = 2;
}

/// A goroutine begins to wait (`runtime.park_m`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Park {
    pub h: Header,
    /// What `gopark` was given: the address of the lock that is released after parking (for a channel its
    /// `hchan.lock`, for a semaphore its root's lock), or 0.
    pub lock: u64,
    /// The unlock function (see [`park_flag::UNLOCKF_VALUE`]), or 0.
    pub unlockf: u64,
    /// Index into the target's own wait-reason table.
    pub reason: u64,
}

/// A waiting goroutine was made runnable (`runtime.ready`). Wakes by the network poller do not pass here.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    pub h: Header,
}

/// A goroutine begins to run (`runtime.execute`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Run {
    pub h: Header,
}

/// Flags of [`CoroSwitch`].
pub mod coro_flag {
    /// The goroutine in the header ends with this switch.
    pub const EXIT: u8 = 1;
    /// The other goroutine could not be read: `to_g` and `to_goid` are 0.
    pub const TO_UNKNOWN: u8 = 2;
}

/// A coroutine switch (`runtime.coroswitch_m`): the header's goroutine stops, `to_goid` runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CoroSwitch {
    pub h: Header,
    pub to_g: u64,
    pub to_goid: u64,
}

/// How a walk over a stack ended (flags of [`StackDef`]).
pub mod stack_end {
    /// It reached the outermost frame.
    pub const COMPLETE: u8 = 0;
    /// It has more than [`super::MAX_FRAMES`] frames; the outer ones are left out.
    pub const TOO_DEEP: u8 = 1;
    /// A frame pointer led out of the stack's bounds or backwards.
    pub const OUT_OF_BOUNDS: u8 = 2;
    /// A read failed.
    pub const FAULT: u8 = 3;
}

/// Defines a stack id: return addresses, innermost first. `h.goid` is the goroutine it was first seen on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackDef {
    pub h: Header,
    pub stack: u64,
    pub nframes: u64,
    pub frames: [u64; MAX_FRAMES],
}

/// A [`StackDef`] without its frames: the fixed part.
pub const STACK_DEF_FIXED: usize = core::mem::size_of::<StackDef>() - MAX_FRAMES * 8;

/// A goroutine as a look found it in the target's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    pub h: Header,
    /// 0 when unknown (Go 1.19 has no `g.parentGoid`).
    pub parent_goid: u64,
    /// 0 for the placeholder goroutines of extra Ms (cgo callbacks), which no `go` statement made.
    pub gopc: u64,
    pub start_pc: u64,
    /// `g.waitsince` on the target's monotonic clock, 0 when unset. Set by the garbage collector: "at least".
    pub wait_since: u64,
    /// `g.atomicstatus` without the scan bit.
    pub status: u32,
    /// Index into the target's wait-reason table; meaningful only while `status` is waiting.
    pub reason: u32,
}

/// A look over all goroutines begins or ends. `h.time_ns` of the begin is taken before the first read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LookEdge {
    pub h: Header,
    /// Number of this look, from 1.
    pub seq: u64,
    /// Entries of `allgs` that were gone through, the unreadable ones included (0 at the begin).
    pub read: u64,
    /// Entries that could not be read or stayed in motion (0 at the begin).
    pub unreadable: u64,
}

/// Causes of loss. Append-only.
pub mod loss {
    /// A birth did not fit into the ring buffer.
    pub const BIRTH_RING_FULL: u32 = 0;
    /// A death (or a coroutine's end) did not fit into the ring buffer.
    pub const DEATH_RING_FULL: u32 = 1;
    /// A park, ready, run or coroutine switch did not fit into the ring buffer.
    pub const SCHED_RING_FULL: u32 = 2;
    /// A stack definition did not fit into the ring buffer.
    pub const STACK_RING_FULL: u32 = 3;
    /// The table of known stacks is full: a stack is sent again each time it is met.
    pub const STACK_MAP_FULL: u32 = 4;
    /// The kernel could not read the target's memory.
    pub const READ_FAULT: u32 = 5;
    /// A record did not decode.
    pub const UNDECODABLE: u32 = 6;
    /// An event came later than the ordering window allows.
    pub const LATE: u32 = 7;
    /// A limit of the session's memory was reached.
    pub const SESSION_LIMIT: u32 = 8;
    /// A look could not read an entry of `allgs`.
    pub const LOOK_UNREADABLE: u32 = 9;
    /// How many causes there are.
    pub const COUNT: usize = 10;
    /// Causes below this number are counted by the kernel side.
    pub const KERNEL_COUNT: usize = 6;
}

/// Something was lost between two times.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Loss {
    /// `time_ns` is the interval's end.
    pub h: Header,
    pub from_ns: u64,
    pub count: u64,
    /// One of [`loss`].
    pub cause: u64,
}

/// Indexes of the kernel's own event counters in [`Totals`].
pub mod total {
    pub const BIRTHS: usize = 0;
    pub const DEATHS: usize = 1;
    pub const PARKS: usize = 2;
    pub const READIES: usize = 3;
    pub const RUNS: usize = 4;
    pub const CORO_SWITCHES: usize = 5;
    pub const STACKS: usize = 6;
    /// Births whose stack was walked frame by frame, because it was not recognised as one that is known.
    pub const WALKS: usize = 7;
    pub const COUNT: usize = 8;
}

/// How many events of each sort the kernel side has met since it was attached, delivered or lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    pub h: Header,
    pub counts: [u64; total::COUNT],
}

/// Why a session ended ([`End`]`.reason`). Append-only.
pub mod end {
    /// The user asked (Ctrl-C, SIGTERM).
    pub const ASKED: u64 = 0;
    /// `--duration` was over.
    pub const DURATION: u64 = 1;
    /// The target exited. `code` is its wait status when we are its parent, else `u64::MAX`.
    pub const TARGET_EXITED: u64 = 2;
    /// The target executed another program.
    pub const TARGET_EXECED: u64 = 3;
    /// The recording's disk is full or failed.
    pub const OUTPUT_FAILED: u64 = 4;
}

/// The session's last event.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct End {
    pub h: Header,
    pub reason: u64,
    pub code: u64,
}

/// A goroutine's own stack, read while it waited. Its frames were defined by a [`StackDef`] before.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Blocked {
    pub h: Header,
    pub stack: u64,
}

/// What watching has cost until now. Once a second, and at the end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cost {
    pub h: Header,
    /// Processor time that the probes took from the target: an estimate, the events met times their prices.
    pub target_ns: u64,
    /// Processor time that gostray itself took since it was started.
    pub own_cpu_ns: u64,
    /// Its memory that is resident now.
    pub own_bytes: u64,
    /// Records that the ring buffer delivered.
    pub delivered: u64,
    /// What one event of each sort is taken to cost the target, nanoseconds; indexes as in [`total`]. All 0 without probes.
    pub prices: [u64; total::COUNT],
}

/// How closely the target is watched ([`Level`]`.from` and `.to`). Append-only.
pub mod level {
    /// Births, deaths and each wait (`--park on`).
    pub const WAITS: u64 = 0;
    /// Births and deaths.
    pub const LIVES: u64 = 1;
    /// Births and deaths in short windows, looks in between.
    pub const WINDOWS: u64 = 2;
    /// Looks alone.
    pub const LOOKS: u64 = 3;
}

/// Flags of [`Level`]: what is watched from its time on.
pub mod level_flag {
    /// The probes at births and deaths stand.
    pub const LIVES: u8 = 1;
    /// The probes at parks, readies and runs stand.
    pub const WAITS: u8 = 2;
}

/// Why a [`Level`] was taken. Append-only; a reader must take any.
pub mod level_why {
    /// The watch begins.
    pub const START: u64 = 0;
    /// The budget would not have been enough.
    pub const SPENT: u64 = 1;
    /// There is room again.
    pub const ROOM: u64 = 2;
    /// A window begins.
    pub const WINDOW_OPENS: u64 = 3;
    /// A window is over.
    pub const WINDOW_CLOSES: u64 = 4;
    /// Not even a window fits into the budget.
    pub const NO_WINDOW: u64 = 5;
    /// The probes could not be placed again.
    pub const FAILED: u64 = 6;
}

/// What is watched from `h.time_ns` on, when that changes: the governor keeps what the target loses within a budget.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Level {
    /// `flags`: [`level_flag`].
    pub h: Header,
    /// [`level`]; the same as `to` where a window opens or closes.
    pub from: u64,
    pub to: u64,
    /// [`level_why`]
    pub why: u64,
    /// What the last ten seconds took from the target, estimated, nanoseconds.
    pub load_ns: u64,
    /// What ten seconds may take, nanoseconds; 0: no budget.
    pub budget_ns: u64,
}

// Drift of the layout fails the build, on both targets.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Header>() == 32 && align_of::<Header>() == 8);
    assert!(offset_of!(Header, tid) == 24 && offset_of!(Header, cpu) == 28);
    assert!(offset_of!(Header, kind) == 30 && offset_of!(Header, flags) == 31);
    assert!(size_of::<Birth>() == 64 && offset_of!(Birth, stack) == 56);
    assert!(size_of::<Death>() == 32 && size_of::<Ready>() == 32 && size_of::<Run>() == 32);
    assert!(size_of::<Park>() == 56 && offset_of!(Park, reason) == 48);
    assert!(size_of::<CoroSwitch>() == 48);
    assert!(size_of::<StackDef>() == 48 + 512 && STACK_DEF_FIXED == 48);
    assert!(size_of::<Seen>() == 72 && offset_of!(Seen, status) == 64);
    assert!(size_of::<LookEdge>() == 56 && size_of::<Loss>() == 56);
    assert!(size_of::<Cost>() == 128 && size_of::<Level>() == 72);
    assert!(size_of::<Totals>() == 96 && size_of::<End>() == 48 && size_of::<Blocked>() == 40);
};

/// Which side of an object a goroutine waits at (protobuf `WaitOn`).
pub mod side {
    pub const UNKNOWN: u32 = 0;
    pub const SEND: u32 = 1;
    pub const RECEIVE: u32 = 2;
    /// A lock, a counter, a timer: there is one side only.
    pub const WAIT: u32 = 3;
}
