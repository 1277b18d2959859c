//! What `attach`, `run` and `record` share: open the target, recognise it, place the probes, let the driver run, report.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use memmap2::{Mmap, UncheckedAdvice};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracer_common::wire::end;

use super::common::{Show, Watch};
use super::executable::{gone_instead, map, open, readable, recognise, search_notes};
use super::print::note;
use super::screen::Screen;
use crate::drive::{self, Caught, Ending, Exit, Pace, View};
use crate::event::message::Limits;
use crate::failure::{Class, Failure};
use crate::memory::ProcessMemory;
use crate::pipeline::Pipeline;
use crate::probe::Plan;
use crate::probe::load::Options;
use crate::record::{WriteError, Writer};
use crate::source::live::fit::fit;
use crate::source::live::prepare::{About, prepare};
use crate::source::live::spawn::{Running, Stopped, shell_code};
use crate::source::live::{Choice, Live};
use crate::symbol::DebugInfo;
use crate::target::{Environment, Incarnation, Mapping, Target, segments};

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Pid(u32),
    /// The program, then its arguments; never empty.
    Command(Vec<OsString>),
}

/// Where to record.
pub struct Recording {
    pub path: PathBuf,
    pub force: bool,
}

/// Watches and reports. The exit code is 0, that of `--fail-on`, or the started program's own.
pub fn watch(
    subject: Subject,
    recording: Option<Recording>,
    watch: Watch,
    show: Show,
) -> Result<ExitCode, Failure> {
    let (target, held) = match subject {
        Subject::Pid(pid) => (open(pid)?, None),
        Subject::Command(command) => {
            if watch.probes {
                Environment::probe().check()?;
            }
            let (program, args) = command.split_first().ok_or_else(|| {
                Failure::new(Class::Usage, "there is no command to run").with_hint("gostray run -- CMD ARGS")
            })?;
            // From here on a signal is for the child too; the child itself starts with none blocked.
            drive::hold_signals().map_err(|e| Failure::because(Class::Internal, e))?;
            let held = Stopped::start(program, args)?;
            let target = Target::open(held.pid() as i32)?;
            (target, Some(held))
        }
    };
    let environment = Environment::probe();
    if watch.probes {
        environment.check()?;
    }

    let data = map(&target)?;
    let (binary, search) = recognise(&target, &data, &watch.debug_dirs)?;
    let maps = target.maps()?;
    let load_bias = target.exe_load_bias(&maps, &segments(&binary)).map_err(|e| {
        gone_instead(&target).unwrap_or_else(|| {
            Failure::because(Class::NoSafeSite, e).with_hint("`gostray doctor PID` shows what was recognised")
        })
    })?;
    let pace = Pace { duration: watch.duration, look_every: watch.look_every };
    let choice = Choice {
        ring_bytes: watch.ring_bytes,
        stacks: Options::DEFAULT_STACKS,
        diagnostics: std::env::var_os("GOSTRAY_LOG").is_some_and(|v| v == "debug"),
        budget: watch.budget,
    };
    let about = About {
        pid: target.pid() as u32,
        comm: target.comm().to_owned(),
        exe: target.exe_path().to_string_lossy().into_owned(),
        command: target.command().unwrap_or_default(),
        started_boot_ns: target.started_boot_ns(),
        load_bias,
        kernel: environment.kernel_release.clone(),
        cpus: environment.cpus.unwrap_or(0),
        from_start: held.is_some(),
        park: watch.park,
        looks_only: !watch.probes,
        limits: Limits {
            ring_bytes: if watch.probes { watch.ring_bytes.into() } else { 0 },
            kernel_stacks: if watch.probes { Options::DEFAULT_STACKS } else { 0 },
            max_frames: tracer_common::wire::MAX_FRAMES as u32,
            look_every_ns: watch.look_every.as_nanos() as u64,
        },
    };
    let debug = match &search.found {
        Some(file) => DebugInfo::of(&binary).or(|| file.image()),
        None => DebugInfo::of(&binary),
    };
    let mut prepared = prepare(about, &binary)?;
    prepared.debug = Some(&debug);
    let memory = ProcessMemory::new(target.pid() as u32);
    let layout = prepared.layout.clone();
    let read =
        |allgs| readable(&target, &memory, &binary, &layout, (load_bias, allgs), Some(&debug), Vec::new());
    let whole = prepared.allgs.map(read);
    prepared.subject = whole.as_ref();
    prepared.notes.extend(search_notes(&search));
    give_back(&data);
    let fit = fit(&prepared).map_err(|e| gone_instead(&target).unwrap_or_else(|| e.into()))?;
    // Last of all, and looked up anew: the self-check may have waited.
    no_code_as_data(&target, &target.maps()?, &prepared.plan)?;

    let writer = match &recording {
        Some(r) => Some(Writer::create(&r.path, r.force)?),
        None => None,
    };
    let core = RefCell::new(Core { pipeline: Pipeline::new(), writer, failed: None });
    let mut sink = |record: &[u8]| core.borrow_mut().take(record);

    let mut live = Live::start(prepared, fit, target.exe(), &choice, &mut sink)
        .map_err(|e| gone_instead(&target).unwrap_or_else(|| e.into()))?;
    if !matches!(target.incarnation(), Ok(Incarnation::Same))
        && let Some(failure) = gone_instead(&target)
    {
        return Err(failure);
    }
    let mut exit = match held {
        Some(held) => Watched::Child(held.release()?),
        None => Watched::Other,
    };
    let screen = match exit {
        Watched::Child(_) => Screen::beside_the_command(show),
        Watched::Other => Screen::live(show)?,
    };
    // Beside a command standard error is the JSON's.
    let taken = show.json && matches!(exit, Watched::Child(_));
    if !screen.is_table() && !taken {
        let ends = watch
            .duration
            .map_or("Ctrl-C ends".to_owned(), |d| format!("ends after {}", humantime::format_duration(d)));
        note(&format!(
            "watching {} (process {}, {}); {ends}, then the report",
            target.comm(),
            target.pid(),
            binary.version(),
        ));
    }
    let mut view = Shown { core: &core, screen, failed: None };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::because(Class::Internal, e))?;
    let ending = runtime.block_on(drive::run(&mut live, &target, pace, &mut exit, &mut view, &mut sink));
    // Whatever happened, the probes go first.
    drop(live);
    let Shown { screen, failed, .. } = view;
    let mut core = core.into_inner();
    core.pipeline.finish();
    let closing = screen.report(&core.pipeline.snapshot());
    let closed = core.close();
    // A started program is seen to its end whatever has become of the watch: its signals and its exit are ours to pass on.
    let own = match exit {
        Watched::Other => 0,
        Watched::Child(child) => outlive(child, ending.as_ref().ok(), &runtime)?,
    };
    ending?;
    closed?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let code = closing?.wait()?;
    Ok(if code == ExitCode::SUCCESS { own.into() } else { code })
}

