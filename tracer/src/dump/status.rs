//! What a goroutine is doing, as its runtime says.

use crate::event::status;

/// `g.atomicstatus` without the scan bit (`runtime/runtime2.go`; the same numbers in Go 1.19 to 1.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Allocated, never used.
    Idle,
    Runnable,
    Running,
    /// In a system call or in C code.
    Syscall,
    Waiting,
    Dead,
    /// Its stack is being moved.
    CopyStack,
    /// Stopped by the runtime, to be made runnable by whom stopped it.
    Preempted,
    /// Found unreachable by the runtime's own leak profile (from Go 1.26 on).
    Leaked,
    /// From Go 1.26 on: the unused g of a thread that C made.
    DeadExtra,
    Other(u32),
}

impl Status {
    /// `raw` as it stands in memory, with or without the scan bit.
    pub fn of(raw: u32) -> Self {
        match raw & !status::SCAN_BIT {
            status::IDLE => Self::Idle,
            status::RUNNABLE => Self::Runnable,
            status::RUNNING => Self::Running,
            status::SYSCALL => Self::Syscall,
            status::WAITING => Self::Waiting,
            status::DEAD => Self::Dead,
            status::COPYSTACK => Self::CopyStack,
            status::PREEMPTED => Self::Preempted,
            status::LEAKED => Self::Leaked,
            status::DEAD_EXTRA => Self::DeadExtra,
            other => Self::Other(other),
        }
    }

    /// As Go's own dumps name it (`runtime/traceback.go`, `gStatusStrings`).
    pub fn name(self) -> String {
        match self {
            Self::Idle => "idle".to_owned(),
            Self::Runnable => "runnable".to_owned(),
            Self::Running => "running".to_owned(),
            Self::Syscall => "syscall".to_owned(),
            Self::Waiting => "waiting".to_owned(),
            Self::Dead => "dead".to_owned(),
            Self::CopyStack => "copystack".to_owned(),
            Self::Preempted => "preempted".to_owned(),
            Self::Leaked => "leaked".to_owned(),
            Self::DeadExtra => "waiting for cgo callback".to_owned(),
            Self::Other(raw) => format!("status {raw}"),
        }
    }

    /// Somebody's: it will run again, or should.
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Idle | Self::Dead | Self::DeadExtra)
    }
}
