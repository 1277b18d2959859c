//! However gostray goes, nothing of it stays: not in the program, not in the kernel.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use tests::gostray::{Background, gostray, report, until};
use tests::kernel::{Bpf, nothing_left_since, tracing_descriptors};
use tests::probes::{Place, breakpoints, places};
use tests::{Fixture, Running, root_only, soak};

/// `busy` under its own load, and what there was before anyone traced it.
struct Subject {
    busy: Running,
    address: String,
    places: Vec<Place>,
    before: Bpf,
}

impl Subject {
    fn start() -> Result<Self> {
        let mut busy = Fixture::new("busy").start(&[])?;
        let address = busy.heard("listen").context("it does not say where it listens")?.to_owned();
        let places = places(busy.pid())?;
        ensure!(busy.is_alive()?, "`busy` ended");
        Ok(Self { busy, address, places, before: Bpf::now()? })
    }

    /// A counter that it serves.
    fn metric(&self, name: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no `{name}` in {text}"))?.parse()?)
    }

    /// It answers, none of its own requests failed, and nobody has a breakpoint in it.
    fn is_whole(&self) -> Result<()> {
        ensure!(self.metric("busy_failed_requests_total")? == 0, "a request failed");
        let left = breakpoints(self.busy.pid(), &self.places)?;
        ensure!(left.is_empty(), "breakpoints stay: {left:?}");
        let descriptors = tracing_descriptors(self.busy.pid())?;
        ensure!(descriptors.is_empty(), "it has {descriptors:?}");
        Ok(())
    }

    /// Nothing is left in the kernel either, and it has served all its requests to the end.
    fn end(self) -> Result<u64> {
        nothing_left_since(&self.before)?;
        let (status, said) = self.busy.stop()?;
        ensure!(status.success(), "it ended with {status}");
        let last = said.last().context("it said nothing")?;
        let served = last.strip_prefix("served ").and_then(|l| l.strip_suffix(" failed 0"));
        Ok(served.with_context(|| last.clone())?.parse()?)
    }
}

/// Times that differ from run to run; the seed is printed, so that a failure can be had again.
struct Chance(u64);

impl Chance {
    fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
        let seed = std::env::var("GOSTRAY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(now);
        eprintln!("GOSTRAY_SEED={seed}");
        Ok(Self(seed))
    }

    /// Up to this long, in steps of microseconds.
    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % (most.as_micros() as u64).max(1))
    }
}

