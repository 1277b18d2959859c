//! What the Go runtime does besides `go`: coroutines, goroutines of foreign threads, a g used again, those alive before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tests::events::{self, Event};
use tests::gostray::{Background, Report, Site, report, until};
use tests::truth::{self, Truth};
use tests::{Fixture, Running, dump, root_only};
use tracer::dump::Status;
use xtask::golang;

/// A recording under way.
struct Recording {
    tracing: Background,
    file: PathBuf,
    _dir: TempDir,
}

impl Recording {
    /// Of a running program, with the probes in place when this returns.
    fn start(pid: u32, more: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("session");
        let (pid, path) = (pid.to_string(), file.to_string_lossy());
        let mut args = vec!["record", &pid, "--json", "--budget", "off", "-o", &path];
        args.extend(more);
        let mut tracing = Background::start(&args);
        tracing.watching();
        Ok(Self { tracing, file, _dir: dir })
    }

    /// Ends it: the report and the events.
    fn end(self) -> Result<(Report, Vec<Event>)> {
        let report = report(&self.tracing.end());
        Ok((report, events::read(&self.file)?))
    }
}

/// Everything is known of everyone, but for so many who lived when watching began and left before the first look.
fn no_loss(report: &Report, unattributed: u64) {
    assert!(report.losses().is_empty(), "{:#?}", report.losses());
    for zero in ["found", "born_unidentified", "vanished"] {
        assert_eq!(report.total(zero), 0, "{zero}: {:#}", report.0["totals"]);
    }
    assert!(report.total("died_unattributed") <= unattributed, "{:#}", report.0["totals"]);
    assert_eq!(report.total("kernel_births"), report.total("born"));
    assert_eq!(report.total("kernel_deaths"), report.total("died"));
}

fn counts(site: &Site<'_>) -> [u64; 4] {
    ["born", "died", "live", "before"].map(|c| site.count(c))
}

/// The one site with this function in its creation stack.
fn through<'r>(report: &'r Report, function: &str) -> Site<'r> {
    let sites: Vec<_> = report.sites().into_iter().filter(|s| s.chain().contains(&function)).collect();
    let [site] = sites[..] else { panic!("{} sites through `{function}`", sites.len()) };
    site
}

