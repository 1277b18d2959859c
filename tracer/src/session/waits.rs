//! The runtime's words for what a goroutine waits for.

use super::goroutine::Doing;

/// More names than any Go version has: its reason is one byte.
pub const MAX_REASONS: usize = 256;

/// Bytes of a name: no Go version has one of more than 40.
pub const MAX_WORD: usize = 128;

/// Reasons under which the runtime sets the status to waiting although the goroutine runs on (`casGToWaiting` and
/// its kin, proc.go, Go 1.19 to 1.27). Such a goroutine is running.
const RUNNING_REASONS: [&str; 12] = [
    "GC assist marking",
    "GC worker (active)",
    "GC mark termination",
    "garbage collection",
    "garbage collection scan",
    "stopping the world",
    "flushing proc caches",
    "trace goroutine status",
    "trace proc status",
    "page trace flush",
    "dumping heap",
    "debug call",
];

/// What a goroutine does, in the snapshot's words. `reasons` is the target's own table.
pub fn word(doing: Doing, reasons: &[String]) -> String {
    match doing {
        Doing::NotSeen => "<not yet seen>".to_owned(),
        Doing::Running => RUNNING.to_owned(),
        Doing::Runnable => "<runnable>".to_owned(),
        Doing::Syscall => "<system call>".to_owned(),
        Doing::Coroutine => COROUTINE.to_owned(),
        Doing::Unknown(status) => format!("<status {status}>"),
        Doing::Waiting(i) => match reasons.get(i as usize) {
            Some(name) if RUNNING_REASONS.contains(&name.as_str()) => RUNNING.to_owned(),
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("<reason {i}>"),
        },
    }
}

/// The reason of a goroutine that `iter.Pull` switched out of.
pub const COROUTINE: &str = "coroutine";

pub const RUNNING: &str = "<running>";

/// It has begun something whose length tells a reader something.
pub fn has_duration(word: &str) -> bool {
    !matches!(word, RUNNING | "<not yet seen>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_reasons_keep_their_number_and_busy_ones_run() {
        let names = ["", "GC assist marking", "IO wait"].map(String::from);
        assert_eq!(word(Doing::Waiting(2), &names), "IO wait");
        assert_eq!(word(Doing::Waiting(1), &names), RUNNING);
        assert_eq!(word(Doing::Waiting(0), &names), "<reason 0>");
        assert_eq!(word(Doing::Waiting(42), &names), "<reason 42>");
        assert_eq!(word(Doing::Coroutine, &names), "coroutine");
    }
}
