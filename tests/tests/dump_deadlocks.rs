//! Goroutines that wait for each other are found and named, and those that only look like it are not.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::gostray::gostray;
use tests::{Fixture, Running, dump, root_only};
use tracer::dump::{Cycle, Dump, ObjectKind};

/// A function on the stack, and what the goroutine waits on.
type Named = (&'static str, fn(&ObjectKind) -> bool);

const VERSIONS: [&str; 3] = ["1.19.8", "1.24.11", "1.27.3"];

fn start(go: &str, case: &str) -> Result<(Running, Dump)> {
    let executable = Fixture::new("deadlocks").go(go).build()?;
    let program = Running::start(&executable, &["-case", case])?;
    let dump = dump::dump(program.pid(), &executable)?;
    Ok((program, dump))
}

fn for_each_version(work: impl Fn(&str) -> Result<()>) -> Result<()> {
    root_only()?;
    VERSIONS.into_iter().try_for_each(|go| work(go).with_context(|| format!("Go {go}")))
}

/// As soon as one such circle is told, and none later than five seconds: on a busy machine goroutines come late to their places,
/// the main one among them, and who has run a moment ago is not accused and may have anything.
fn start_one(go: &str, case: &str, wanted: impl Fn(&Dump, &Cycle) -> bool) -> Result<(Running, Dump)> {
    let (program, mut dump) = start(go, case)?;
    let executable = Fixture::new("deadlocks").go(go).build()?;
    let begin = Instant::now();
    let told = |dump: &Dump| matches!(&dump.cycles[..], [cycle] if wanted(dump, cycle));
    while !told(&dump) && begin.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(50));
        dump = dump::dump(program.pid(), &executable)?;
    }
    Ok((program, dump))
}

/// The one circle, and of each of its steps a function on the goroutine's stack and whether the object is such one.
fn check(go: &str, case: &str, unsearched: u64, steps: &[Named]) -> Result<Cycle> {
    let (_program, dump) = start_one(go, case, |_, cycle| cycle.unsearched == unsearched)?;
    let [cycle] = &dump.cycles[..] else { anyhow::bail!("{case}: {:?}", dump.cycles) };
    ensure!(cycle.length == steps.len() as u64, "{case}: {cycle:?}");
    let found: Vec<(Vec<&str>, &ObjectKind)> = (cycle.steps.iter())
        .map(|s| {
            let g = dump.goroutines.iter().find(|g| g.goid == s.goid).context("no such goroutine")?;
            Ok((dump::functions(&dump, g), &dump.objects[s.object as usize].kind))
        })
        .collect::<Result<_>>()?;
    for (function, is) in steps {
        let named = found.iter().filter(|(functions, kind)| functions.contains(function) && is(kind)).count();
        let wanted = steps.iter().filter(|(f, _)| f == function).count();
        ensure!(named == wanted, "{case}: {function}: {found:?}");
    }
    Ok(cycle.clone())
}

fn mutex(kind: &ObjectKind) -> bool {
    matches!(kind, ObjectKind::Mutex { locked: true, .. })
}

fn rw_mutex(kind: &ObjectKind) -> bool {
    matches!(kind, ObjectKind::RwMutex { writer: true, .. })
}

fn channel(kind: &ObjectKind) -> bool {
    matches!(kind, ObjectKind::Channel { .. })
}

