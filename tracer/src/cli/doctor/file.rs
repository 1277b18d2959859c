//! `gostray doctor FILE`: what a file says of itself, without a process.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use memmap2::Mmap;

use super::super::executable::{search_notes, with_debug_file};
use super::{Request, refused_site, show, told};
use crate::failure::{Class, Fail as _, Failure};
use crate::gobin::{GoBinary, Reason};
use crate::output::doctor::{Diagnosis, Executable, Global, SCHEMA, Site};
use crate::probe::{Role, plan};
use crate::source::live::PrepareError;
use crate::target::Environment;
use crate::target::debug_file::Roots;

pub fn run(path: &Path, request: &Request, environment: Environment) -> Result<ExitCode, Failure> {
    let (file, data) = map(path)?;
    // A debug file lies where the file itself is, not where a link to it is.
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let roots = Roots { named: &request.debug_dirs, target: None };
    let (binary, search) = with_debug_file(&data, &place, &file, &roots).map_err(|e| {
        let (class, hint) = (e.class(), e.hint());
        Failure::new(class, format!("`{}` is {e}", path.display())).with_hint(hint)
    })?;
    let mut executable = examine(path, &binary);
    executable.warnings.extend(search_notes(&search).into_iter().map(|(_, text)| text));
    // What a watch would be refused for.
    let code = match binary.layout().map_err(PrepareError::from) {
        Err(e) => e.class().code(),
        Ok(_) if !executable.traceable => Class::NoSafeSite.code(),
        Ok(_) => 0,
    };
    let diagnosis = Diagnosis {
        schema: SCHEMA,
        gostray_version: env!("CARGO_PKG_VERSION"),
        blockers: told(&environment.blockers()),
        environment,
        kernel_programs: Vec::new(),
        kernel_programs_unknown_because: Some(ASKED_ABOUT_A_FILE.to_owned()),
        trap: None,
        trap_unknown_because: Some(ASKED_ABOUT_A_FILE.to_owned()),
        program: None,
        executable: Some(executable),
    };
    show(&diagnosis, request)?;
    Ok(code.into())
}

const ASKED_ABOUT_A_FILE: &str = "only a file was asked about";

fn map(path: &Path) -> Result<(File, Mmap), Failure> {
    let failed = |e: std::io::Error| {
        Failure::because(Class::CannotRead, format!("cannot read `{}`: {e}", path.display()))
            .with_hint("give it a process id, or the path of an executable that you may read")
    };
    // Not opened before it is known to be a file: a pipe would not let go.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    // SAFETY: only read. Should somebody cut the file off meanwhile, we die of SIGBUS and nobody else does; should he
    // write to it, wrong bytes are checked like any others.
    let data = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok((file, data))
}

fn examine(path: &Path, binary: &GoBinary<'_>) -> Executable {
    let plan = plan(binary, true);
    let needed = |role: Role| plan.sites.iter().any(|s| s.role == role);
    let traceable = needed(Role::Create) && needed(Role::Exit);
    let mut sites: Vec<Site> = plan
        .sites
        .iter()
        .map(|site| Site {
            role: site.role.name(),
            function: Some(site.function.clone()),
            offset: Some(site.addr - site.entry),
            address: None,
            instruction: Some(site.instruction.clone()),
            cost_class: Some(site.cost),
            fallback_because: Some(site.fallback_because.clone()).filter(|t| !t.is_empty()),
            refused_because: None,
        })
        .collect();
    sites.extend(plan.refused.iter().map(|(role, refusal)| refused_site(role.name(), refusal)));
    let layout = binary.layout();
    let globals = binary.globals();
    let table = globals.wait_reasons.as_ref().map(|t| t.addr).map_err(Reason::clone);
    let globals = [
        ("runtime.allgs", globals.allgs),
        ("runtime.allglen", globals.allglen),
        ("runtime.allgptr", globals.allgptr),
        ("runtime.waitReasonStrings", table),
        ("runtime.sched", globals.sched),
        ("runtime.semtable", globals.semtable),
        ("runtime.mheap_", globals.mheap),
        ("runtime.firstmoduledata", Ok(globals.firstmoduledata)),
    ];
    Executable {
        path: path.to_string_lossy().into_owned(),
        go_version: binary.version().raw.clone(),
        main_package: binary.main_package().map(str::to_owned),
        build_id: binary.build_id(),
        build: binary.kind(),
        functions: binary.functions().len(),
        traceable: traceable && layout.is_ok(),
        layout: layout.as_ref().ok().map(|l| l.provenance.clone()),
        layout_unknown_because: layout.err().map(|e| e.to_string()),
        globals: globals
            .into_iter()
            .map(|(name, at)| Global {
                name,
                address: at.as_ref().ok().copied(),
                unknown_because: at.err().map(|e| e.to_string()),
            })
            .collect(),
        warnings: plan.warnings,
        sites,
    }
}
