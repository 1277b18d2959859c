//! A dump of a live process or of a core: every goroutine as it is, and what its program counters mean.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use nix::time::ClockId;

use super::live::prepare::read_wait_reasons;
use super::live::{clock_ns, unix_ns};
use crate::dump::{About, Dump, Goroutine, ObjectKind, Origin, Pc, Place, Places, cycles};
use crate::event::Note;
use crate::event::message::Frame;
use crate::gobin::{GoBinary, Layout, is_system_start};
use crate::memory::core::Registers;
use crate::memory::dump::again::{Changes, Looker};
use crate::memory::dump::labels::Form;
use crate::memory::dump::network::Descriptors;
use crate::memory::dump::standing::{Standing, newest_wait};
use crate::memory::dump::waits::{MAX_CASES_IN_ALL, Reason};
use crate::memory::dump::{Read, Source, objects, read, read_these, suspects};
use crate::memory::walk::Functions;
use crate::memory::{MemoryError, ReadMemory};
use crate::symbol::{DebugSource, Symbolizer};
use crate::target::Target;

/// Whether the memory changes.
#[derive(Clone, Copy)]
pub enum Moment<'d> {
    /// The process runs on, and its clock is ours.
    Now,
    /// A core of that path: it stood still with its threads there. When that was is not known.
    Then { path: &'d str, threads: &'d HashMap<u32, Registers> },
}

/// A process whose executable was recognised and whose layout was checked.
pub struct Subject<'d> {
    pub memory: &'d dyn ReadMemory,
    pub moment: Moment<'d>,
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub binary: &'d GoBinary<'d>,
    pub layout: &'d Layout,
    pub load_bias: u64,
    /// Runtime address of the slice header.
    pub allgs: u64,
    /// Runtime address of `runtime.semtable`.
    pub semtable: Option<u64>,
    /// Runtime address and length of the wait-reason table.
    pub wait_reasons: Option<(u64, u64)>,
    /// What Go's own tables cannot answer is asked for there.
    pub debug: Option<&'d dyn DebugSource>,
    /// What the process has open.
    pub descriptors: Option<&'d dyn Descriptors>,
    pub notes: Vec<Note>,
}

/// Reads it all; `progress` hears how many goroutines of how many are read.
pub fn take(subject: &Subject<'_>, progress: &mut dyn FnMut(usize, usize)) -> Result<Dump, MemoryError> {
    Looks::new(subject).take(progress)
}

/// Reads one process as often as it likes. What has not changed since the last dump is not read again; each is nonetheless what
/// [`take`] would give.
pub struct Looks<'s> {
    subject: &'s Subject<'s>,
    /// The target's own names of wait reasons; empty until they can be read.
    wait_reasons: Vec<String>,
    reasons: Vec<Reason>,
    /// Of a core.
    newest_wait: Option<Option<u64>>,
    code: Functions<'s, 's>,
    symbolizer: Symbolizer<'s, &'s GoBinary<'s>>,
    looker: Looker,
}

impl<'s> Looks<'s> {
    pub fn new(subject: &'s Subject<'s>) -> Self {
        let symbolizer = Symbolizer::new(subject.binary, subject.load_bias, None);
        Self {
            subject,
            wait_reasons: Vec::new(),
            reasons: Vec::new(),
            newest_wait: None,
            code: Functions::new(subject.binary, subject.load_bias),
            symbolizer: match subject.debug {
                Some(debug) => symbolizer.with_debug(debug),
                None => symbolizer,
            },
            looker: Looker::new(),
        }
    }

