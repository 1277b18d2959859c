//! One that computes and is stopped by a signal so that another may compute (`runtime.asyncPreempt`): the frames below are
//! those that the signal found, the innermost of them between any two instructions.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tests::fixtures::PATIENCE;
use tests::own_dump::parse;
use tests::{Fixture, Running, dump, gostray, root_only};
use tracer::dump::{Dump, Goroutine, Status, Trace};
use xtask::golang;

/// What is called, innermost first.
const CHAIN: [&str; 6] = [
    "runtime.asyncPreempt2",
    "runtime.asyncPreempt",
    "main.computes",
    "main.middle",
    "main.outer",
    "runtime.goexit",
];

/// Its frames, if it was stopped in its computing.
fn preempted(dump: &Dump, g: &Goroutine) -> Result<Option<u32>> {
    let pcs = dump.stack(g).map_or(&[][..], |s| &s.pcs);
    let frames: Vec<_> = pcs.iter().filter_map(|pc| dump.places.at(*pc)).flat_map(|p| &p.frames).collect();
    let names: Vec<&str> = frames.iter().map(|f| f.function.as_str()).collect();
    if !names.contains(&"runtime.asyncPreempt") {
        return Ok(None);
    }
    ensure!(names == CHAIN, "{names:?}");
    ensure!(g.status == Status::Runnable && matches!(g.trace, Trace::Whole(_)), "{g:?}");
    // It was not called from there: what is next is at this address, not before it.
    let computes = pcs.iter().find(|pc| {
        dump.places.at(**pc).is_some_and(|p| p.frames.iter().any(|f| f.function == "main.computes"))
    });
    ensure!(computes.is_some_and(|pc| pc.exact), "{computes:?}");
    Ok(Some(frames[2].line))
}

fn watch(go: &str) -> Result<()> {
    let executable = Fixture::new("running").go(go).build()?;
    let source = std::fs::read_to_string(xtask::workspace::root().join("tests/go/running/main.go"))?;
    let begins =
        1 + source.lines().position(|l| l.starts_with("func computes")).context("no function")? as u32;
    let program = Running::start(&executable, &["in-turn"])?;
    let begun = Instant::now();
    let (mut seen, mut dumps, mut lines) = (0, 0, BTreeSet::new());
    dump::dumps(program.pid(), &executable, &mut |take| {
        while seen < 20 {
            ensure!(begun.elapsed() < PATIENCE, "{seen} of {dumps}");
            let dump = take()?;
            dumps += 1;
            for g in &dump.goroutines {
                let Some(line) = preempted(&dump, g)? else { continue };
                ensure!((begins + 1..begins + 4).contains(&line), "line {line} of the function at {begins}");
                lines.insert(line);
                seen += 1;
            }
        }
        Ok(())
    })?;
    println!("{go}: {seen} preempted in {dumps} dumps, in lines {lines:?}");
    ensure!(seen * 4 > dumps, "{go}: one of the two is, most of the time: {seen} of {dumps}");
    // As Go's own dumps tell it, without the runtime's frames.
    let pid = program.pid().to_string();
    while begun.elapsed() < PATIENCE {
        let output = gostray::gostray(&["dump", &pid, "--format", "go"]);
        let all = parse(&String::from_utf8(output.stdout)?)?;
        let waits = |g: &&tests::own_dump::Said| g.state == "runnable]" && g.frames.len() == 4;
        if let Some(g) = all.values().find(waits) {
            let names: Vec<&str> = g.frames.iter().filter_map(|f| f.split(' ').next()).collect();
            assert_eq!(names, ["main.computes", "main.middle", "main.outer", "created"]);
            return Ok(());
        }
    }
    anyhow::bail!("{go}: none was runnable in the text")
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_a_signal_has_stopped_is_walked_whole() -> Result<()> {
    root_only()?;
    [golang::OLDEST, "1.24.11", golang::DEFAULT, "1.27.3"].into_iter().try_for_each(watch)
}
