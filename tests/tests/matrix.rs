//! Every Go release in every way of building: `tests/go/exact` is recognised, and all its births, deaths and creation
//! stacks are counted. Each build is a row of docs/binaries.md (`cargo xtask table`).

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail, ensure};
use tests::chains::{chains, check};
use tests::first::Doctor;
use tests::gostray::report;
use tests::modes::Mode;
use tests::{Running, root_only, rows};
use xtask::golang;
use xtask::table::{ALL_VAR, Column, Kind, Row};

/// Those of which a test run makes every build; of the others it makes those that share their compiled packages.
const WHOLE: [&str; 3] = [golang::OLDEST, golang::DEFAULT, "1.27.3"];

const BIRTHS: u64 = 500;
const DEATHS: u64 = 300;

/// Fills the row as far as it gets.
fn measure(row: &mut Row, mode: Mode, go: &str) -> Result<()> {
    let executable = mode.build(go)?;
    // Go itself does not always read its version without section headers; the file it was made from has the same.
    row.go = rows::go_version(&executable.with_extension(""))?;
    ensure!(row.go.starts_with(&format!("go{go}")), "built with {}", row.go);
    let (n, m) = (BIRTHS.to_string(), DEATHS.to_string());
    let mut exact = Running::start(&executable, &["-wait", "-n", &n, "-m", &m])?;
    let doctor = Doctor::of(exact.pid())?;
    rows::recognised(row, &doctor)?;
    let watched = doctor.watched("attach", &[])?;
    rows::first_probe(row, &watched);
    exact.go()?;
    exact.wait_for("done")?;
    let output = watched.end()?;
    ensure!(output.status.success(), "gostray ended with {}", output.status);
    let report = report(&output);
    rows::depth(row, &report);
    let chains = chains(exact.said.iter().map(String::as_str))?;
    let exactly = catch_unwind(AssertUnwindSafe(|| check(&report, &chains, BIRTHS, DEATHS)));
    let (born, died) = (report.total("kernel_births"), report.total("kernel_deaths"));
    if let Err(panic) = exactly {
        let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        row.hole(Column::Counts, format!("{born} born of {BIRTHS}, {died} died of {DEATHS}: {}", why.trim()));
        bail!("{why}");
    }
    row.measured(Column::Counts, format!("exact: {born} born, {died} died"));
    exact.stop()?;
    Ok(())
}

/// All builds with one Go; tells of all that are not as they should be.
fn all_builds(go: &str) -> Result<()> {
    root_only()?;
    let mut failed = Vec::new();
    // The others' compilers would be at work for minutes.
    let whole = std::env::var_os(ALL_VAR).is_some() || WHOLE.contains(&go);
    for mode in Mode::ALL.into_iter().filter(|mode| whole || mode.is_cheap()) {
        let mut row = Row::new(Kind::Fixture, mode.title(), &format!("go{go}"));
        if let Some(why) = mode.impossible(go)? {
            row.holes(&why);
        } else if let Err(e) = measure(&mut row, mode, go) {
            let e = format!("{e:#}");
            row.holes(&e);
            failed.push(format!("{mode:?}: {e}"));
        }
        row.publish()?;
    }
    if failed.is_empty() { Ok(()) } else { Err(anyhow!("Go {go}:\n{}", failed.join("\n"))) }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_19() -> Result<()> {
    all_builds(golang::OLDEST)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_21() -> Result<()> {
    all_builds("1.21.13")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_22() -> Result<()> {
    all_builds("1.22.10")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_23() -> Result<()> {
    all_builds("1.23.9")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_24() -> Result<()> {
    all_builds("1.24.11")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_25() -> Result<()> {
    all_builds("1.25.5")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_26() -> Result<()> {
    all_builds("1.26.6")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_1_27() -> Result<()> {
    all_builds("1.27.3")
}
