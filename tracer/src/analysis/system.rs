//! Whose goroutine is it: the program's, the runtime's, or main.

/// Who a goroutine belongs to, by the function that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Program,
    /// One of the runtime's own: never reported as a leak.
    System,
    /// `runtime.main`: never reported as a leak.
    Main,
}

/// Functions of the runtime that run the program's code (traceback.go, isSystemGoroutine, Go 1.19 to 1.27). The finalizer
/// and cleanup goroutines, which the runtime counts as the program's only while they run its code, stay the
/// runtime's here.
const PROGRAMS_OWN: [&str; 2] = ["runtime.corostart", "runtime.handleAsyncEvent"];

impl Role {
    /// `start`: the start function's name as Go writes it. An unknown one (`0x…`) is the program's.
    pub fn of(start: &str) -> Self {
        match start {
            "runtime.main" => Self::Main,
            // `runtime/pprof.profileWriter` and its like are not the runtime's own.
            s if s.starts_with("runtime.") && !PROGRAMS_OWN.contains(&s) => Self::System,
            _ => Self::Program,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_own_exceptions_hold() {
        for (name, role) in [
            ("runtime.main", Role::Main),
            ("runtime.bgsweep", Role::System),
            ("runtime.gcBgMarkWorker", Role::System),
            ("runtime.corostart", Role::Program),
            ("runtime/pprof.profileWriter", Role::Program),
            ("main.main.func1", Role::Program),
            ("0x4a0000", Role::Program),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
