//! `gostray dump`

mod behind;
mod out;
mod progress;
mod redraw;
mod stop;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use self::out::Out;
use self::progress::Progress;
use self::stop::Stop;
use super::common::{ColorChoice, directory, look_every};
use super::core;
use super::executable::{gone_instead, map, open, readable, recognise, search_notes};
use super::print::{Reader, note};
use crate::dump::{Dump, Filter, filter};
use crate::event::Note;
use crate::failure::{Class, Failure};
use crate::memory::ProcessMemory;
use crate::output::dump::json::Selection;
use crate::source::dump::{Looks, take};
use crate::source::live::fit::{self, Tried, Unchecked};
use crate::symbol::DebugInfo;
use crate::target::{Incarnation, Target, segments};

/// Show every goroutine of a running program, with its whole stack, without stopping or changing the program; or of a core file
///
/// Goroutines that came from one `go` statement and stand at one place are one group. The program runs on while it is read:
/// each goroutine is right by itself, not all of them at one instant. docs/dump.md explains each word.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray dump 4242                              groups, the largest first
  sudo gostray dump 4242 --all                        each goroutine
  sudo gostray dump 4242 --filter 'state=chan' --filter 'age>5m'
  sudo gostray dump 4242 --watch 5s                   again and again, with what changed
  sudo gostray dump 4242 --format go | less           as Go's own dumps (debug=2) are
  sudo gostray dump 4242 --format pprof -o g.pb.gz    for `go tool pprof g.pb.gz`
  sudo gostray dump 4242 --format folded | inferno-flamegraph > g.svg
  sudo gostray dump 4242 --format json | jq .counts
  gostray dump --core core.4242 --exe ./server        of a core file, without the process and without root")]
pub struct Args {
    /// Process id of a Go program
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), required_unless_present = "core", conflicts_with = "core")]
    pid: Option<u32>,

    /// Read a core file instead of a running program (docs/cores.md)
    #[arg(long, value_name = "FILE")]
    core: Option<PathBuf>,

    /// The executable that the core file is of; else it is where the process had it
    #[arg(long, value_name = "FILE", requires = "core", conflicts_with = "pid")]
    exe: Option<PathBuf>,

    /// Form of the dump (docs/dump.md)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Show each goroutine instead of groups, the runtime's own too
    #[arg(long)]
    all: bool,

    /// Only goroutines of which this holds; given several times, all must hold
    ///
    /// function=TEXT  part of the name of a function on the stack, of the function that was
    ///                started or of the one with the `go` statement
    /// state=TEXT     part of the status (running, syscall, …) or of the wait reason (chan send,
    ///                select, …)
    /// reason=TEXT    part of the wait reason alone
    /// created=TEXT   part of the `go` statement's function or file:line
    /// label.KEY=TEXT its pprof label KEY is TEXT
    /// id=N           its id
    /// age>TIME       known to wait for longer, for instance age>5m. What is not known is never
    ///                longer: a runtime notes waits only when it collects garbage
    /// age<TIME       all others: not known to wait for so long
    ///
    /// With `!=` instead of `=`: where that does not hold (not for id).
    #[arg(long, value_name = "EXPR", verbatim_doc_comment)]
    filter: Vec<Filter>,

    /// Dump again each time this long after the last began, at least 1s, until Ctrl-C; the text tells what changed
    #[arg(long, value_name = "TIME", value_parser = look_every, conflicts_with = "core")]
    watch: Option<Duration>,

    /// Write to this file, readable by its owner only, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,

    /// Look for the program's separate debug file here first; may be given several times (docs/symbols.md)
    #[arg(long, value_name = "DIR", value_parser = directory)]
    debug_dir: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: groups, the largest first
    Text,
    /// The text of Go's own full dump (`debug=2`)
    Go,
    /// All that is known, for programs (docs/json.md)
    Json,
    /// A profile for `go tool pprof`
    Pprof,
    /// Folded stacks, for flame graphs
    Folded,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Process(u32),
    Core { core: PathBuf, exe: Option<PathBuf> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub subject: Subject,
    pub format: Format,
    pub all: bool,
    pub filters: Vec<Filter>,
    pub watch: Option<Duration>,
    pub output: Option<PathBuf>,
    pub force: bool,
    pub color: ColorChoice,
    pub debug_dirs: Vec<PathBuf>,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        let subject = match a.core {
            Some(core) => Subject::Core { core, exe: a.exe },
            None => Subject::Process(a.pid.unwrap_or_default()),
        };
        Self {
            subject,
            format: a.format,
            all: a.all,
            filters: a.filter,
            watch: a.watch,
            output: a.output,
            force: a.force,
            color: a.color,
            debug_dirs: a.debug_dir,
        }
    }
}

