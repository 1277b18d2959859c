//! A process that is stopped, traced by a debugger, ends meanwhile or has a million goroutines: sensible words each.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::gostray::{gostray, until};
use tests::{Fixture, Running, root_only};
use tracer::source::live::spawn::Stopped;

fn parked(many: &str) -> Result<Running> {
    Fixture::new("parked").start(&["-many", many])
}

fn dump(pid: u32) -> Result<Value> {
    let output = gostray(&["dump", &pid.to_string(), "--format", "json"]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Codes and texts of its notes.
fn held(dump: &Value) -> Vec<&str> {
    let notes = dump["notes"].as_array().map_or(&[][..], |n| n);
    notes.iter().filter(|n| n["code"] == "held").filter_map(|n| n["text"].as_str()).collect()
}

/// Threads that are in another state than this (proc_pid_stat(5)).
fn threads_not_in(pid: u32, state: char) -> Result<usize> {
    let mut others = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        others += usize::from(!stat.contains(&format!(") {state} ")));
    }
    Ok(others)
}

fn living(dump: &Value) -> usize {
    dump["goroutines"].as_array().map_or(0, Vec::len)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_is_stopped_is_read_all_the_same_and_it_is_said() -> Result<()> {
    root_only()?;
    let program = parked("10")?;
    let free = dump(program.pid())?;
    assert_eq!(held(&free), [""; 0]);
    program.signal(libc::SIGSTOP)?;
    until("all of it is stopped", Duration::from_secs(5), || {
        threads_not_in(program.pid(), 'T').is_ok_and(|n| n == 0)
    });
    let stopped = dump(program.pid())?;
    assert_eq!(held(&stopped), ["the process is stopped: nothing in it moves"]);
    assert_eq!(living(&stopped), living(&free));
    program.signal(libc::SIGCONT)?;
    Ok(())
}

/// A thread in state D takes no signals and may stay there for hours; memory is read without it.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_with_a_thread_that_waits_uninterruptibly_is_read_all_the_same() -> Result<()> {
    root_only()?;
    let program = Fixture::new("states").start(&["-idle", "-vfork"])?;
    let held_up = || -> Result<Vec<u32>> {
        let mut held_up = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", program.pid()))? {
            let task = task?;
            if std::fs::read_to_string(task.path().join("stat"))?.contains(") D ") {
                held_up.push(task.file_name().to_string_lossy().parse()?);
            }
        }
        Ok(held_up)
    };
    until("a thread waits uninterruptibly", Duration::from_secs(5), || held_up().is_ok_and(|t| t.len() == 1));
    let begun = std::time::Instant::now();
    let dump = dump(program.pid())?;
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.pid()))?.count();
    let text =
        format!("1 of the process's {threads} threads waits in the kernel, where no signal reaches it");
    assert_eq!(held(&dump), [text]);
    ensure!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let goroutines = dump["goroutines"].as_array().context("goroutines")?;
    let running: Vec<&Value> = goroutines.iter().filter(|g| g["status"] == "running").collect();
    let [running] = running[..] else { anyhow::bail!("{running:?}") };
    assert_eq!(vec![running["thread"].as_u64().context("no thread")? as u32], held_up()?);
    let parked = goroutines.iter().filter(|g| g["trace"] == "whole").count();
    ensure!(parked >= 13, "{parked} of {}", goroutines.len());
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_a_debugger_traces_is_read_all_the_same_and_it_is_said() -> Result<()> {
    root_only()?;
    let program = parked("10")?;
    let pid = libc::pid_t::try_from(program.pid())?;
    // SAFETY: PTRACE_SEIZE takes no pointer; the process is our own child. It does not stop it.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    ensure!(seized == 0, "{}", std::io::Error::last_os_error());
    let traced = dump(program.pid())?;
    let held = held(&traced);
    let [text] = held[..] else { anyhow::bail!("{held:?}") };
    assert!(text.starts_with(&format!("process {} (", std::process::id())), "{text}");
    // SAFETY: as above; a tracee that is not stopped cannot be detached, so it is stopped by a signal first.
    unsafe {
        libc::kill(pid, libc::SIGSTOP);
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
        libc::kill(pid, libc::SIGCONT);
    }
    Ok(())
}

