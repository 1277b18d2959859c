//! `gostray doctor`

use std::process::ExitCode;

use super::common::{ColorChoice, Show};
use super::live;
use super::print::{Stream, print};
use crate::failure::{Class, Fail as _, Failure};
use crate::gobin::GoBinary;
use crate::memory::ProcessMemory;
use crate::output::doctor::{self, Blocker, Diagnosis, KernelProgram, Program, SCHEMA, Site};
use crate::probe::calibrate::{self, TrapCost};
use crate::probe::load::{Loaded, Options, Verified};
use crate::probe::{plan, verify};
use crate::source::live::prepare::read_wait_reasons;
use crate::target::Environment;

/// Say what works here: kernel, permissions, the program's Go version, each planned probe and its cost
///
/// Without a process id only the machine is looked at. The program is not disturbed: no probe is placed in it.
/// The cost of a probe is measured on gostray itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray doctor
  sudo gostray doctor 4242
  sudo gostray doctor 4242 --json")]
pub struct Args {
    /// Process id of a program
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub pid: Option<u32>,
    pub json: bool,
    pub color: ColorChoice,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { pid: a.pid, json: a.json, color: a.color }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    let environment = Environment::probe();
    let blockers = environment.blockers();
    let code = blockers.first().map_or(0, |b| b.class().code());
    let kernel = if blockers.is_empty() { ask_kernel() } else { Answers::nothing_asked() };
    let diagnosis = Diagnosis {
        schema: SCHEMA,
        gostray_version: env!("CARGO_PKG_VERSION"),
        blockers: blockers.iter().map(|b| Blocker { what: b.to_string(), try_this: b.hint() }).collect(),
        environment,
        kernel_programs: kernel.programs,
        kernel_programs_unknown_because: kernel.programs_unknown_because,
        trap: kernel.trap,
        trap_unknown_because: kernel.trap_unknown_because,
        program: request.pid.map(program).transpose()?,
    };
    let text = if request.json {
        serde_json::to_string_pretty(&diagnosis).map_err(|e| Failure::because(Class::Internal, e))? + "\n"
    } else {
        let show = Show { json: false, all: true, color: request.color, fail_on: None };
        doctor::text(&diagnosis, show.style_of_stdout())
    };
    print(Stream::Out, &text)?;
    let code = if code == 0 && !diagnosis.is_proven() { Class::KernelRefused.code() } else { code };
    let code = match &diagnosis.program {
        Some(p) if code == 0 && !p.traceable => Class::NoSafeSite.code(),
        _ => code,
    };
    Ok(code.into())
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

/// What is recognised in a program, and where each probe would go. Reads only.
fn program(pid: u32) -> Result<Program, Failure> {
    let target = live::open(pid)?;
    let data = live::map(&target)?;
    let binary = GoBinary::parse(&data).map_err(|e| live::not_readable(&target, e))?;
    let maps = target.maps()?;
    let memory = ProcessMemory::new(target.pid() as u32);
    let bias = target.exe_load_bias(&maps, &live::segments(&binary));
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
    sites.extend(plan.refused.iter().map(|(role, refusal)| Site {
        role: role.name(),
        function: None,
        offset: None,
        address: None,
        instruction: None,
        cost_class: None,
        fallback_because: None,
        refused_because: Some(refusal.to_string()),
    }));
    let needed = |role: &str| sites.iter().any(|s| s.role == role && s.refused_because.is_none());
    let layout = binary.layout();
    let globals = binary.globals();
    Ok(Program {
        pid: target.pid() as u32,
        comm: target.comm().to_owned(),
        exe: target.exe_path().to_string_lossy().into_owned(),
        go_version: binary.version().raw.clone(),
        main_package: binary.main_package().map(str::to_owned),
        build_id: binary.build_id(),
        position_independent: binary.is_pie(),
        load_bias: bias.as_ref().ok().copied(),
        functions: binary.functions().len(),
        traceable: usable && layout.is_ok() && needed("create") && needed("exit"),
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
        warnings: plan.warnings,
        sites,
    })
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
