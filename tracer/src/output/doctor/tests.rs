//! The document and the text of a diagnosis.

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
    let build = BuildKind {
        position_independent: true,
        statically_linked: false,
        stripped: true,
        debug_info: false,
        section_headers: true,
        cgo: Some(true),
        race: Some(false),
        trimpath: None,
        profile: Some("default.pgo".into()),
        mode: Some("pie".into()),
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
        executable: Some(Executable {
            path: "./shop".into(),
            go_version: "go1.26.6".into(),
            main_package: None,
            build_id: None,
            build: build.clone(),
            functions: 7,
            traceable: true,
            layout: None,
            layout_unknown_because: None,
            globals: vec![Global { name: "runtime.allgs", address: None, unknown_because: None }],
            warnings: Vec::new(),
            sites: Vec::new(),
        }),
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
            build,
            on_disk: "deleted",
            build_id_in_memory: Some(true),
            self_check: Some(SelfCheck {
                goroutines: 57,
                judged: 57,
                held: vec!["goid"],
                unproven: vec!["m-curg"],
                took_ns: 1_234_567,
                summary: "self-check: 57 goroutines, 1 invariants held".into(),
            }),
            self_check_failed_because: None,
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
    let document = include_str!("../../../../docs/json.md");
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
    let text = text(&Diagnosis { executable: None, ..diagnosis() }, Style::PLAIN);
    for part in
        ["missing CAP_BPF", "try: `sudo`", "700 ns emulated", "it was not measured", "cannot be traced"]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(text.contains("runtime.newproc1+0x46d  jne 0x453621  emulated, confirmed in memory"), "{text}");
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
        executable: None,
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

    let refused = KernelProgram { refused_because: Some("too large".to_owned()), ..taken("create", None) };
    let bad = text(&machine(vec![taken("exit", None), refused]), Style::PLAIN);
    assert!(bad.contains("1 of 2 taken by the kernel\n"), "{bad}");
    assert!(bad.contains("`create` refused: too large"), "{bad}");
    assert!(!bad.contains("tracing works here"), "{bad}");
}

#[test]
fn an_object_that_cannot_be_loaded_spoils_the_verdict() {
    let unknown =
        Diagnosis { kernel_programs_unknown_because: Some("no memory".to_owned()), ..machine(Vec::new()) };
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
