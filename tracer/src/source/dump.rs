//! A dump of a live process or of a core: every goroutine as it is, and what its program counters mean.

use std::collections::{HashMap, HashSet};

use nix::time::ClockId;

use super::live::prepare::read_wait_reasons;
use super::live::{clock_ns, unix_ns};
use crate::dump::{About, Dump, Goroutine, Origin, Pc, Place, Places};
use crate::event::Note;
use crate::event::message::Frame;
use crate::gobin::{GoBinary, Layout, is_system_start};
use crate::memory::core::Registers;
use crate::memory::dump::again::{Changes, Looker};
use crate::memory::dump::labels::Form;
use crate::memory::dump::network::Descriptors;
use crate::memory::dump::standing::{Standing, newest_wait};
use crate::memory::dump::waits::Reason;
use crate::memory::dump::{Read, Source, objects, read};
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
    let read =
        |_: &mut Looker, source: &Source<'_>, code: &mut Functions<'_, '_>| read(source, code, progress);
    Looks::new(subject).dump_of(read)
}

/// Dumps of one process, one after another. What has not changed since the last one is not read again; each is nonetheless what
/// [`take`] would give.
pub struct Looks<'d> {
    subject: &'d Subject<'d>,
    wait_reasons: Vec<String>,
    symbolizer: Symbolizer<'d, &'d GoBinary<'d>>,
    code: Functions<'d, 'd>,
    looker: Looker,
}

impl<'d> Looks<'d> {
    pub fn new(subject: &'d Subject<'d>) -> Self {
        let wait_reasons = subject.wait_reasons.and_then(|table| read_wait_reasons(subject.memory, table));
        let mut symbolizer = Symbolizer::new(subject.binary, subject.load_bias, None);
        if let Some(debug) = subject.debug {
            symbolizer = symbolizer.with_debug(debug);
        }
        Self {
            subject,
            wait_reasons: wait_reasons.unwrap_or_default(),
            symbolizer,
            code: Functions::new(subject.binary, subject.load_bias),
            looker: Looker::new(),
        }
    }

    /// What has changed since the last look or dump. Who is at the other end of a socket is not asked for that.
    pub fn look(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<Changes, MemoryError> {
        self.with_source(None, |looker, source, code| looker.look(source, code, progress))
    }

    /// All that there is, of which only what may have changed since the last look or dump is read.
    pub fn dump(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<Dump, MemoryError> {
        self.dump_of(|looker, source, code| {
            looker.look(source, code, progress)?;
            Ok(looker.picture())
        })
    }

    /// What the last look has seen.
    pub fn looker(&self) -> &Looker {
        &self.looker
    }

    fn with_source<T>(
        &mut self,
        descriptors: Option<&dyn Descriptors>,
        work: impl FnOnce(&mut Looker, &Source<'_>, &mut Functions<'d, 'd>) -> Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        let subject = self.subject;
        let memory = subject.memory;
        let version = subject.binary.version();
        let starts_system = |start_pc: u64| {
            let linked = start_pc.wrapping_sub(subject.load_bias);
            subject.binary.functions().by_pc(linked).is_some_and(|f| is_system_start(f.name))
        };
        let reasons: Vec<Reason> = self.wait_reasons.iter().map(|name| Reason::of(name)).collect();
        let standing = match subject.moment {
            Moment::Now => None,
            Moment::Then { threads, .. } => {
                Some(Standing { threads, now_at_least: newest_wait(memory, subject.layout, subject.allgs)? })
            }
        };
        let now = standing.is_none().then(|| clock_ns(ClockId::CLOCK_MONOTONIC));
        let source = Source {
            memory,
            layout: subject.layout,
            allgs: subject.allgs,
            now,
            standing,
            goid_is_late: !version.at_least(1, 24),
            labels: if version.at_least(1, 24) { Form::List } else { Form::Map },
            reasons: &reasons,
            semtable: subject.semtable,
            descriptors,
            is_system: &starts_system,
        };
        work(&mut self.looker, &source, &mut self.code)
    }

    fn dump_of(
        &mut self,
        read: impl FnOnce(&mut Looker, &Source<'_>, &mut Functions<'d, 'd>) -> Result<Read, MemoryError>,
    ) -> Result<Dump, MemoryError> {
        let subject = self.subject;
        let (memory, version) = (subject.memory, subject.binary.version());
        let taken_unix_ns = unix_ns();
        let begun = clock_ns(ClockId::CLOCK_MONOTONIC);
        let read = self.with_source(subject.descriptors, read)?;
        let (origin, taken_unix_ns, took_ns) = match subject.moment {
            Moment::Now => {
                (Origin::Process, taken_unix_ns, clock_ns(ClockId::CLOCK_MONOTONIC).saturating_sub(begun))
            }
            Moment::Then { path, .. } => (Origin::Core { path: path.to_owned() }, 0, 0),
        };
        let about = About {
            pid: subject.pid,
            comm: subject.comm.clone(),
            exe: subject.exe.clone(),
            go_version: version.raw.clone(),
            build_id: subject.binary.build_id().unwrap_or_default(),
            arch: "amd64".to_owned(),
            main_package: subject.binary.main_package().unwrap_or_default().to_owned(),
            layout: subject.layout.provenance.clone(),
            source: origin,
            taken_unix_ns,
            took_ns,
            gostray_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut dump = Dump {
            about,
            goroutines: read.goroutines,
            stacks: read.stacks,
            objects: read.objects,
            labels: read.labels,
            places: Places::default(),
            wait_reasons: self.wait_reasons.clone(),
            notes: subject.notes.iter().cloned().chain(read.descriptors_unknown.map(unasked)).collect(),
            counts: read.counts,
        };
        dump.places = places(&dump, subject, &mut self.symbolizer);
        objects::refine(memory, subject.layout, &mut dump)?;
        objects::holders(memory, subject.layout, &mut dump)?;
        for i in 0..dump.goroutines.len() {
            let g = &dump.goroutines[i];
            dump.goroutines[i].system = g.system && !runs_the_programs_code(&dump, g);
        }
        Ok(dump)
    }
}

fn unasked(text: String) -> Note {
    Note { code: "descriptors-not-asked".to_owned(), text }
}

/// The goroutines that run finalizers and cleanups are the runtime's own only while they run none (`isSystemGoroutine`).
fn runs_the_programs_code(dump: &Dump, g: &Goroutine) -> bool {
    const RUNNERS: [&str; 3] = ["runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups"];
    let starts = dump.places.started(g.start_pc).is_some_and(|f| RUNNERS.contains(&f.function.as_str()));
    let frames = |pc: &Pc| dump.places.at(*pc).map_or(&[][..], |place| &place.frames);
    let foreign = |frames: &[Frame]| frames.iter().any(|f| !f.function.starts_with("runtime."));
    starts && dump.stack(g).is_some_and(|stack| stack.pcs.iter().any(|pc| foreign(frames(pc))))
}

/// What each program counter of the dump means.
fn places<'d>(
    dump: &Dump,
    subject: &Subject<'_>,
    symbolizer: &mut Symbolizer<'d, &'d GoBinary<'d>>,
) -> Places {
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
    fn polled(&self) -> Result<Vec<(u32, u64)>, String> {
        Ok(Target::polled(self)?.into_iter().map(|p| (p.fd, p.data)).collect())
    }

    fn peers(&self, fds: &[u32]) -> HashMap<u32, String> {
        Target::peers(self, fds)
    }
}
