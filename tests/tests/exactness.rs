//! Every birth, every death, every creation stack: what the session says of `tests/go/exact` is what the program says of
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use tests::events::{self, Event};
use tests::gostray::{Background, Report, Site, report};
use tests::{Fixture, root_only};
use tracer_common::wire::MAX_FRAMES;
use xtask::golang;

/// What `exact` printed of one of its chains.
#[derive(Debug, Default)]
struct Chain {
    /// Of the `go` statement.
    line: u64,
    /// Callers of the `go` statement, innermost first, without the runtime's own outermost frame.
    functions: Vec<String>,
    born: u64,
    died: u64,
}

fn chains<'l>(said: impl IntoIterator<Item = &'l str>) -> Result<BTreeMap<String, Chain>> {
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["stack", name, line, ref functions @ ..] => {
                let chain = chains.entry(name.into()).or_default();
                chain.line = line.parse()?;
                chain.functions = functions.iter().map(|f| (*f).to_owned()).collect();
            }
            ["chain", name, born, died] => {
                let chain = chains.entry(name.into()).or_default();
                (chain.born, chain.died) = (born.parse()?, died.parse()?);
            }
            _ => {}
        }
    }
    ensure!(chains.len() == 5, "it told of {} chains", chains.len());
    Ok(chains)
}

/// The site whose `go` statement is that of this chain; there must be one.
fn site_of<'r>(report: &'r Report, name: &str, chain: &Chain) -> Site<'r> {
    let sites = report.created_in(&chain.functions[0]);
    let [site] = sites[..] else { panic!("{name}: {} sites", sites.len()) };
    site
}

fn check(report: &Report, chains: &BTreeMap<String, Chain>, births: u64, deaths: u64) {
    assert!(report.losses().is_empty(), "{:#?}", report.losses());
    for zero in ["found", "born_unidentified", "vanished"] {
        assert_eq!(report.total(zero), 0, "{zero}");
    }
    assert_eq!(report.total("kernel_births"), report.total("born"));
    assert_eq!(report.total("kernel_deaths"), report.total("died"));
    for (name, chain) in chains {
        let site = site_of(report, name, chain);
        let counts = ["born", "died", "live", "before"].map(|c| site.count(c));
        assert_eq!(counts, [chain.born, chain.died, chain.born - chain.died, 0], "{name}");
        assert_eq!(site.line(), Some(chain.line), "{name}");
        let seen = site.chain();
        if chain.functions.len() < MAX_FRAMES {
            // `exact` leaves out the outermost frame, which is no caller of anything.
            let (outermost, callers) = seen.split_last().expect("a stack has a frame");
            assert_eq!((callers, *outermost), (&as_strs(chain)[..], "runtime.goexit"), "{name}");
            assert_eq!(site.incomplete_because(), None, "{name}");
        } else {
            assert_eq!(seen, as_strs(chain)[..MAX_FRAMES], "{name}");
            assert!(site.incomplete_because().is_some(), "{name}: {} frames are all?", seen.len());
        }
    }
    let sum = |what: &str| -> u64 { report.own().iter().map(|s| s.count(what)).sum() };
    let main = u64::from(report.0["target"]["from_start"] == true);
    assert_eq!((sum("born"), sum("died")), (births + main, deaths));
    assert_eq!(report.total("live"), births - deaths + 1, "the program's own: the chains' and main");
}

fn as_strs(chain: &Chain) -> Vec<&str> {
    chain.functions.iter().map(String::as_str).collect()
}

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
    let args = ["record", "--json", "-o", &path, "--", &exact, "-n", "1000", "-m", "400"];
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