/// Kills it outright and makes sure of what that leaves.
fn kill(tracing: Background, subject: &Subject) -> Result<()> {
    let pid = tracing.pid();
    tracing.kill();
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "it is still there");
    subject.is_whole()
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn killed_while_it_attaches() -> Result<()> {
    root_only()?;
    let subject = Subject::start()?;
    let pid = subject.busy.pid().to_string();
    // How long it takes from its start to its first look, here and now.
    let start = Instant::now();
    let tracing = Background::attach(subject.busy.pid(), &[]);
    let attached = start.elapsed().saturating_sub(Duration::from_secs(1)).max(Duration::from_millis(50));
    drop(tracing);
    subject.is_whole()?;
    let mut chance = Chance::new()?;
    let (mut some, mut all) = (0, 0);
    for i in 0..32 {
        let park = if i % 4 < 2 { "on" } else { "off" };
        let tracing = Background::start(&["attach", &pid, "--json", "--budget", "off", "--park", park]);
        if i % 2 == 0 {
            sleep(chance.up_to(attached));
        } else {
            // While it places its probes, one after another.
            until("a first probe", Duration::from_secs(20), || {
                breakpoints(subject.busy.pid(), &subject.places).is_ok_and(|b| !b.is_empty())
            });
            sleep(chance.up_to(Duration::from_millis(if i % 4 == 1 { 0 } else { 60 })));
        }
        let placed = breakpoints(subject.busy.pid(), &subject.places)?.len();
        let wanted = if park == "on" { 5 } else { 2 };
        some += u32::from((1..wanted).contains(&placed));
        all += u32::from(placed == wanted);
        kill(tracing, &subject).with_context(|| format!("kill {i}"))?;
    }
    eprintln!(
        "of 32 killed, {some} had placed some of their probes, {all} all; attaching takes {attached:?}"
    );
    ensure!(some + all >= 12, "only {} were killed with probes in place", some + all);
    subject.end().map(drop)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn killed_while_it_watches() -> Result<()> {
    root_only()?;
    let subject = Subject::start()?;
    let mut chance = Chance::new()?;
    for i in 0..6 {
        let park = if i % 2 == 0 { "on" } else { "off" };
        let tracing = Background::attach(subject.busy.pid(), &["--park", park]);
        ensure!(!breakpoints(subject.busy.pid(), &subject.places)?.is_empty(), "no probe is in place");
        sleep(chance.up_to(Duration::from_millis(600)));
        kill(tracing, &subject).with_context(|| format!("kill {i}"))?;
    }
    subject.end().map(drop)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_program_that_it_runs_inherits_nothing() -> Result<()> {
    root_only()?;
    let before = Bpf::now()?;
    let busy = Fixture::new("busy").build()?;
    let mut tracing = Background::start(&["run", "--json", "--budget", "off", "--", &busy.to_string_lossy()]);
    tracing.watching();
    let child = child_of(&tracing)?;
    assert_eq!(tracing_descriptors(child)?, [""; 0]);
    tracing.signal(libc::SIGTERM);
    let output = tracing.finish();
    assert!(output.status.success(), "the program's own status: {}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("failed 0"));
    nothing_left_since(&before)
}

/// The program that `gostray run` has started.
fn child_of(tracing: &Background) -> Result<u32> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", tracing.pid()))?;
    children.trim().parse().with_context(|| format!("children: `{children}`"))
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_program_outlives_the_gostray_that_ran_it() -> Result<()> {
    root_only()?;
    // Another process of the same executable, to learn the places from: it is not position independent.
    let subject = Subject::start()?;
    let busy = Fixture::new("busy").build()?;
    let mut tracing = Background::start(&["run", "--json", "--budget", "off", "--", &busy.to_string_lossy()]);
    tracing.watching();
    let child = child_of(&tracing)?;
    ensure!(!breakpoints(child, &subject.places)?.is_empty(), "no probe is in place");
    // SIGKILL, and its own pipes go with it: what `busy` prints at its end goes nowhere.
    tracing.signal(libc::SIGKILL);
    until("its end", Duration::from_secs(10), || {
        breakpoints(child, &subject.places).is_ok_and(|left| left.is_empty())
    });
    sleep(Duration::from_millis(500));
    let state = std::fs::read_to_string(format!("/proc/{child}/stat"))?;
    let running = state.rsplit(')').next().is_some_and(|s| s.starts_with(" S") || s.starts_with(" R"));
    // SAFETY: kill(2) takes two integers; the child of our child was alive a moment ago and is no one's to wait for.
    unsafe { libc::kill(libc::pid_t::try_from(child)?, libc::SIGKILL) };
    ensure!(running, "it does not go on: {state}");
    tracing.kill();
    subject.is_whole()?;
    subject.end().map(drop)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn attached_and_detached_again_and_again() -> Result<()> {
    root_only()?;
    let time = soak(Duration::from_secs(20))?;
    let subject = Subject::start()?;
    let pid = subject.busy.pid().to_string();
    let mut chance = Chance::new()?;
    let start = Instant::now();
    let (mut times, mut births) = (0u64, 0);
    while start.elapsed() < time {
        let duration = Duration::from_millis(100) + chance.up_to(Duration::from_millis(1_500));
        let park = if times % 2 == 0 { "off" } else { "on" };
        let duration = format!("{}us", duration.as_micros());
        let output =
            gostray(&["attach", &pid, "--json", "--budget", "off", "--park", park, "--duration", &duration]);
        ensure!(output.status.success(), "attach {times} ended with {}", output.status);
        let report = report(&output);
        ensure!(report.losses().is_empty(), "attach {times}: {:?}", report.losses());
        births += report.total("born");
        subject.is_whole().with_context(|| format!("after attach {times}"))?;
        times += 1;
    }
    let took = start.elapsed();
    let served = subject.end()?;
    println!(
        "{times} times attached and detached in {took:?}, {births} births seen, {served} requests served, none failed"
    );
    ensure!(times > 1 && births > 0 && served > 0, "too little happened");
    Ok(())
}
