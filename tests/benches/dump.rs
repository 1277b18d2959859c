//! What a dump of many goroutines costs, and what the program feels of it, beside Go's own endpoints and delve; and a repeated look.
//! `cargo xtask bench dump` runs it; numbers of goroutines after it are those that are measured.
//!
//! The program (`tests/go/crowd`) has a goroutine that does nothing but ask for the time: the longest gap between two answers is
//! what it was kept from running. A client asks a handler that does nothing, every millisecond over one connection. Spinner,
//! client and tool compete for the same processors, so the gaps without any tool are measured too.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::time::{ClockId, clock_gettime};
use tests::values::{median, spread};
use tests::{Fixture, Running, dump, gostray, http, root_only};
use tracer::dump::Dump;
use tracer::source::dump::{Looks, take};
use xtask::debian;

const MANY: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Odd, so that there is a middle one.
const ROUNDS: usize = 3;
const LOOKS: usize = 7;
/// How often a dump is compared with no tool and with a tool that only computes, each for as long.
const PAIRS: usize = 15;
/// Of dumps that take seconds.
const LONG_PAIRS: usize = 5;
/// Nobody waits longer for a dump.
const LIMIT: Duration = Duration::from_secs(60);

/// Of one run of one tool.
#[derive(Clone, Copy, Debug, Default)]
struct Felt {
    /// Milliseconds; absent where it did not end within [`LIMIT`].
    wall: Option<f64>,
    /// Milliseconds that the spinning goroutine was kept from running.
    gap: f64,
    /// Milliseconds until the slowest answer.
    latency: f64,
    /// MB: the tool's peak, of an endpoint by how much the program's memory grew.
    memory: f64,
}

#[derive(Clone, Copy)]
enum Tool {
    /// Nothing, for so long.
    Nothing(Duration),
    /// A thread that only computes, for so long.
    Computes(Duration),
    Gostray,
    Debug2,
    Debug1,
    Delve,
}

const TOOLS: [(Tool, &str); 5] = [
    (Tool::Nothing(Duration::from_millis(500)), "no tool"),
    (Tool::Gostray, "`gostray dump`"),
    (Tool::Debug2, "its `debug=2`"),
    (Tool::Debug1, "its `debug=1`"),
    (Tool::Delve, "delve"),
];

fn main() -> Result<()> {
    root_only()?;
    let chosen: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let delve = debian::from_suite("sid", &["delve"])?.root.join("usr/bin/dlv");
    let executable = Fixture::new("crowd").build()?;
    for many in if chosen.is_empty() { MANY.to_vec() } else { chosen } {
        beside(&executable, many, &delve)?;
        println!();
        looks(&executable, many)?;
        println!();
    }
    Ok(())
}

fn started(executable: &Path, args: &[&str]) -> Result<(Running, String)> {
    let mut program = Running::start_silent(Command::new(executable).args(args))?;
    let address = program.wait_for_within("ready", Duration::from_secs(300))?;
    Ok((program, address))
}

/// Every tool in turn, several times, on one process.
fn beside(executable: &Path, many: usize, delve: &Path) -> Result<()> {
    let (program, address) = started(executable, &["-spin", "-many", &many.to_string()])?;
    let mut all: [Vec<Felt>; TOOLS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((tool, _), felt) in TOOLS.iter().zip(&mut all) {
            // What did not end once is not waited for again.
            if felt.iter().all(|f| f.wall.is_some()) {
                felt.push(measured(*tool, program.pid(), &address, delve)?);
            }
        }
    }
    println!("{many} goroutines, {ROUNDS} rounds: median (least to most)\n");
    println!("| what | {} |", TOOLS.map(|(_, name)| name).join(" | "));
    println!("|---|{}", "---|".repeat(TOOLS.len()));
    let row = |what: &str, value: &dyn Fn(&Felt) -> Option<f64>| {
        let cell = |felt: &Vec<Felt>| match felt.iter().map(value).collect::<Option<Vec<f64>>>() {
            Some(values) => shown(values),
            None => format!("gave up after {} s", LIMIT.as_secs()),
        };
        println!("| {what} | {} |", all.each_ref().map(cell).join(" | "));
    };
    row("time, ms", &|f| f.wall);
    row("longest gap, ms", &|f| Some(f.gap));
    row("slowest answer, ms", &|f| Some(f.latency));
    row("memory, MB", &|f| Some(f.memory));
    println!();
    pairs(&program, &address, delve, if many < 1_000_000 { PAIRS } else { LONG_PAIRS })
}

