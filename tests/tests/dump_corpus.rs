//! Go's own leaking programs: what they have leaked is in our dump as in their own. They are real leaks cut down to their
//! cores (locks in the wrong order, sends that nobody receives, groups that are never done), and the toolchains
//! from Go 1.26 on have them.
//!
//! All of them run in one process of each directory: of Go 1.27, whose runtime marks what has leaked, and of Go 1.26, which does
//! not, stripped (one directory of it). `GOSTRAY_CORPUS=each` has the other one, and one process for each program, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use tests::own_dump::{Between, own};
use tests::{Running, dump, root_only};
use tracer::dump::{Goroutine, Status};
use xtask::golang;

/// The Go whose runtime has the leak profile, which marks the leaked.
const MARKS: &str = "1.27.3";
/// Where the programs are, how they are built, and how many goroutines stay at least.
const CORPUS: [(&str, &str, &[&str], usize); 4] = [
    (MARKS, ".", &[], 2_000),
    (MARKS, "goker", &[], 10_000),
    ("1.26.6", ".", STRIPPED, 2_000),
    ("1.26.6", "goker", STRIPPED, 10_000),
];
const STRIPPED: &[&str] = &["-ldflags=-s -w"];

#[derive(Debug, Default)]
struct Seen {
    at_rest: usize,
    leaked: usize,
    blocked: u64,
    /// Of the blocked, those whose channel, lock or whatever it is, is known.
    with_object: u64,
}

fn compare(go: &str, executable: &Path, program: &[&str]) -> Result<Seen> {
    let mut running = Running::start_silent(Command::new(executable).args(program))?;
    running.wait_for("ready")?;
    let pid = running.pid();
    let between = Between::take(pid, || own(&mut running))?;
    let differ: Vec<String> = between
        .differences(go)
        .into_iter()
        // The one that writes its own dump.
        .filter(|(id, _, _)| *id != 1)
        .map(|(id, own, ours)| format!("goroutine {id}: itself {own:#?}\nwe {ours:#?}"))
        .collect();
    let few = &differ[..differ.len().min(3)];
    ensure!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), between.at_rest.len(), few.join("\n"));
    let only = between.only_ours();
    ensure!(only.is_empty(), "only we have {only:#?}");
    let mut seen = Seen { at_rest: between.at_rest.len(), ..Seen::default() };
    seen.leaked = between.ours.values().filter(|g| g.state.contains("(leaked)")).count();
    let dump = dump::dump(pid, executable)?;
    let mut unknown: BTreeMap<String, u64> = BTreeMap::new();
    for g in dump.goroutines.iter().filter(|g| blocked(g)) {
        seen.blocked += 1;
        if g.waits_on.is_empty() {
            *unknown.entry(dump.reason(g).unwrap_or_default()).or_default() += 1;
        } else {
            seen.with_object += 1;
        }
    }
    println!("{go} {program:?}: {seen:?}");
    // They wait for channels, locks, groups, conditions and time; each of those can be found.
    ensure!(unknown.is_empty(), "what these wait on is not known: {unknown:?}");
    Ok(seen)
}

fn blocked(g: &Goroutine) -> bool {
    !g.system && matches!(g.status, Status::Waiting | Status::Leaked)
}

/// The names of a directory's programs.
fn programs(go: &str, directory: &str) -> Result<Vec<String>> {
    let go = golang::find(go)?;
    let root = go.ancestors().nth(2).context("a GOROOT")?;
    let directory = root.join("src/runtime/testdata/testgoroutineleakprofile").join(directory);
    let mut all = Vec::new();
    for file in fs::read_dir(&directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|e| e == "go") {
            let text = fs::read_to_string(&path)?;
            let name = |l: &str| Some(l.trim().strip_prefix("register(\"")?.split('"').next()?.to_owned());
            all.extend(text.lines().filter_map(name));
        }
    }
    // It is about the main goroutine, and ends the process.
    all.retain(|name| name != "SelectNoCasesMain");
    Ok(all)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_gos_own_programs_leak() -> Result<()> {
    root_only()?;
    let each = env::var_os("GOSTRAY_CORPUS").is_some_and(|v| v == "each");
    let mut failed = Vec::new();
    for (go, directory, flags, least) in CORPUS.into_iter().take(if each { 4 } else { 3 }) {
        let executable = golang::build_leaks(go, directory, flags)?;
        let mut check = |program: &[&str], least: usize| match compare(go, &executable, program) {
            Ok(seen) if seen.at_rest >= least && (go != MARKS || seen.leaked >= least / 2) => {}
            Ok(seen) => failed.push(format!("{go} {directory} {program:?}: little has leaked: {seen:?}")),
            Err(e) => failed.push(format!("{go} {directory} {program:?}: {e:#}")),
        };
        check(&[], least);
        if each {
            // Some leak only now and then.
            programs(go, directory)?.iter().for_each(|name| check(&[name], 0));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
