//! What must be true of every Go process, by the fields of the layout that it rests on.

/// A relation that the Go runtime keeps (go: `runtime/runtime2.go`, `runtime/proc.go`, `runtime/chan.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    Status,
    Goid,
    Stack,
    SchedSp,
    SchedPc,
    SchedBp,
    StartPc,
    GoPc,
    Parent,
    WaitReason,
    WaitSince,
    M,
    Curg,
    Procid,
    Syscall,
    Sudog,
    Channel,
    Queue,
}

use Invariant::{
    Channel, Curg, GoPc, Goid, M, Parent, Procid, Queue, SchedBp, SchedPc, SchedSp, Stack, StartPc, Status,
    Sudog, Syscall, WaitReason, WaitSince,
};

impl Invariant {
    /// In the order in which a misfit is told: the first one explains most.
    pub const ALL: [Self; 18] = [
        Status, Goid, Stack, M, SchedSp, SchedPc, SchedBp, StartPc, GoPc, Parent, WaitReason, WaitSince,
        Curg, Procid, Syscall, Sudog, Channel, Queue,
    ];

    /// Stable name, for JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status => "status",
            Goid => "goid",
            Stack => "stack",
            SchedSp => "sched-sp",
            SchedPc => "sched-pc",
            SchedBp => "sched-bp",
            StartPc => "startpc",
            GoPc => "gopc",
            Parent => "parent-goid",
            WaitReason => "wait-reason",
            WaitSince => "wait-since",
            M => "m-g0",
            Curg => "m-curg",
            Procid => "m-procid",
            Syscall => "syscall",
            Sudog => "sudog",
            Channel => "channel",
            Queue => "channel-queue",
        }
    }

    /// The fields that a misfit speaks against.
    pub fn fields(self) -> &'static str {
        match self {
            Status => "g.atomicstatus",
            Goid => "g.goid",
            Stack => "g.stack",
            SchedSp => "g.sched.sp",
            SchedPc => "g.sched.pc",
            SchedBp => "g.sched.bp",
            StartPc => "g.startpc",
            GoPc => "g.gopc",
            Parent => "g.parentGoid",
            WaitReason => "g.waitreason",
            WaitSince => "g.waitsince",
            M => "g.m or m.g0",
            Curg => "m.curg",
            Procid => "m.procid",
            Syscall => "g.syscallsp or g.syscallpc",
            Sudog => "g.waiting or sudog.g",
            Channel => "sudog.c or hchan",
            Queue => "hchan.recvq or hchan.sendq",
        }
    }

    /// What must be true, one clause.
    pub fn says(self) -> &'static str {
        match self {
            Status => "a state that the runtime has",
            Goid => "positive and nobody else's",
            Stack => "a power of two of bytes, from 2 KiB on",
            SchedSp => "within the stack of a goroutine that does not run",
            SchedPc => "in a Go function where a goroutine does not run",
            SchedBp => "a frame of the stack whose caller is a Go function",
            StartPc => "the entry of a Go function",
            GoPc => "a return address behind a call",
            Parent => "a goroutine's id or 0, 1 for the runtime's first ones",
            WaitReason => "a reason of the program's own table, the right one for the runtime's goroutines",
            WaitSince => "a time between the process's start and now",
            M => "a thread whose g0 points back to it; none while the goroutine waits",
            Curg => "the goroutine that its thread runs",
            Procid => "a thread of the process",
            Syscall => "what was saved when the goroutine went into the system call",
            Sudog => "a sudog of the goroutine that waits for a channel",
            Channel => "a channel that can neither send nor receive now",
            Queue => "a queue that the waiting sudog stands in",
        }
    }

    /// Every Go process shows it once `runtime.main` runs; the others need a goroutine that happens to run, to be in a
    /// system call, or to wait for a channel.
    pub fn is_always_seen(self) -> bool {
        matches!(
            self,
            Status | Goid | Stack | SchedSp | SchedPc | SchedBp | StartPc | GoPc | Parent | WaitReason
        )
    }

    /// A few goroutines may be an exception for good: in a stopped process, in the middle of a change; or made by code that
    /// no compiler wrote. No goroutine ever has a state that does not exist or stands in a broken queue.
    pub(super) fn has_exceptions(self) -> bool {
        !matches!(self, Status | Sudog | Channel | Queue)
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}
