//! Our dump says what the program's runtime prints when SIGQUIT kills it right afterwards, of every fixture that comes to rest
//! as it is: none of them has to be asked for a dump of its own. That is all there is: ids, addresses, states, the runtime's
//! own goroutines and frames, the address of each frame, creators.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::crash::{All, Printed, ours, parse, same};
use tests::fixtures::PATIENCE;
use tests::{Fixture, Running, root_only, truth};
use xtask::npm::ESBUILD;
use xtask::{golang, workspace};

/// A fixture that comes to rest.
#[derive(Clone, Copy)]
struct Case {
    program: &'static str,
    args: &'static [&'static str],
    /// Goroutines that are compared at least.
    least: usize,
    /// Nothing happens in it at all, so that all goroutines are compared; else those that were the same twice.
    still: bool,
    /// The first Go that can build it.
    since: &'static str,
}

const fn still(program: &'static str, args: &'static [&'static str], least: usize) -> Case {
    Case { program, args, least, still: true, since: golang::OLDEST }
}

const CASES: [Case; 18] = [
    Case { since: golang::DEFAULT, ..still("bubble", &[], 5) },
    still("busy", &["-clients", "0"], 2),
    still("cgo", &[], 1),
    still("cgocalls", &[], 30),
    Case { since: golang::DEFAULT, ..still("coro", &[], 6) },
    still("crowd", &["-many", "300"], 300),
    still("deadlocks", &["-case", "crossed"], 3),
    still("deadlocks", &["-case", "sends"], 3),
    still("deadlocks", &["-case", "group"], 3),
    still("deadlocks", &["-case", "crowd"], 20),
    // It ticks ten times a second.
    Case { still: false, ..still("execer", &["sleep", "60"], 2) },
    still("exact", &["-n", "300", "-m", "100"], 201),
    // The one that computes is the one that the signal interrupts.
    still("fresh", &["/dev/null"], 18),
    still("hot", &[], 1),
    still("parked", &[], 40),
    still("since", &[], 3),
    still("states", &["-idle", "-many", "50"], 60),
    // One thread waits uninterruptibly, which no signal reaches, but others do.
    still("states", &["-idle", "-vfork"], 12),
];

/// Those that never come to rest, and why; and those that have tests below.
const NOT_HERE: [(&str, &str); 9] = [
    ("demo", "does something new all the time"),
    ("flood", "all that it does is not to rest"),
    ("leaks", "below, with Go's own programs"),
    ("moving", "all that it does is not to rest"),
    ("names", "ends by itself"),
    ("running", "all that it does is not to rest"),
    ("spawner", "ends by itself"),
    ("web", "a server as those of the test of published programs"),
    ("zoo", "below, each scenario"),
];

/// One program to be compared.
struct Job {
    name: String,
    go: &'static str,
    executable: PathBuf,
    args: Vec<String>,
    least: usize,
    still: bool,
}

/// Starts it and lets it come to rest, dumps it, and has it dump itself by SIGQUIT.
fn compare(job: &Job) -> Result<usize> {
    let mut file = tempfile::tempfile()?;
    let mut command = Command::new(&job.executable);
    command.args(&job.args).env("GOTRACEBACK", "all").stderr(file.try_clone()?);
    if job.name.starts_with("fresh") {
        command.env("GOMAXPROCS", "1").env("GODEBUG", "asyncpreemptoff=1");
    }
    let mut program = Running::start_silent(&mut command)?;
    // A published program does not say that it is ready.
    if !job.name.starts_with("esbuild") {
        program.wait_for("ready")?;
    }
    let rest = rest(&program, job)?;
    program.signal(libc::SIGQUIT)?;
    let begun = Instant::now();
    while program.is_alive()? {
        ensure!(begun.elapsed() < PATIENCE, "it does not die");
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let crash = parse(&text).with_context(|| text.chars().take(2000).collect::<String>())?;
    differences(job, &rest, &crash)
}

/// What was the same in two dumps of ours; of one that is still, all.
fn rest(program: &Running, job: &Job) -> Result<All> {
    let begun = Instant::now();
    loop {
        let before = ours(program.pid())?;
        thread::sleep(Duration::from_millis(100));
        let mut rest = ours(program.pid())?;
        if !job.still {
            rest.retain(|id, said| before.get(id) == Some(said));
        }
        if rest.len() >= job.least && (!job.still || rest == before) {
            return Ok(rest);
        }
        ensure!(begun.elapsed() < PATIENCE, "it does not come to rest: {before:#?}\n{rest:#?}");
    }
}

/// The signal is a disturbance. These are not compared:
/// - What is running or runnable then and was not in our dump: the signal woke its thread, or one that looks for work, and the
///   runtime prints while other threads go on. What was running in our dump: neither tells a stack of it.
/// - Of one that is not still: goroutines that were born or ended since our dump.
fn differences(job: &Job, rest: &All, crash: &All) -> Result<usize> {
    let (mut compared, mut disturbed, mut differ) = (0, 0, Vec::new());
    for (id, ours) in rest {
        let Some(own) = crash.get(id) else {
            if job.still {
                differ.push(format!("goroutine {id}: only we have {ours:#?}"));
            }
            continue;
        };
        let own = &explicable(job, *id, own, ours);
        if own.state == "running" || own.state == "runnable" && ours.state != own.state {
            disturbed += 1;
        } else if same(own, ours) {
            compared += 1;
        } else {
            differ.push(format!("goroutine {id}: itself {own:x?}\nwe {ours:x?}"));
        }
    }
    if job.still {
        let only = crash.iter().filter(|(id, _)| !rest.contains_key(id));
        differ.extend(only.map(|(id, own)| format!("goroutine {id}: only itself has {own:x?}")));
    }
    ensure!(
        differ.is_empty(),
        "{} of {} differ: {}",
        differ.len(),
        rest.len(),
        differ[..differ.len().min(3)].join("\n")
    );
    ensure!(disturbed <= 2, "{disturbed} of {} were disturbed", rest.len());
    ensure!(compared + 1 >= job.least, "only {compared} were compared");
    Ok(compared)
}

/// What the runtime prints, without what may differ:
/// - To which bubble of `testing/synctest` a goroutine belongs is not told, nor `(durable)` where that follows from it
///   (docs/dump.md).
/// - Nobody is said to have created the first goroutine, though its g has the address of a call.
/// - Before Go 1.21 only the first 100 frames are printed, and Go 1.19 does not say that there are more.
fn explicable(job: &Job, id: u64, own: &Printed, ours: &Printed) -> Printed {
    let mut own = own.clone();
    let words = own.state.split(", ").filter(|w| !w.starts_with("synctest bubble "));
    own.state = words.collect::<Vec<_>>().join(", ");
    if !ours.state.contains(" (durable)") {
        own.state = own.state.replace(" (durable)", "");
    }
    if id == 1 && own.created_by.is_none() {
        own.created_by.clone_from(&ours.created_by);
    }
    let short = job.go.starts_with("1.19.") || job.go.starts_with("1.20.");
    if short && own.frames.len() >= 95 && ours.frames.len() > own.frames.len() {
        own.cut = Some(own.frames.len());
    }
    own
}

/// One that is not still may have moved on between our dump and the signal, though it stood where it had stood before. What is
/// wrong is wrong each time.
fn compare_often(job: &Job) -> Result<usize> {
    let tries = if job.still { 1 } else { 4 };
    let mut last = compare(job);
    for _ in 1..tries {
        if last.is_ok() {
            break;
        }
        last = compare(job);
    }
    last
}

/// All of them, some side by side: they mostly wait.
fn run(jobs: Vec<Job>) -> Result<()> {
    let (jobs, failed) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().expect("nobody has panicked").pop();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(job) = next() {
                    match compare_often(&job) {
                        Ok(n) => println!("{}: {n} goroutines the same", job.name),
                        Err(e) => {
                            failed.lock().expect("nobody has panicked").push(format!("{}: {e:#}", job.name))
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn job(case: &Case, go: &'static str, stripped: bool) -> Result<Job> {
    let fixture = Fixture::new(case.program).go(go);
    let fixture = if case.program == "cgocalls" { fixture.cgo() } else { fixture };
    let (form, fixture) = if stripped { ("stripped", fixture.stripped()) } else { ("plain", fixture) };
    Ok(Job {
        name: format!("{} {:?}, {go}, {form}", case.program, case.args),
        go,
        executable: fixture.build()?,
        args: case.args.iter().map(|a| (*a).to_owned()).collect(),
        least: case.least,
        still: case.still,
    })
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_fixtures_print_when_they_are_killed() -> Result<()> {
    root_only()?;
    let mut jobs = Vec::new();
    for case in &CASES {
        let both = ["parked", "states"].contains(&case.program);
        for (go, stripped) in [(golang::OLDEST, true), (golang::DEFAULT, false)] {
            if case.since == golang::OLDEST || go == golang::DEFAULT {
                jobs.push(job(case, go, stripped)?);
            }
            if both {
                jobs.push(job(case, go, !stripped)?);
            }
        }
    }
    run(jobs)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_the_zoo_and_leaks_print_when_they_are_killed() -> Result<()> {
    root_only()?;
    let executable = Fixture::new("zoo").stripped().build()?;
    let mut jobs = Vec::new();
    for scenario in truth::zoo()? {
        let name = scenario.name;
        jobs.push(Job {
            name: format!("zoo {name}"),
            go: golang::DEFAULT,
            executable: executable.clone(),
            args: vec!["-scenario".to_owned(), name],
            least: 2,
            still: false,
        });
    }
    jobs.push(Job {
        name: "leaks".to_owned(),
        go: golang::DEFAULT,
        executable: golang::build_leaks(golang::DEFAULT, ".", &[])?,
        args: Vec::new(),
        least: 2_000,
        still: false,
    });
    run(jobs)
}

/// Go 1.20, of which only published programs are to be had.
#[test]
#[ignore = "needs a published Go program: cargo xtask test"]
fn what_a_program_of_go_1_20_prints_when_it_is_killed() -> Result<()> {
    root_only()?;
    run(vec![Job {
        name: "esbuild".to_owned(),
        go: "1.20.7",
        executable: ESBUILD.executable()?,
        args: vec![format!("--service={}", ESBUILD.version)],
        least: 2,
        still: true,
    }])
}

#[test]
fn each_fixture_is_compared_or_it_is_said_why_not() -> Result<()> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(workspace::root().join("tests/go"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let here = CASES.iter().map(|c| c.program).chain(NOT_HERE.iter().map(|(name, _)| *name));
    let here: BTreeSet<String> = here.map(str::to_owned).collect();
    assert_eq!(here, all);
    Ok(())
}
