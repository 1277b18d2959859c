//! Which goroutines belong to the runtime itself.

/// Whether a goroutine that starts at `function` belongs to the runtime (runtime/traceback.go, `isSystemGoroutine`,
/// Go 1.27): every `runtime.*` start function except those that run the program's code. The goroutines that run
/// finalizers and cleanups count as the runtime's here, although they run the program's code at times.
pub fn is_system_start(function: &str) -> bool {
    let Some(name) = function.strip_prefix("runtime.") else { return false };
    !matches!(name, "main" | "corostart" | "handleAsyncEvent")
}

#[cfg(test)]
mod tests {
    use super::is_system_start;

    #[test]
    fn the_runtimes_own() {
        for f in ["bgsweep", "forcegchelper", "gcBgMarkWorker", "runfinq", "runFinalizers", "runCleanups"] {
            assert!(is_system_start(&format!("runtime.{f}")), "{f}");
        }
        assert!(is_system_start("runtime.gcenable.gowrap1"));
        assert!(is_system_start("runtime.(*traceAdvancerState).start.func1"));
    }

    #[test]
    fn the_programs() {
        for f in
            ["runtime.main", "runtime.corostart", "runtime.handleAsyncEvent", "main.main", "main.runtime.x"]
        {
            assert!(!is_system_start(f), "{f}");
        }
        for f in ["runtime/pprof.profileWriter", "runtime/trace.Start.func1", "os/signal.loop", ""] {
            assert!(!is_system_start(f), "{f}");
        }
    }
}