/// A dump, and for as long as it took no tool, and one that only computes. Of each three it is counted whether the dump's gap was
/// the longer one: of two that are the same, each is in half of them.
fn pairs(program: &Running, address: &str, delve: &Path, pairs: usize) -> Result<()> {
    let mut all: [Vec<Felt>; 3] = Default::default();
    for _ in 0..pairs {
        let dump = measured(Tool::Gostray, program.pid(), address, delve)?;
        let time = Duration::from_secs_f64(dump.wall.context("a dump that does not end")? / 1e3);
        let others = [Tool::Nothing(time), Tool::Computes(time)];
        all[0].push(dump);
        for (tool, felt) in others.into_iter().zip(&mut all[1..]) {
            felt.push(measured(tool, program.pid(), address, delve)?);
        }
    }
    println!(
        "| {pairs} times, each as long as the dump | `gostray dump` | no tool | it was longer | a loop that computes | it was longer |"
    );
    println!("|---|---|---|---|---|---|");
    for (what, value) in
        [("longest gap, ms", (|f| f.gap) as fn(&Felt) -> f64), ("slowest answer, ms", |f| f.latency)]
    {
        let [dump, nothing, computes] =
            all.each_ref().map(|felt| felt.iter().map(value).collect::<Vec<f64>>());
        let longer = |than: &[f64]| dump.iter().zip(than).filter(|(a, b)| a > b).count();
        let (of_nothing, of_computes) = (longer(&nothing), longer(&computes));
        let [dump, nothing, computes] = [dump.clone(), nothing, computes].map(shown);
        println!(
            "| {what} | {dump} | {nothing} | {of_nothing} of {pairs} | {computes} | {of_computes} of {pairs} |"
        );
    }
    Ok(())
}

fn shown(values: Vec<f64>) -> String {
    spread(values, 1)
}

fn measured(tool: Tool, pid: u32, address: &str, delve: &Path) -> Result<Felt> {
    let (stop, slowest, largest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::sleep(Duration::from_millis(300));
    let before = resident(pid)?;
    http::get(address, "/gap")?;
    let (ran, gap) = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask(address, &stop, &slowest));
        let watcher = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                largest.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ran = run(tool, pid, address, delve);
        let gap = http::get(address, "/gap");
        stop.store(true, Ordering::Relaxed);
        watcher.join().ok().context("the watcher panicked")?;
        client.join().ok().context("the client panicked")??;
        anyhow::Ok((ran?, gap?))
    })?;
    let grown = largest.load(Ordering::Relaxed).saturating_sub(before) as f64 / 1e6;
    Ok(Felt {
        wall: ran.wall.map(|wall| wall.as_secs_f64() * 1e3),
        gap: gap.parse::<f64>()? / 1e6,
        latency: slowest.load(Ordering::Relaxed) as f64 / 1e6,
        memory: ran.memory.unwrap_or(grown),
    })
}

/// Asks every millisecond, until it is told to stop.
fn ask(address: &str, stop: &AtomicBool, slowest: &AtomicU64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut room = [0; 1024];
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        write!(stream, "GET /light HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut len = 0;
        while !room[..len].ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut room[len..])?;
            ensure!(n > 0, "the connection was closed");
            len += n;
        }
        slowest.fetch_max(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn resident(pid: u32) -> Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("no resident pages")?.parse()?;
    Ok(pages * 4096)
}

/// How long it took; absent when it was not over in time. And a tool's peak in MB.
struct Ran {
    wall: Option<Duration>,
    memory: Option<f64>,
}

fn run(tool: Tool, pid: u32, address: &str, delve: &Path) -> Result<Ran> {
    let room = std::env::temp_dir().join(format!("gostray-bench-{}", std::process::id()));
    let ran = match tool {
        Tool::Nothing(time) => {
            std::thread::sleep(time);
            Ok(Ran { wall: Some(time), memory: Some(0.0) })
        }
        Tool::Computes(time) => {
            let begin = Instant::now();
            while begin.elapsed() < time {
                std::hint::spin_loop();
            }
            Ok(Ran { wall: Some(time), memory: Some(0.0) })
        }
        Tool::Debug2 => endpoint(address, "/debug/pprof/goroutine?debug=2", &room),
        Tool::Debug1 => endpoint(address, "/debug/pprof/goroutine?debug=1", &room),
        Tool::Gostray => {
            let mut cmd = Command::new(gostray::binary());
            cmd.args(["dump", &pid.to_string(), "--format", "json", "--force", "-o"]).arg(&room);
            tool_run(cmd.stdout(Stdio::null()), "")
        }
        Tool::Delve => {
            let mut cmd = Command::new(delve);
            cmd.args(["attach", &pid.to_string(), "--allow-non-terminal-interactive=true"]);
            cmd.env("HOME", std::env::temp_dir()).stdout(File::create(&room)?);
            tool_run(&mut cmd, "goroutines -t\nquit\nn\n")
        }
    };
    let ran = ran?;
    // A dump that was not made costs nothing.
    let size = std::fs::metadata(&room).map_or(0, |m| m.len());
    ensure!(
        ran.wall.is_none() || matches!(tool, Tool::Nothing(_) | Tool::Computes(_)) || size > 1_000,
        "{size} bytes of dump"
    );
    std::fs::remove_file(&room).ok();
    Ok(ran)
}

