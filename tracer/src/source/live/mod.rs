//! The live source: probes and looks on a running process become wire records.
//!
//! Who drives it decides when: [`Live::drain`] every few milliseconds, [`Live::tick`] each second. Records leave about in
//! the order of their times, however far the reader is behind (`own`); exact order is `order`'s work, live and in a replay.

mod annotate;
pub mod fit;
mod own;
pub mod prepare;
pub mod spawn;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use thiserror::Error;
use tracer_common::decode::{bytes_of, wire_len};
use tracer_common::wire::{self, coro_flag, kind, loss, total};

use crate::event::{Event, Note, ProbeSite, WaitReasons, header};
use crate::memory::goroutines::Looker;
use crate::memory::selfcheck::Misfit;
use crate::memory::{MemoryError, ProcessMemory};
use crate::probe::load::{Events, LoadError, Loaded, Options, Placed};
use crate::probe::{Plan, Refusal, Role, verify};

use annotate::{Annotator, time_of};
use fit::{Fit, Unchecked};
use own::{Own, Staged};
pub use prepare::{PrepareError, Prepared};

/// Where records go.
pub type Sink<'s> = dyn FnMut(&[u8]) + 's;

#[derive(Debug, Error)]
pub enum LiveError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("neither births nor deaths can be traced: {because}")]
    NoSites { because: String },
    #[error("the goroutines cannot be read")]
    Look(#[from] MemoryError),
    #[error("the runtime's layout known for `{version}` does not fit this process: {misfit} ({provenance})")]
    Misfit { version: String, provenance: String, misfit: Misfit },
    #[error("process `{pid}`{} shows too little to be checked: {missing}", if *.stopped { ", which is stopped," } else { "" })]
    NotBegun { pid: u32, stopped: bool, missing: Misfit },
}

/// Probes in place and a looker; dropping it removes every probe.
pub struct Live<'d> {
    pid: u32,
    memory: ProcessMemory,
    /// Where the wait-reason table is, until it has been read.
    wait_reasons: Option<(u64, u64)>,
    annotator: Annotator<'d>,
    own: Own,
    staged: Staged,
    looker: Option<Looker>,
    /// What is still to be checked, when that was too early.
    unchecked: Option<Unchecked<'d>>,
    /// As of the last tick.
    births: u64,
    // Field order is drop order: probes go before the programs and maps they use.
    probes: Vec<Placed>,
    events: Events,
    loaded: Loaded,
    drops: [u64; loss::KERNEL_COUNT],
    last_tick: u64,
}

/// What of a session the user chose.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub ring_bytes: u32,
    pub stacks: u32,
    pub diagnostics: bool,
}

