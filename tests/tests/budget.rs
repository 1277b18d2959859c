//! The budget: a program that would lose more to probes than it may is watched less closely, that is said, and a leak is found all the
//! same; one that does not is left alone.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::gostray::{Background, Report, gostray, report};
use tests::{Fixture, Running, root_only};

const FLOOD: u64 = 100_000;

fn flood(rate: u64) -> Result<Running> {
    Fixture::new("flood").start(&["-rate", &rate.to_string()])
}

fn watch(program: &Running, seconds: u64, more: &[&str]) -> Report {
    let (pid, duration) = (program.pid().to_string(), format!("{seconds}s"));
    let mut args = vec!["attach", &pid, "--json", "--duration", &duration];
    args.extend(more);
    report(&gostray(&args))
}

fn moves(report: &Report) -> Vec<(&str, &str, &str)> {
    let text = |m: &'_ Value, name| m[name].as_str().unwrap_or_default().to_owned().leak() as &str;
    let moves = report.0["watching"]["moves"].as_array().expect("moves is a list");
    moves.iter().map(|m| (text(m, "from"), text(m, "to"), text(m, "why"))).collect()
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} is no number"))
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_flood_is_watched_within_the_budget_and_its_leak_is_named() -> Result<()> {
    root_only()?;
    let mut program = flood(FLOOD)?;
    let begun = started(&mut program)?;
    let report = watch(&program, 40, &[]);
    let started = started(&mut program)? - begun;
    ensure!(started > 4 * FLOOD, "it was no flood: {started}");

    let (watching, cost) = (&report.0["watching"], &report.0["cost"]);
    let moves = moves(&report);
    assert!(matches!(moves[0], ("lives", "windows" | "looks", "spent")), "{moves:?}");
    ensure!(moves.len() <= 6, "it flaps: {moves:?}");
    let (budget, most) = (number(&watching["budget_ns"])?, number(&cost["target_most_ns"])?);
    assert_eq!(budget, 100_000_000, "1% of a core");
    // Traced all the time it would take twenty times as much and more. How well the budget is held to the nanosecond depends on what
    // else the machine does: `cargo xtask bench price` measures it.
    ensure!(
        (budget / 100..=3 * budget).contains(&most),
        "{most} of {budget} ns within ten seconds; {moves:?}"
    );
    ensure!(number(&cost["target_ns"])? >= most && number(&cost["own_cpu_ns"])? > 0);

    let leak = report.created_in("main.leaks");
    assert_eq!(leak.iter().map(|s| s.verdict()).collect::<Vec<_>>(), ["leak"], "{:#}", report.0);
    let evidence = leak[0].0["verdict"]["evidence"].as_array().context("evidence")?;
    ensure!(evidence.iter().any(|e| e["name"] == "watch.share"), "what was not watched is not named");
    ensure!(report.with_verdict("leak").len() == 1, "{:#}", report.0);

    // Not all births are known, and none of them is passed off as all.
    let short = report.created_in("main.flood")[0];
    ensure!(short.count("born") < started / 2, "{} of {started}", short.count("born"));
    ensure!(report.0["looks"]["disagreements"]["births_not_told"] == 0, "{:#}", report.0["looks"]);
    let watched = number(&watching["watched_ns"])?;
    ensure!(number(&watching["unwatched_ns"])? > watched, "{watching:#}");
    let rate = short.0["sampled"]["births_per_s"].as_f64().context("an estimate")?;
    let share = started as f64 / 40.0;
    ensure!(watched < 10_000_000 || (share / 4.0..share * 4.0).contains(&rate), "{rate}/s, really {share}/s");
    ensure!(program.is_alive()?, "the program did not survive");
    Ok(())
}

fn started(program: &mut Running) -> Result<u64> {
    program.say("count")?;
    Ok(program.wait_for("started")?.trim().parse()?)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn after_a_flood_all_is_watched_again_and_all_of_it_is_told() -> Result<()> {
    root_only()?;
    let mut program = flood(FLOOD)?;
    let pid = program.pid().to_string();
    // Room for windows, however slowly probes go here: looks alone are left only after half a minute.
    let mut watching = Background::start(&["attach", &pid, "--budget", "20%"]);
    watching.until_printed("a step down", |line| {
        line.contains(" watching ") && line.contains("(was: births and deaths)")
    });
    program.say("rate 100")?;
    watching.until_printed("a step up", |line| {
        line.contains("there is room again") && line.contains(" births and deaths (was:")
    });
    let said = String::from_utf8(watching.end().stdout)?;
    for wanted in [
        "WATCHING",
        "COST  the probes took about",
        "budget 20.0%",
        "at least",
        "of the time, to keep the budget",
    ] {
        ensure!(said.contains(wanted), "no `{wanted}` in:\n{said}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_calm_program_is_watched_all_the_time_and_so_is_any_without_a_budget() -> Result<()> {
    root_only()?;
    for (rate, seconds, more) in [(200, 12, &[][..]), (30_000, 5, &["--budget", "off"])] {
        let program = flood(rate)?;
        let report = watch(&program, seconds, more);
        let watching = &report.0["watching"];
        assert_eq!((moves(&report), watching["level"].as_str()), (vec![], Some("lives")), "{rate}/s");
        assert_eq!((watching["unwatched_ns"].as_u64(), watching["windows"].as_u64()), (Some(0), Some(0)));
        assert_eq!(watching["budget_ns"].is_null(), !more.is_empty());
        ensure!(report.sites().iter().all(|s| s.0["sampled"].is_null()));
        let cost = &report.0["cost"];
        ensure!(number(&cost["target_ns"])? > rate * seconds * 300, "{cost:#}");
        let delivered = number(&cost["delivered"])?;
        ensure!(delivered >= report.total("kernel_births") + report.total("kernel_deaths"), "{delivered}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_recording_replays_what_was_not_watched() -> Result<()> {
    root_only()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("flood.session").to_string_lossy().into_owned();
    let program = flood(FLOOD)?;
    let pid = program.pid().to_string();
    let live = gostray(&["record", &pid, "-o", &file, "--json", "--duration", "12s", "--budget", "5%"]);
    let replayed = gostray(&["report", &file, "--format", "json"]);
    ensure!(!moves(&report(&live)).is_empty(), "nothing happened");
    assert_eq!(report(&live).0, report(&replayed).0);
    Ok(())
}