fn group(kind: &ObjectKind) -> bool {
    matches!(kind, ObjectKind::WaitGroup { .. })
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn each_circle_is_found_and_named() -> Result<()> {
    for_each_version(|go| {
        let closed = |case, steps: &[Named]| {
            let cycle = check(go, case, 0, steps)?;
            ensure!(cycle.is_closed(), "{case}: {cycle:?}");
            Ok(cycle)
        };
        closed("crossed", &[("main.lockBoth", mutex), ("main.lockBoth", mutex)])?;
        closed("crossed-rw", &[("main.writeThenLock", mutex), ("main.lockThenRead", rw_mutex)])?;
        closed("twice", &[("main.inner", mutex)])?;
        closed("read-lock", &[("main.writeInner", rw_mutex)])?;
        let read = closed("read-read", &[("main.readInner", rw_mutex)])?;
        assert_eq!((read.goroutines, read.behind), (1, 1), "the writer waits behind it");
        closed("sends", &[("main.sendThenReceive", channel), ("main.sendThenReceive", channel)])?;
        let group = closed("group", &[("main.works", channel), ("main.collects", group)])?;
        assert_eq!((group.goroutines, group.behind), (4, 0));
        let crowd = closed("crowd", &[("main.lockBoth", mutex), ("main.lockBoth", mutex)])?;
        assert_eq!((crowd.goroutines, crowd.behind), (2, 40));
        Ok(())
    })
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_runs_makes_it_less_sure() -> Result<()> {
    for_each_version(|go| {
        let cycle = check(go, "running", 1, &[("main.lockBoth", mutex), ("main.lockBoth", mutex)])?;
        // What its stack has kept of its last owner may even clear them.
        ensure!(!cycle.is_closed() && cycle.unsearched == 1, "{cycle:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn those_that_are_well_are_not_accused() -> Result<()> {
    let cases = ["none", "well-pool", "well-pong", "well-locks", "well-timer", "well-passed", "well-select"];
    for_each_version(|go| {
        for case in cases {
            let (program, first) = start(go, case)?;
            let accused = |dump: &Dump| match case {
                // Locks taken in one order look crossed for a moment, when nobody gets a processor between the readings. That
                // is told for what it is, is no deadlock, and passes.
                "well-locks" => dump.cycles.iter().any(|c| c.stuck),
                _ => !dump.cycles.is_empty(),
            };
            ensure!(!accused(&first), "{case}: {:?}", first.cycles);
            let mut without = u32::from(first.cycles.is_empty());
            let executable = Fixture::new("deadlocks").go(go).build()?;
            dump::dumps(program.pid(), &executable, &mut |take| {
                for _ in 0..20 {
                    let dump = take()?;
                    ensure!(!accused(&dump), "{case}: {:?}", dump.cycles);
                    without += u32::from(dump.cycles.is_empty());
                }
                Ok(())
            })?;
            ensure!(without > 0, "{case}: a circle of locks in each of 21 dumps");
        }
        Ok(())
    })
}

/// Two wait for a lock each and know the other's; a third one has both and sleeps, or runs. That is told as crossed locks,
/// which it is, and never as a deadlock.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn crossed_locks_that_somebody_else_has_are_no_deadlock() -> Result<()> {
    for_each_version(|go| {
        for case in ["well-third", "well-struct", "well-runs"] {
            let owner = match case {
                "well-struct" => "main.(*holder).work",
                _ => "main.hasBoth",
            };
            // Of one that runs, no frame but its first is known; which `go` statement wrapped.
            let owns = |dump: &Dump, goid: u64| {
                let g = dump.goroutines.iter().find(|g| g.goid == goid);
                let start = g.and_then(|g| dump.places.started(g.start_pc));
                start.is_some_and(|f| f.function == owner || f.function.contains("well"))
            };
            let named = |dump: &Dump, cycle: &Cycle| matches!(cycle.others[..], [goid] if owns(dump, goid));
            let (_program, dump) = start_one(go, case, named)?;
            let [cycle] = &dump.cycles[..] else { anyhow::bail!("{case}: {:?}", dump.cycles) };
            ensure!(!cycle.stuck && !cycle.is_closed(), "{case}: {cycle:?}");
            ensure!(named(&dump, cycle) && cycle.others_in_all == 1, "{case}: {cycle:?}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn the_text_begins_with_it_and_the_other_forms_stay_what_they_are() -> Result<()> {
    root_only()?;
    let program = Fixture::new("deadlocks").start(&["-case", "crowd"])?;
    let pid = program.pid().to_string();
    let text = |args: &[&str]| {
        let output = gostray(&[&["dump", &pid], args].concat());
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let plain = text(&[])?;
    let (at, first) = (plain.find("DEADLOCK? 2 goroutines wait for each other"), plain.find("\n1. "));
    ensure!(at.is_some() && at < first, "{plain}");
    ensure!(plain.contains("40 more goroutines cannot go on before"), "{plain}");
    ensure!(plain.contains("MOST WAITED ON\n  21 goroutines on sync.Mutex 0x"), "{plain}");
    ensure!(!text(&["--format", "go"])?.contains("DEADLOCK"));
    let json: serde_json::Value = serde_json::from_str(&text(&["--format", "json"])?)?;
    assert_eq!(json["cycles"][0]["certainty"], "closed");
    // Who waits in the circle is shown as long as one of its goroutines is.
    let kept = text(&["--filter", "function=lockBoth"])?;
    ensure!(kept.contains("DEADLOCK?"), "{kept}");
    let without = text(&["--filter", "function=waitsToo"])?;
    ensure!(!without.contains("DEADLOCK?"), "{without}");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn no_goroutines_at_all_is_said_in_words() -> Result<()> {
    root_only()?;
    let program = Fixture::new("deadlocks").start(&["-case", "none"])?;
    let pid = program.pid().to_string();
    let text = |args: &[&str]| {
        let output = gostray(&[&["dump", &pid], args].concat());
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let alone = text(&[])?;
    ensure!(alone.contains(": 1 goroutine (+ ") && alone.contains("1 select (no cases)"), "{alone}");
    ensure!(!alone.contains("MOST WAITED ON") && !alone.contains("DEADLOCK"), "{alone}");
    let none = text(&["--filter", "id=999999"])?;
    ensure!(none.contains(": 0 goroutines\n") && none.contains("\nno goroutines to show\n"), "{none}");
    ensure!(text(&["--filter", "id=999999", "--format", "go"])?.trim().is_empty());
    ensure!(text(&["--filter", "id=999999", "--format", "folded"])?.is_empty());
    Ok(())
}
