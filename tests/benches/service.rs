//! What a service under load loses to gostray, and to a bpftrace script that hangs its probes where one would without thinking:
//! requests a second at saturation, latency at half of that. `cargo xtask bench service` runs it.
//!
//! One process of each server takes all runs, in turn, so that what the machine does meets all of them. The load runs on the same
//! machine and takes its share of the processors, the same in each run.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::gostray::{Background, report};
use tests::load::{Answers, Load};
use tests::values::spread;
use tests::{Fixture, Running, processor_time, real, root_only};
use xtask::debian;

/// Odd, so that there is a middle one.
const ROUNDS: usize = 5;
const LASTS: Duration = Duration::from_secs(6);
const CLIENTS: u32 = 8;

#[derive(Clone, Copy)]
enum Tracer {
    None,
    Gostray(&'static str, &'static [&'static str]),
    Bpftrace(&'static str, Script),
}

/// Where the probes of a naive script are.
#[derive(Clone, Copy)]
enum Script {
    Births,
    Parks,
}

const TRACERS: [Tracer; 6] = [
    Tracer::None,
    Tracer::Gostray("attach", &[]),
    Tracer::Gostray("attach --budget off", &["--budget", "off"]),
    Tracer::Gostray("attach --park on --budget off", &["--park", "on", "--budget", "off"]),
    Tracer::Bpftrace("bpftrace: births and deaths", Script::Births),
    Tracer::Bpftrace("bpftrace: parks and runs, too", Script::Parks),
];

/// A server to be asked.
struct Service<'s> {
    name: &'s str,
    executable: &'s Path,
    pid: u32,
    address: &'s str,
    path: &'s str,
    /// Its symbols tell bpftrace where to put its probes.
    symbols: bool,
}

/// Of one run.
#[derive(Default)]
struct Felt {
    /// Of the requests a second without a tracer in the same round.
    throughput: Vec<f64>,
    per_second: Vec<f64>,
    /// Of that without a tracer in the same round.
    late: Vec<f64>,
    p99: Vec<f64>,
    /// Microseconds of processor time of the service for each request, at half load.
    cpu: Vec<f64>,
}

fn main() -> Result<()> {
    root_only()?;
    debian::install(&["bpftrace"])?;
    let executable = Fixture::new("web").build()?;
    let mut web = Running::start_silent(&mut Command::new(&executable))?;
    let ready = web.wait_for("ready")?;
    let name = "`tests/go/web` (net/http)";
    let (path, address) = ("/items?n=20", ready.trim());
    bench(&Service { name, executable: &executable, pid: web.pid(), address, path, symbols: true })?;
    drop(web);

    let prometheus = real::PROGRAMS.iter().find(|p| p.always).context("no published program")?;
    let (executable, name) = prometheus.fetch()?;
    let started = prometheus.start(&executable)?;
    let address = started.address().context("it takes no requests")?;
    let path = "/api/v1/query?query=go_goroutines";
    bench(&Service {
        name: &name,
        executable: &executable,
        pid: started.pid(),
        address,
        path,
        symbols: false,
    })
}

fn bench(service: &Service<'_>) -> Result<()> {
    let tracers: Vec<Tracer> =
        TRACERS.into_iter().filter(|t| service.symbols || !matches!(t, Tracer::Bpftrace(..))).collect();
    let load = |rate| Load {
        address: service.address.to_owned(),
        path: service.path.to_owned(),
        clients: CLIENTS,
        rate,
        lasts: LASTS,
    };
    // It warms up, and tells what half of it is.
    let half = load(None).run()?.per_second() / 2.0;
    let mut felt: Vec<Felt> = tracers.iter().map(|_| Felt::default()).collect();
    let mut said: Vec<String> = vec![String::new(); tracers.len()];
    for _ in 0..ROUNDS {
        let mut alone = None;
        for (i, tracer) in tracers.iter().enumerate() {
            let watching = Watching::start(*tracer, service)?;
            let full = load(None).run()?;
            let before = processor_time(service.pid)?;
            let some = load(Some(half)).run()?;
            let cpu = (processor_time(service.pid)? - before).as_secs_f64() / some.count as f64;
            if let Some(words) = watching.end()? {
                said[i] = words;
            }
            let (per_second, p99) = alone.get_or_insert((full.per_second(), some.p99()));
            let felt = &mut felt[i];
            felt.throughput.push(100.0 * full.per_second() / *per_second);
            felt.per_second.push(full.per_second());
            felt.late.push(100.0 * some.p99() / *p99);
            felt.p99.push(some.p99());
            felt.cpu.push(cpu * 1e6);
            on_time(&some, half)?;
        }
    }
    println!(
        "\n{}, `{}`: {CLIENTS} clients, {ROUNDS} rounds, {LASTS:?} each; half load is {half:.0} a second\n",
        service.name, service.path
    );
    println!(
        "| tracer | requests a second at saturation | of those without | p99 at half load, ms | of that without | processor time a request, µs | gostray on the last run |"
    );
    println!("|---|---|---|---|---|---|---|");
    for ((tracer, felt), said) in tracers.iter().zip(felt).zip(said) {
        println!(
            "| {} | {} | {} % | {} | {} % | {} | {said} |",
            tracer.name(),
            spread(felt.per_second, 0),
            spread(felt.throughput, 1),
            spread(felt.p99, 2),
            spread(felt.late, 0),
            spread(felt.cpu, 1),
        );
    }
    Ok(())
}

/// A service that does not keep up is measured by the length of its queue, and that is another thing.
fn on_time(some: &Answers, rate: f64) -> Result<()> {
    let kept = some.per_second() / rate;
    if kept < 0.98 {
        eprintln!("only {:.0} % of half the load were answered in time", kept * 100.0);
    }
    Ok(())
}

impl Tracer {
    fn name(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Gostray(args, _) => format!("`gostray {args}`"),
            Self::Bpftrace(what, _) => what.to_owned(),
        }
    }
}

/// A tracer at work.
enum Watching {
    Nobody,
    Gostray(Background),
    Bpftrace(Child),
}

impl Watching {
    fn start(tracer: Tracer, service: &Service<'_>) -> Result<Self> {
        Ok(match tracer {
            Tracer::None => Self::Nobody,
            Tracer::Gostray(_, args) => {
                let pid = service.pid.to_string();
                let mut watching = Background::start(&[&["attach", &pid, "--json"], args].concat());
                watching.watching();
                Self::Gostray(watching)
            }
            Tracer::Bpftrace(_, script) => {
                let script = script.text(service.executable);
                let pid = service.pid.to_string();
                let mut child = Command::new("bpftrace")
                    .args(["-p", &pid, "-e", &script])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("bpftrace does not start")?;
                let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
                let line = lines.next().context("bpftrace has ended")??;
                ensure!(line.starts_with("Attaching"), "{line}");
                // What it prints at its end is thrown away.
                std::thread::spawn(move || lines.for_each(drop));
                std::thread::sleep(Duration::from_secs(2));
                ensure!(child.try_wait()?.is_none(), "bpftrace has ended");
                Self::Bpftrace(child)
            }
        })
    }

