//! What gostray's reader takes while it watches, and what replaying takes: processor time, memory, bytes in the file.
//! `cargo xtask bench flow` runs it; `cargo bench -p tracer --bench flow` has the steps one by one.

#[path = "../../tracer/benches/workload/mod.rs"]
mod workload;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::gostray::{Background, binary, report};
use tests::values::{median, spread};
use tests::{Fixture, processor_time, root_only};
use tracer::record::Writer;
use workload::{Shape, Workload};

/// Odd, so that there is a middle one.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    root_only()?;
    let scratch = tempfile::tempdir()?;
    println!("| what | measured | limit |\n|---|---|---|");
    reader()?;
    http(scratch.path())?;
    replays(scratch.path())
}

fn line(what: &str, unit: &str, values: Vec<f64>, digits: usize, limit: Option<(f64, Better)>) {
    let middle = median(&mut values.clone());
    let limit = limit.map_or("none".to_owned(), |(l, better)| {
        let kept = if matches!(better, Better::Less) { middle <= l } else { middle >= l };
        format!("{l} {unit}, {}", if kept { "kept" } else { "MISSED" })
    });
    println!("| {what} | {} {unit} | {limit} |", spread(values, digits));
}

enum Better {
    Less,
    More,
}

/// The share of one processor that `attach` takes at a rate of events, and what it loses. A goroutine of `hot` is two events, with parks six.
fn reader() -> Result<()> {
    let mut program = Fixture::new("hot").start(&[])?;
    for (births, seconds, args, rounds, limit) in [
        (50_000u64, 10u64, &[][..], ROUNDS, Some(3.0)),
        (16_700, 10, &["--park", "on"], ROUNDS, Some(3.0)),
        (84_000, 60, &["--park", "on"], 1, None),
    ] {
        let (mut share, mut rate, mut each) = (Vec::new(), Vec::new(), Vec::new());
        let mut lost = 0;
        for _ in 0..rounds {
            let watching = Background::attach(program.pid(), args);
            let (before, begun) = (processor_time(watching.pid() as u32)?, Instant::now());
            program.say(&format!("paced {births} {seconds}"))?;
            let patience = Duration::from_secs(seconds * 60);
            std::thread::sleep(Duration::from_secs(seconds));
            let (took, wall) = (processor_time(watching.pid() as u32)? - before, begun.elapsed());
            let report = report(&watching.end());
            program.wait_for_within("took", patience)?;
            let events = report.total("events") as f64 / wall.as_secs_f64();
            share.push(100.0 * took.as_secs_f64() / wall.as_secs_f64());
            rate.push(events);
            each.push(took.as_nanos() as f64 / (events * wall.as_secs_f64()));
            lost += report.losses().iter().filter_map(|l| l["count"].as_u64()).sum::<u64>();
        }
        let how = format!("`attach {}` for {seconds} s", args.join(" "));
        line(&format!("{how}: events a second"), "", rate, 0, None);
        line("its share of one processor", "%", share, 2, limit.map(|l| (l, Better::Less)));
        line("for each event", "ns", each, 0, None);
        println!("| events lost | {lost} | 0, {} |", if lost == 0 { "kept" } else { "MISSED" });
    }
    Ok(())
}

/// Bytes of an event in the session file of an HTTP server.
fn http(scratch: &Path) -> Result<()> {
    for (args, what) in [(&[][..], ""), (&["--park", "on"], " `--park on`")] {
        let (mut each, mut speed) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let server = Fixture::new("busy").start(&["-clients", "16", "-rate", "100", "-fan", "2"])?;
            let file = scratch.join(format!("http-{}-{round}", args.len()));
            let (pid, path) = (server.pid().to_string(), file.to_string_lossy());
            let mut all = vec!["record", "--json", "-o", &path, "--duration", "8s"];
            all.extend(args);
            all.push(&pid);
            let ended = Background::start(&all).finish();
            let events = report(&ended).total("events");
            each.push(fs::metadata(&file)?.len() as f64 / events as f64);
            speed.push(events as f64 / replayed(&file)?.0.as_secs_f64() / 1e6);
        }
        line(
            &format!("HTTP server,{what} recorded: bytes of an event"),
            "",
            each,
            2,
            Some((5.0, Better::Less)),
        );
        let fast = Some((5.0, Better::More));
        line("its `report`: million events a second of processor time", "", speed, 2, fast);
    }
    Ok(())
}

/// Replays of made-up sessions: by length, with parks, with a million alive, with ten million that come and go.
fn replays(scratch: &Path) -> Result<()> {
    let births = |events, live, rate| Shape { events, rate, live, park: false };
    for (what, shape, memory) in [
        ("1,000,000 births and deaths", births(1_000_000, 2_000, 100_000), None),
        ("20,000,000: ten million goroutines come and go", births(20_000_000, 2_000, 100_000), None),
        ("10,000,000, parks too", Shape { events: 10_000_000, rate: 100_000, live: 2_000, park: true }, None),
        ("1,000,000 goroutines alive", births(1_000_000, 1_000_000, 100_000), Some((100.0, Better::Less))),
    ] {
        let file = scratch.join("made-up");
        let (mut writer, mut workload, mut record) =
            (Writer::create(&file, true)?, Workload::new(shape), Vec::new());
        while workload.next(&mut record) {
            writer.write(&record)?;
        }
        let written = writer.finish()?;
        let (mut speed, mut peak) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (time, most) = replayed(&file)?;
            speed.push(written.records as f64 / time.as_secs_f64() / 1e6);
            peak.push(most as f64 / 1e6);
        }
        let fast = if memory.is_some() { None } else { Some((5.0, Better::More)) };
        line(&format!("`report`, {what}: million events a second of processor time"), "", speed, 2, fast);
        line("its memory at most", "MB", peak, 1, memory);
        println!(
            "| bytes of an event in that file | {:.2} | none |",
            written.bytes as f64 / written.records as f64
        );
    }
    Ok(())
}

/// Processor time and peak of resident memory, bytes.
fn replayed(file: &Path) -> Result<(Duration, u64)> {
    let mut cmd = Command::new(binary());
    let child = cmd.arg("report").arg(file).stdout(Stdio::null()).spawn()?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: a plain system call on our own child, with room for both answers.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    ensure!(waited == child.id() as i32, "cannot wait for gostray");
    ensure!(std::process::ExitStatus::from_raw(status).success(), "the replay failed");
    // SAFETY: zeros are a value of `rusage`, and the kernel has filled it in.
    let usage = unsafe { usage.assume_init() };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Ok((time(usage.ru_utime) + time(usage.ru_stime), usage.ru_maxrss as u64 * 1024))
}
