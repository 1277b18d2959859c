//! Tracing one process of an executable is nothing to the others of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::gostray::{Background, report, until};
use tests::probes::{breakpoints, places};
use tests::{Fixture, root_only};

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn another_process_of_the_same_file_is_left_alone() -> Result<()> {
    root_only()?;
    let args = ["-wait", "-n", "300", "-m", "100"];
    let mut watched = Fixture::new("exact").start(&args)?;
    let mut other = Fixture::new("exact").start(&["-wait", "-n", "777", "-m", "500"])?;
    assert_eq!(
        fs::read_link(format!("/proc/{}/exe", watched.pid()))?,
        fs::read_link(format!("/proc/{}/exe", other.pid()))?,
    );
    let (ours, theirs) = (places(watched.pid())?, places(other.pid())?);
    assert!(breakpoints(watched.pid(), &ours)?.is_empty() && breakpoints(other.pid(), &theirs)?.is_empty());

    let tracing = Background::attach(watched.pid(), &["--park", "on"]);
    let mut roles: Vec<_> = breakpoints(watched.pid(), &ours)?.iter().map(|p| p.role.clone()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["create", "exit", "park", "ready", "run"]);
    assert!(breakpoints(other.pid(), &theirs)?.is_empty());

    watched.go()?;
    other.go()?;
    watched.wait_for("done")?;
    other.wait_for("done")?;
    assert!(breakpoints(other.pid(), &theirs)?.is_empty());
    let report = report(&tracing.end());
    assert!(report.losses().is_empty(), "{:#?}", report.losses());
    assert_eq!((report.total("kernel_births"), report.total("kernel_deaths")), (300, 100));
    assert_eq!((report.total("born"), report.total("died")), (300, 100));

    assert!(breakpoints(watched.pid(), &ours)?.is_empty() && breakpoints(other.pid(), &theirs)?.is_empty());
    ensure!(watched.is_alive()? && other.is_alive()?, "one of them ended");
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn what_the_watched_one_becomes_is_left_alone() -> Result<()> {
    root_only()?;
    let mut execer = Fixture::new("execer").start(&["sleep", "60"])?;
    let places = places(execer.pid())?;
    let tracing = Background::attach(execer.pid(), &[]);
    assert_eq!(breakpoints(execer.pid(), &places)?.len(), 2);
    execer.signal(libc::SIGUSR1)?;
    let report = report(&tracing.finish());
    assert_eq!(report.0["end"]["reason"], "target-execed");
    ensure!(execer.is_alive()?, "what it became ended");
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn all_threads_are_covered() -> Result<()> {
    root_only()?;
    // Births and deaths happen on every thread that runs Go code, also on those that come later.
    let mut busy = Fixture::new("busy").start(&["-clients", "8", "-rate", "100"])?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("session");
    let (pid, path) = (busy.pid().to_string(), file.to_string_lossy());
    let mut tracing = Background::start(&["record", &pid, "--json", "--budget", "off", "-o", &path]);
    tracing.watching();
    std::thread::sleep(Duration::from_secs(1));
    let report = report(&tracing.end());
    assert!(report.losses().is_empty(), "{:#?}", report.losses());
    let mut births: BTreeMap<u64, u64> = BTreeMap::new();
    for e in tests::events::read(&file)?.iter().filter(|e| e.name == "birth") {
        *births.entry(e.number("tid")).or_default() += 1;
    }
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/task", busy.pid()))? {
        threads.push(entry?.file_name().to_string_lossy().parse::<u64>()?);
    }
    assert!(births.keys().all(|tid| threads.contains(tid)), "{births:?} {threads:?}");
    // As many as can run at a time have run, at least.
    let cpus = std::thread::available_parallelism()?.get();
    assert!(births.len() >= cpus.min(4), "{births:?} of {threads:?}");
    until("it lives on", Duration::from_secs(5), || busy.is_alive().unwrap_or(false));
    Ok(())
}
