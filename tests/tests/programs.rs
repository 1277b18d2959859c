//! The Go programs do what the other tests take for granted. Needs Go, but neither root nor the kernel's tracing.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::{Fixture, Running, truth};
use xtask::workspace;

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn every_scenario_starts_and_ends_on_sigterm() -> Result<()> {
    for truth in truth::zoo()? {
        let zoo =
            Fixture::new("zoo").start(&["-scenario", &truth.name, "-rate", "100", "-period", "200ms"])?;
        sleep(Duration::from_millis(50));
        let (status, said) = zoo.stop()?;
        assert_eq!(status.code(), Some(0), "{}: {said:?}", truth.name);
    }
    Ok(())
}

/// What the Go runtime itself says at the end (SIGQUIT prints every goroutine): leaks grow, twins do not, and the
/// wait reason, start function and `go` statement are the ones that `truth.json` names.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn the_truth_is_what_the_go_runtime_says() -> Result<()> {
    for truth in truth::zoo()? {
        let dump = dump_of(&truth.name)?;
        let place = format!("{}:{} ", truth.file.display(), truth.line);
        let goroutines: Vec<&str> = dump.split("\n\n").filter(|g| g.contains(&place)).collect();
        if truth.leak {
            assert!(goroutines.len() >= 20, "{}: only {} leaked\n{dump}", truth.name, goroutines.len());
        } else if truth.twin.is_some() {
            assert!(goroutines.len() <= 60, "{}: {} live", truth.name, goroutines.len());
        }
        for goroutine in goroutines {
            assert!(
                goroutine.contains(&format!("created by {} ", truth.function)),
                "{}:\n{goroutine}",
                truth.name
            );
            // One that has not run yet stands before the function, in the wrapper that the compiler made for it.
            let starts = goroutine.contains(&format!("\n{}(", truth.start));
            assert!(starts || goroutine.contains("[runnable]"), "{}:\n{goroutine}", truth.name);
        }
    }
    Ok(())
}

fn dump_of(scenario: &str) -> Result<String> {
    let scratch = tempfile::NamedTempFile::new()?;
    let executable = Fixture::new("zoo").build()?;
    let mut cmd = std::process::Command::new(executable);
    cmd.args(["-scenario", scenario, "-rate", "100", "-period", "400ms"]);
    cmd.env("GOTRACEBACK", "all").stderr(scratch.reopen()?);
    let mut zoo = Running::start_silent(&mut cmd)?;
    zoo.wait_for("ready")?;
    sleep(Duration::from_millis(700));
    zoo.signal(libc::SIGQUIT)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while zoo.is_alive()? && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    Ok(fs::read_to_string(scratch.path())?)
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn exact_counts_its_chains_and_knows_their_stacks() -> Result<()> {
    let mut exact = Fixture::new("exact").start(&["-n", "1003", "-m", "502", "-wait"])?;
    exact.go()?;
    assert_eq!(exact.wait_for("done")?, "1003 502");
    let mut stacks = BTreeMap::new();
    let (mut births, mut deaths) = (0, 0);
    for line in &exact.said {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["stack", name, line, ref frames @ ..] => {
                stacks.insert(name.to_owned(), (line.parse::<u32>()?, frames.len(), frames[0].to_owned()));
            }
            ["chain", _, born, died] => {
                births += born.parse::<u32>()?;
                deaths += died.parse::<u32>()?;
            }
            _ => {}
        }
    }
    assert_eq!((births, deaths), (1003, 502));
    let file = workspace::root().join("tests/go/exact/chains.go");
    for (name, function, frames) in [
        ("plain", "main.plain3", 6),
        ("other", "main.other2", 5),
        ("inlined", "main.inlined4", 7),
        ("deep", "main.deep", 104),
        ("closure", "main.closure1.func1", 6),
    ] {
        let (line, count, first) = stacks.get(name).with_context(|| format!("no stack of `{name}`"))?;
        assert_eq!((first.as_str(), *count), (function, frames), "{name}");
        let marked =
            fs::read_to_string(&file)?.lines().nth(*line as usize - 1).unwrap_or_default().to_owned();
        assert!(marked.ends_with(&format!("// SPAWN {name}")), "{name}: {marked}");
    }
    Ok(())
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn coro_and_cgo_count_what_they_do() -> Result<()> {
    let mut coro =
        Fixture::new("coro").start(&["-finished", "3", "-stopped", "2", "-abandoned", "4", "-wait"])?;
    coro.go()?;
    assert_eq!(coro.wait_for("done")?, "5 4 600");
    let mut cgo = Fixture::new("cgo").start(&["-threads", "3", "-calls", "50", "-wait"])?;
    cgo.go()?;
    assert_eq!(cgo.wait_for("done")?, "3 150 150");
    Ok(())
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn execer_becomes_another_program() -> Result<()> {
    let execer = Fixture::new("execer").start(&["sleep", "60"])?;
    execer.signal(libc::SIGUSR1)?;
    let comm = format!("/proc/{}/comm", execer.pid());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&comm)?.trim() != "sleep" {
        assert!(Instant::now() < deadline, "it still is {}", fs::read_to_string(&comm)?);
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn busy_and_demo_serve_without_a_failure() -> Result<()> {
    let busy = Fixture::new("busy").start(&[])?;
    assert!(busy.heard("listen").is_some_and(|a| a.starts_with("127.0.0.1:")), "{:?}", busy.said);
    let demo = Fixture::new("demo").start(&[])?;
    sleep(Duration::from_secs(1));
    for (running, start) in [(busy, "served "), (demo, "served ")] {
        let (status, said) = running.stop()?;
        let last = said.last().context("it said nothing")?;
        assert_eq!(status.code(), Some(0), "{said:?}");
        assert!(last.starts_with(start) && last.ends_with("failed 0"), "{last}");
        assert!(!last.starts_with("served 0"), "{last}");
    }
    Ok(())
}
