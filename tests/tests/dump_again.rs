//! A repeated look reads few goroutines and tells what a whole dump tells.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{Fixture, Running, dump, http, root_only};
use tracer::dump::{Dump, Fires, Goroutine, Object, ObjectKind};
use tracer::source::dump::{Looks, Subject, take};
use xtask::golang;

/// What is told wrongly once is told wrongly for ever.
const PATIENCE: Duration = Duration::from_secs(10);
const RELEASES: [&str; 3] = [golang::OLDEST, "1.23.9", golang::DEFAULT];

/// What a dump tells of the program's own goroutines, without how long they have waited and without indices.
fn told(dump: &Dump) -> BTreeMap<u64, String> {
    let one = |g: &Goroutine| {
        let waits: Vec<_> =
            g.waits_on.iter().map(|w| (timed(&dump.objects[w.object as usize]), w.side)).collect();
        let since = g.runtime_since.is_some();
        let facts = (g.g, g.parent, g.status, g.reason, since, g.gopc, g.start_pc, g.thread, g.locked);
        let trace = (std::mem::discriminant(&g.trace), dump.stack(g));
        format!("{facts:?} {trace:?} {:?} {waits:?}", dump.labels(g))
    };
    dump.goroutines.iter().filter(|g| !g.system).map(|g| (g.goid, one(g))).collect()
}

/// When timers fire to the minute: two dumps are not of one moment.
fn timed(object: &Object) -> Object {
    let mut object = object.clone();
    if let ObjectKind::Timer { fires: Fires::In(ns) }
    | ObjectKind::Channel { timer: Some(Fires::In(ns)), .. } = &mut object.kind
    {
        *ns /= 60_000_000_000;
    }
    object
}

/// The same is told both ways; as long as something ends, not yet.
fn is_whole(looks: &mut Looks<'_>, subject: &Subject<'_>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let again = told(&looks.dump(&mut |_, _| {})?);
        let whole = told(&take(subject, &mut |_, _| {})?);
        let other = again.keys().chain(whole.keys()).find(|goid| again.get(goid) != whole.get(goid));
        let Some(goid) = other else { return Ok(()) };
        ensure!(begin.elapsed() < PATIENCE, "{:?}\n{:?}", again.get(goid), whole.get(goid));
        sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn of_a_program_at_rest_it_tells_what_a_whole_dump_tells() -> Result<()> {
    root_only()?;
    for go in RELEASES {
        let executable = Fixture::new("parked").go(go).build()?;
        let program = Running::start(&executable, &[])?;
        dump::with_subject(program.pid(), &executable, &mut |subject| {
            let mut looks = Looks::new(subject);
            (0..3).try_for_each(|_| is_whole(&mut looks, subject))?;
            let changes = looks.look(&mut |_, _| {})?;
            ensure!(changes.waited > 30, "{go}: {changes:?}");
            ensure!(changes.new.is_empty() && changes.gone.is_empty(), "{go}: {changes:?}");
            is_whole(&mut looks, subject)
        })?;
    }
    Ok(())
}

/// So many come to stand there; on a busy machine some are late.
fn all_in(looks: &mut Looks<'_>, function: &str, many: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let found = dump::all_in_function(&looks.dump(&mut |_, _| {})?, function).len();
        if found == many {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{found} are told to be in {function}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn who_has_run_is_read_again_even_if_all_else_is_as_it_was() -> Result<()> {
    const MANY: usize = 100;
    root_only()?;
    for go in RELEASES {
        let executable = Fixture::new("crowd").go(go).build()?;
        let program = Running::start(&executable, &["-many", "100", "-own"])?;
        let address = program.heard("ready").context("no address")?;
        let nothing = &mut |_: usize, _: usize| {};
        dump::with_subject(program.pid(), &executable, &mut |subject| {
            let mut looks = Looks::new(subject);
            all_in(&mut looks, "main.inA", MANY)?;
            let changes = looks.look(nothing)?;
            ensure!(changes.waited >= MANY as u64, "{go}: {} known to wait still", changes.waited);

            http::get(address, "/round?n=10")?;
            let changes = looks.look(nothing)?;
            let crowd: Vec<_> = changes.changed.iter().filter(|g| !g.system && g.goid != 1).collect();
            ensure!(crowd.len() >= 10 && crowd.len() < MANY, "{go}: {} changed", crowd.len());
            is_whole(&mut looks, subject)?;

            // Each of them runs 256 times, and stands elsewhere.
            http::get(address, &format!("/round?n={}", 256 * MANY))?;
            all_in(&mut looks, "main.inB", MANY)?;
            // The same once more, and seen by a collection before and after.
            http::get(address, "/collect")?;
            looks.look(nothing)?;
            http::get(address, &format!("/round?n={}", 256 * MANY))?;
            http::get(address, "/collect")?;
            all_in(&mut looks, "main.inA", MANY)?;
            is_whole(&mut looks, subject)
        })?;
    }
    Ok(())
}
