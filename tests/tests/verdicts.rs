//! Live attaches to every scenario of `tests/go/zoo`: leaks are named at their line, mended twins and healthy programs
//! are never accused.
//!
//! All programs run at once and each is watched by a gostray of its own, so that the whole zoo costs one watch.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::gostray::{Background, Report, Site, report};
use tests::truth::{self, Truth};
use tests::{Fixture, Running, root_only};

/// Long enough for the slowest verdict of the zoo: 45 s of growth for those who stand where idle workers do.
const WATCH: &str = "62s";

/// A scenario that runs, and the gostray that watches it.
struct Watched {
    truth: Truth,
    program: Running,
    gostray: Background,
}

/// Starts these scenarios with all their defaults (5 things a second, periods of 4 s, sizes of 50), then watches them.
fn watch(truths: Vec<Truth>, args: &[&str]) -> Result<Vec<Watched>> {
    let mut started = Vec::new();
    for truth in truths {
        let program = Fixture::new("zoo").start(&["-scenario", &truth.name])?;
        started.push((truth, program));
    }
    let watched = started.into_iter().map(|(truth, program)| {
        let pid = program.pid().to_string();
        let mut all = vec!["attach", &pid, "--json"];
        all.extend(args);
        Watched { truth, program, gostray: Background::start(&all) }
    });
    Ok(watched.collect())
}

/// What one watch said: the live lines, then the report.
struct Said {
    truth: Truth,
    lines: Vec<Value>,
    report: Report,
}

impl Watched {
    fn finish(mut self) -> Result<Said> {
        let output = self.gostray.finish();
        ensure!(output.status.success(), "{}: gostray ended with {}", self.truth.name, output.status);
        ensure!(self.program.is_alive()?, "{}: the program is gone", self.truth.name);
        let report = report(&output);
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let (status, said) = self.program.stop()?;
        ensure!(status.success(), "{}: ended with {status}: {said:?}", self.truth.name);
        Ok(Said { truth: self.truth, lines, report })
    }
}

impl Said {
    fn name(&self) -> &str {
        &self.truth.name
    }

    /// The sites of the scenario's own `go` statement, by file and line.
    fn own_sites(&self) -> Vec<Site<'_>> {
        let file = self.truth.file.to_string_lossy();
        let here =
            |s: &Site<'_>| s.0["created_at"]["file"] == *file && s.line() == Some(self.truth.line.into());
        self.report.sites().into_iter().filter(here).collect()
    }

    /// `(second, place, verdict)` of each accusation while it watched.
    fn accusations(&self) -> Vec<(u64, String, String)> {
        let accused = |l: &&Value| l["verdict"] == "leak" || l["verdict"] == "suspect";
        let told = |l: &Value| {
            let place = format!("{}:{}", l["created_at"]["function"], l["created_at"]["line"]);
            (l["at_ns"].as_u64().unwrap_or(0) / 1_000_000_000, place, l["verdict"].to_string())
        };
        self.lines.iter().filter(accused).map(told).collect()
    }

    /// `wakes`: its goroutines were seen to wake in between, so that the example's stack may be gone already.
    fn assert_named(&self, verdicts: &[&str], wakes: bool) {
        let name = self.name();
        let sites = self.own_sites();
        assert_eq!(sites.len(), 1, "{name}: one `go` statement, one site: {:#}", self.report.0["sites"]);
        let site = sites[0];
        assert!(verdicts.contains(&site.verdict()), "{name}: {:#}", site.0);
        assert_eq!(site.created_in(), self.truth.function, "{name}");
        // A `go` statement with arguments runs a wrapper, which the compiler names after the creator.
        let start = site.0["start"]["function"].as_str().unwrap_or_default();
        let wrapper = format!("{}.gowrap", self.truth.function);
        assert!(start == self.truth.start || start.starts_with(&wrapper), "{name}: they run `{start}`");
        let blocked = site.0["waits"][0]["example"]["stack"]["frames"].as_array();
        let stands_in_it = blocked.map(|frames| frames.iter().any(|f| f["function"] == *self.truth.start));
        assert!(stands_in_it.unwrap_or(wakes), "{name}: {:#}", site.0["waits"]);
        // What they stand in, in whichever of the names that the Go releases have.
        let first = site.reasons().first().copied().unwrap_or_default().to_owned();
        assert!(self.truth.wait.contains(&first), "{name}: they stand in `{first}`");
        assert!(site.count("live") >= 100, "{name}: {} live", site.count("live"));
        let others: Vec<_> = self.report.sites().into_iter().filter(|s| s.0["id"] != site.0["id"]).collect();
        assert_not_accused(name, &others);
    }

    fn assert_healthy(&self) {
        let name = self.name();
        assert_not_accused(name, &self.report.sites());
        let leaks: Vec<_> = self.accusations().into_iter().filter(|a| a.2.contains("leak")).collect();
        assert!(leaks.is_empty(), "{name}: accused for a while: {leaks:?}");
        let sites = self.own_sites();
        assert_eq!(sites.len(), 1, "{name}: the healthy site is seen: {:#}", self.report.0["sites"]);
        assert_eq!(sites[0].verdict(), "healthy", "{name}: {:#}", sites[0].0);
        assert!(sites[0].count("born") + sites[0].count("before") >= 10, "{name}: it did nothing");
    }
}

