//! What watching costs the target, for each goroutine created and ended and for each wait: the same work in the same process with and
//! without gostray, in turn. `cargo xtask bench price` runs it.
//!
//! The program (`tests/go/hot`) tells how much processor time its own threads took; what a probe takes is part of that, for
//! it happens on them. What of it the traps take is measured by probes at the same places whose programs do nothing. How long
//! the kernel programs themselves run is asked of the kernel (`kernel.bpf_stats_enabled`).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tests::gostray::{Background, gostray, report};
use tests::values::{median, spread};
use tests::{Fixture, Running, root_only};
use tracer::gobin::GoBinary;
use tracer::memory::ProcessMemory;
use tracer::probe::load::{Loaded, Options, Placed};
use tracer::probe::{Role, plan, verify};

/// Odd, so that there is a middle one.
const ROUNDS: usize = 7;
const BIRTHS: u64 = 200_000;
const PARKS: u64 = 200_000;
const FLOODS: [u64; 3] = [2_000, 10_000, 100_000];
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn main() -> Result<()> {
    root_only()?;
    let mut program = Fixture::new("hot").start(&[])?;
    println!(
        "| what, and how gostray was started | without | with | difference | of these, traps | gostray's own estimate | limit |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (command, n, what, args, limit) in [
        ("births", BIRTHS, "a goroutine created and ended: `attach`", &[][..], Some(1_600.0)),
        ("births", BIRTHS, "the same: `attach --park on`", &["--park", "on"], None),
        ("parks", PARKS, "a park and a run: `attach`", &[], None),
        ("parks", PARKS, "the same: `attach --park on`", &["--park", "on"], Some(2_200.0)),
    ] {
        let [mut without, mut with, mut more, mut traps, mut estimated] = [const { Vec::new() }; 5];
        for _ in 0..ROUNDS {
            let alone = took(&mut program, command, n)?;
            let empty = Probes::empty(program.pid(), args.contains(&"on"))?;
            let trapped = took(&mut program, command, n)?;
            drop(empty);
            let watching = Background::attach(program.pid(), args);
            let watched = took(&mut program, command, n)?;
            let ended = watching.end();
            let report = report(&ended).0;
            let lost = report["losses"].as_array().context("losses")?.len();
            estimated.push(report["cost"]["target_ns"].as_f64().context("no estimate")? / n as f64);
            ensure!(lost == 0, "events were lost: the price of an event that is thrown away is another one");
            without.push(alone);
            with.push(watched);
            more.push(watched - alone);
            traps.push(trapped - alone);
        }
        let limit = limit.map_or("none".to_owned(), |l| {
            format!("{l:.0} ns, {}", if median(&mut more) <= l { "kept" } else { "MISSED" })
        });
        let [without, with, more, traps, estimated] = [without, with, more, traps, estimated].map(shown);
        println!("| {what} | {without} | {with} | {more} | {traps} | {estimated} | {limit} |");
    }
    without_ready(&mut program)?;
    // Measuring takes time too, so it comes last.
    let stats = Stats::on()?;
    let watching = Background::attach(program.pid(), &["--park", "on"]);
    took(&mut program, "births", BIRTHS)?;
    took(&mut program, "parks", PARKS)?;
    let programs = loaded(watching.pid())?;
    watching.end();
    drop(stats);
    println!(
        "\n| kernel program | instructions after verification | times run | ns each |\n|---|---|---|---|"
    );
    for (name, instructions, runs, time) in programs {
        let each = if runs > 0 { format!("{:.0}", time as f64 / runs as f64) } else { "–".to_owned() };
        println!("| `{name}` | {instructions} | {runs} | {each} |");
    }
    drop(program);
    held()
}

/// What a program that starts goroutines as fast as that loses within ten seconds at most, and how gostray got there.
fn held() -> Result<()> {
    println!(
        "\n| goroutines a second, 30 s each | most within ten seconds, as gostray estimates | of the budget | levels |\n|---|---|---|---|"
    );
    for rate in FLOODS {
        let program = Fixture::new("flood").start(&["-rate", &rate.to_string()])?;
        let pid = program.pid().to_string();
        for _ in 0..3 {
            let ended = gostray(&["attach", &pid, "--json", "--duration", "30s"]);
            let report = report(&ended).0;
            let most = report["cost"]["target_most_ns"].as_f64().context("no estimate")?;
            let budget = report["watching"]["budget_ns"].as_f64().context("no budget")?;
            let moves = report["watching"]["moves"].as_array().context("moves")?;
            let moved = moves.iter().filter_map(|m| m["to"].as_str());
            let levels: Vec<&str> = std::iter::once("lives").chain(moved).collect();
            let share = 100.0 * most / budget;
            println!("| {rate} | {:.1} ms | {share:.0} % | {} |", most / 1e6, levels.join(", "));
        }
    }
    Ok(())
}

