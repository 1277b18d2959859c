//! The live source: probes (unless they are not wanted) and looks on a running process become wire records.
//!
//! Who drives it decides when: [`Live::drain`] every few milliseconds, [`Live::tick`] each second. Records leave about in
//! the order of their times, however far the reader is behind (`own`); exact order is `order`'s work, live and in a replay.

mod annotate;
pub mod fit;
mod guard;
mod hands;
mod kernel;
mod own;
pub mod prepare;
pub mod spawn;
mod usage;
mod watched;

use std::fs::File;
use std::time::{Duration, Instant};

use thiserror::Error;
use tracer_common::decode::{bytes_of, wire_len};
use tracer_common::wire::{self, coro_flag, kind, total};

use crate::dump::Dump;
use crate::event::{Event, Note, WaitReasons, header};
use crate::govern::Prices;
use crate::memory::goroutines::{Depth, Detail, Looker};
use crate::memory::selfcheck::Misfit;
use crate::memory::{MemoryError, ProcessMemory};
use crate::probe::load::LoadError;

use super::dump::Looks;
use annotate::{Annotator, time_of};
use fit::{Fit, Unchecked};
use kernel::Kernel;
use own::{Own, Staged};
pub use prepare::{PrepareError, Prepared};

/// How often the kernel is asked who is at the other end of connections: it lists all that there are in the process's network.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// How long program counters are looked up between two drains of the ring buffer.
const SYMBOLS: Duration = Duration::from_millis(2);

/// Where records go.
pub type Sink<'s> = dyn FnMut(&[u8]) + 's;

#[derive(Debug, Error)]
pub enum LiveError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("neither births nor deaths can be traced: {because}")]
    NoSites { because: String },
    #[error("the executable cannot be kept open")]
    Exe(#[source] std::io::Error),
    #[error("no thread for the budget")]
    Thread(#[source] std::io::Error),
    #[error("the goroutines cannot be read")]
    Look(#[from] MemoryError),
    #[error("the runtime's layout known for `{version}` does not fit this process: {misfit} ({provenance})")]
    Misfit { version: String, provenance: String, misfit: Misfit },
    #[error("process `{pid}`{} shows too little to be checked: {missing}", if *.stopped { ", which is stopped," } else { "" })]
    NotBegun { pid: u32, stopped: bool, missing: Misfit },
}

/// A looker, and probes in place where they are wanted; dropping it removes every probe.
pub struct Live<'d> {
    pid: u32,
    memory: ProcessMemory,
    /// Where the wait-reason table is, until it has been read.
    wait_reasons: Option<(u64, u64)>,
    annotator: Annotator<'d>,
    own: Own,
    staged: Staged,
    looker: Option<Looker>,
    /// Reads what looks tell of those that are at rest.
    reader: Option<Looks<'d>>,
    /// When the kernel was last asked for descriptors.
    asked: Option<Instant>,
    /// What is still to be checked, when that was too early.
    unchecked: Option<Unchecked<'d>>,
    /// As of the last tick.
    births: u64,
    /// Nothing where only looks are wanted.
    kernel: Option<Kernel>,
    /// Records that the kernel side delivered.
    delivered: u64,
    last_tick: u64,
}

/// What of a session the user chose.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub ring_bytes: u32,
    pub stacks: u32,
    pub diagnostics: bool,
    /// What the target may lose of each second, nanoseconds; nothing: whatever it costs.
    pub budget: Option<u64>,
}

impl<'d> Live<'d> {
    /// Places the probes, unless only looks are wanted. `exe` is the file that `prepared` was read from. Writes the session's
    /// first records.
    pub fn start(
        prepared: Prepared<'d>,
        fit: Fit<'d>,
        exe: &File,
        choice: &Choice,
        sink: &mut Sink<'_>,
    ) -> Result<Self, LiveError> {
        let Prepared { target, binary, layout, allgs, wait_reasons, plan, load_bias, debug, subject, notes } =
            prepared;
        let (pid, looks_only) = (target.pid, target.looks_only);
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
        let kernel = if looks_only {
            None
        } else {
            let looks = allgs.is_some();
            let target = kernel::Target { pid, exe, binary, layout: &layout, load_bias, looks };
            Some(Kernel::start(&target, plan, choice, sink)?)
        };
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
            reader: subject.map(Looks::new),
            asked: None,
            unchecked,
            births: 0,
            kernel,
            delivered: 0,
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
        let (own, annotator, staged) = (&mut self.own, &mut self.annotator, &mut self.staged);
        while taken < limit && advance(&mut self.kernel, own, annotator, staged) {
            taken += 1;
        }
        self.delivered += taken as u64;
        taken
    }

    /// Passes on what is staged. Called when it is known that the target was still the program that we know after all
    /// of it had happened: what an exec left behind never gets here.
    pub fn release(&mut self, sink: &mut Sink<'_>) {
        self.pass_on(sink);
        self.annotator.describe(Some(SYMBOLS), sink);
    }

