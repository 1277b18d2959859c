//! `gostray doctor`

mod file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use super::common::{ColorChoice, Show, directory};
use super::executable::{self, search_notes};
use super::print::{Stream, print};
use crate::failure::{Class, Fail as _, Failure};
use crate::gobin::{Globals, GoBinary, Layout};
use crate::memory::ProcessMemory;
use crate::memory::selfcheck::Invariant;
use crate::output::doctor::{self, Blocker, Diagnosis, KernelProgram, Program, SCHEMA, SelfCheck, Site};
use crate::probe::calibrate::{self, TrapCost};
use crate::probe::load::{Loaded, Options, Verified};
use crate::probe::{Refusal, plan, verify};
use crate::source::live::LiveError;
use crate::source::live::fit::{Tried, Unchecked, sentence};
use crate::source::live::prepare::read_wait_reasons;
use crate::target::{Environment, OnDisk, Target, TargetError, segments};

/// Say what works here: kernel, permissions, the program's Go version, each planned probe and its cost
///
/// Without a process id or a file only the machine is looked at. The program is not disturbed: no probe is placed in it.
/// The cost of a probe is measured on gostray itself. Of a file it says all that can be said without a process; that
/// needs no root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray doctor
  sudo gostray doctor 4242
  sudo gostray doctor 4242 --json
  gostray doctor ./server")]
pub struct Args {
    /// Process id of a program, or the path of an executable (`./4242` where that is all digits)
    #[arg(value_name = "PID|FILE", value_parser = subject)]
    subject: Option<Subject>,

    /// Look for the program's separate debug file here first; may be given several times (docs/symbols.md)
    #[arg(long, value_name = "DIR", value_parser = directory, requires = "subject")]
    debug_dir: Vec<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Pid(u32),
    File(PathBuf),
}

fn subject(text: &str) -> Result<Subject, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Subject::File(text.into()));
    }
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.map(Subject::Pid).ok_or_else(|| "no process has such an id".to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub subject: Option<Subject>,
    pub debug_dirs: Vec<PathBuf>,
    pub json: bool,
    pub color: ColorChoice,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { subject: a.subject, debug_dirs: a.debug_dir, json: a.json, color: a.color }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    let environment = Environment::probe();
    let blockers = environment.blockers();
    if let Some(Subject::File(path)) = &request.subject {
        return file::run(path, &request, environment);
    }
    let pid = match request.subject {
        Some(Subject::Pid(pid)) => Some(pid),
        _ => None,
    };
    let code = blockers.first().map_or(0, |b| b.class().code());
    let kernel = if blockers.is_empty() { ask_kernel() } else { Answers::nothing_asked() };
    let (seen, refusal) = pid.map(|pid| program(pid, &request.debug_dirs)).transpose()?.unzip();
    let refusal = refusal.flatten();
    let diagnosis = Diagnosis {
        schema: SCHEMA,
        gostray_version: env!("CARGO_PKG_VERSION"),
        blockers: told(&blockers),
        environment,
        kernel_programs: kernel.programs,
        kernel_programs_unknown_because: kernel.programs_unknown_because,
        trap: kernel.trap,
        trap_unknown_because: kernel.trap_unknown_because,
        program: seen,
        executable: None,
    };
    show(&diagnosis, &request)?;
    let code = if code == 0 && !diagnosis.is_proven() { Class::KernelRefused.code() } else { code };
    let code = match (&diagnosis.program, refusal) {
        (_, Some(class)) if code == 0 => class.code(),
        (Some(p), None) if code == 0 && !p.traceable => Class::NoSafeSite.code(),
        _ => code,
    };
    Ok(code.into())
}

fn told(blockers: &[TargetError]) -> Vec<Blocker> {
    blockers.iter().map(|b| Blocker { what: b.to_string(), try_this: b.hint() }).collect()
}

