//! Looks in a watch: it begins with one that tells all that a dump tells, and looks alone are enough to find a leak,
//! without any right but to read the process's memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::events::{self, Event};
use tests::gostray::{binary, gostray, report};
use tests::kernel::tracing_descriptors;
use tests::{Fixture, Running, dump, root_only};
use tracer::dump::{Status, Trace};
use tracer_common::wire::MAX_FRAMES;
use xtask::golang;

/// Numbers with commas between them.
fn list(event: &Event, field: &str) -> Vec<u64> {
    let start = format!(" {field}=");
    let Some((_, rest)) = event.line.split_once(&start) else { return Vec::new() };
    let word = rest.split(' ').next().unwrap_or_default();
    let number = |n: &str| match n.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => n.parse().ok(),
    };
    word.split(',').filter_map(number).collect()
}

/// By goid: the blocked stack, and what it waits on.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    frames: Vec<u64>,
    on: Vec<u64>,
    labelled: bool,
}

/// What the first look told.
fn told(events: &[Event]) -> BTreeMap<u64, Told> {
    let end = events.iter().find(|e| e.name == "look-end").map_or(0, |e| e.time_ns);
    let stacks: BTreeMap<u64, Vec<u64>> =
        events.iter().filter(|e| e.name == "stack").map(|e| (e.number("stack"), list(e, "frames"))).collect();
    let mut told = BTreeMap::new();
    for e in events.iter().filter(|e| e.time_ns <= end) {
        let goid = e.number("goid");
        if e.name == "blocked" {
            let frames = stacks.get(&e.number("stack")).cloned().unwrap_or_default();
            told.insert(goid, Told { frames, on: Vec::new(), labelled: false });
        } else if e.name == "waits"
            && let Some(told) = told.get_mut(&goid)
        {
            told.on = list(e, "on");
            told.labelled = e.number("labels") != 0;
        }
    }
    told
}

/// How many goroutines a watch's first look told as a dump tells them.
fn compare(go: &str, probes: &str) -> Result<usize> {
    let executable = Fixture::new("parked").go(go).build()?;
    let program = Running::start(&executable, &[])?;
    let dir = tempfile::tempdir()?;
    let session = dir.path().join("session");
    let (pid, file) = (program.pid().to_string(), session.to_string_lossy().into_owned());
    let output = gostray(&["record", &pid, "-o", &file, "--probes", probes, "--duration", "1s"]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = told(&events::read(&session)?);
    let dump = dump::dump(program.pid(), &executable)?;
    let waiting = dump.goroutines.iter().filter(|g| g.status == Status::Waiting);
    let mut compared = 0;
    for g in waiting.filter(|g| matches!(g.trace, Trace::Whole(_))) {
        let stack = dump.stack(g).context("a whole stack")?;
        let told = told.get(&g.goid).with_context(|| format!("{go}: goroutine {} was not told", g.goid))?;
        let cut = stack.left_out.as_ref().map_or(usize::MAX, |l| l.after).min(MAX_FRAMES);
        let frames: Vec<u64> = stack.pcs.iter().take(cut).map(|pc| pc.pc + u64::from(pc.exact)).collect();
        assert_eq!(told.frames, frames, "{go}: {g:?}");
        let on: Vec<u64> = g.waits_on.iter().map(|w| dump.objects[w.object as usize].addr).collect();
        assert_eq!(told.on, on, "{go}: {g:?} {:?}", dump::objects(&dump, g));
        assert_eq!(told.labelled, dump.labels(g).is_some(), "{go}: {g:?}");
        compared += 1;
    }
    assert_eq!(told.len(), compared, "{go}: told are others, too");
    Ok(compared)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_watch_begins_with_all_that_a_dump_tells() -> Result<()> {
    root_only()?;
    for (go, probes) in
        [(golang::OLDEST, "off"), ("1.23.9", "off"), ("1.27.3", "off"), (golang::DEFAULT, "on")]
    {
        let n = compare(go, probes)?;
        println!("{go}, probes {probes}: {n} goroutines the same");
        ensure!(n > 40, "{go}: only {n}");
    }
    Ok(())
}

/// Under a name of its own where anybody may run it.
fn for_anybody(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn looks_alone_find_a_leak_without_root() -> Result<()> {
    root_only()?;
    const NOBODY: u32 = 65534;
    if let Ok(scope) = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        && scope.trim() != "0"
    {
        println!(
            "skipped: kernel.yama.ptrace_scope is {}: only root may read a process's memory",
            scope.trim()
        );
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let (demo, tool) = (dir.path().join("demo"), dir.path().join("gostray"));
    for_anybody(&Fixture::new("demo").build()?, &demo)?;
    for_anybody(&binary(), &tool)?;
    let as_nobody = |program: &Path| {
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY).current_dir(dir.path());
        command
    };
    let mut program = as_nobody(&demo).stdout(std::process::Stdio::null()).spawn()?;
    let pid = program.id();
    let watch = ["attach", &pid.to_string(), "--json", "--fail-on", "leak", "--duration", "20s"];
    // With probes it may not.
    let refused = as_nobody(&tool).args(watch).output()?;
    assert_eq!(refused.status.code(), Some(20), "{}", String::from_utf8_lossy(&refused.stderr));
    let output = as_nobody(&tool).args(watch).args(["--probes", "off"]).output()?;
    let descriptors = tracing_descriptors(pid)?;
    program.kill()?;
    program.wait()?;
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let report = report(&output);
    assert_eq!(report.0["target"]["looks_only"], true);
    assert_eq!(report.0["probes"], Value::Array(Vec::new()));
    assert_eq!((report.0["totals"]["kernel_births"].as_u64(), descriptors.len()), (None, 0));
    let leaks = report.with_verdict("leak");
    let [leak] = leaks[..] else { anyhow::bail!("{} leaks", leaks.len()) };
    assert_eq!(leak.start(), "main.fetchPrice");
    let wait = &leak.0["waits"][0];
    let (on, example) = (&wait["on"], &wait["example"]);
    assert_eq!(
        (wait["reason"].as_str(), on["most"][0]["kind"].as_str()),
        (Some("chan send"), Some("channel"))
    );
    ensure!(on["objects"].as_u64() > Some(50) && example["stacks"] == 1, "{wait:#}");
    Ok(())
}

/// A program in which everything happens at once; what the probes told of each goroutine is what each look finds.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn looks_and_probes_agree() -> Result<()> {
    root_only()?;
    let programs = ["demo", "busy"].map(|name| Fixture::new(name).start(&[]));
    std::thread::scope(|scope| {
        let watches = programs.map(|program| scope.spawn(|| agree(&program?)));
        watches.into_iter().try_for_each(|watch| watch.join().ok().context("a watch panicked")?)
    })
}

fn agree(program: &Running) -> Result<()> {
    let pid = program.pid().to_string();
    let watch = [
        "attach",
        &pid,
        "--json",
        "--budget",
        "off",
        "--park",
        "on",
        "--look-every",
        "2s",
        "--duration",
        "9s",
    ];
    let output = gostray(&watch);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = report(&output).0;
    let looks = report["looks"]["count"].as_u64();
    ensure!((5..=6).contains(&looks.unwrap_or(0)), "one at the begin, four, one at the end: {looks:?}");
    let lost = report["losses"].as_array().context("losses")?;
    let disagreements = report["looks"]["disagreements"].as_object().context("disagreements")?;
    ensure!(disagreements.len() == 3, "{disagreements:?}");
    ensure!(lost.is_empty() && disagreements.values().all(|n| n == 0), "{disagreements:?}, {lost:?}");
    Ok(())
}
