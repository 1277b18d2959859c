//! `g.atomicstatus` without the scan bit (`runtime/runtime2.go`; the same numbers in Go 1.19 to 1.27).

pub const IDLE: u32 = 0;
pub const RUNNABLE: u32 = 1;
pub const RUNNING: u32 = 2;
pub const SYSCALL: u32 = 3;
pub const WAITING: u32 = 4;
pub const DEAD: u32 = 6;
pub const COPYSTACK: u32 = 8;
pub const PREEMPTED: u32 = 9;
/// Found by the runtime's own leak profile (1.26); it still waits.
pub const LEAKED: u32 = 10;
/// The placeholder of an extra M, not in use (1.26).
pub const DEAD_EXTRA: u32 = 11;
/// Set in memory while the garbage collector owns the stack.
pub const SCAN_BIT: u32 = 0x1000;

/// No goroutine lives in this `g`.
pub fn is_dead(status: u32) -> bool {
    matches!(status, IDLE | DEAD | DEAD_EXTRA)
}
