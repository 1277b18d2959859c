//! What gostray costs on the largest distribution binary at hand: from its start to the first live probe, the memory it has
//! then, and a frame's symbols; each beside a public tool on the same file in the same run. `cargo xtask bench` runs it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use memmap2::Mmap;
use tests::first::Doctor;
use tests::real::{PROGRAMS, Source};
use tests::values::median;
use tests::{Fixture, Running, root_only};
use tracer::gobin::GoBinary;
use tracer::source::live::boot_ns;
use tracer::source::live::fit::{Tried, Unchecked};
use tracer::symbol::Symbolizer;
use xtask::{debian, golang};

/// Odd, so that there is a middle one.
const RUNS: usize = 11;
const FRAMES: usize = 2_000;
const SYMBOL_RUNS: usize = 5;

/// Several measured values of one thing.
struct Values(Vec<f64>);

impl Values {
    fn median(&mut self) -> f64 {
        median(&mut self.0)
    }
}

/// One line of the printed table: ours, with a limit or not, and another tool's.
fn line(what: &str, unit: &str, ours: &mut Values, limit: Option<f64>, other: Option<(&str, &mut Values)>) {
    let median = ours.median();
    let shown = format!("{median:.2} {unit} ({:.2} to {:.2})", ours.0[0], ours.0[ours.0.len() - 1]);
    let limit = limit.map_or("none".to_owned(), |l| {
        format!("{l} {unit}, {}", if median <= l { "kept" } else { "MISSED" })
    });
    let beside = other.map_or("–".to_owned(), |(tool, values)| {
        let theirs = values.median();
        let (least, most) = (values.0[0], values.0[values.0.len() - 1]);
        format!("{tool}: {theirs:.2} {unit} ({least:.2} to {most:.2}); ours is {:.3} of it", median / theirs)
    });
    println!("| {what} | {shown} | {limit} | {beside} |");
}

fn main() -> Result<()> {
    root_only()?;
    let program = PROGRAMS
        .iter()
        .find(|p| matches!(p.source, Source::Debian("sid", ["prometheus"])))
        .context("prometheus is not among the programs")?;
    let (executable, name) = program.fetch()?;
    let delve = debian::from_suite("sid", &["delve"])?.root.join("usr/bin/dlv");
    println!("{name}, {:.0} MB\n", std::fs::metadata(&executable)?.len() as f64 / 1e6);
    println!("| what | gostray: median (least to most) | limit | beside |\n|---|---|---|---|");

    let (mut first, mut peak, mut attached) = (Values(vec![]), Values(vec![]), Values(vec![]));
    for _ in 0..RUNS {
        let started = program.start(&executable)?;
        let doctor = Doctor::of(started.pid())?;
        let watched = doctor.watched("attach", &[])?;
        first.0.push(watched.time.as_secs_f64() * 1e3);
        peak.0.push(watched.memory.peak as f64 / 1e3);
        watched.end()?;
        attached.0.push(delve_attach(&delve, started.pid())?.as_secs_f64() * 1e3);
    }
    let tool = ("`dlv attach PID` and `quit` (delve has no probes by then)", &mut attached);
    line("start to first live probe", "ms", &mut first, Some(250.0), Some(tool));
    line("resident then, at its peak", "MB", &mut peak, Some(60.0), None);
    self_check()?;
    symbols(&executable)
}

/// Delve's whole run: it attaches, is told to go, and not to kill the program.
fn delve_attach(delve: &Path, pid: u32) -> Result<Duration> {
    let start = Instant::now();
    let mut child = Command::new(delve)
        .args(["attach", &pid.to_string(), "--allow-non-terminal-interactive=true"])
        .env("HOME", std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("delve does not start")?;
    child.stdin.take().context("no stdin")?.write_all(b"quit\nn\n")?;
    let output = child.wait_with_output()?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "delve ended with {}: {}", output.status, said.trim());
    Ok(start.elapsed())
}

/// The runtime's layout held against a process with many goroutines, as an attach does it before the first probe.
fn self_check() -> Result<()> {
    let path = Fixture::new("states").build()?;
    let started_boot_ns = boot_ns();
    let running = Running::start(&path, &["-idle", "-many", "100000"])?;
    let data = std::fs::read(&path)?;
    let binary = GoBinary::parse(&data)?;
    let globals = binary.globals();
    let unchecked = Unchecked {
        pid: running.pid(),
        binary: &binary,
        layout: binary.layout()?,
        allgs: globals.allgs?,
        wait_reasons: globals.wait_reasons.ok().map(|table| (table.addr, table.len)),
        load_bias: 0,
        started_boot_ns,
        tried: Tried::default(),
    };
    let mut times = Values(vec![]);
    for _ in 0..RUNS {
        let start = Instant::now();
        let proof = unchecked.prove()?;
        times.0.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(proof.goroutines > 100_000, "{proof:?}");
    }
    line("self-check of 100,000 goroutines", "ms", &mut times, None, None);
    Ok(())
}

