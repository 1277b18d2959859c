//! Two dumps, and a session recorded in between: `gostray diff` names each `go` statement that grew, with the number that the
//! program itself prints.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::gostray::{Background, gostray};
use tests::{Fixture, Running, root_only};

const BIRTHS: u64 = 1000;
const DEATHS: u64 = 300;

/// Goroutines that must be there more, by function and line of the `go` statement.
type Grown = BTreeMap<(String, u64), i64>;

fn dump(program: &Running, to: &Path) -> Result<()> {
    let output = gostray(&["dump", &program.pid().to_string(), "--format", "json", "-o", name(to)?]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn name(path: &Path) -> Result<&str> {
    path.to_str().context("a name")
}

fn diff(before: &Path, after: &Path) -> Result<Value> {
    let output = gostray(&["diff", name(before)?, name(after)?, "--json"]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the program's own sites did that did not stay as they were.
fn changed(diff: &Value) -> Result<Grown> {
    let sites = diff["sites"].as_array().context("sites")?;
    let own = sites.iter().filter(|s| s["system"] == false && s["change"] != "unchanged");
    own.map(|s| {
        let at = &s["created_at"];
        let function = at["function"].as_str().context("a function")?;
        Ok((
            (function.to_owned(), at["line"].as_u64().context("a line")?),
            s["growth"].as_i64().context("growth")?,
        ))
    })
    .collect()
}

/// What the program says: births and deaths of each chain, and the line and function of its `go` statement.
fn truth(program: &Running) -> Result<Grown> {
    let words = |word: &str| {
        let lines = program.said.iter().filter_map(|l| Some(l.strip_prefix(word)?.trim().to_owned()));
        lines.map(|l| l.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let mut grown = Grown::new();
    for chain in words("chain ") {
        let [name, births, deaths] = &chain[..] else { anyhow::bail!("{chain:?}") };
        let stacks = words("stack ");
        let stack = stacks.iter().find(|s| s[0] == *name).with_context(|| format!("no stack of {name}"))?;
        let stays = births.parse::<i64>()? - deaths.parse::<i64>()?;
        grown.insert((stack[2].clone(), stack[1].parse()?), stays);
    }
    Ok(grown)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn it_names_the_statements_that_grew_by_as_many_as_the_program_says() -> Result<()> {
    root_only()?;
    let dir = tempfile::tempdir()?;
    let names = ["a.json", "b.json", "before.session", "x.session"];
    let [a, b, idle, between] = names.map(|f| dir.path().join(f));
    let mut program =
        Fixture::new("exact").start(&["-wait", "-n", &BIRTHS.to_string(), "-m", &DEATHS.to_string()])?;
    dump(&program, &a)?;

    let pid = program.pid().to_string();
    let recorded = gostray(&["record", &pid, "-o", name(&idle)?, "--duration", "1s"]);
    ensure!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let mut recording = Background::start(&["record", &pid, "-o", name(&between)?, "--json"]);
    recording.watching();
    program.go()?;
    program.wait_for("done")?;
    let recorded = recording.end();
    ensure!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    dump(&program, &b)?;

    let truth = truth(&program)?;
    assert_eq!(truth.values().sum::<i64>(), (BIRTHS - DEATHS) as i64);
    assert!(truth.len() > 3, "{truth:?}");
    let whole = diff(&a, &b)?;
    assert_eq!(changed(&whole)?, truth, "two dumps");
    for s in whole["sites"].as_array().context("sites")?.iter().filter(|s| s["growth"].as_i64() > Some(0)) {
        let started = if s["created_at"]["function"] == "main.closure1.func1" {
            "main.closure1.func1.1"
        } else {
            "main.hold"
        };
        assert_eq!((s["change"].as_str(), s["started"].as_str()), (Some("appeared"), Some(started)));
        assert_eq!(s["waits_at"]["function"], "main.hold");
        assert_eq!(s["states_after"][0]["state"], "chan receive");
        assert!(s["per_hour"].as_f64() > Some(0.0), "{s}");
    }
    assert_eq!(changed(&diff(&a, &between)?)?, truth, "a dump and the session's end");
    assert_eq!(changed(&diff(&between, &b)?)?, Grown::new(), "nothing came after the session");
    assert_eq!(changed(&diff(&idle, &between)?)?, truth, "two sessions");
    assert_eq!(changed(&diff(&idle, &b)?)?, truth, "a session and a dump");

    // Whatever a leak's size is, it fails from there on.
    let largest = truth.values().max().copied().context("no chain")?;
    let fails = |n: i64| {
        let growth = format!("growth={n}");
        let output = gostray(&["diff", name(&a)?, name(&b)?, "--fail-on", &growth]);
        anyhow::Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, says) = fails(largest)?;
    assert_eq!(code, Some(3));
    let ((function, line), _) = truth.iter().find(|(_, n)| **n == largest).context("no chain")?;
    assert!(
        says.contains(&format!("+{largest} at {function} ")) && says.contains(&format!(":{line}")),
        "{says}"
    );
    assert_eq!(fails(largest + 1)?, (Some(0), String::new()));
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_restarted_and_rebuilt_program_is_the_same_program() -> Result<()> {
    root_only()?;
    let dir = tempfile::tempdir()?;
    let [a, b] = ["a.json", "b.json"].map(|f| dir.path().join(f));
    let many = |n: u64| ["-many".to_owned(), n.to_string()];
    let start = |fixture: Fixture, n| fixture.start(&many(n).each_ref().map(String::as_str));
    // Position independent: no address is the same.
    dump(&start(Fixture::new("parked"), 10)?, &a)?;
    dump(&start(Fixture::new("parked").pie(), 35)?, &b)?;
    let diff = diff(&a, &b)?;
    assert_ne!(diff["before"]["build_id"], diff["after"]["build_id"]);
    assert!(diff["notes"].as_array().context("notes")?.iter().any(|n| n["code"] == "other-build"), "{diff}");
    let changed = changed(&diff)?;
    let grown: Vec<i64> = changed.into_values().collect();
    assert_eq!(grown, [25], "{diff:#}");
    Ok(())
}