/// A debugger's stop: first of the main thread, then of all threads. The thread that traces must be the one that asks.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_a_debugger_has_stopped_is_read_all_the_same_and_it_is_said() -> Result<()> {
    root_only()?;
    let program = parked("10")?;
    let free = living(&dump(program.pid())?);
    let main = libc::pid_t::try_from(program.pid())?;
    let mut stopped: Vec<libc::pid_t> = Vec::new();
    let stop = |tid: libc::pid_t| -> Result<()> {
        // SAFETY: both take no pointer; it is a thread of our own child.
        let asked = unsafe {
            libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) == 0
                && libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) == 0
        };
        ensure!(asked, "thread {tid}: {}", std::io::Error::last_os_error());
        // SAFETY: no status is asked for.
        ensure!(unsafe { libc::waitpid(tid, std::ptr::null_mut(), libc::__WALL) } == tid, "thread {tid}");
        Ok(())
    };
    let tracer = format!("process {} (", std::process::id());
    let check = |words: &str| -> Result<()> {
        let dump = dump(program.pid())?;
        let [how, who] = held(&dump)[..] else { anyhow::bail!("{:?}", held(&dump)) };
        ensure!(how == words && who.starts_with(&tracer), "{how}; {who}");
        ensure!(living(&dump) == free, "{} of {free}", living(&dump));
        Ok(())
    };
    stop(main)?;
    stopped.push(main);
    let threads = || -> Result<Vec<libc::pid_t>> {
        let names = std::fs::read_dir(format!("/proc/{main}/task"))?.map(|t| Ok(t?.file_name()));
        let names: std::io::Result<Vec<_>> = names.collect();
        Ok(names?.iter().filter_map(|n| n.to_str()?.parse().ok()).collect())
    };
    let all = threads()?;
    ensure!(all.len() > 2, "{all:?}");
    check(&format!("1 of the process's {} threads is stopped", all.len()))?;
    // One that still runs may start another.
    while let Some(tid) = threads()?.into_iter().find(|tid| !stopped.contains(tid)) {
        stop(tid)?;
        stopped.push(tid);
    }
    check("the process is stopped: nothing in it moves")?;
    for tid in stopped {
        // SAFETY: as above; it is stopped.
        let detached = unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0, 0) };
        ensure!(detached == 0, "thread {tid}: {}", std::io::Error::last_os_error());
    }
    assert_eq!(held(&dump(program.pid())?), [""; 0]);
    Ok(())
}

/// Ends with this code and says all of that.
fn refused(pid: u32, code: i32, words: &[&str]) -> Result<()> {
    let output = gostray(&["dump", &pid.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code) && output.stdout.is_empty(), "{}: {said}", output.status);
    ensure!(words.iter().all(|w| said.contains(w)), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_has_ended_and_waits_for_its_parent_is_refused_by_name() -> Result<()> {
    root_only()?;
    let program = parked("10")?;
    program.signal(libc::SIGKILL)?;
    let stat = format!("/proc/{}/stat", program.pid());
    // Nobody asks how it ended.
    until("it is a zombie", Duration::from_secs(10), || {
        std::fs::read_to_string(&stat).is_ok_and(|s| s.contains(") Z "))
    });
    let name = format!("process `{}` (`parked`) has exited already and waits for its parent", program.pid());
    refused(program.pid(), 14, &[&name, "try: ", "gostray run"])
}

/// As a debugger has it that has just started it.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_has_not_begun_is_refused_by_name() -> Result<()> {
    root_only()?;
    let executable = Fixture::new("parked").build()?;
    let program = Stopped::start(&executable.into_os_string(), &[])?;
    refused(program.pid(), 26, &[&format!("process `{}`, which is stopped", program.pid()), "try: "])?;
    // It was not harmed: let go, it runs.
    let program = program.release()?;
    let pid = program.pid();
    until("it runs", Duration::from_secs(10), || dump(pid).is_ok_and(|d| living(&d) > 20));
    // SAFETY: kill(2) takes two integers; the child was not waited for.
    ensure!(unsafe { libc::kill(libc::pid_t::try_from(pid)?, libc::SIGKILL) } == 0);
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn one_that_ends_meanwhile_is_said_to_have_ended() -> Result<()> {
    root_only()?;
    for ms in [1, 5, 20, 40, 60] {
        let mut program = parked("50000")?;
        let (executable, pid) = (tests::gostray::binary(), program.pid().to_string());
        let dump = Command::new(executable)
            .args(["dump", &pid])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(ms));
        program.signal(libc::SIGKILL)?;
        until("it has ended", Duration::from_secs(10), || !program.is_alive().unwrap_or(false));
        let output = dump.wait_with_output()?;
        let code = output.status.code().context("no exit code")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // It may have been quicker.
        ensure!(code == 0 || [10, 14, 18].contains(&code), "{code}: {said}");
        ensure!(code == 0 || said.contains("exited") || said.contains("no process"), "{said}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_million_goroutines_are_read_and_each_is_counted() -> Result<()> {
    root_only()?;
    let program = parked("1000000")?;
    let output = gostray(&["dump", &program.pid().to_string()]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let head = text.lines().next().unwrap_or_default();
    ensure!(head.contains(": 1,000,0") || head.contains(": 10000"), "{head}");
    Ok(())
}
