//! While a program does everything that makes reading its stacks go wrong, no stack that we call whole is wrong.
//!
//! `GOSTRAY_SOAK=10m` (with `cargo xtask test in_motion`) runs for that long with each of three Go releases; by default it is
//! a few seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{Fixture, Running, dump, root_only, soak};
use tracer::dump::{Dump, Goroutine, Status, Trace};
use tracer::source::dump::{Looks, take};
use xtask::golang;

/// What became of the goroutines of many dumps.
#[derive(Debug, Default)]
struct Seen {
    dumps: u64,
    whole: u64,
    /// Of them, those whose truth is known: a function of one of the two paths is on the stack.
    known: u64,
    partial: u64,
    moving: u64,
    running: u64,
    none: u64,
    unsettled: u64,
    unreadable: u64,
    retries: u64,
    doubted: u64,
    by_state: BTreeMap<String, u64>,
}

impl Seen {
    fn take(&mut self, dump: &Dump) -> Result<()> {
        self.dumps += 1;
        self.unsettled += dump.counts.unsettled;
        self.unreadable += dump.counts.unreadable;
        self.retries += dump.counts.retries;
        self.doubted += dump.counts.doubted;
        for g in &dump.goroutines {
            match &g.trace {
                Trace::Whole(_) => {
                    self.whole += 1;
                    self.check(dump, g)?;
                }
                Trace::Partial { .. } => self.partial += 1,
                Trace::Moving => self.moving += 1,
                Trace::Running => self.running += 1,
                Trace::None { .. } => self.none += 1,
            }
        }
        Ok(())
    }

    /// A stack with a function of path A has none of path B, in the order that they call each other in, and ends where all
    /// stacks end.
    fn check(&mut self, dump: &Dump, g: &Goroutine) -> Result<()> {
        let pcs = dump.stack(g).map_or(&[][..], |s| &s.pcs);
        let frames = pcs.iter().filter_map(|pc| dump.places.at(*pc)).flat_map(|p| &p.frames);
        let names: Vec<&str> = frames.map(|f| f.function.as_str()).collect();
        ensure!(names.last() == Some(&"runtime.goexit"), "goroutine {}: {names:?}", g.goid);
        let told: Vec<(char, Option<u32>)> = names.iter().filter_map(|n| path(n)).collect();
        let Some((letter, _)) = told.first() else { return Ok(()) };
        ensure!(told.iter().all(|(l, _)| l == letter), "goroutine {}: two paths in {names:?}", g.goid);
        let steps: Vec<u32> = told.iter().filter_map(|(_, step)| *step).collect();
        let in_order = steps.windows(2).all(|w| w[0] == w[1] + 1) && steps.last().is_none_or(|s| *s == 1);
        ensure!(in_order, "goroutine {}: calls that are not made in {names:?}", g.goid);
        let state = dump.reason(g).unwrap_or_else(|| g.status.name());
        if g.status != Status::Runnable {
            ensure!(!names.is_empty() && !steps.is_empty() || told[0].1.is_none(), "{names:?}");
        }
        self.known += 1;
        *self.by_state.entry(state).or_default() += 1;
        Ok(())
    }
}

/// Which path a function is on, and which step of it.
fn path(function: &str) -> Option<(char, Option<u32>)> {
    let name = function.strip_prefix("main.")?;
    let rest =
        ["path", "yield", "grow", "deep", "bornEnd", "born"].iter().find_map(|p| name.strip_prefix(p))?;
    let letter = rest.chars().next().filter(|c| matches!(c, 'A' | 'B'))?;
    Some((letter, rest.chars().last().and_then(|c| c.to_digit(10))))
}

fn watch(go: &str, time: Duration) -> Result<()> {
    let executable = Fixture::new("moving").go(go).build()?;
    let mut program = Running::start(&executable, &[])?;
    let begin = Instant::now();
    let mut seen = Seen::default();
    let mut waited = 0;
    dump::with_subject(program.pid(), &executable, &mut |subject| {
        let mut looks = Looks::new(subject);
        while begin.elapsed() < time {
            seen.take(&take(subject, &mut |_, _| {})?)?;
            waited += looks.look(&mut |_, _| {})?.waited;
            seen.take(&looks.dump(&mut |_, _| {})?)?;
        }
        Ok(())
    })?;
    ensure!(waited > 0, "nobody was known to wait still");
    println!("{go}: {seen:#?}");
    ensure!(program.is_alive()?, "the program died");
    ensure!(seen.known > 100 * seen.dumps, "few goroutines whose truth is known: {seen:?}");
    // What it cannot read it says, and that is the exception.
    let doubtful = seen.partial + seen.moving + seen.none + seen.unsettled + seen.unreadable;
    ensure!(doubtful * 50 < seen.whole, "more than 2 in 100 were not read: {seen:?}");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn no_stack_that_is_called_whole_is_wrong() -> Result<()> {
    root_only()?;
    let time = soak(Duration::from_secs(4))?;
    [golang::OLDEST, "1.23.9", golang::DEFAULT].into_iter().try_for_each(|go| watch(go, time))
}