fn assert_not_accused(name: &str, sites: &[Site<'_>]) {
    for site in sites {
        assert!(!matches!(site.verdict(), "leak" | "suspect"), "{name}: wrongly accused: {:#}", site.0);
    }
}

fn finish(watched: Vec<Watched>) -> Result<Vec<Said>> {
    let mut all = Vec::new();
    for watched in watched {
        let said = watched.finish()?;
        assert_eq!(said.report.losses().len(), 0, "{}: {:#}", said.name(), said.report.0["losses"]);
        eprintln!("{}: accused {:?}", said.name(), said.accusations());
        all.push(said);
    }
    Ok(all)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn every_leak_of_the_zoo_is_named_at_its_line_and_nothing_healthy_is_accused() -> Result<()> {
    root_only()?;
    let all = truth::zoo()?;
    let parked =
        |t: &&Truth| ["blocked-sender", "blocked-receiver-mended", "forgotten-ticker"].contains(&&*t.name);
    let with_parks: Vec<Truth> = all.iter().filter(parked).cloned().collect();
    let without = watch(all, &["--duration", WATCH])?;
    let with_parks = watch(with_parks, &["--duration", WATCH, "--park", "on"])?;
    for said in finish(without)? {
        if said.truth.leak { said.assert_named(&["leak"], false) } else { said.assert_healthy() }
    }
    for said in finish(with_parks)? {
        assert_eq!(said.report.0["target"]["park"], true);
        match said.name() {
            // With each wait traced it is seen that tickers wake: they are not stuck, so it takes 90 s to be sure.
            "forgotten-ticker" => said.assert_named(&["suspect", "leak"], true),
            _ if said.truth.leak => said.assert_named(&["leak"], false),
            _ => said.assert_healthy(),
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn after_twenty_seconds_the_report_names_the_demos_leak() -> Result<()> {
    root_only()?;
    let mut demo = Fixture::new("demo").start(&[])?;
    let output = tests::gostray::gostray(&["attach", &demo.pid().to_string(), "--duration", "20s", "--json"]);
    assert!(output.status.success());
    let report = report(&output);
    let file = xtask::workspace::root().join("tests/go/demo/main.go");
    let line = truth::marked_line(&file, "main.(*pricing).askSupplier", "LEAK")?;
    for site in report.sites() {
        let accused = matches!(site.verdict(), "leak" | "suspect");
        let here =
            site.0["created_at"]["file"] == *file.to_string_lossy() && site.line() == Some(line.into());
        assert_eq!(accused, here, "{:#}", site.0);
    }
    let accused = report.with_verdict("leak").into_iter().chain(report.with_verdict("suspect"));
    let site = accused.max_by_key(|s| s.count("live")).context("nothing was accused")?;
    let chain = site.chain();
    assert!(chain.contains(&"main.(*pricing).askSupplier"), "{chain:?}");
    assert!(
        chain.contains(&"main.(*shop).handleQuote") && chain.contains(&"net/http.(*conn).serve"),
        "{chain:?}"
    );
    assert!(demo.is_alive()?);
    let (_, said) = demo.stop()?;
    assert!(said.last().is_some_and(|l| l.ends_with("failed 0")), "the demo served all along: {said:?}");
    Ok(())
}