impl Request {
    /// Flags that are fine each by itself may make no sense together.
    fn check(&self, terminal: bool) -> Result<(), Failure> {
        let one = matches!(self.format, Format::Pprof | Format::Folded);
        if one && self.watch.is_some() {
            let why = "a file for pprof or a flame graph holds one dump, not several";
            return Err(
                Failure::new(Class::Usage, why).with_hint("leave `--watch` away, or use `--format json`")
            );
        }
        if self.format == Format::Pprof && self.output.is_none() && terminal {
            return Err(Failure::new(Class::Usage, "a profile is not for a terminal")
                .with_hint("`-o g.pb.gz`, then `go tool pprof g.pb.gz`"));
        }
        Ok(())
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    request.check(std::io::stdout().is_terminal())?;
    match &request.subject {
        Subject::Process(pid) => {
            let target = open(*pid)?;
            with_reader(&target, &request, |read| match request.watch {
                None => one(&request, read()?),
                Some(every) => watch(&request, every, &target, read),
            })?;
        }
        Subject::Core { core, exe } => {
            let exe = exe.as_deref();
            let dump = core::dump_of(&core::Request { core, exe, debug_dirs: &request.debug_dirs })?;
            one(&request, selected(dump, &request))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(request: &Request, read: Read) -> Result<(), Failure> {
    let mut out = Out::new(request)?;
    out.show(&read)?;
    out.finish()?;
    // The process ends now: giving back each of a million goroutines would only hold that up.
    std::mem::forget(read);
    Ok(())
}

/// One dump after another, until the user or the process ends it.
fn watch(
    request: &Request,
    every: Duration,
    target: &Target,
    read: &mut dyn FnMut() -> Result<Read, Failure>,
) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let mut out = Out::new(request)?;
    for n in 0u64.. {
        let begun = Instant::now();
        let dump = match read() {
            Ok(dump) => dump,
            // As with other watches, the end of the process is an end.
            Err(failure) if n > 0 && gone_instead(target).is_some() => {
                note(&format!("{failure}: this was the last dump"));
                break;
            }
            Err(failure) => return Err(failure),
        };
        let reader = out.show(&dump)?;
        if reader == Reader::Gone || stop.comes_within(every.saturating_sub(begun.elapsed())) {
            break;
        }
    }
    out.finish()
}

/// A dump, and what was left out of it.
struct Read {
    dump: Dump,
    selection: Option<Selection>,
}

/// Recognises the program and checks that the layout fits; then `then` may read it as often as it likes.
fn with_reader<T>(
    target: &Target,
    request: &Request,
    then: impl FnOnce(&mut dyn FnMut() -> Result<Read, Failure>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let data = map(target)?;
    let (binary, search) = recognise(target, &data, &request.debug_dirs)?;
    let load_bias = target
        .exe_load_bias(&target.maps()?, &segments(&binary))
        .map_err(|e| gone_instead(target).unwrap_or_else(|| Failure::because(Class::NoSafeSite, e)))?;
    let layout = binary.layout()?;
    let globals = binary.globals();
    let allgs = globals.allgs.map_err(|e| Failure::because(Class::NoSafeSite, e))?.wrapping_add(load_bias);
    let wait_reasons = globals.wait_reasons.ok().map(|t| (t.addr.wrapping_add(load_bias), t.len));
    let debug = match &search.found {
        Some(file) => DebugInfo::of(&binary).or(|| file.image()),
        None => DebugInfo::of(&binary),
    };
    let unchecked = Unchecked {
        pid: target.pid() as u32,
        binary: &binary,
        layout: layout.clone(),
        allgs,
        wait_reasons,
        load_bias,
        started_boot_ns: target.started_boot_ns(),
        tried: Tried::default(),
    };
    let proof = unchecked.prove().map_err(|e| gone_instead(target).unwrap_or_else(|| e.into()))?;
    let notes = search_notes(&search).into_iter().map(|(code, text)| Note { code: code.to_owned(), text });
    let memory = ProcessMemory::new(target.pid() as u32);
    let notes = std::iter::once(fit::note(&proof)).chain(notes).collect();
    let subject = readable(target, &memory, &binary, &layout, (load_bias, allgs), Some(&debug), notes);
    let mut looks = Looks::new(&subject);
    then(&mut || {
        let mut progress = Progress::default();
        let mut hear = |done, all| progress.hear(done, all);
        let taken = match request.watch {
            None => take(&subject, &mut hear),
            Some(_) => looks.dump(&mut hear),
        };
        drop(progress);
        let mut dump = taken.map_err(|e| gone_instead(target).unwrap_or_else(|| e.into()))?;
        let held = target.held().into_iter().map(|text| Note { code: "held".to_owned(), text });
        dump.notes.extend(held);
        // What an exec brought meanwhile is another program's.
        if target.incarnation()? != Incarnation::Same {
            let otherwise = || Failure::new(Class::Internal, "the process changed");
            return Err(gone_instead(target).unwrap_or_else(otherwise));
        }
        Ok(selected(dump, request))
    })
}

/// What the filters leave.
fn selected(mut dump: Dump, request: &Request) -> Read {
    let selection = (!request.filters.is_empty()).then(|| Selection {
        filters: request.filters.iter().map(Filter::to_string).collect(),
        of: dump.goroutines.len() as u64,
    });
    filter::keep(&mut dump, &request.filters);
    Read { dump, selection }
}

#[cfg(test)]
mod tests;