/// Gives the pages of the executable back that were read to choose the sites: all of the function table, of which the
/// frames of a session need little. What is needed again is faulted in again.
fn give_back(data: &Mmap) {
    // SAFETY: of a shared mapping of a file nothing is lost (madvise(2), MADV_DONTNEED).
    let advised = unsafe { data.unchecked_advise(UncheckedAdvice::DontNeed) };
    if let Err(e) = advised {
        log::debug!("the executable's pages stay: {e}");
    }
}

/// A program that maps its own file as data would read our breakpoints there: the kernel puts them into every private
/// mapping of the file that could be made executable (`kernel/events/uprobes.c`, valid_vma). One that checks its own
/// code would then find it altered.
fn no_code_as_data(target: &Target, maps: &[Mapping], plan: &Plan) -> Result<(), Failure> {
    let inode = target.exe_file().inode;
    let data = maps.iter().filter(|m| m.file.inode == inode && !m.executable && !m.writable);
    let mut probed = data.filter(|m| {
        let offsets = m.offset..m.offset + (m.end - m.start);
        plan.sites.iter().any(|site| offsets.contains(&site.file_offset))
    });
    probed.next().map_or(Ok(()), |m| {
        let text =
            format!("process `{}` has its own code mapped as data too, at {:#x}", target.pid(), m.start);
        Err(Failure::new(Class::NoSafeSite, text)
            .with_hint("nothing safe: the program may check its own code, which a probe would alter for it"))
    })
}

