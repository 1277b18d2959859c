//! Every birth, every death, every creation stack: what the session says of `tests/go/exact` is what the program says of
//! itself.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use tests::chains::{chains, check};
use tests::events::{self, Event};
use tests::gostray::{Background, report};
use tests::{Fixture, root_only};
use tracer_common::wire::total;
use xtask::golang;

/// Attaches to a waiting `exact`, lets it go, and holds the report against what it printed.
fn attached(fixture: &Fixture, births: u64, deaths: u64) -> Result<()> {
    let (n, m) = (births.to_string(), deaths.to_string());
    let mut exact = fixture.start(&["-wait", "-n", &n, "-m", &m])?;
    let tracing = Background::attach(exact.pid(), &[]);
    exact.go()?;
    assert_eq!(exact.wait_for("done")?, format!("{n} {m}"));
    let report = report(&tracing.end());
    check(&report, &chains(exact.said.iter().map(String::as_str))?, births, deaths);
    ensure!(exact.is_alive()?, "`exact` ended");
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_thousand_in_every_go_release() -> Result<()> {
    root_only()?;
    for version in golang::VERSIONS {
        attached(&Fixture::new("exact").go(version), 1_000, 700).with_context(|| version.to_owned())?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_thousand_in_a_stripped_program() -> Result<()> {
    root_only()?;
    attached(&Fixture::new("exact").stripped(), 1_000, 300)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_thousand_in_a_position_independent_program() -> Result<()> {
    root_only()?;
    attached(&Fixture::new("exact").pie(), 1_000, 999)?;
    // Before Go 1.26 it has no section for its function table.
    attached(&Fixture::new("exact").go("1.23.9").pie().stripped(), 1_000, 1_000)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn two_hundred_thousand_that_stay() -> Result<()> {
    root_only()?;
    attached(&Fixture::new("exact"), 200_000, 0)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn two_hundred_thousand_that_all_end() -> Result<()> {
    root_only()?;
    attached(&Fixture::new("exact"), 200_000, 200_000)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn from_the_first_goroutine_on() -> Result<()> {
    root_only()?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("session");
    let (path, exact) = (file.to_string_lossy(), Fixture::new("exact").build()?);
    let exact = exact.to_string_lossy();
    let args = ["record", "--json", "--budget", "off", "-o", &path, "--", &exact, "-n", "1000", "-m", "400"];
    let mut tracing = Background::start(&args);
    tracing.until_printed("end of its work", |line| line == "done 1000 400");
    // Passed on to the program, which it ends.
    tracing.signal(libc::SIGTERM);
    let output = tracing.finish();
    assert_eq!(output.status.code(), Some(128 + libc::SIGTERM));
    let report = report(&output);
    assert_eq!(report.0["end"]["reason"], "target-exited");
    assert_eq!(report.0["end"]["wait_status"], libc::SIGTERM);
    assert_eq!(report.total("before"), 0);
    let said = String::from_utf8(output.stdout)?;
    check(&report, &chains(said.lines())?, 1_000, 400);

    let all = report.sites();
    let mains: Vec<_> = all.iter().filter(|s| s.start() == "runtime.main").collect();
    let [main] = mains[..] else { panic!("{} sites of the main goroutine", mains.len()) };
    assert_eq!(["born", "died", "live", "before"].map(|c| main.count(c)), [1, 0, 1, 0]);
    assert!(main.incomplete_because().is_some_and(|why| !why.is_empty()), "nobody created main");

    // The report has no goids; the events have.
    let events = events::read(&file)?;
    let births: Vec<&Event> = events.iter().filter(|e| e.name == "birth").collect();
    assert_eq!(births.len() as u64, report.total("born"));
    let goids: BTreeSet<u64> = births.iter().map(|b| b.number("goid")).collect();
    assert_eq!(goids.len(), births.len(), "a goid came twice");
    let orphans: Vec<u64> =
        births.iter().filter(|b| b.number("parent") == 0).map(|b| b.number("goid")).collect();
    assert_eq!(orphans, [1], "only main has no parent");
    // Main also starts some of the runtime's own.
    assert!(births.iter().filter(|b| b.number("parent") == 1).count() >= 1_000);
    Ok(())
}

/// What makes births cheap: a stack is walked frame by frame until it is known, then recognised. 5 call chains, and each a few times
/// until its definition is delivered.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn known_stacks_are_recognised_in_every_go_release() -> Result<()> {
    root_only()?;
    for version in golang::VERSIONS {
        let scratch = tempfile::tempdir()?;
        let file = scratch.path().join("session");
        let mut exact = Fixture::new("exact").go(version).start(&["-wait", "-n", "1000", "-m", "0"])?;
        let pid = exact.pid().to_string();
        let mut tracing =
            Background::start(&["record", &pid, "--json", "--budget", "off", "-o", &file.to_string_lossy()]);
        tracing.watching();
        exact.go()?;
        exact.wait_for("done")?;
        ensure!(tracing.end().status.success(), "{version}: the recording");
        let events = events::read(&file)?;
        let last = events.iter().rfind(|e| e.name == "totals").context("no totals")?;
        let counts = last.line.split_once("counts=").context("no counts")?.1;
        let counts: Vec<u64> = counts
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        assert!(counts[total::BIRTHS] >= 1_000, "{version}: {counts:?}");
        assert!((1..100).contains(&counts[total::WALKS]), "{version}: {counts:?}");
    }
    Ok(())
}

/// The reader is stopped while more happens than the ring buffer holds.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn what_does_not_fit_is_counted() -> Result<()> {
    root_only()?;
    let mut exact = Fixture::new("exact").start(&["-wait", "-n", "5000", "-m", "3000"])?;
    let tracing = Background::attach(exact.pid(), &["--ring-size", "64K"]);
    tracing.signal(libc::SIGSTOP);
    exact.go()?;
    exact.wait_for("done")?;
    tracing.signal(libc::SIGCONT);
    let report = report(&tracing.end());
    assert_eq!((report.total("kernel_births"), report.total("kernel_deaths")), (5_000, 3_000));
    let lost = |cause: &str| -> u64 {
        report.losses().iter().filter(|l| l["cause"] == cause).filter_map(|l| l["count"].as_u64()).sum()
    };
    let traced = report.total("born") - report.total("found");
    assert!(lost("birth-ring-full") > 3_000, "64 KiB hold a thousand births: {:#?}", report.losses());
    assert_eq!(traced + lost("birth-ring-full"), 5_000, "{:#}", report.0["totals"]);
    assert_eq!(report.total("died") + lost("death-ring-full"), 3_000, "{:#}", report.0["totals"]);
    // The look at the end has found those that live, whoever told of their births.
    assert_eq!(report.total("live"), 2_000 + 1, "{:#}", report.0["totals"]);
    Ok(())
}

/// The reader runs as ever, but the ring buffer is too small for what happens between two drains of it.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn at_overload_every_birth_and_death_is_delivered_or_counted() -> Result<()> {
    root_only()?;
    let mut hot = Fixture::new("hot").start(&[])?;
    let tracing = Background::attach(hot.pid(), &["--ring-size", "64K"]);
    hot.say("births 200000")?;
    hot.wait_for("took")?;
    let report = report(&tracing.end());
    let lost = |cause: &str| -> u64 {
        report.losses().iter().filter(|l| l["cause"] == cause).filter_map(|l| l["count"].as_u64()).sum()
    };
    let (births, deaths) = (lost("birth-ring-full"), lost("death-ring-full"));
    assert!(births > 0 && deaths > 0, "nothing was lost: {:#?}", report.losses());
    assert!(report.total("kernel_births") >= 200_000);
    let traced = report.total("born") - report.total("found");
    assert_eq!(traced + births, report.total("kernel_births"), "{:#}", report.0["totals"]);
    assert_eq!(report.total("died") + deaths, report.total("kernel_deaths"), "{:#}", report.0["totals"]);
    Ok(())
}
