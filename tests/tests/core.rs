//! A dump of a core file says what the program's own full dump said before: the kernel's cores (of a crash with
//! `GOTRACEBACK=crash`), and gdb's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tests::gostray::gostray;
use tests::own_dump::{Said, explained, own, parse};
use tests::{Fixture, Running, root_only};
use tracer::gobin::BuildIds;
use tracer::memory::core::Core;
use xtask::{golang, shell};

const GOS: [&str; 3] = ["1.19.8", "1.24.11", "1.27.3"];

/// Every mapping of files that the process could not write, too (core(5)).
const EVERYTHING: &str = "0x7f";

/// Starts the executable in a directory of its own, where a core of it may be as large as it gets.
fn start(executable: &Path, dir: &Path) -> Result<Running> {
    start_with(executable, dir, &[])
}

fn start_with(executable: &Path, dir: &Path, args: &[&str]) -> Result<Running> {
    let mut command = Command::new(executable);
    command.args(args);
    // Its words on its own crash are many.
    command.current_dir(dir).env("GOTRACEBACK", "crash").stderr(Stdio::null());
    // SAFETY: setrlimit(2) is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            match libc::setrlimit(libc::RLIMIT_CORE, &all) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut program = Running::start_silent(&mut command)?;
    program.wait_for("ready")?;
    Ok(program)
}

/// The kernel's cores do not come into the directory of the process.
fn gives_cores_away() -> Result<bool> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    Ok(pattern.starts_with('|') || pattern.contains('/'))
}

/// Lets it crash, and finds the core that the kernel wrote. Nothing where the kernel gives cores to a program instead.
fn crash(mut program: Running, dir: &Path) -> Result<Option<PathBuf>> {
    if gives_cores_away()? {
        println!("the kernel gives its cores to a program: not asked");
        return Ok(None);
    }
    program.signal(libc::SIGABRT)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while program.is_alive()? {
        ensure!(Instant::now() < deadline, "it does not die");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut files = fs::read_dir(dir)?.filter_map(|e| Some(e.ok()?.path()));
    files.find(|p| p.is_file()).context("no core").map(Some)
}

/// What gdb writes of it; the program goes on. Nothing where there is no gdb.
fn gcore(program: &Running, dir: &Path) -> Result<Option<PathBuf>> {
    if shell::which("gcore").is_none() {
        println!("there is no gdb: its cores are not asked");
        return Ok(None);
    }
    let prefix = dir.join("gdb");
    let mut command = Command::new("gcore");
    shell::quiet(command.arg("-o").arg(&prefix).arg(program.pid().to_string()))?;
    Ok(Some(dir.join(format!("gdb.{}", program.pid()))))
}

/// The kernel's core, which is quicker to have, or gdb's.
fn any_core(program: Running, dir: &Path) -> Result<PathBuf> {
    let core = if gives_cores_away()? { gcore(&program, dir)? } else { crash(program, dir)? };
    core.context("neither the kernel nor gdb wrote a core; try: apt-get install gdb")
}

fn dump(core: &Path, more: &[&str]) -> Output {
    let core = core.to_str().expect("a name");
    gostray(&[&["dump", "--core", core, "--format", "go"], more].concat())
}

fn told(core: &Path, more: &[&str]) -> Result<BTreeMap<u64, Said>> {
    let output = dump(core, more);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&String::from_utf8(output.stdout)?)
}

fn compare(go: &str, what: &str, own: &BTreeMap<u64, Said>, ours: &BTreeMap<u64, Said>) -> Result<()> {
    let ids = |of: &BTreeMap<u64, Said>| of.keys().copied().collect::<Vec<_>>();
    ensure!(ids(ours) == ids(own), "{what}: {:?}, itself {:?}", ids(ours), ids(own));
    let differ: Vec<String> = own
        .iter()
        .filter(|(id, said)| !explained(go, **id, said, &ours[id]))
        .map(|(id, said)| format!("{what}: goroutine {id}: itself {said:#?}\nwe {:#?}", ours[id]))
        .collect();
    ensure!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), own.len(), differ.join("\n"));
    println!("{what}: {} goroutines the same", own.len());
    Ok(())
}