    /// What gostray says of itself.
    fn end(self) -> Result<Option<String>> {
        match self {
            Self::Nobody => Ok(None),
            Self::Gostray(watching) => {
                let report = report(&watching.end()).0;
                let losses = report["losses"].as_array().context("losses")?.len();
                let born = &report["totals"]["born"];
                let share = report["cost"]["target_most_ns"].as_f64().context("no estimate")? / 1e8;
                Ok(Some(format!(
                    "{born} births, {losses} losses, at most {share:.1} % of a core in ten seconds, as it estimates"
                )))
            }
            Self::Bpftrace(mut child) => {
                // SAFETY: a plain system call; it is our child, not yet waited for.
                unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
                child.wait()?;
                Ok(None)
            }
        }
    }
}

impl Script {
    /// Functions are probed at their first byte, as everybody's first script does: the instruction there is single-stepped.
    fn text(self, executable: &Path) -> String {
        let at = |function: &str, what: &str| {
            format!("uprobe:{}:runtime.{function} {{ {what} }} ", executable.display())
        };
        let births =
            at("newproc1", "@born[ustack(perf, 16)] = count();") + &at("goexit0", "@died = count();");
        match self {
            Self::Births => births,
            Self::Parks => {
                births
                    + &at("park_m", "@parked[reg(\"ax\")] = nsecs;")
                    + &at("execute", "@ran[reg(\"ax\")] = nsecs;")
            }
        }
    }
}