fn show(diagnosis: &Diagnosis, request: &Request) -> Result<(), Failure> {
    let text = if request.json {
        serde_json::to_string_pretty(diagnosis).map_err(|e| Failure::because(Class::Internal, e))? + "\n"
    } else {
        let show = Show { json: false, all: true, color: request.color, fail_on: None };
        doctor::text(diagnosis, show.style_of_stdout())
    };
    print(Stream::Out, &text).map(drop)
}

/// What the kernel says to our programs, and what a trap costs.
#[derive(Default)]
struct Answers {
    programs: Vec<KernelProgram>,
    programs_unknown_because: Option<String>,
    trap: Option<TrapCost>,
    trap_unknown_because: Option<String>,
}

impl Answers {
    fn nothing_asked() -> Self {
        let why = "tracing is not possible here, see above".to_owned();
        Self { trap_unknown_because: Some(why), ..Self::default() }
    }
}

/// Verifies all programs, then measures two kinds of trap on our own body.
fn ask_kernel() -> Answers {
    let mut loaded = match load() {
        Ok(loaded) => loaded,
        Err(why) => {
            return Answers {
                programs_unknown_because: Some(why.clone()),
                trap_unknown_because: Some(why),
                ..Answers::default()
            };
        }
    };
    let programs = loaded
        .verify_all()
        .into_iter()
        .map(|Verified { name, instructions }| match instructions {
            Ok(verified_instructions) => KernelProgram { name, verified_instructions, refused_because: None },
            Err(e) => KernelProgram { name, verified_instructions: None, refused_because: Some(chain(e)) },
        })
        .collect();
    let (trap, trap_unknown_because) = match calibrate::measure(&mut loaded).map_err(chain) {
        Ok(cost) => (Some(cost), None),
        Err(why) => (None, Some(why)),
    };
    Answers { programs, programs_unknown_because: None, trap, trap_unknown_because }
}

/// With a real layout: with none the verifier would skip most of each program.
fn load() -> Result<Loaded, String> {
    let layout = crate::gobin::newest_layout().map_err(chain)?.kernel;
    let options = Options { ring_bytes: 1 << 16, stacks: 16, layout, diagnostics: false };
    Loaded::load(&options).map_err(chain)
}