fn fixtures(go: &str) -> Vec<(&'static str, Fixture)> {
    let parked = || Fixture::new("parked").go(go);
    let mut all = vec![("plain", parked()), ("stripped", parked().stripped())];
    if go == golang::DEFAULT || go == GOS[2] {
        all.push(("stripped, position independent", parked().stripped().pie()));
    }
    all
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_core_says_what_the_program_said_of_itself() -> Result<()> {
    root_only()?;
    let mut asked = 0;
    for go in GOS {
        for (form, fixture) in fixtures(go) {
            let dir = tempfile::tempdir()?;
            let mut program = start(&fixture.build()?, dir.path())?;
            let own = own(&mut program)?;
            if let Some(core) = gcore(&program, dir.path())? {
                compare(go, &format!("{go}, {form}, gdb's core"), &own, &told(&core, &[])?)?;
                fs::remove_file(core)?;
                asked += 1;
            }
            if let Some(core) = crash(program, dir.path())? {
                compare(go, &format!("{go}, {form}, the kernel's core"), &own, &told(&core, &[])?)?;
                asked += 1;
            }
        }
    }
    ensure!(asked > 0, "neither the kernel nor gdb wrote a core; try: apt-get install gdb");
    Ok(())
}

fn json(args: &[&str]) -> Result<Value> {
    let output = gostray(&[args, &["--format", "json"]].concat());
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Goroutines by id, each with all that is told of it in the place of indices, but for what only a live process tells: how far off
/// a timer is, for how long it has waited, and which descriptor it waits for.
fn goroutines(dump: &Value) -> Result<BTreeMap<u64, Value>> {
    let at = |list: &str, index: &Value| index.as_u64().map_or(&Value::Null, |i| &dump[list][i as usize]);
    let pc = |place: &Value| at("places", place)["pc"].clone();
    let mut all = BTreeMap::new();
    for g in dump["goroutines"].as_array().context("goroutines")? {
        let mut told = g.clone();
        for ours in ["waiting", "runtime_waiting_ns"] {
            told[ours] = Value::Null;
        }
        told["reason"] = at("wait_reasons", &g["reason"]).clone();
        told["labels"] = at("labels", &g["labels"]).clone();
        told["created_at"] = pc(&g["created_at"]);
        told["start"] = pc(&g["start"]);
        let places = at("stacks", &g["stack"])["places"].as_array().map_or(&[][..], |p| p);
        told["stack"] = places.iter().map(pc).collect();
        let mut waits_on = Vec::new();
        for wait in g["waits_on"].as_array().context("waits_on")? {
            let mut object = at("objects", &wait["object"]).clone();
            for timer in ["/timer/in_ns", "/channel/timer/in_ns"] {
                if let Some(ns) = object.pointer_mut(timer) {
                    *ns = Value::Null;
                }
            }
            if object["kind"] != "descriptor" {
                waits_on.push(json!({ "object": object, "side": wait["side"] }));
            }
        }
        told["waits_on"] = waits_on.into();
        all.insert(g["goid"].as_u64().context("an id")?, told);
    }
    Ok(all)
}

/// What the live process told in JSON, its core tells: objects and who has them, labels, threads, addresses.
fn compare_all(what: &str, live: &BTreeMap<u64, Value>, core: &Path) -> Result<()> {
    let core = goroutines(&json(&["dump", "--core", core.to_str().context("a name")?])?)?;
    let ids = |of: &BTreeMap<u64, Value>| of.keys().copied().collect::<Vec<_>>();
    ensure!(ids(live) == ids(&core), "{what}: {:?}, live {:?}", ids(&core), ids(live));
    let differ: Vec<String> = live
        .iter()
        .filter(|(id, told)| core[id] != **told)
        .map(|(id, told)| format!("{what}: goroutine {id}: live {told}\nthe core {}", core[id]))
        .collect();
    ensure!(
        differ.is_empty(),
        "{} of {} differ:\n{}",
        differ.len(),
        live.len(),
        differ[..differ.len().min(3)].join("\n")
    );
    println!("{what}: {} goroutines the same", live.len());
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_core_tells_what_the_live_process_told() -> Result<()> {
    root_only()?;
    // Before and after the runtime says itself which semaphore a goroutine waits on.
    for (go, fixture) in [
        (GOS[0], Fixture::new("parked").go(GOS[0]).stripped()),
        (golang::DEFAULT, Fixture::new("parked")),
        (GOS[2], Fixture::new("parked").go(GOS[2]).stripped().pie()),
    ] {
        let dir = tempfile::tempdir()?;
        let program = start(&fixture.build()?, dir.path())?;
        let live = goroutines(&json(&["dump", &program.pid().to_string()])?)?;
        // The comparison is not of nothing.
        let kinds = ["channel", "forever", "mutex", "rw-mutex", "wait-group", "cond", "semaphore", "timer"];
        let text = serde_json::to_string(&live)?;
        for kind in kinds {
            ensure!(text.contains(&format!("\"kind\":\"{kind}\"")), "{go}: no {kind}");
        }
        let held = live.values().flat_map(|g| g["waits_on"].as_array().into_iter().flatten());
        ensure!(
            held.filter(|w| w["object"]["holders"] != json!([])).count() > 1,
            "{go}: nobody has anything"
        );
        ensure!(live.values().filter(|g| g["labels"]["tenant"] == "blue").count() == 1, "{go}: no labels");
        ensure!(live.values().filter(|g| g["thread"].is_u64()).count() > 2, "{go}: no threads");
        compare_all(go, &live, &any_core(program, dir.path())?)?;
    }
    Ok(())
}

/// Who waits for whom, whatever else there is to tell of it.
fn circles(dump: &Value) -> Vec<Value> {
    let goids = |cycle: &Value| -> Vec<Value> {
        cycle["steps"].as_array().into_iter().flatten().map(|step| step["goid"].clone()).collect()
    };
    let cycles = dump["cycles"].as_array().into_iter().flatten();
    cycles.map(|c| json!({ "certainty": c["certainty"], "goids": goids(c) })).collect()
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_core_tells_the_same_holders_and_circles() -> Result<()> {
    root_only()?;
    let dir = tempfile::tempdir()?;
    let program = start_with(&Fixture::new("deadlocks").build()?, dir.path(), &["-case", "crossed"])?;
    let pid = program.pid().to_string();
    let begun = Instant::now();
    let mut live = json(&["dump", &pid])?;
    // On a busy machine they come late to their places.
    while circles(&live).len() != 1 && begun.elapsed() < Duration::from_secs(10) {
        live = json(&["dump", &pid])?;
    }
    let circle = circles(&live);
    ensure!(circle.len() == 1 && circle[0]["goids"].as_array().is_some_and(|g| g.len() == 2), "{circle:?}");
    let core = any_core(program, dir.path())?;
    compare_all("deadlocks", &goroutines(&live)?, &core)?;
    let told = json(&["dump", "--core", core.to_str().context("a name")?])?;
    assert_eq!(circles(&told), circle);
    Ok(())
}

/// A core of the program `parked`, its executable, and the directory that both are in.
fn parked() -> Result<(PathBuf, PathBuf, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let executable = Fixture::new("parked").build()?;
    let program = start(&executable, dir.path())?;
    let core = match gcore(&program, dir.path())? {
        Some(core) => core,
        None => crash(program, dir.path())?.context("neither the kernel nor gdb wrote a core")?,
    };
    Ok((core, executable, dir))
}

/// The exit code, and what was said.
fn refusal(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn another_executable_and_what_is_no_core_are_refused_by_name() -> Result<()> {
    root_only()?;
    let (core, executable, dir) = parked()?;
    assert_eq!(told(&core, &["--exe", executable.to_str().context("a name")?])?, told(&core, &[])?);

    let other = Fixture::new("parked").stripped().build()?;
    let (code, said) = refusal(&dump(&core, &["--exe", other.to_str().context("a name")?]));
    assert!(code == Some(41) && said.contains("build id"), "{said}");
    let elsewhere = dir.path().join("moved");
    let (code, said) = refusal(&dump(&core, &["--exe", elsewhere.to_str().context("a name")?]));
    assert!(code == Some(33) && said.contains("moved"), "{said}");
    let (code, said) = refusal(&dump(&executable, &[]));
    assert!(code == Some(39) && said.contains("an executable"), "{said}");
    let (code, said) = refusal(&dump(Path::new("/etc/passwd"), &[]));
    assert!(code == Some(39) && said.contains("not an ELF file"), "{said}");
    let (code, said) = refusal(&gostray(&["dump", "1", "--core", "x"]));
    assert!(code == Some(2), "{said}");
    Ok(())
}

/// Each prefix is dumped as far as it goes, or refused as cut off; what is told is what the whole core tells.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_core_that_is_cut_off_tells_what_it_has() -> Result<()> {
    root_only()?;
    let (core, executable, _dir) = parked()?;
    let exe = ["--exe", executable.to_str().context("a name")?];
    let whole = told(&core, &[])?;
    let file = fs::File::options().write(true).open(&core)?;
    let len = file.metadata()?.len();
    let (mut dumped, mut refused) = (0, 0);
    for part in (0..20).rev() {
        file.set_len(len * part / 20)?;
        let output = dump(&core, &exe);
        match output.status.code() {
            Some(0) => {
                dumped += 1;
                let part = parse(&String::from_utf8(output.stdout)?)?;
                for (id, said) in part {
                    let (frames, full) = (&said.frames, whole.get(&id).context("a goroutine of its own")?);
                    // Its state is in its g; its stack may be beyond the end.
                    ensure!(full.state == said.state.replace(", stack incomplete", ""), "{said:?} {full:?}");
                    ensure!(
                        frames.iter().all(|f| {
                            // Where no frame of the program's own is left, the runtime's are shown.
                            let cut = f.starts_with("runtime.") || f.contains("stack unavailable");
                            cut || full.frames.contains(f)
                        }),
                        "{said:?} {full:?}"
                    );
                }
            }
            Some(39 | 40) => refused += 1,
            other => bail!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    println!("{dumped} dumped, {refused} refused");
    ensure!(dumped > 0 && refused > 0, "{dumped} dumped, {refused} refused");
    Ok(())
}

/// Goroutines that run are where their threads are.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn in_a_core_running_goroutines_have_stacks() -> Result<()> {
    root_only()?;
    for go in GOS {
        let executable = Fixture::new("running").go(go).build()?;
        let mut computing = 0;
        // Beside others it is often preempted; alone it is what runs.
        for args in [&[][..], &[], &[], &["alone"]] {
            let dir = tempfile::tempdir()?;
            let program = start_with(&executable, dir.path(), args)?;
            let mut cores = vec![gcore(&program, dir.path())?.map(|core| told(&core, &[])).transpose()?];
            fs::remove_file(dir.path().join(format!("gdb.{}", program.pid()))).ok();
            cores.push(crash(program, dir.path())?.map(|core| told(&core, &[])).transpose()?);
            for all in cores.into_iter().flatten() {
                let in_function = |g: &Said, f: &str| g.frames.iter().any(|l| l.starts_with(f));
                // Whatever it does at the moment, its callers are known.
                let outer: Vec<_> = all.values().filter(|g| in_function(g, "main.outer ")).collect();
                let [outer] = outer[..] else { bail!("{go}: {all:#?}") };
                ensure!(
                    in_function(outer, "main.computes ") && in_function(outer, "main.middle "),
                    "{outer:?}"
                );
                computing += usize::from(outer.state == "running]");
                ensure!(all.values().all(|g| !g.state.contains("incomplete")), "{go}: {all:#?}");
                let running = all.values().filter(|g| g.state == "running]");
                for g in running.filter(|g| g.frames.iter().any(|f| f.contains("unavailable"))) {
                    println!("{go}: {g:?}");
                }
            }
        }
        println!("{go}: the one that computes was running {computing} times");
        ensure!(computing > 0, "{go}: it was never running");
    }
    Ok(())
}

/// The default is enough, and so is everything.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_the_kernel_leaves_out_comes_from_the_executable() -> Result<()> {
    root_only()?;
    let executable = Fixture::new("parked").stripped().build()?;
    // Private memory alone; with the first pages of files; with all of them.
    for filter in ["0x1", "0x33", EVERYTHING] {
        let dir = tempfile::tempdir()?;
        let mut program = start(&executable, dir.path())?;
        fs::File::options()
            .write(true)
            .open(format!("/proc/{}/coredump_filter", program.pid()))?
            .write_all_at(filter.as_bytes(), 0)?;
        let own = own(&mut program)?;
        let Some(core) = crash(program, dir.path())? else { return Ok(()) };
        compare(golang::DEFAULT, filter, &own, &told(&core, &[])?)?;
        let bytes = fs::read(core)?;
        let has_build_id = Core::parse(&bytes)?.build_ids() != BuildIds::default();
        assert_eq!(has_build_id, filter != "0x1", "{filter}");
    }
    Ok(())
}
