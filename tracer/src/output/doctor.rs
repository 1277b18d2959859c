//! What `gostray doctor` found: the machine, ourselves, a program and its probe sites.

use std::fmt::Write as _;

use serde::Serialize;

use super::Style;
use super::style::Ink;
use crate::probe::calibrate::TrapCost;
use crate::probe::code::CostClass;
use crate::target::Environment;

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
    pub warnings: Vec<String>,
    pub sites: Vec<Site>,
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
    line("executable", p.exe.clone());
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
    let layout =
        p.layout.clone().or_else(|| p.layout_unknown_because.as_ref().map(|w| format!("not known: {w}")));
    line("layout", layout.unwrap_or_default());
    line(
        "looks",
        p.looks_impossible_because.as_ref().map_or("possible".to_owned(), |w| format!("not possible: {w}")),
    );
    line("wait reasons", p.wait_reasons.map_or("shown as numbers".to_owned(), |n| format!("{n} names")));
    for w in &p.warnings {
        line("warning", w.clone());
    }
    for s in &p.sites {
        let place = match (&s.function, s.offset, &s.instruction) {
            (Some(f), Some(o), Some(i)) => format!("{f}+{o:#x}  {i}"),
            _ => String::new(),
        };
        let verdict = match (&s.refused_because, s.cost_class) {
            (Some(why), _) => format!("refused: {why}"),
            (None, Some(cost)) => format!("{cost}, confirmed in memory"),
            (None, None) => String::new(),
        };
        let fallback = s.fallback_because.as_ref().map_or(String::new(), |w| format!(" (fallback: {w})"));
        line(&format!("site {}", s.role), format!("{place}  {verdict}{fallback}"));
    }
    line(
        "verdict",
        if p.traceable { "births and deaths can be traced" } else { "cannot be traced" }.to_owned(),
    );
}

fn number(n: Option<u32>) -> String {
    n.map_or("?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn diagnosis() -> Diagnosis {
        let site = Site {
            role: "create",
            function: Some("runtime.newproc1".into()),
            offset: Some(0x46d),
            address: Some(0x45_360d),
            instruction: Some("jne 0x453621".into()),
            cost_class: Some(CostClass::Emulated),
            fallback_because: None,
            refused_because: None,
        };
        Diagnosis {
            schema: SCHEMA,
            gostray_version: "0.0.0",
            environment: Environment::probe(),
            blockers: vec![Blocker { what: "missing CAP_BPF".into(), try_this: "`sudo`".into() }],
            kernel_programs: vec![KernelProgram {
                name: "create".into(),
                verified_instructions: Some(203_274),
                refused_because: None,
            }],
            kernel_programs_unknown_because: None,
            trap: Some(TrapCost { emulated_ns: 700.0, stepped_ns: 19_000.0 }),
            trap_unknown_because: None,
            program: Some(Program {
                pid: 42,
                comm: "shop".into(),
                exe: "/srv/shop".into(),
                go_version: "go1.26.6".into(),
                main_package: None,
                build_id: None,
                position_independent: true,
                load_bias: Some(0x5555_0000_0000),
                functions: 7,
                traceable: false,
                layout: None,
                layout_unknown_because: Some("it was not measured".into()),
                looks_impossible_because: Some("no pattern".into()),
                wait_reasons: None,
                warnings: vec!["`runtime.execute` is inlined".into()],
                sites: vec![site],
            }),
        }
    }

    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|v| keys(v, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_names_every_field_and_no_other() {
        let mut emitted = BTreeSet::new();
        keys(&serde_json::to_value(diagnosis()).unwrap(), &mut emitted);
        let document = include_str!("../../../docs/json.md");
        let section = document.split("## gostray.doctor/1").nth(1).unwrap();
        for key in &emitted {
            assert!(section.contains(&format!("`{key}`")), "`{key}` is not documented");
        }
        let rows = section.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next());
        for row in rows {
            assert!(emitted.contains(row), "`{row}` is documented and not there");
        }
    }

    #[test]
    fn the_text_says_what_stands_against_tracing() {
        let text = text(&diagnosis(), Style::PLAIN);
        for part in
            ["missing CAP_BPF", "try: `sudo`", "700 ns emulated", "it was not measured", "cannot be traced"]
        {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
        assert!(
            text.contains("runtime.newproc1+0x46d  jne 0x453621  emulated, confirmed in memory"),
            "{text}"
        );
    }

    fn machine(kernel_programs: Vec<KernelProgram>) -> Diagnosis {
        Diagnosis {
            schema: SCHEMA,
            gostray_version: "0",
            environment: Environment::probe(),
            blockers: Vec::new(),
            kernel_programs,
            kernel_programs_unknown_because: None,
            trap: Some(TrapCost { emulated_ns: 900.0, stepped_ns: 9000.0 }),
            trap_unknown_because: None,
            program: None,
        }
    }

    fn taken(name: &str, verified_instructions: Option<u32>) -> KernelProgram {
        KernelProgram { name: name.to_owned(), verified_instructions, refused_because: None }
    }

    #[test]
    fn a_refused_program_is_named_and_spoils_the_verdict() {
        let good = text(&machine(vec![taken("exit", Some(112)), taken("create", Some(203))]), Style::PLAIN);
        assert!(good.contains("2 of 2 taken by the kernel (most work: `create`, 203 instructions"), "{good}");
        assert!(good.contains("tracing works here"), "{good}");

        let refused =
            KernelProgram { refused_because: Some("too large".to_owned()), ..taken("create", None) };
        let bad = text(&machine(vec![taken("exit", None), refused]), Style::PLAIN);
        assert!(bad.contains("1 of 2 taken by the kernel\n"), "{bad}");
        assert!(bad.contains("`create` refused: too large"), "{bad}");
        assert!(!bad.contains("tracing works here"), "{bad}");
    }

    #[test]
    fn an_object_that_cannot_be_loaded_spoils_the_verdict() {
        let unknown = Diagnosis {
            kernel_programs_unknown_because: Some("no memory".to_owned()),
            ..machine(Vec::new())
        };
        let bad = text(&unknown, Style::PLAIN);
        assert!(bad.contains("refused: no memory") && !bad.contains("tracing works here"), "{bad}");
    }

    /// CAP_BPF and CAP_PERFMON pass for enough, but kernels with "perf: Revert to requiring CAP_SYS_ADMIN for uprobes"
    /// (6.16, and in the long-term series since 2025; `kernel/events/core.c`, perf_uprobe_event_init) want more.
    #[test]
    fn where_no_probe_can_be_placed_tracing_does_not_work() {
        let denied = Diagnosis {
            trap: None,
            trap_unknown_because: Some("permission denied".to_owned()),
            ..machine(vec![taken("create", None)])
        };
        let bad = text(&denied, Style::PLAIN);
        assert!(bad.contains("not measured: permission denied"), "{bad}");
        assert!(bad.contains("no probe can be placed") && !bad.contains("tracing works here"), "{bad}");
    }
}