fn endpoint(address: &str, path: &str, to: &Path) -> Result<Ran> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let copied = std::io::copy(&mut stream, &mut File::create(to)?);
    Ok(Ran { wall: copied.is_ok().then(|| begin.elapsed()), memory: None })
}

/// Runs it to its end, or kills it.
fn tool_run(cmd: &mut Command, input: &str) -> Result<Ran> {
    let begin = Instant::now();
    let mut child = cmd.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let pid = libc::pid_t::try_from(child.id())?;
    let mut killed = false;
    loop {
        let mut status = 0;
        // SAFETY: all zero bits are an rusage, and both are ours alone while the kernel writes them.
        let (ended, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        match ended {
            0 if !killed && begin.elapsed() > LIMIT => {
                child.kill()?;
                killed = true;
            }
            0 => std::thread::sleep(Duration::from_micros(500)),
            _ if ended == pid => {
                let status = ExitStatus::from_raw(status);
                ensure!(killed || status.success(), "{cmd:?} ended with {status}");
                let wall = (!killed).then(|| begin.elapsed());
                return Ok(Ran { wall, memory: Some(usage.ru_maxrss as f64 / 1e3) });
            }
            _ => bail!("{cmd:?}: {}", std::io::Error::last_os_error()),
        }
    }
}

/// Looks one after another on one process: how long each takes, and how long of it on a processor.
fn looks(executable: &Path, many: usize) -> Result<()> {
    println!(
        "| {many} goroutines, {LOOKS} times | not proven to wait | ms: median (least to most) | of these on a processor |"
    );
    println!("|---|---|---|---|");
    for uncollected in [false, true] {
        let more: &[&str] = if uncollected { &["-uncollected"] } else { &[] };
        let (program, address) = started(executable, &[&["-many", &many.to_string()], more].concat())?;
        dump::with_subject(program.pid(), executable, &mut |subject| {
            let get = |path: &str| http::get(&address, path).map(drop);
            let mut looks = Looks::new(subject);
            let mut look = |what: &str, before: &dyn Fn() -> Result<()>| {
                line(what, before, &mut || {
                    let changes = looks.look(&mut |_, _| {})?;
                    Ok(changes.counts.entries - changes.counts.dead - changes.waited)
                })
            };
            let nothing = || Ok(());
            if uncollected {
                return look("look again, no collection since they parked", &nothing);
            }
            look("look again, nobody has run", &nothing)?;
            look("look again, 1,000 have run (a tenth of fewer)", &|| {
                get(&format!("/round?n={}", 1_000.min(many / 10)))
            })?;
            get("/collect")?;
            let mut looks = Looks::new(subject);
            looks.dump(&mut |_, _| {})?;
            line("whole dump again, nobody has run", &nothing, &mut || {
                Ok(whole(&looks.dump(&mut |_, _| {})?))
            })?;
            line("whole dump, all read", &nothing, &mut || Ok(whole(&take(subject, &mut |_, _| {})?)))
        })?;
    }
    Ok(())
}

fn whole(dump: &Dump) -> u64 {
    dump.goroutines.len() as u64
}

/// Measures `work`, which tells how many it was about; `before` comes before each.
fn line(what: &str, before: &dyn Fn() -> Result<()>, work: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
    let (mut wall, mut busy, mut about) = (Vec::new(), Vec::new(), Vec::new());
    // The first one of each kind finds other things in the caches.
    for i in 0..=LOOKS {
        before()?;
        let (begin, on_processor) = (Instant::now(), on_processor());
        let n = work()?;
        if i > 0 {
            wall.push(begin.elapsed().as_secs_f64() * 1e3);
            busy.push(self::on_processor().saturating_sub(on_processor).as_secs_f64() * 1e3);
            about.push(n as f64);
        }
    }
    println!("| {what} | {} | {} | {} |", median(&mut about), shown(wall), shown(busy));
    Ok(())
}

/// What this thread has had of the processors.
fn on_processor() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
