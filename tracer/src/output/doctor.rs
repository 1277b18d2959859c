//! What `gostray doctor` found: the machine, ourselves, a program and its probe sites.

use std::fmt::Write as _;

use serde::Serialize;

mod executable;

use super::Style;
use super::style::Ink;
use crate::gobin::BuildKind;
use crate::probe::calibrate::TrapCost;
use crate::probe::code::CostClass;
use crate::target::Environment;
pub use executable::{Executable, Global};

/// Version of the JSON form (`docs/json.md`).
pub const SCHEMA: &str = "gostray.doctor/1";

#[derive(Debug, Serialize)]
pub struct Diagnosis {
    pub schema: &'static str,
    pub gostray_version: &'static str,
    pub environment: Environment,
    /// Why nothing can be traced here; empty when nothing stands against it.
    pub blockers: Vec<Blocker>,
    /// gostray's programs, each shown to the kernel's verifier; none where nothing can be traced anyway.
    pub kernel_programs: Vec<KernelProgram>,
    /// Why the kernel could not be asked about them.
    pub kernel_programs_unknown_because: Option<String>,
    /// What one hit costs on this machine, with an empty program on our own body.
    pub trap: Option<TrapCost>,
    pub trap_unknown_because: Option<String>,
    pub program: Option<Program>,
    /// Only where a file was asked about.
    pub executable: Option<Executable>,
}

#[derive(Debug, Serialize)]
pub struct Blocker {
    pub what: String,
    #[serde(rename = "try")]
    pub try_this: String,
}

/// One of our programs and what the kernel's verifier made of it.
#[derive(Debug, Serialize)]
pub struct KernelProgram {
    pub name: String,
    /// Instructions that the verifier went through; null before Linux 5.16, which does not tell, and when refused.
    pub verified_instructions: Option<u32>,
    pub refused_because: Option<String>,
}

impl Diagnosis {
    /// The kernel takes every program.
    fn is_taken(&self) -> bool {
        self.kernel_programs_unknown_because.is_none()
            && self.kernel_programs.iter().all(|p| p.refused_because.is_none())
    }

    /// Nothing stands against tracing, and it was tried: programs were verified and a probe was placed.
    pub fn is_proven(&self) -> bool {
        self.blockers.is_empty() && self.is_taken() && self.trap.is_some()
    }
}

#[derive(Debug, Serialize)]
pub struct Program {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub go_version: String,
    pub main_package: Option<String>,
    pub build_id: Option<String>,
    pub position_independent: bool,
    pub load_bias: Option<u64>,
    /// Entries of the function table.
    pub functions: usize,
    /// Births and deaths can be traced.
    pub traceable: bool,
    pub layout: Option<String>,
    pub layout_unknown_because: Option<String>,
    pub looks_impossible_because: Option<String>,
    /// How many names the program's own table of wait reasons has.
    pub wait_reasons: Option<usize>,
    pub build: BuildKind,
    /// What stands where the program was started from: `same`, `deleted`, `replaced` or `unknown`.
    pub on_disk: &'static str,
    /// The file that was read has the notes (build id) that stand in memory.
    pub build_id_in_memory: Option<bool>,
    pub self_check: Option<SelfCheck>,
    pub self_check_failed_because: Option<String>,
    pub warnings: Vec<String>,
    pub sites: Vec<Site>,
}

/// The layout held against the process's memory.
#[derive(Debug, Serialize)]
pub struct SelfCheck {
    /// Entries of `allgs`.
    pub goroutines: u64,
    pub judged: u64,
    /// Names of invariants.
    pub held: Vec<&'static str>,
    pub unproven: Vec<&'static str>,
    pub took_ns: u64,
    pub summary: String,
}

/// A planned probe. Confirmed (not refused): decoding from the function's first byte lands on the instruction, and the
/// function's bytes in the file and in the process's memory are equal.
#[derive(Debug, Serialize)]
pub struct Site {
    pub role: &'static str,
    pub function: Option<String>,
    pub offset: Option<u64>,
    /// Runtime address, load bias included; absent where that is not known.
    pub address: Option<u64>,
    pub instruction: Option<String>,
    pub cost_class: Option<CostClass>,
    pub fallback_because: Option<String>,
    pub refused_because: Option<String>,
}