/// What is recognised in a program, and where each probe would go; and why a watch would be refused, where that is the
/// self-check's fault. Reads only.
fn program(pid: u32, debug_dirs: &[PathBuf]) -> Result<(Program, Option<Class>), Failure> {
    let target = executable::open(pid)?;
    let data = executable::map(&target)?;
    let (binary, search) = executable::recognise(&target, &data, debug_dirs)?;
    let maps = target.maps()?;
    let memory = ProcessMemory::new(target.pid() as u32);
    let bias = target.exe_load_bias(&maps, &segments(&binary));
    let plan = plan(&binary, true);
    let usable = plan.is_usable();
    let mut sites: Vec<Site> = plan
        .sites
        .into_iter()
        .map(|site| {
            let file = binary.bytes(site.entry, (site.end - site.entry) as usize).unwrap_or_default();
            let refused = match &bias {
                Ok(bias) => verify::confirm(&site, file, &memory, *bias).err().map(|r| r.to_string()),
                Err(e) => Some(e.to_string()),
            };
            Site {
                role: site.role.name(),
                function: Some(site.function),
                offset: Some(site.addr - site.entry),
                address: bias.as_ref().ok().map(|bias| site.addr.wrapping_add(*bias)),
                instruction: Some(site.instruction),
                cost_class: Some(site.cost),
                fallback_because: Some(site.fallback_because).filter(|t| !t.is_empty()),
                refused_because: refused,
            }
        })
        .collect();
    sites.extend(plan.refused.iter().map(|(role, refusal)| refused_site(role.name(), refusal)));
    let needed = |role: &str| sites.iter().any(|s| s.role == role && s.refused_because.is_none());
    let layout = binary.layout();
    let globals = binary.globals();
    let fit = match (&layout, &globals.allgs, &bias) {
        (Ok(layout), Ok(allgs), Ok(bias)) => {
            Some(check(&target, &binary, layout, allgs.wrapping_add(*bias), &globals, *bias)?)
        }
        _ => None,
    };
    let (self_check, misfit, refusal) = match fit {
        Some(Ok(fit)) => (Some(fit), None, None),
        Some(Err((misfit, class))) => (None, Some(misfit), Some(class)),
        None => (None, None, None),
    };
    let program = Program {
        pid: target.pid() as u32,
        comm: target.comm().to_owned(),
        exe: target.exe_path().to_string_lossy().into_owned(),
        go_version: binary.version().raw.clone(),
        main_package: binary.main_package().map(str::to_owned),
        build_id: binary.build_id(),
        position_independent: binary.is_pie(),
        load_bias: bias.as_ref().ok().copied(),
        functions: binary.functions().len(),
        build: binary.kind(),
        on_disk: match target.on_disk() {
            OnDisk::Same => "same",
            OnDisk::Deleted => "deleted",
            OnDisk::Replaced => "replaced",
            OnDisk::Unknown => "unknown",
        },
        build_id_in_memory: bias
            .as_ref()
            .ok()
            .and_then(|bias| verify::notes_are_same(&binary, &memory, *bias)),
        self_check,
        traceable: misfit.is_none() && usable && layout.is_ok() && needed("create") && needed("exit"),
        self_check_failed_because: misfit,
        layout: layout.as_ref().ok().map(|l| l.provenance.clone()),
        layout_unknown_because: layout.as_ref().err().map(ToString::to_string),
        looks_impossible_because: globals.allgs.err().map(|r| r.to_string()),
        wait_reasons: match globals.wait_reasons {
            Ok(table) => bias.ok().and_then(|bias| {
                read_wait_reasons(&memory, (table.addr.wrapping_add(bias), table.len))
                    .map(|names| names.len())
            }),
            Err(_) => None,
        },
        warnings: plan
            .warnings
            .into_iter()
            .chain(search_notes(&search).into_iter().map(|(_, text)| text))
            .collect(),
        sites,
    };
    Ok((program, refusal))
}

fn refused_site(role: &'static str, refusal: &Refusal) -> Site {
    Site {
        role,
        function: None,
        offset: None,
        address: None,
        instruction: None,
        cost_class: None,
        fallback_because: None,
        refused_because: Some(refusal.to_string()),
    }
}

/// The self-check as a watch makes it: what it found, or why the watch would be refused.
fn check(
    target: &Target,
    binary: &GoBinary<'_>,
    layout: &Layout,
    allgs: u64,
    globals: &Globals,
    bias: u64,
) -> Result<Result<SelfCheck, (String, Class)>, Failure> {
    let wait_reasons = globals.wait_reasons.as_ref().ok().map(|t| (t.addr.wrapping_add(bias), t.len));
    let unchecked = Unchecked {
        pid: target.pid() as u32,
        binary,
        layout: layout.clone(),
        allgs,
        wait_reasons,
        load_bias: bias,
        started_boot_ns: target.started_boot_ns(),
        tried: Tried::default(),
    };
    let begin = Instant::now();
    let outcome = unchecked.prove();
    let took_ns = begin.elapsed().as_nanos() as u64;
    let name = |i: &Invariant| i.name();
    match outcome {
        Ok(proof) => Ok(Ok(SelfCheck {
            goroutines: proof.goroutines,
            judged: proof.judged,
            held: proof.held.iter().map(name).collect(),
            unproven: proof.unproven.iter().map(name).collect(),
            took_ns,
            summary: sentence(&proof),
        })),
        Err(LiveError::Misfit { misfit, .. }) => Ok(Err((misfit.to_string(), Class::LayoutMisfit))),
        Err(e @ LiveError::NotBegun { .. }) => Ok(Err((e.to_string(), e.class()))),
        Err(e) => Err(e.into()),
    }
}

fn chain(e: impl std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}