impl<'d> Live<'d> {
    /// Loads the programs, confirms every site against the process's memory and places the probes: deaths before
    /// births, so that whoever is born under the probe also dies under it. `exe` is the file that `prepared` was read from:
    /// the kernel is given this very inode, so that an exec between the comparison and the probe cannot bring another
    /// file under it. Writes the session's first records.
    pub fn start(
        prepared: Prepared<'d>,
        fit: Fit<'d>,
        exe: &File,
        choice: &Choice,
        sink: &mut Sink<'_>,
    ) -> Result<Self, LiveError> {
        let Prepared { target, binary, layout, allgs, wait_reasons, plan, load_bias, debug, notes } =
            prepared;
        let pid = target.pid;
        let now = boot_ns();
        emit(&Event::Target(header(kind::TARGET, target.anchor_boot_ns), Box::new(target)), sink);
        for (code, text) in notes {
            emit(&Event::Note(header(kind::NOTE, now), Note { code: code.to_owned(), text }), sink);
        }
        let unchecked = match fit {
            Fit::Known(note) => {
                emit(&Event::Note(header(kind::NOTE, now), note), sink);
                None
            }
            Fit::Later(unchecked) => Some(*unchecked),
        };
        let memory = ProcessMemory::new(pid);
        let options = Options {
            ring_bytes: choice.ring_bytes,
            stacks: choice.stacks,
            layout: layout.kernel,
            diagnostics: choice.diagnostics,
        };
        let mut loaded = Loaded::load(&options)?;
        let events = loaded.take_events()?;
        let mut probes = Vec::new();
        let Plan { sites, mut refused, warnings } = plan;
        for text in warnings {
            emit(&Event::Note(header(kind::NOTE, now), Note { code: "inlined-copy".to_owned(), text }), sink);
        }
        for site in &sites {
            loaded.ready(site)?;
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", exe.as_raw_fd()));
        let mut placed = Vec::new();
        for site in sites {
            let file = binary.bytes(site.entry, (site.end - site.entry) as usize);
            let confirmed = file
                .ok_or_else(|| Refusal::NoBytes { function: site.function.clone() })
                .and_then(|file| verify::confirm(&site, file, &memory, load_bias));
            match confirmed {
                Ok(()) => {
                    probes.push(loaded.attach(&site, &path, pid)?);
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
                    emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), e), sink);
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
            emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), e), sink);
        }
        if ![Role::Create, Role::Exit].iter().all(|role| placed.contains(role)) {
            let because = refused.iter().map(|(_, r)| r.to_string()).collect::<Vec<_>>().join("; ");
            return Err(LiveError::NoSites { because });
        }
        let annotator = Annotator::new(binary, load_bias, debug);
        let looker = allgs.map(|allgs| Looker::new(layout, allgs));
        let mut live = Self {
            pid,
            memory,
            wait_reasons,
            annotator,
            own: Own::default(),
            staged: Staged::default(),
            looker,
            unchecked,
            births: 0,
            probes,
            events,
            loaded,
            drops: [0; loss::KERNEL_COUNT],
            last_tick: boot_ns(),
        };
        live.tell_wait_reasons();
        Ok(live)
    }

    /// The names of the wait reasons, once, as soon as they can be read.
    fn tell_wait_reasons(&mut self) {
        if let Some(table) = self.wait_reasons
            && let Some(names) = prepare::read_wait_reasons(&self.memory, table)
        {
            self.wait_reasons = None;
            let now = boot_ns();
            let mut record = Vec::new();
            Event::WaitReasons(header(kind::WAIT_REASONS, now), WaitReasons { names }).encode(&mut record);
            self.own.push(now, &record);
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Makes the self-check that came too early at first, once the program has started its goroutines.
    pub fn check_fit(&mut self) -> Result<(), LiveError> {
        if let Some(unchecked) = &mut self.unchecked
            && let Some(note) = unchecked.try_again(self.births)?
        {
            self.unchecked = None;
            self.note(&note.code, note.text);
        }
        Ok(())
    }

    /// Takes what the kernel side has delivered, at most `limit` records, and with it our own records up to its time.
    /// They are staged; [`release`](Self::release) passes them on. Returns how many it took.
    pub fn drain(&mut self, limit: usize) -> usize {
        let mut taken = 0;
        while taken < limit && advance(&mut self.events, &mut self.own, &mut self.annotator, &mut self.staged)
        {
            taken += 1;
        }
        taken
    }

    /// Passes on what is staged. Called when it is known that the target was still the program that we know after all
    /// of it had happened: what an exec left behind never gets here.
    pub fn release(&mut self, sink: &mut Sink<'_>) {
        self.staged.records().for_each(&mut *sink);
        self.staged.clear();
    }

    /// A second has passed: counters and losses, then a tick. They leave with the next drain.
    pub fn tick(&mut self) -> Result<(), LiveError> {
        self.tell_wait_reasons();
        self.counters(boot_ns(), &[0; total::COUNT])?;
        self.loaded.flush_diagnostics();
        Ok(())
    }

    /// What the kernel side has lost and met, and a tick, at `now`. `later` of what it met are left out.
    fn counters(&mut self, now: u64, later: &[u64; total::COUNT]) -> Result<(), LiveError> {
        let drops = self.loaded.drops()?;
        for (cause, (new, old)) in drops.iter().zip(&self.drops).enumerate() {
            if new > old {
                let e = wire::Loss {
                    h: header(kind::LOSS, now),
                    from_ns: self.last_tick,
                    count: new - old,
                    cause: cause as u64,
                };
                self.own.push(now, bytes_of(&e));
            }
        }
        self.drops = drops;
        let mut counts = self.loaded.totals()?;
        self.births = counts[total::BIRTHS];
        for (count, later) in counts.iter_mut().zip(later) {
            *count = count.saturating_sub(*later);
        }
        let e = wire::Totals { h: header(kind::TOTALS, now), counts };
        self.own.push(now, bytes_of(&e));
        self.own.push(now, bytes_of(&header(kind::TICK, now)));
        self.last_tick = now;
        Ok(())
    }

    /// Looks at every goroutine now; what it finds leaves with the next drain. Nothing to look with is not an error: the
    /// notes have said why.
    pub fn look(&mut self) -> Result<(), LiveError> {
        let Some(looker) = &mut self.looker else {
            return Ok(());
        };
        let (events, own, annotator, staged) =
            (&mut self.events, &mut self.own, &mut self.annotator, &mut self.staged);
        let mut record = Vec::with_capacity(1024);
        looker.look(&self.memory, &boot_ns, &mut |event| {
            record.clear();
            event.encode(&mut record);
            own.push(time_of(&record), &record);
            if own.len() >= own::ENOUGH {
                // Ends: the buffer runs empty or its times pass ours, and either lets ours go.
                while own.len() > 0 && advance(events, own, annotator, staged) {}
            }
        })?;
        Ok(())
    }

    /// A note for the report's reader.
    pub fn note(&mut self, code: &str, text: String) {
        let now = boot_ns();
        let mut record = Vec::new();
        Event::Note(header(kind::NOTE, now), Note { code: code.to_owned(), text }).encode(&mut record);
        self.own.push(now, &record);
    }

    /// Removes the probes, takes what they still delivered, and writes the last records.
    ///
    /// The session is over at `over` (boot time): what happened later is left out, also of what the counters say. Probes
    /// go one after another, each in some 10 ms; on a busy target the births without deaths, or deaths without births, of
    /// that time would look like something. And after an exec, it is another program's.
    /// Without an `ending` no end is written: the session was broken off.
    pub fn finish(
        &mut self,
        over: u64,
        ending: Option<(u64, u64)>,
        sink: &mut Sink<'_>,
    ) -> Result<(), LiveError> {
        self.probes.clear();
        if let Some(unchecked) = self.unchecked.take() {
            self.note(fit::NOTE, unchecked.not_made());
        }
        while self.drain(usize::MAX) > 0 {}
        self.own.forget_after(over);
        let mut later = [0; total::COUNT];
        for record in self.staged.records() {
            // A stack's definition may be younger than a birth that refers to it, and so may its symbols.
            let definition = matches!(record.get(30), Some(&(kind::STACK_DEF | kind::SYMBOL)));
            if time_of(record) > over && !definition {
                counted_in(record).for_each(|i| later[i] += 1);
            } else {
                sink(record);
            }
        }
        self.staged.clear();
        self.counters(over, &later)?;
        release(u64::MAX, &mut self.own, &mut self.annotator, &mut self.staged);
        self.release(sink);
        if let Some((reason, code)) = ending {
            sink(bytes_of(&wire::End { h: header(kind::END, over), reason, code }));
        }
        Ok(())
    }
}

/// Passes on the ring buffer's next record, and before it our own up to its time. False when the buffer is empty; then
/// nothing older than our own is to come, and they all leave.
fn advance(events: &mut Events, own: &mut Own, annotator: &mut Annotator<'_>, to: &mut Staged) -> bool {
    let record = events.next();
    release(record.as_ref().map_or(u64::MAX, |r| time_of(r)), own, annotator, to);
    if let Some(record) = &record {
        annotator.pass(&record[..wire_len(record)], &mut |r| to.push(r));
    }
    record.is_some()
}

/// Passes on our own records up to this time.
fn release(until: u64, own: &mut Own, annotator: &mut Annotator<'_>, to: &mut Staged) {
    while let Some(ours) = own.pop_until(until) {
        annotator.pass(&ours, &mut |r| to.push(r));
    }
}

/// Which of the kernel side's counters a record of it was counted in.
fn counted_in(record: &[u8]) -> impl Iterator<Item = usize> {
    let (sort, flags) = (record.get(30).copied(), record.get(31).copied().unwrap_or(0));
    let one = match sort {
        Some(kind::BIRTH) => Some(total::BIRTHS),
        Some(kind::DEATH) => Some(total::DEATHS),
        Some(kind::PARK) => Some(total::PARKS),
        Some(kind::READY) => Some(total::READIES),
        Some(kind::RUN) => Some(total::RUNS),
        Some(kind::CORO_SWITCH) => Some(total::CORO_SWITCHES),
        _ => None,
    };
    let ends = sort == Some(kind::CORO_SWITCH) && flags & coro_flag::EXIT != 0;
    one.into_iter().chain(ends.then_some(total::DEATHS))
}

fn emit(event: &Event, sink: &mut Sink<'_>) {
    let mut out = Vec::with_capacity(256);
    event.encode(&mut out);
    sink(&out);
}

/// `CLOCK_BOOTTIME` in nanoseconds: the clock of the kernel side's stamps (`bpf_ktime_get_boot_ns`).
pub fn boot_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_BOOTTIME)
}

/// Wall clock, nanoseconds since the Unix epoch.
pub fn unix_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_REALTIME)
}

pub fn clock_ns(clock: nix::time::ClockId) -> u64 {
    // Both clocks exist on every Linux this runs on; 0 would only make ages wrong, never memory.
    clock.now().map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}