/// Cold: nothing of the file read by this process yet, nothing in the symbolizer's cache. Warm: asked before.
fn symbols(executable: &Path) -> Result<()> {
    let file = File::open(executable)?;
    let pcs = {
        // SAFETY: nothing writes to the file while this runs.
        let data = unsafe { Mmap::map(&file) }?;
        let binary = GoBinary::parse(&data)?;
        let table = binary.functions();
        let step = (table.len() / FRAMES).max(1);
        // In the middle of the code of functions all over the program, in an order that is not the file's.
        let middle = |f: tracer::gobin::Func<'_>| Some(f.entry.midpoint(table.code_end(&f)?));
        let pcs: Vec<u64> = table.iter().step_by(step).filter_map(middle).collect();
        (0..pcs.len()).map(|i| pcs[i * 7919 % pcs.len()]).take(FRAMES).collect::<Vec<u64>>()
    };
    let (mut open, mut cold, mut warm) = (Values(vec![]), Values(vec![]), Values(vec![]));
    let (mut tool_open, mut tool_cold) = (Values(vec![]), Values(vec![]));
    for _ in 0..SYMBOL_RUNS {
        let start = Instant::now();
        // SAFETY: as above; a fresh mapping has none of the file's pages yet.
        let data = unsafe { Mmap::map(&file) }?;
        let binary = GoBinary::parse(&data)?;
        let mut symbolizer = Symbolizer::new(&binary, 0, None);
        ensure!(named(&symbolizer.symbol(pcs[0], true)), "{:#x} has no name", pcs[0]);
        let open_us = start.elapsed().as_secs_f64() * 1e6;
        open.0.push(open_us / 1e3);
        cold.0.push(open_us / pcs.len() as f64 + per_frame(&pcs, |pc| named(&symbolizer.symbol(pc, true)))?);
        warm.0.push(per_frame(&pcs, |pc| named(&symbolizer.symbol(pc, true)))?);

        // It answers when it has been asked everything, and its own start outweighs all of its answers.
        tool_open.0.push(addr2line(executable, &pcs[..1])? * 1e3);
        tool_cold.0.push(addr2line(executable, &pcs)? * 1e6 / pcs.len() as f64);
    }
    let name = "`go tool addr2line`";
    line("open the file, first frame", "ms", &mut open, None, Some((name, &mut tool_open)));
    line(
        "a frame, cold, of 2,000 with the opening",
        "µs",
        &mut cold,
        Some(50.0),
        Some((name, &mut tool_cold)),
    );
    line("a frame, warm", "µs", &mut warm, Some(1.0), None);
    Ok(())
}

fn named(symbol: &tracer::event::message::Symbol) -> bool {
    symbol.frames.last().is_some_and(|f| !f.function.is_empty())
}

/// Microseconds for each; fails when fewer than nineteen of twenty are known (middles of assembly may be padding).
fn per_frame(pcs: &[u64], mut ask: impl FnMut(u64) -> bool) -> Result<f64> {
    let start = Instant::now();
    let known = pcs.iter().filter(|pc| ask(**pc)).count();
    let time = start.elapsed();
    ensure!(known * 20 >= pcs.len() * 19, "only {known} of {} are known", pcs.len());
    Ok(time.as_secs_f64() * 1e6 / pcs.len() as f64)
}

/// Seconds that Go's own tool takes for these addresses, from its start to its end.
fn addr2line(executable: &Path, pcs: &[u64]) -> Result<f64> {
    // Of a release whose wheel holds the tool compiled.
    let go = golang::find("1.24.11")?;
    let goroot = go.ancestors().nth(2).context("no GOROOT")?;
    let questions: String = pcs.iter().map(|pc| format!("{pc:#x}\n")).collect();
    let start = Instant::now();
    let mut child = Command::new(goroot.join("pkg/tool/linux_amd64/addr2line"))
        .arg(executable)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("`go tool addr2line` does not start")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output()?;
    asking.join().ok().context("asking panicked")??;
    let time = start.elapsed().as_secs_f64();
    let known =
        String::from_utf8_lossy(&output.stdout).lines().step_by(2).filter(|l| !l.starts_with('?')).count();
    ensure!(known * 20 >= pcs.len() * 19, "the tool knows only {known} of {}", pcs.len());
    Ok(time)
}