/// For people.
pub fn text(d: &Diagnosis, style: Style) -> String {
    let mut out = String::new();
    if let Some(file) = &d.executable {
        executable::text(file, style, &mut out);
        return out;
    }
    let e = &d.environment;
    let yes = |known: Option<bool>| match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{} {value}", style.paint(Ink::Strong, &format!("{name:<14}")));
    };
    line("gostray", d.gostray_version.to_owned());
    line("kernel", format!("{} on {}, {} CPUs", e.kernel_release, e.machine, number(e.cpus)));
    let caps = e.capabilities.map_or("not known".to_owned(), |c| {
        let missing = c.missing(e.kernel);
        if missing.is_empty() {
            "all that are needed".to_owned()
        } else {
            format!("missing {}", missing.join(", "))
        }
    });
    line("capabilities", format!("{caps} (uid {})", e.effective_uid));
    line("uprobes", if e.uprobe_pmu.is_some() { "yes" } else { "no" }.to_owned());
    line("BTF", if e.btf { "yes" } else { "no (not needed)" }.to_owned());
    line("PID namespace", format!("the machine's own: {}", yes(e.initial_pid_namespace)));
    for (name, value) in kernel_programs(d) {
        line(name, value);
    }
    match (&d.trap, &d.trap_unknown_because) {
        (Some(t), _) => line(
            "one trap costs",
            format!(
                "{:.0} ns emulated, {:.0} ns stepped (measured on gostray itself)",
                t.emulated_ns, t.stepped_ns
            ),
        ),
        (None, Some(why)) => line("one trap costs", format!("not measured: {why}")),
        (None, None) => {}
    }
    for b in &d.blockers {
        line("cannot trace", format!("{}\n               try: {}", b.what, b.try_this));
    }
    if d.blockers.is_empty() {
        let verdict = if d.is_proven() {
            "tracing works here"
        } else if d.is_taken() {
            "tracing does not work here: no probe can be placed, see above"
        } else {
            "tracing does not work here: the kernel refuses what it needs, see above"
        };
        line("verdict", verdict.to_owned());
    }
    if let Some(p) = &d.program {
        program(p, style, &mut out);
    }
    out
}

fn kernel_programs(d: &Diagnosis) -> Vec<(&'static str, String)> {
    if let Some(why) = &d.kernel_programs_unknown_because {
        return vec![("programs", format!("refused: {why}"))];
    }
    if d.kernel_programs.is_empty() {
        return Vec::new();
    }
    let all = d.kernel_programs.len();
    let taken = d.kernel_programs.iter().filter(|p| p.refused_because.is_none()).count();
    let largest = d
        .kernel_programs
        .iter()
        .filter_map(|p| Some((p.verified_instructions?, &p.name)))
        .max()
        .map_or(String::new(), |(n, name)| format!(" (most work: `{name}`, {n} instructions verified)"));
    let mut lines = vec![("programs", format!("{taken} of {all} taken by the kernel{largest}"))];
    for p in &d.kernel_programs {
        if let Some(why) = &p.refused_because {
            lines.push(("", format!("`{}` refused: {why}", p.name)));
        }
    }
    lines
}

fn program(p: &Program, style: Style, out: &mut String) {
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{} {value}", style.paint(Ink::Strong, &format!("{name:<14}")));
    };
    line("", String::new());
    line("process", format!("{} ({})", p.pid, p.comm));
    line("executable", format!("{}{}", p.exe, on_disk(p)));
    line(
        "Go",
        format!(
            "{}, {}, {} functions{}",
            p.go_version,
            p.main_package.as_deref().unwrap_or("main package not recorded"),
            p.functions,
            match (p.position_independent, p.load_bias) {
                (true, Some(bias)) => format!(", position independent at {bias:#x}"),
                (true, None) => ", position independent".to_owned(),
                _ => String::new(),
            }
        ),
    );
    if let Some(id) = &p.build_id {
        line("build id", id.clone());
    }
    line("build", executable::build(&p.build));
    let layout =
        p.layout.clone().or_else(|| p.layout_unknown_because.as_ref().map(|w| format!("not known: {w}")));
    line("layout", layout.unwrap_or_default());
    line(
        "looks",
        p.looks_impossible_because.as_ref().map_or("possible".to_owned(), |w| format!("not possible: {w}")),
    );
    line("wait reasons", p.wait_reasons.map_or("shown as numbers".to_owned(), |n| format!("{n} names")));
    if let Some(c) = &p.self_check {
        let summary = c.summary.strip_prefix("self-check: ").unwrap_or(&c.summary);
        line("self-check", format!("{summary} ({:.1} ms)", c.took_ns as f64 / 1e6));
    }
    if let Some(why) = &p.self_check_failed_because {
        line("self-check", format!("refused: {why}"));
    }
    for w in &p.warnings {
        line("warning", w.clone());
    }
    for s in &p.sites {
        line(&format!("site {}", s.role), site(s, ", confirmed in memory"));
    }
    line(
        "verdict",
        if p.traceable { "births and deaths can be traced" } else { "cannot be traced" }.to_owned(),
    );
}

fn on_disk(p: &Program) -> &'static str {
    match (p.build_id_in_memory, p.on_disk) {
        (Some(false), _) => " (the file is not what runs: its build id is another)",
        (_, "deleted") if !p.exe.ends_with("(deleted)") => " (deleted since: the running file is read)",
        (_, "replaced") => " (replaced on disk since: the running file is read, not the new one)",
        _ => "",
    }
}

fn site(s: &Site, confirmed: &str) -> String {
    let place = match (&s.function, s.offset, &s.instruction) {
        (Some(f), Some(o), Some(i)) => format!("{f}+{o:#x}  {i}"),
        _ => String::new(),
    };
    let verdict = match (&s.refused_because, s.cost_class) {
        (Some(why), _) => format!("refused: {why}"),
        (None, Some(cost)) => format!("{cost}{confirmed}"),
        (None, None) => String::new(),
    };
    let fallback = s.fallback_because.as_ref().map_or(String::new(), |w| format!(" (fallback: {w})"));
    format!("{place}  {verdict}{fallback}")
}

fn number(n: Option<u32>) -> String {
    n.map_or("?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests;
