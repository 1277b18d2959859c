//! What a live process, or a core, shows besides its memory: its code, its threads, its clock.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use super::Surroundings;
use crate::gobin::GoBinary;
use crate::memory::core::Core;
use crate::target::{Mapping, parse_maps};

/// Threads whose names inside their own PID namespace are looked up.
const MAX_THREADS: usize = 4096;
/// `/proc/PID/stat` tells the start in ticks of 10 ms, and `CLOCK_BOOTTIME` also counts a sleeping machine.
const SLACK_NS: u64 = 2_000_000_000;

/// The executable's functions where they are loaded.
struct Code<'d> {
    binary: &'d GoBinary<'d>,
    load_bias: u64,
}

impl Code<'_> {
    fn function(&self, pc: u64) -> Option<(u64, &str)> {
        let f = self.binary.functions().by_pc(pc.checked_sub(self.load_bias)?)?;
        Some((f.entry.wrapping_add(self.load_bias), f.name))
    }

    fn wrapped(&self, entry: u64) -> Option<String> {
        self.binary.wrapped(entry.checked_sub(self.load_bias)?).map(|frame| frame.function)
    }

    fn is_behind_a_call(&self, pc: u64) -> bool {
        /// `call rel32`
        const CALL: u8 = 0xe8;
        let at = pc.wrapping_sub(self.load_bias).wrapping_sub(5);
        self.binary.bytes(at, 5).is_some_and(|code| code[0] == CALL)
    }

    fn holds(&self, pc: u64) -> bool {
        let linked = pc.wrapping_sub(self.load_bias);
        self.binary.segments().iter().any(|s| s.contains(linked))
    }
}

/// A live process and the executable it runs.
pub struct Live<'d> {
    pid: u32,
    code: Code<'d>,
    names: Option<Vec<String>>,
    started_boot_ns: u64,
    threads: OnceCell<HashSet<u64>>,
    maps: OnceCell<Vec<Mapping>>,
    /// Its clocks are ours. A process cannot change that for itself.
    same_clocks: OnceCell<bool>,
}

impl<'d> Live<'d> {
    /// `names` are the program's own wait reasons; `started_boot_ns` is on `CLOCK_BOOTTIME`.
    pub fn new(
        pid: u32,
        binary: &'d GoBinary<'d>,
        load_bias: u64,
        names: Option<Vec<String>>,
        started_boot_ns: u64,
    ) -> Self {
        let (threads, maps, same_clocks) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { pid, code: Code { binary, load_bias }, names, started_boot_ns, threads, maps, same_clocks }
    }

    fn threads(&self) -> HashSet<u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        tasks.filter_map(|t| t.file_name().to_str()?.parse().ok()).collect()
    }

    /// What the threads are called inside the process's own PID namespace.
    fn inner_threads(&self) -> HashSet<u64> {
        let inner = |tid: u64| {
            let status = fs::read_to_string(format!("/proc/{}/task/{tid}/status", self.pid)).ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
            line.split_whitespace().last()?.parse().ok()
        };
        self.threads().into_iter().take(MAX_THREADS).filter_map(inner).collect()
    }
}

impl Surroundings for Live<'_> {
    fn function(&self, pc: u64) -> Option<(u64, &str)> {
        self.code.function(pc)
    }

    fn wrapped(&self, entry: u64) -> Option<String> {
        self.code.wrapped(entry)
    }

    fn is_behind_a_call(&self, pc: u64) -> bool {
        self.code.is_behind_a_call(pc)
    }

    fn is_foreign_code(&self, pc: u64) -> bool {
        let maps = self.maps.get_or_init(|| {
            let text = fs::read(format!("/proc/{}/maps", self.pid)).unwrap_or_default();
            parse_maps(&text).unwrap_or_default()
        });
        maps.iter().any(|m| m.executable && m.path.is_some() && (m.start..m.end).contains(&pc))
            && !self.code.holds(pc)
    }

    fn is_thread(&self, id: u64) -> Option<bool> {
        // A thread may be new since the first question.
        let known = self.threads.get_or_init(|| self.threads()).contains(&id)
            || self.threads().contains(&id)
            || self.inner_threads().contains(&id);
        Some(known)
    }

    fn wait_reasons(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    fn lifetime_ns(&self) -> (u64, u64) {
        // In a time namespace of its own its clocks count from elsewhere.
        let time = |who: &str| fs::read_link(format!("/proc/{who}/ns/time")).ok();
        if !self.same_clocks.get_or_init(|| time("self") == time(&self.pid.to_string())) {
            return (1, u64::MAX >> 1);
        }
        let boot = clock_ns(nix::time::ClockId::CLOCK_BOOTTIME);
        let now = clock_ns(nix::time::ClockId::CLOCK_MONOTONIC);
        let started = self.started_boot_ns.saturating_sub(boot.saturating_sub(now));
        (started.saturating_sub(SLACK_NS), now)
    }

    fn pause(&self, time: Duration) {
        if !time.is_zero() {
            std::thread::sleep(time);
        }
    }
}

/// A core file and the executable that it is of.
pub struct Frozen<'d> {
    core: &'d Core<'d>,
    code: Code<'d>,
    names: Option<Vec<String>>,
    threads: HashSet<u64>,
}

impl<'d> Frozen<'d> {
    /// `names` are the program's own wait reasons.
    pub fn new(
        core: &'d Core<'d>,
        binary: &'d GoBinary<'d>,
        load_bias: u64,
        names: Option<Vec<String>>,
    ) -> Self {
        let threads = core.notes.threads.iter().map(|t| t.tid.into()).collect();
        Self { core, code: Code { binary, load_bias }, names, threads }
    }
}

impl Surroundings for Frozen<'_> {
    fn function(&self, pc: u64) -> Option<(u64, &str)> {
        self.code.function(pc)
    }

    fn wrapped(&self, entry: u64) -> Option<String> {
        self.code.wrapped(entry)
    }

    fn is_behind_a_call(&self, pc: u64) -> bool {
        self.code.is_behind_a_call(pc)
    }

    fn is_foreign_code(&self, pc: u64) -> bool {
        self.core.is_foreign_code(pc) && !self.code.holds(pc)
    }

    fn is_thread(&self, id: u64) -> Option<bool> {
        // gdb writes down what threads are called outside of the process's PID namespace.
        self.threads.contains(&id).then_some(true)
    }

    fn wait_reasons(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    fn lifetime_ns(&self) -> (u64, u64) {
        (1, i64::MAX as u64)
    }

    fn pause(&self, _: Duration) {}

    fn amid(&self) -> u64 {
        self.core.notes.threads.len() as u64
    }
}

fn clock_ns(clock: nix::time::ClockId) -> u64 {
    clock.now().map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}