/// Nanoseconds of processor time for each of `n`.
fn took(program: &mut Running, command: &str, n: u64) -> Result<f64> {
    program.say(&format!("{command} {n}"))?;
    let took = program.wait_for("took")?;
    let cpu = took.split(' ').next().context("no time")?.parse::<f64>()?;
    Ok(cpu / n as f64)
}

/// Probes at gostray's places, of which nobody reads; dropping it removes them.
struct Probes {
    _placed: Vec<Placed>,
    loaded: Loaded,
}

/// What the events of one measurement find room in.
const UNREAD: u32 = 64 << 20;

impl Probes {
    /// With programs that do nothing.
    fn empty(pid: u32, park: bool) -> Result<Self> {
        Self::attach(pid, park, |_| true, Some("calibrate"))
    }

    /// With gostray's own programs, at some of the places.
    fn some(pid: u32, roles: &[Role]) -> Result<Self> {
        Self::attach(pid, true, |role| roles.contains(&role), None)
    }

    fn attach(
        pid: u32,
        park: bool,
        wanted: impl Fn(Role) -> bool,
        program: Option<&'static str>,
    ) -> Result<Self> {
        let exe = PathBuf::from(format!("/proc/{pid}/exe"));
        let bytes = fs::read(&exe)?;
        let binary = GoBinary::parse(&bytes)?;
        let mut loaded = Loaded::load(&Options {
            ring_bytes: UNREAD,
            stacks: Options::DEFAULT_STACKS,
            layout: binary.layout()?.kernel,
            diagnostics: false,
        })?;
        let mut placed = Vec::new();
        for mut site in plan(&binary, park).sites.into_iter().filter(|site| wanted(site.role)) {
            let code = binary.bytes(site.entry, (site.end - site.entry) as usize).context("no code")?;
            // The program is not position-independent: it runs where it was linked.
            verify::confirm(&site, code, &ProcessMemory::new(pid), 0)?;
            site.program = program.unwrap_or(site.program);
            placed.push(loaded.attach(&site, &exe, pid)?);
        }
        Ok(Self { _placed: placed, loaded })
    }
}

fn shown(values: Vec<f64>) -> String {
    format!("{} ns", spread(values, 0))
}

/// A park and a run are two events, but who watches them watches `ready`, too: without that one.
fn without_ready(program: &mut Running) -> Result<()> {
    let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let alone = took(program, "parks", PARKS)?;
        let probes = Probes::some(program.pid(), &[Role::Park, Role::Run])?;
        let watched = took(program, "parks", PARKS)?;
        ensure!(probes.loaded.drops()?.iter().sum::<u64>() == 0, "events were lost");
        without.push(alone);
        with.push(watched);
        more.push(watched - alone);
    }
    let [without, with, more] = [without, with, more].map(shown);
    println!(
        "| the same: the probes on park and run alone, no reader | {without} | {with} | {more} | – | – | none |"
    );
    Ok(())
}

/// Name, length, runs and time of the programs in the kernel that this gostray has loaded.
fn loaded(gostray: i32) -> Result<Vec<(String, u32, u64, u64)>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{gostray}/fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        held.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    let ours = ["create", "exit_ax", "park_ax", "ready_ax", "run_ax", "coro_ax"];
    let mut found = Vec::new();
    for program in aya::programs::loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if held.contains(&program.id()) && ours.contains(&name.as_str()) {
            let instructions = program.verified_instruction_count().unwrap_or(0);
            found.push((name, instructions, program.run_count(), program.run_time().as_nanos() as u64));
        }
    }
    found.sort();
    Ok(found)
}

/// The kernel measures how long BPF programs run, until this is dropped.
struct Stats(String);

impl Stats {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(STATS)?;
        fs::write(STATS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        fs::write(STATS, self.0.trim()).ok();
    }
}
