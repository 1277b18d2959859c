//! The hands on the target: places probes, takes them away, and reads what the kernel side counted.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::thread::Builder;

use tracer_common::wire::{loss, total};

use super::LiveError;
use super::kernel::Target;
use crate::govern::{Standing, TRAP_THERE_NS};
use crate::memory::ProcessMemory;
use crate::probe::calibrate::measure_hurried;
use crate::probe::code::CostClass;
use crate::probe::load::{LoadError, Loaded, Placed};
use crate::probe::{Refusal, Role, Site, verify};

/// What a trap is taken to cost where it cannot be measured, nanoseconds: a slow virtual machine's.
const ASSUMED_EMULATED_NS: f64 = 1_000.0;
const ASSUMED_STEPPED_NS: f64 = 20_000.0;

/// Everything that placing a probe needs, for as long as the session lasts.
pub struct Hands {
    // Field order is drop order: probes go before the programs and maps they use.
    probes: Vec<Probe>,
    /// On our own body.
    own: Vec<Placed>,
    loaded: Loaded,
    pid: u32,
    exe: File,
    load_bias: u64,
    memory: ProcessMemory,
}

struct Probe {
    site: Site,
    /// The whole function's bytes, as the file has them.
    code: Vec<u8>,
    placed: Option<Placed>,
}

/// What traps cost.
pub struct Traps {
    /// Sorts of events, and what the trap at their site costs, nanoseconds.
    pub of: Vec<(usize, f64)>,
    /// How many times slower an emulated one is than where programs were measured.
    pub slower: f64,
    /// Why it was not measured.
    pub assumed_because: Option<String>,
}

impl Hands {
    pub fn new(loaded: Loaded, target: &Target<'_>) -> Result<Self, LiveError> {
        Ok(Self {
            probes: Vec::new(),
            own: Vec::new(),
            loaded,
            pid: target.pid,
            exe: target.exe.try_clone().map_err(LiveError::Exe)?,
            load_bias: target.load_bias,
            memory: ProcessMemory::new(target.pid),
        })
    }

    /// Measures the traps that these sites need.
    pub fn price(&mut self, sites: &[Site]) -> Traps {
        let mut assumed_because = None;
        let mut of_class = |class, assumed_ns| {
            if !sites.iter().any(|site| site.cost == class) {
                return 0.0;
            }
            match measure_hurried(&mut self.loaded, class) {
                Ok((ns, placed)) => {
                    self.own.push(placed);
                    ns
                }
                Err(e) => {
                    assumed_because = Some(e.to_string());
                    assumed_ns
                }
            }
        };
        let emulated = of_class(CostClass::Emulated, ASSUMED_EMULATED_NS);
        let stepped = of_class(CostClass::Stepped, ASSUMED_STEPPED_NS);
        let ns = |site: &Site| match site.cost {
            CostClass::Emulated => emulated,
            CostClass::Stepped => stepped,
        };
        let of = sites.iter().map(|site| (sort(site.role), ns(site))).collect();
        let slower = if emulated > 0.0 { (emulated / TRAP_THERE_NS).clamp(0.25, 8.0) } else { 1.0 };
        Traps { of, slower, assumed_because }
    }

    /// Takes away what was placed on our own body to measure with.
    pub fn let_go_of_own(&mut self) {
        self.own.clear();
    }

    /// Places a probe, unless the process's memory says otherwise. `file`: the function's bytes there.
    pub fn add(&mut self, site: &Site, file: Option<&[u8]>) -> Result<Result<(), Refusal>, LoadError> {
        let Some(code) = file else {
            return Ok(Err(Refusal::NoBytes { function: site.function.clone() }));
        };
        let mut probe = Probe { site: site.clone(), code: code.to_vec(), placed: None };
        let placed = self.place(&mut probe)?;
        if placed.is_ok() {
            self.probes.push(probe);
        }
        Ok(placed)
    }

    fn place(&mut self, probe: &mut Probe) -> Result<Result<(), Refusal>, LoadError> {
        if let Err(refusal) = verify::confirm(&probe.site, &probe.code, &self.memory, self.load_bias) {
            return Ok(Err(refusal));
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.exe.as_raw_fd()));
        probe.placed = Some(self.loaded.attach(&probe.site, &path, self.pid)?);
        Ok(Ok(()))
    }

    pub fn has(&self, role: Role) -> bool {
        self.probes.iter().any(|p| p.site.role == role)
    }

    /// Whether waits are traced.
    pub fn has_waits(&self) -> bool {
        self.probes.iter().any(|p| is_of_waits(p.site.role))
    }

    /// Makes these probes stand and no others. False: one could not be placed again, and none stands.
    pub fn stand(&mut self, standing: Standing) -> bool {
        let wanted = |role| if is_of_waits(role) { standing.waits } else { standing.lives };
        take_away(self.probes.iter_mut().filter(|p| !wanted(p.site.role)).filter_map(|p| p.placed.take()));
        let mut probes = std::mem::take(&mut self.probes);
        let missing = probes.iter_mut().filter(|p| wanted(p.site.role) && p.placed.is_none());
        let placed = missing.map(|p| self.place(p)).all(|placed| match placed {
            Ok(Ok(())) => true,
            Ok(Err(refusal)) => {
                log::warn!("a probe is not placed again: {refusal}");
                false
            }
            Err(e) => {
                log::warn!("a probe is not placed again: {e}");
                false
            }
        });
        self.probes = probes;
        if !placed {
            self.remove();
        }
        placed
    }

    /// Takes every probe away, those on our own body too.
    pub fn remove(&mut self) {
        take_away(self.probes.iter_mut().filter_map(|p| p.placed.take()).chain(self.own.drain(..)));
    }

    pub fn totals(&self) -> Result<[u64; total::COUNT], LoadError> {
        self.loaded.totals()
    }

    pub fn drops(&self) -> Result<[u64; loss::KERNEL_COUNT], LoadError> {
        self.loaded.drops()
    }

    pub fn flush_diagnostics(&mut self) {
        self.loaded.flush_diagnostics();
    }
}

/// Each waits in the kernel, before its breakpoint goes and after, until no program can be running any more: all at once that
/// takes as long as one.
fn take_away(probes: impl Iterator<Item = Placed>) {
    std::thread::scope(|scope| {
        for placed in probes {
            // Without a thread it goes with the closure, here and now.
            let _ = Builder::new().spawn_scoped(scope, move || drop(placed));
        }
    });
}

/// The counter of the events that a probe of this role meets.
fn sort(role: Role) -> usize {
    match role {
        Role::Create => total::BIRTHS,
        Role::Exit => total::DEATHS,
        Role::Park => total::PARKS,
        Role::Ready => total::READIES,
        Role::Run => total::RUNS,
        Role::Coro => total::CORO_SWITCHES,
    }
}

/// Coroutines end at their switch, so that probe is one of births and deaths.
fn is_of_waits(role: Role) -> bool {
    matches!(role, Role::Park | Role::Ready | Role::Run)
}
