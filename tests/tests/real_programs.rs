//! Published programs as they come: recognised, probed, and their goroutines counted as they count them themselves. Each is a
//! row of docs/binaries.md (`cargo xtask table`, which has more of them than a test run has time for).

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tests::counts::{MARGIN, Sample, replayed};
use tests::first::Doctor;
use tests::gostray::report;
use tests::real::{PROGRAMS, Program, Started};
use tests::{root_only, rows};
use xtask::table::{ALL_VAR, Column, Kind, Row};

/// How often it is asked.
const SAMPLES: usize = 4;

/// Fills the row as far as it gets.
fn measure(row: &mut Row, program: &Program) -> Result<()> {
    let (executable, name) = program.fetch()?;
    row.name = name;
    row.go = rows::go_version(&executable)?;
    row.name += &format!(", {}", row.go);
    if let Some(why) = program.cannot_run(&executable)? {
        row.holes(&why);
        return Ok(());
    }
    let mut started = program.start(&executable)?;
    let doctor = Doctor::of(started.pid())?;
    rows::recognised(row, &doctor)?;
    let dir = tempfile::tempdir()?;
    let session = dir.path().join("session");
    let watched = doctor.watched("record", &["-o", &session.to_string_lossy()])?;
    rows::first_probe(row, &watched);
    // The first look tells of those that were there before.
    thread::sleep(Duration::from_millis(1500));
    let samples = ask(&started)?;
    let output = watched.end()?;
    ensure!(output.status.success(), "gostray ended with {}", output.status);
    ensure!(started.is_alive()?, "it has ended");
    started.request()?;
    let report = report(&output);
    rows::depth(row, &report);
    ensure!(report.losses().is_empty(), "something was lost: {:#?}", report.losses());
    if let Some(why) = started.silent_because() {
        row.hole(Column::Counts, format!("{why}; {} lived at the end of the watch", report.total("live")));
        return Ok(());
    }
    let (counts, _) = replayed(&session, &samples)?;
    let mut differences = Vec::new();
    let mut narrowest = u64::MAX;
    for (sample, count) in samples.iter().zip(counts) {
        let Some((least, most)) = count else { bail!("the recording does not cover {sample:?}") };
        let own = sample.goroutines;
        ensure!(
            (least.saturating_sub(MARGIN)..=most + MARGIN).contains(&own),
            "it says {own}, the session {least} to {most} at that time"
        );
        narrowest = narrowest.min(most - least);
        differences.push(format!(
            "{own}: {}",
            if least == most { format!("{least}") } else { format!("{least}–{most}") }
        ));
    }
    // A count that may be anything agrees with everything.
    ensure!(narrowest <= 10, "none of these says anything: {}", differences.join(", "));
    row.measured(Column::Counts, differences.join(", "));
    Ok(())
}

/// Its own counts, with requests before each.
fn ask(started: &Started) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        for _ in 0..20 {
            started.request()?;
        }
        if started.silent_because().is_none() {
            samples.push(Sample::take(|| started.goroutines())?);
        }
        thread::sleep(Duration::from_millis(300));
    }
    Ok(samples)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn published_programs() -> Result<()> {
    root_only()?;
    let all = std::env::var_os(ALL_VAR).is_some();
    let mut failed = Vec::new();
    for program in PROGRAMS.iter().filter(|p| all || p.always) {
        let mut row = Row::new(Kind::Program, &program.name(), "");
        if let Err(e) = measure(&mut row, program) {
            let e = format!("{e:#}");
            row.holes(&e);
            failed.push(format!("{}: {e}", row.name));
        }
        row.publish()?;
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