/// Where records go: into the session and, when recording, into the file.
struct Core {
    pipeline: Pipeline,
    writer: Option<Writer>,
    failed: Option<WriteError>,
}

impl Core {
    fn take(&mut self, record: &[u8]) {
        if let Some(writer) = &mut self.writer
            && let Err(e) = writer.write(record)
        {
            // The file keeps what it has; the session goes on to its report.
            self.failed = Some(e);
            self.writer = None;
        }
        self.pipeline.push(record);
    }

    fn close(self) -> Result<(), Failure> {
        if let Some(writer) = self.writer {
            let path = writer.path().to_owned();
            let summary = writer.finish()?;
            told(&path, summary.bytes, summary.records);
        }
        self.failed.map_or(Ok(()), |e| Err(e.into()))
    }
}

fn told(path: &Path, bytes: u64, records: u64) {
    note(&format!("{records} records in {bytes} bytes are in {}", path.display()));
}

/// The screen as the driver sees it.
struct Shown<'c> {
    core: &'c RefCell<Core>,
    screen: Screen,
    failed: Option<Failure>,
}

impl View for Shown<'_> {
    fn wants_end(&mut self) -> bool {
        match self.screen.wants_end() {
            Ok(wants) => wants || self.failed.is_some(),
            Err(e) => {
                self.failed = Some(e);
                true
            }
        }
    }

    fn refresh(&mut self) {
        if self.screen.wants_updates()
            && let Err(e) = self.screen.update(&self.core.borrow().pipeline.snapshot())
        {
            self.failed = Some(e);
        }
    }

    fn output_failed(&self) -> bool {
        self.core.borrow().failed.is_some()
    }
}

/// Whose process it is decides what signals mean.
enum Watched {
    Other,
    Child(Running),
}

impl Exit for Watched {
    fn wait_status(&mut self) -> Option<u32> {
        match self {
            Self::Other => None,
            Self::Child(child) => child.wait().ok().map(|s| s.into_raw() as u32),
        }
    }

    fn on_signal(&mut self, caught: Caught) -> bool {
        match self {
            Self::Other => {
                matches!(caught.signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT)
            }
            Self::Child(child) => {
                pass_on(child, caught);
                false
            }
        }
    }
}

/// The terminal sends its signals to the whole foreground group: the child has had those.
fn pass_on(child: &Running, caught: Caught) {
    if !caught.from_terminal {
        let _ = kill(Pid::from_raw(child.pid() as i32), caught.signal);
    }
}

/// The watch is over, the child may not be: it goes on to its own end, and its exit code is ours.
fn outlive(
    mut child: Running,
    ending: Option<&Ending>,
    runtime: &tokio::runtime::Runtime,
) -> Result<u8, Failure> {
    let wait = |e| Failure::because(Class::Internal, e);
    if let Some(status) = child.try_wait().map_err(wait)? {
        return Ok(shell_code(status));
    }
    if ending.is_none_or(|e| e.reason != end::TARGET_EXITED) {
        note("the watch is over; the program goes on");
    }
    runtime.block_on(drive::until_exit(child.pid(), &mut |caught| pass_on(&child, caught))).map_err(wait)?;
    child.wait().map(shell_code).map_err(wait)
}