    /// All goroutines, what they wait on, who else has to do with it, and what every program counter means.
    pub fn take(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<Dump, MemoryError> {
        self.dump_of(|_, source, code| read(source, code, progress))
    }

    /// The same, but only what may have changed since the last look or dump is read.
    pub fn dump(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<Dump, MemoryError> {
        self.dump_of(|looker, source, code| {
            looker.look(source, code, progress)?;
            Ok(looker.picture())
        })
    }

    /// What has changed since the last look or dump. Who is at the other end of a socket is not asked for that.
    pub fn look(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<Changes, MemoryError> {
        self.with_source(None, |looker, source, code| looker.look(source, code, progress))
    }

    /// What the last look has seen.
    pub fn looker(&self) -> &Looker {
        &self.looker
    }

    fn dump_of(
        &mut self,
        read: impl FnOnce(&mut Looker, &Source<'_>, &mut Functions<'s, 's>) -> Result<Read, MemoryError>,
    ) -> Result<Dump, MemoryError> {
        let subject = self.subject;
        let taken_unix_ns = unix_ns();
        let begun = clock_ns(ClockId::CLOCK_MONOTONIC);
        let read = self.with_source(subject.descriptors, read)?;
        let (origin, taken_unix_ns, took_ns) = match subject.moment {
            Moment::Now => {
                (Origin::Process, taken_unix_ns, clock_ns(ClockId::CLOCK_MONOTONIC).saturating_sub(begun))
            }
            Moment::Then { path, .. } => (Origin::Core { path: path.to_owned() }, 0, 0),
        };
        let mut dump = self.filled(read);
        dump.about = about(subject, origin, taken_unix_ns, took_ns);
        dump.places = places(wanted(&dump), subject, &mut self.symbolizer);
        objects::refine(subject.memory, subject.layout, &mut dump)?;
        for i in 0..dump.goroutines.len() {
            let g = &dump.goroutines[i];
            dump.goroutines[i].system = g.system && !runs_the_programs_code(&dump, g);
        }
        let held = self
            .with_source(None, |_, source, code| suspects::held(source, code, &mut dump, image(subject)))?;
        let Some(held) = held else { return Ok(dump) };
        let (cycles, more) = cycles::find(&dump, &held);
        dump.cycles = cycles;
        if more > 0 {
            let text = format!("there are {more} more circles of goroutines that wait for each other");
            dump.notes.push(Note { code: "cycles-left-out".to_owned(), text });
        }
        Ok(dump)
    }

    /// These goroutines, by the addresses of their g's, and what they wait on. `ask`: who is at the other
    /// end of connections, too.
    pub fn some(&mut self, addrs: &[u64], ask: bool) -> Result<Dump, MemoryError> {
        let subject = self.subject;
        let descriptors = subject.descriptors.filter(|_| ask);
        let read =
            self.with_source(descriptors, |_, source, code| read_these(source, code, addrs, &mut |_, _| {}))?;
        let mut dump = self.filled(read);
        // Only what tells a lock from another is needed.
        let on_semaphore = |g: &&Goroutine| {
            g.waits_on.iter().any(|w| {
                let kind = dump.objects.get(w.object as usize).map(|o| &o.kind);
                matches!(kind, Some(ObjectKind::Semaphore { .. } | ObjectKind::Cond { .. }))
            })
        };
        let waiting = dump.goroutines.iter().filter(on_semaphore).filter_map(|g| dump.stack(g));
        let pcs: HashSet<Pc> = waiting.flat_map(|stack| stack.pcs.iter().copied()).collect();
        dump.places = places(pcs, subject, &mut self.symbolizer);
        objects::refine(subject.memory, subject.layout, &mut dump)?;
        Ok(dump)
    }

    fn with_source<T>(
        &mut self,
        descriptors: Option<&dyn Descriptors>,
        work: impl FnOnce(&mut Looker, &Source<'_>, &mut Functions<'s, 's>) -> Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        let (subject, memory) = (self.subject, self.subject.memory);
        if self.wait_reasons.is_empty() {
            let names = subject.wait_reasons.and_then(|table| read_wait_reasons(memory, table));
            self.wait_reasons = names.unwrap_or_default();
            self.reasons = self.wait_reasons.iter().map(|name| Reason::of(name)).collect();
        }
        let version = subject.binary.version();
        // Neighbours are alike.
        let last = Cell::new((0, false));
        let starts_system = |start_pc: u64| {
            if last.get().0 != start_pc {
                let linked = start_pc.wrapping_sub(subject.load_bias);
                let system =
                    subject.binary.functions().by_pc(linked).is_some_and(|f| is_system_start(f.name));
                last.set((start_pc, system));
            }
            last.get().1
        };
        let standing = match subject.moment {
            Moment::Now => None,
            Moment::Then { threads, .. } => {
                let newest = match self.newest_wait {
                    Some(known) => known,
                    None => newest_wait(memory, subject.layout, subject.allgs)?,
                };
                self.newest_wait = Some(newest);
                Some(Standing { threads, now_at_least: newest })
            }
        };
        let source = Source {
            memory,
            layout: subject.layout,
            allgs: subject.allgs,
            now: standing.is_none().then(|| clock_ns(ClockId::CLOCK_MONOTONIC)),
            standing,
            goid_is_late: !version.at_least(1, 24),
            labels: if version.at_least(1, 24) { Form::List } else { Form::Map },
            reasons: &self.reasons,
            semtable: subject.semtable,
            descriptors,
            is_system: &starts_system,
        };
        work(&mut self.looker, &source, &mut self.code)
    }

    /// What was read, without the meaning of addresses.
    fn filled(&self, read: Read) -> Dump {
        let notes = (self.subject.notes.iter().cloned())
            .chain((read.waits_left_out > 0).then(|| too_many_cases(read.waits_left_out)));
        Dump {
            about: About::default(),
            goroutines: read.goroutines,
            stacks: read.stacks,
            objects: read.objects,
            labels: read.labels,
            places: Places::default(),
            wait_reasons: self.wait_reasons.clone(),
            notes: notes.collect(),
            counts: read.counts,
            cycles: Vec::new(),
        }
    }
}

fn about(subject: &Subject<'_>, origin: Origin, taken_unix_ns: u64, took_ns: u64) -> About {
    About {
        pid: subject.pid,
        comm: subject.comm.clone(),
        exe: subject.exe.clone(),
        go_version: subject.binary.version().raw.clone(),
        build_id: subject.binary.build_id().unwrap_or_default(),
        arch: "amd64".to_owned(),
        main_package: subject.binary.main_package().unwrap_or_default().to_owned(),
        layout: subject.layout.provenance.clone(),
        source: origin,
        taken_unix_ns,
        took_ns,
        gostray_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Where the executable lies in the process.
fn image(subject: &Subject<'_>) -> Range<u64> {
    let segments = subject.binary.segments();
    let from = segments.iter().map(|s| s.vaddr).min().unwrap_or_default();
    let to = segments.iter().map(|s| s.vaddr.saturating_add(s.memsz)).max().unwrap_or_default();
    from.wrapping_add(subject.load_bias)..to.wrapping_add(subject.load_bias)
}

fn too_many_cases(left_out: u64) -> Note {
    let text = format!(
        "the cases of all `select`s are more than {MAX_CASES_IN_ALL}: of {left_out} reads of goroutines with several it is not told what they wait on"
    );
    Note { code: "waits-left-out".to_owned(), text }
}

/// The goroutines that run finalizers and cleanups are the runtime's own only while they run none (`isSystemGoroutine`).
fn runs_the_programs_code(dump: &Dump, g: &Goroutine) -> bool {
    const RUNNERS: [&str; 3] = ["runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups"];
    let starts = dump.places.started(g.start_pc).is_some_and(|f| RUNNERS.contains(&f.function.as_str()));
    let frames = |pc: &Pc| dump.places.at(*pc).map_or(&[][..], |place| &place.frames);
    let foreign = |frames: &[Frame]| frames.iter().any(|f| !f.function.starts_with("runtime."));
    starts && dump.stack(g).is_some_and(|stack| stack.pcs.iter().any(|pc| foreign(frames(pc))))
}

/// Every program counter of a dump.
fn wanted(dump: &Dump) -> HashSet<Pc> {
    let mut wanted: HashSet<Pc> = HashSet::new();
    for stack in &dump.stacks {
        wanted.extend(&stack.pcs);
        wanted.extend(stack.left_out.iter().flat_map(|l| l.at.iter().map(|(pc, _)| *pc)));
    }
    let mut last = (0, 0);
    for g in &dump.goroutines {
        // Neighbours are alike.
        if last != (g.gopc, g.start_pc) {
            last = (g.gopc, g.start_pc);
            wanted.insert(Pc { pc: g.gopc, exact: false });
            wanted.insert(Pc { pc: g.start_pc, exact: true });
        }
    }
    wanted.retain(|pc| pc.pc != 0);
    wanted
}

/// What these program counters mean.
fn places<'d>(
    wanted: HashSet<Pc>,
    subject: &Subject<'_>,
    symbolizer: &mut Symbolizer<'d, &'d GoBinary<'d>>,
) -> Places {
    let functions = subject.binary.functions();
    let place = |pc: Pc, symbolizer: &mut Symbolizer<'d, &'d GoBinary<'d>>| {
        let symbol = symbolizer.symbol(pc.pc, pc.exact);
        let f = functions.by_pc(pc.pc.wrapping_sub(subject.load_bias));
        Place {
            frames: symbol.frames,
            entry: f.map_or(0, |f| f.entry.wrapping_add(subject.load_bias)),
            wrapper: f.is_some_and(|f| functions.is_wrapper(&f)),
            unknown_because: symbol.unknown_because,
            starts: symbol.starts,
        }
    };
    Places(wanted.into_iter().map(|pc| (pc, place(pc, symbolizer))).collect())
}

impl Descriptors for Target {
    fn peers(&self, fds: &[u32]) -> HashMap<u32, String> {
        Target::peers(self, fds)
    }
}
