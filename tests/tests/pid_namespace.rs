//! Process ids and the namespaces that give them meaning.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tracer::failure::Failure;
use tracer::target::{Environment, Target, TargetError};

/// Ends with its guard, and all processes of its namespace with it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All ids of the processes that live one namespace below ours: what we call them, what they call themselves.
fn below() -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let Some(line) = status.lines().find_map(|l| l.strip_prefix("NSpid:")) else { continue };
        let ids: Vec<i32> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        if let [here, there] = ids[..] {
            found.push((here, there));
        }
    }
    found
}

#[test]
#[ignore = "needs root"]
fn a_process_of_a_namespace_below_is_addressed_by_our_number() {
    let script = "i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let args = ["--pid", "--fork", "--kill-child", "sh", "-c", script];
    let _guard = Guard(Command::new("unshare").args(args).spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    // A number that means something there and nothing here.
    let (here, there) = loop {
        assert!(Instant::now() < until, "every low number is taken here");
        let only_there = |&(_, there): &(i32, i32)| !Path::new(&format!("/proc/{there}")).exists();
        if let Some(found) = below().into_iter().find(only_there) {
            break found;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let refused = Target::open(there).unwrap_err();
    assert!(
        matches!(refused, TargetError::InnerPid { pid, here: h, .. } if (pid, h) == (there, here)),
        "{refused}"
    );
    let failure = Failure::from(refused);
    assert_eq!((failure.exit_code(), failure.hint()), (12, format!("use `{here}`").as_str()));

    let target = Target::open(here).unwrap();
    assert_eq!(target.ns_pids(), [here, there]);
}

/// Runs one of the helpers below inside a new PID namespace.
fn inside(options: &[&str], helper: &str) {
    let me = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .args(options)
        .arg(me)
        .args([helper, "--exact", "--ignored"])
        .env("GOSTRAY_TEST_INSIDE", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{helper}: {status}");
}

#[test]
#[ignore = "needs root"]
fn gostray_in_a_namespace_of_its_own() {
    inside(&[], "helper_with_the_hosts_proc");
    inside(&["--mount-proc"], "helper_with_its_own_proc");
}

#[test]
#[ignore = "run by gostray_in_a_namespace_of_its_own"]
fn helper_with_the_hosts_proc() {
    if std::env::var_os("GOSTRAY_TEST_INSIDE").is_none() {
        return;
    }
    let environment = Environment::probe();
    assert_eq!((environment.own_proc, environment.initial_pid_namespace), (false, Some(false)));
    let refused = Target::open(1).unwrap_err();
    assert!(matches!(refused, TargetError::ForeignProc { pid: 1 }), "{refused}");
    assert_eq!(Failure::from(refused).exit_code(), 12);
}

#[test]
#[ignore = "run by gostray_in_a_namespace_of_its_own"]
fn helper_with_its_own_proc() {
    if std::env::var_os("GOSTRAY_TEST_INSIDE").is_none() {
        return;
    }
    let environment = Environment::probe();
    assert_eq!((environment.own_proc, environment.initial_pid_namespace), (true, Some(false)));
    let refused = Target::open(30_000).unwrap_err();
    assert!(matches!(refused, TargetError::NoSuchProcess { nested: true, .. }), "{refused}");
    let failure = Failure::from(refused);
    assert_eq!(failure.exit_code(), 10);
    assert!(failure.hint().contains("hostPID"), "{}", failure.hint());
    assert!(Target::open(std::process::id() as i32).is_ok());
}