fn coroutines(go: &str, park: &str) -> Result<()> {
    let args = ["-wait", "-finished", "20", "-stopped", "7", "-abandoned", "5", "-values", "10"];
    let mut coro = Fixture::new("coro").go(go).start(&args)?;
    let recording = Recording::start(coro.pid(), &["--park", park])?;
    coro.go()?;
    coro.wait_for("done")?;
    // A look that finds the abandoned waiting.
    sleep(Duration::from_millis(1100));
    let (report, events) = recording.end()?;
    no_loss(&report, 0);
    let what = format!("Go {go}, --park {park}");
    for (function, expected) in
        [("main.finish", [20, 20, 0, 0]), ("main.stop", [7, 7, 0, 0]), ("main.abandon", [5, 0, 5, 0])]
    {
        assert_eq!(counts(&through(&report, function)), expected, "{what}: {function}");
    }
    assert_eq!((report.total("born"), report.total("died")), (32, 27), "{what}");
    let abandoned = through(&report, "main.abandon");
    assert_eq!(abandoned.reasons(), ["coroutine"], "{what}");
    let exact = park == "on";
    assert_eq!(abandoned.0["waits"][0]["at_least"], !exact, "{what}");

    // Each pull is a switch there and one back; each iterator pulled to its end is pulled once more to learn that, one
    // that is stopped is switched to once more.
    let switches: Vec<&Event> = events.iter().filter(|e| e.name == "coro-switch").collect();
    assert_eq!(switches.len(), 20 * 11 * 2 + 7 * (5 + 1) * 2 + 5 * 5 * 2, "{what}");
    assert_eq!(switches.iter().filter(|e| e.number("flags") & 1 != 0).count(), 27, "{what}: ends");
    for switch in switches {
        let (from, to) = (switch.number("goid"), switch.number("to"));
        assert!((from == 1) != (to == 1), "{what}: always between main and another: {}", switch.line);
    }
    if exact {
        assert_eq!(through(&report, "main.finish").0["past_waits"]["count"], 20 * 10, "{what}");
    }
    ensure!(coro.is_alive()?, "`coro` ended");
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn coroutines_are_born_switch_and_end() -> Result<()> {
    root_only()?;
    for go in ["1.23.9", golang::DEFAULT, "1.27.3"] {
        coroutines(go, "off")?;
    }
    coroutines(golang::DEFAULT, "on")
}

fn foreign_threads(go: &str) -> Result<()> {
    // 4 threads for about 5 seconds.
    let mut cgo = Fixture::new("cgo").go(go).start(&["-wait", "-threads", "4", "-calls", "3000"])?;
    let tracing = Background::attach(cgo.pid(), &[]);
    cgo.go()?;
    sleep(Duration::from_millis(1500));
    let amid = report(&tracing.end());
    no_loss(&amid, 0);
    assert_eq!(amid.total("live_extra"), 4, "Go {go}");
    only_main_and_called(&amid, go);

    // The same threads, met by a look this time, and then their end.
    let tracing = Background::attach(cgo.pid(), &[]);
    cgo.wait_for("done")?;
    let after = report(&tracing.end());
    // One for each thread.
    no_loss(&after, 4);
    assert_eq!(after.total("live_extra"), 0, "Go {go}");
    let called = through(&after, "main.called");
    assert_eq!(called.count("live"), 0, "Go {go}");
    only_main_and_called(&after, go);
    Ok(())
}

/// The placeholders are nobody's leak: they have no site, and none of them was born or died.
fn only_main_and_called(report: &Report, go: &str) {
    let mut own: Vec<_> = report.own().iter().map(Site::start).collect();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own, ["main.called.func1", "runtime.main"], "Go {go}");
    let born: u64 = report.sites().iter().map(|s| s.count("born")).sum();
    assert_eq!(born, report.total("born"), "Go {go}");
    assert!(report.created_in("main.called").iter().map(|s| s.count("born")).sum::<u64>() > 0, "Go {go}");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn goroutines_of_foreign_threads_are_counted_apart() -> Result<()> {
    root_only()?;
    foreign_threads(golang::DEFAULT)?;
    // Their g's were plainly dead between two calls before Go 1.26.
    foreign_threads("1.21.13")
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn those_born_before_are_counted_and_leave() -> Result<()> {
    root_only()?;
    let args = ["-n", "600", "-m", "450", "-batch", "600", "-pause", "4s"];
    let started = Instant::now();
    let mut exact = Fixture::new("exact").start(&args)?;
    sleep(Duration::from_millis(300));
    let tracing = Background::attach(exact.pid(), &[]);
    ensure!(started.elapsed() < Duration::from_secs(4), "this machine is too slow to attach in time");
    exact.wait_for("done")?;
    let report = report(&tracing.end());
    no_loss(&report, 0);
    for (function, line) in exact.said.iter().filter_map(|l| {
        let words: Vec<&str> = l.split(' ').collect();
        (words[0] == "stack").then(|| (words[3].to_owned(), words[2].parse().ok()))
    }) {
        let site = through(&report, &function);
        assert_eq!(counts(&site), [0, 90, 30, 120], "{function}");
        // Its `go` statement is known, who came there is not, and that is said.
        assert_eq!((site.created_in(), site.line()), (function.as_str(), line));
        assert!(site.incomplete_because().is_some(), "{function}");
        assert_eq!(site.0["oldest"]["at_least"], true, "{function}");
        assert_eq!(site.reasons(), ["chan receive"], "{function}");
    }
    assert_eq!((report.total("born"), report.total("died")), (0, 450));
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_g_that_is_used_again_is_another_goroutine() -> Result<()> {
    root_only()?;
    let mut busy = Fixture::new("busy").start(&[])?;
    let recording = Recording::start(busy.pid(), &[])?;
    sleep(Duration::from_secs(2));
    let (report, events) = recording.end()?;
    ensure!(busy.is_alive()?, "`busy` ended");
    // What the requests under way had started.
    no_loss(&report, 4 * 20);

    let births: Vec<&Event> = events.iter().filter(|e| e.name == "birth").collect();
    let goids: BTreeSet<u64> = births.iter().map(|e| e.number("goid")).collect();
    let gs: BTreeSet<u64> = births.iter().map(|e| e.number("g")).collect();
    assert_eq!(goids.len(), births.len(), "a goid came twice");
    assert!(births.len() > 2_000 && gs.len() * 5 < births.len(), "{} in {}", births.len(), gs.len());
    // In each g one lives at a time, and who dies there is who was born there.
    let mut tenants: BTreeMap<u64, u64> = BTreeMap::new();
    for e in events.iter().filter(|e| e.name == "birth" || e.name == "death") {
        let (g, goid) = (e.number("g"), e.number("goid"));
        if e.name == "birth" {
            assert_eq!(tenants.insert(g, goid), None, "born into a g that is in use: {}", e.line);
        } else if let Some(tenant) = tenants.remove(&g) {
            assert_eq!(tenant, goid, "{}", e.line);
        }
    }
    let live: u64 = report.sites().iter().map(|s| s.count("live")).sum();
    let attributed = report.total("died") - report.total("died_unattributed");
    assert_eq!(live, report.total("before") + report.total("born") - attributed);
    // What a request starts, ends with it: at most the requests under way are seen.
    let parts = through(&report, "main.work");
    assert!(parts.count("born") > 1_000, "{}", parts.count("born"));
    assert!(parts.count("live") <= 4 * 20, "{} live of {}", parts.count("live"), parts.count("born"));
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn with_park_on_every_wait_is_there_and_its_time_exact() -> Result<()> {
    root_only()?;
    // A hundred wait for their end, which comes after the pause, fifty for ever.
    let args = ["-wait", "-n", "150", "-m", "100", "-batch", "150", "-pause", "1s"];
    let mut exact = Fixture::new("exact").start(&args)?;
    let recording = Recording::start(exact.pid(), &["--park", "on"])?;
    exact.go()?;
    exact.wait_for("done")?;
    let (report, events) = recording.end()?;
    no_loss(&report, 0);

    let mut past = 0;
    for site in report.own().iter().filter(|s| s.count("born") > 0) {
        let waits = &site.0["past_waits"];
        assert_eq!(waits["count"], 20, "{}: each waited once", site.created_in());
        past += 20;
        for percentile in ["p50", "p99", "max"] {
            let ns = waits[percentile].as_u64().unwrap_or(0);
            assert!((900_000_000..3_000_000_000).contains(&ns), "{percentile} of 1 s: {ns} ns");
        }
        let now = &site.0["waits"][0];
        assert_eq!(
            (&now["reason"], &now["count"], &now["at_least"]),
            (&"chan receive".into(), &10.into(), &false.into())
        );
    }
    assert_eq!(past, 100);

    // What they wait on: one channel those that end, another one those that stay, by one unlock function.
    let names = events::wait_reasons(&events);
    let receive = names.iter().position(|n| n == "chan receive").map(|i| i as u64);
    let born: BTreeSet<u64> = events.iter().filter(|e| e.name == "birth").map(|e| e.number("goid")).collect();
    let died: BTreeSet<u64> = events.iter().filter(|e| e.name == "death").map(|e| e.number("goid")).collect();
    let mut locks: BTreeMap<bool, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for park in events.iter().filter(|e| e.name == "park" && born.contains(&e.number("goid"))) {
        assert_eq!(Some(park.number("reason")), receive, "{}", park.line);
        let on = (park.number("lock"), park.number("unlockf"));
        locks.entry(died.contains(&park.number("goid"))).or_default().insert(on);
    }
    let (ends, stays) = (&locks[&true], &locks[&false]);
    assert!(ends.len() == 1 && stays.len() == 1 && ends.is_disjoint(stays), "{locks:?}");
    assert!(ends.iter().chain(stays).all(|(lock, unlockf)| *lock != 0 && *unlockf != 0), "{locks:?}");
    Ok(())
}

/// Those born at the scenario's `go` statement while we watched, and alive at the end: what their last park says.
fn parked_on(truth: &Truth) -> Result<()> {
    let zoo = Fixture::new("zoo").start(&["-scenario", &truth.name, "-rate", "50"])?;
    let recording = Recording::start(zoo.pid(), &["--park", "on"])?;
    sleep(Duration::from_millis(500));
    let (report, events) = recording.end()?;
    no_loss(&report, 0);
    let names = events::wait_reasons(&events);
    let place = format!("frame=\"{}\" file=\"{}\" line={}", truth.function, truth.file.display(), truth.line);
    let mut last: BTreeMap<u64, &str> = BTreeMap::new();
    let mut here = BTreeSet::new();
    for e in &events {
        let goid = e.number("goid");
        match e.name.as_str() {
            "symbol" if e.line.contains(&place) => _ = here.insert(e.number("pc")),
            "birth" => _ = last.insert(goid, ""),
            "death" => _ = last.remove(&goid),
            "park" => {
                if let Some(reason) = last.get_mut(&goid) {
                    *reason = names.get(e.number("reason") as usize).map_or("?", String::as_str);
                }
            }
            _ => {}
        }
    }
    let at_site = |e: &&Event| e.name == "birth" && here.contains(&e.number("gopc"));
    let births: Vec<u64> = events.iter().filter(at_site).map(|e| e.number("goid")).collect();
    let waiting: Vec<&str> = births.iter().filter_map(|goid| last.get(goid).copied()).collect();
    assert!(waiting.len() >= 20, "{}: {} born, {} live", truth.name, births.len(), waiting.len());
    // The youngest may be on their way.
    let true_ones = waiting.iter().filter(|w| truth.wait.iter().any(|t| t == *w)).count();
    assert!(true_ones + 4 >= waiting.len(), "{}: {:?}, not {waiting:?}", truth.name, truth.wait);
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn with_park_on_the_reasons_are_the_true_ones() -> Result<()> {
    root_only()?;
    for truth in truth::zoo()?.iter().filter(|t| t.leak) {
        parked_on(truth)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn the_lock_is_read_wherever_its_layout_is_known() -> Result<()> {
    root_only()?;
    let mut known = 0;
    for go in golang::VERSIONS {
        let executable = Fixture::new("exact").go(go).build()?;
        let mut exact = Running::start(&executable, &["-wait", "-n", "10", "-m", "0"])?;
        let recording = Recording::start(exact.pid(), &["--park", "on"])?;
        exact.go()?;
        exact.wait_for("done")?;
        // It is done when all are born; on a busy machine they park a while later.
        until("all wait", Duration::from_secs(10), || {
            dump::dump(exact.pid(), &executable).is_ok_and(|dump| {
                let held = dump::all_in_function(&dump, "main.hold");
                held.iter().filter(|g| g.status == Status::Waiting).count() == 10
            })
        });
        let (report, events) = recording.end()?;
        let unknown = report.0["notes"]
            .as_array()
            .is_some_and(|notes| notes.iter().any(|n| n["code"] == "lock-layout-unknown"));
        known += u32::from(!unknown);
        let born: BTreeSet<u64> =
            events.iter().filter(|e| e.name == "birth").map(|e| e.number("goid")).collect();
        let parks: Vec<&Event> =
            events.iter().filter(|e| e.name == "park" && born.contains(&e.number("goid"))).collect();
        assert_eq!(parks.len(), 10, "Go {go}");
        for park in parks {
            assert_eq!(park.number("lock") != 0, !unknown, "Go {go}: {}", park.line);
            assert_eq!(park.number("flags") & 1 != 0, unknown, "Go {go}: {}", park.line);
        }
    }
    assert!(known >= 5, "only {known} releases have a known layout");
    Ok(())
}