    fn pass_on(&mut self, sink: &mut Sink<'_>) {
        self.staged.records().for_each(&mut *sink);
        self.staged.clear();
    }

    /// A second has passed: counters and losses, then a tick. They leave with the next drain.
    pub fn tick(&mut self) -> Result<(), LiveError> {
        self.tell_wait_reasons();
        self.counters(boot_ns(), &[0; total::COUNT])?;
        if let Some(kernel) = &mut self.kernel {
            kernel.flush_diagnostics();
        }
        Ok(())
    }

    /// What the kernel side has lost and met, what that cost, and a tick, at `now`. `later` of what it met are left out.
    fn counters(&mut self, now: u64, later: &[u64; total::COUNT]) -> Result<(), LiveError> {
        let (mut prices, mut target_ns) = (Prices::default(), 0);
        if let Some(kernel) = &mut self.kernel {
            for (cause, count) in kernel.new_losses()? {
                let e = wire::Loss { h: header(kind::LOSS, now), from_ns: self.last_tick, count, cause };
                self.own.push(now, bytes_of(&e));
            }
            let met = kernel.totals()?;
            self.births = met[total::BIRTHS];
            let mut counts = met;
            for (count, (later, outside)) in counts.iter_mut().zip(later.iter().zip(kernel.watched.outside()))
            {
                *count = count.saturating_sub(*later).saturating_sub(*outside);
            }
            let e = wire::Totals { h: header(kind::TOTALS, now), counts };
            self.own.push(now, bytes_of(&e));
            // Whatever was met took its time, also what is left out.
            (prices, target_ns) = kernel.cost(&met);
        }
        let cost = wire::Cost {
            h: header(kind::COST, now),
            target_ns,
            own_cpu_ns: usage::cpu_ns(),
            own_bytes: usage::resident_bytes(),
            delivered: self.delivered,
            prices: prices.each,
        };
        self.own.push(now, bytes_of(&cost));
        self.own.push(now, bytes_of(&header(kind::TICK, now)));
        self.last_tick = now;
        Ok(())
    }

    /// Looks at every goroutine now; what it finds leaves with the next drain. `closing`: nothing is left for a next look.
    /// Nothing to look with is not an error: the notes have said why.
    pub fn look(&mut self, closing: bool) -> Result<(), LiveError> {
        let Some(looker) = &mut self.looker else {
            return Ok(());
        };
        let ask = closing || self.asked.is_none_or(|at| at.elapsed() > ASK_EVERY);
        let depth = if closing { Depth::All } else { Depth::AtRest { ask } };
        // Until the layout is known to fit, nothing is followed that it says.
        let detail = self.reader.as_mut().filter(|_| self.unchecked.is_none());
        if ask && detail.is_some() {
            self.asked = Some(Instant::now());
        }
        let detail = detail.map(|reader| (reader as &mut dyn Detail, depth));
        let (kernel, own, annotator, staged, delivered) =
            (&mut self.kernel, &mut self.own, &mut self.annotator, &mut self.staged, &mut self.delivered);
        let mut record = Vec::with_capacity(1024);
        looker.look(&self.memory, detail, &boot_ns, &mut |event| {
            record.clear();
            event.encode(&mut record);
            own.push(time_of(&record), &record);
            if own.len() >= own::ENOUGH {
                // Ends: the buffer runs empty or its times pass ours, and either lets ours go.
                while own.len() > 0 && advance(kernel, own, annotator, staged) {
                    *delivered += 1;
                }
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
        if let Some(kernel) = &mut self.kernel {
            kernel.remove_probes();
        }
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
        self.pass_on(sink);
        self.annotator.describe(None, sink);
        if let Some((reason, code)) = ending {
            sink(bytes_of(&wire::End { h: header(kind::END, over), reason, code }));
        }
        Ok(())
    }
}

impl Detail for Looks<'_> {
    fn read(&mut self, addrs: &[u64], ask: bool) -> Result<Dump, MemoryError> {
        self.some(addrs, ask)
    }
}

/// Passes on the ring buffer's next record, and before it our own up to its time. False when the buffer is empty; then
/// nothing older than our own is to come, and they all leave.
fn advance(
    kernel: &mut Option<Kernel>,
    own: &mut Own,
    annotator: &mut Annotator<'_>,
    to: &mut Staged,
) -> bool {
    let Some(kernel) = kernel else {
        release(u64::MAX, own, annotator, to);
        return false;
    };
    kernel.hear(own);
    let record = kernel.events.next();
    release(record.as_ref().map_or(u64::MAX, |r| time_of(r)), own, annotator, to);
    if let Some(record) = &record
        && kernel.watched.passes(record)
    {
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
