//! The kernel side of a session: programs, probes, and what the ring buffer delivers.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use tracer_common::wire::{kind, loss, total};

use super::{Choice, LiveError, Sink, boot_ns, emit};
use crate::event::{Event, Note, ProbeSite, header};
use crate::gobin::{GoBinary, Layout};
use crate::memory::ProcessMemory;
use crate::probe::load::{Events, Loaded, Options, Placed};
use crate::probe::{Plan, Refusal, Role, verify};

/// Probes in place; dropping it removes every one.
pub struct Kernel {
    // Field order is drop order: probes go before the programs and maps they use.
    probes: Vec<Placed>,
    pub events: Events,
    loaded: Loaded,
    drops: [u64; loss::KERNEL_COUNT],
}

/// The process to probe.
pub struct Target<'t> {
    pub pid: u32,
    /// The file that `binary` was read from: the kernel is given this very inode, so that an exec between the comparison and
    /// the probe cannot bring another file under it.
    pub exe: &'t File,
    pub binary: &'t GoBinary<'t>,
    pub layout: &'t Layout,
    pub load_bias: u64,
    pub memory: &'t ProcessMemory,
}

impl Kernel {
    /// Loads the programs, confirms every site against the process's memory and places the probes: deaths before
    /// births, so that whoever is born under the probe also dies under it. Writes what became of each.
    pub fn start(
        target: &Target<'_>,
        plan: Plan,
        choice: &Choice,
        sink: &mut Sink<'_>,
    ) -> Result<Self, LiveError> {
        let options = Options {
            ring_bytes: choice.ring_bytes,
            stacks: choice.stacks,
            layout: target.layout.kernel,
            diagnostics: choice.diagnostics,
        };
        let mut loaded = Loaded::load(&options)?;
        let events = loaded.take_events()?;
        let Plan { sites, mut refused, warnings } = plan;
        for text in warnings {
            let note = Note { code: "inlined-copy".to_owned(), text };
            emit(&Event::Note(header(kind::NOTE, boot_ns()), note), sink);
        }
        for site in &sites {
            loaded.ready(site)?;
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", target.exe.as_raw_fd()));
        let mut probes = Vec::new();
        let mut placed = Vec::new();
        for site in sites {
            let file = target.binary.bytes(site.entry, (site.end - site.entry) as usize);
            let confirmed = file
                .ok_or_else(|| Refusal::NoBytes { function: site.function.clone() })
                .and_then(|file| verify::confirm(&site, file, target.memory, target.load_bias));
            match confirmed {
                Ok(()) => {
                    probes.push(loaded.attach(&site, &path, target.pid)?);
                    placed.push(site.role);
                    let e = ProbeSite {
                        role: site.role.name().to_owned(),
                        function: site.function,
                        offset: site.addr - site.entry,
                        instruction: site.instruction,
                        cost_class: site.cost.to_string(),
                        refused_because: String::new(),
                        file_offset: site.file_offset,
                    };
                    emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), Box::new(e)), sink);
                }
                Err(refusal) => refused.push((site.role, refusal)),
            }
        }
        for (role, refusal) in &refused {
            let e = ProbeSite {
                role: role.name().to_owned(),
                refused_because: refusal.to_string(),
                ..ProbeSite::default()
            };
            emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), Box::new(e)), sink);
        }
        if ![Role::Create, Role::Exit].iter().all(|role| placed.contains(role)) {
            let because = refused.iter().map(|(_, r)| r.to_string()).collect::<Vec<_>>().join("; ");
            return Err(LiveError::NoSites { because });
        }
        Ok(Self { probes, events, loaded, drops: [0; loss::KERNEL_COUNT] })
    }

    /// Takes the probes away; what they have delivered can still be read.
    pub fn remove_probes(&mut self) {
        self.probes.clear();
    }

    /// What was lost since this was asked last: cause and number.
    pub fn new_losses(&mut self) -> Result<Vec<(u64, u64)>, LiveError> {
        let drops = self.loaded.drops()?;
        let pairs = drops.iter().zip(&self.drops).enumerate();
        let new =
            pairs.filter(|(_, (new, old))| new > old).map(|(cause, (new, old))| (cause as u64, new - old));
        let new = new.collect();
        self.drops = drops;
        Ok(new)
    }

    /// What was met, delivered or not.
    pub fn totals(&self) -> Result<[u64; total::COUNT], LiveError> {
        Ok(self.loaded.totals()?)
    }

    pub fn flush_diagnostics(&mut self) {
        self.loaded.flush_diagnostics();
    }
}
