//! Real processes: our own children, and ourselves.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use object::{Object, ObjectSegment};

use super::*;
use crate::failure::{Class, Fail};

/// A child that ends with its guard.
struct Guard(Child);

impl Guard {
    fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn sh(script: &str) -> Self {
        Self::new(Command::new("sh").args(["-c", script]))
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn say(&mut self, text: &str) {
        self.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn becomes(target: &Target, expected: Incarnation) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        match target.incarnation().unwrap() {
            seen if seen == expected => return true,
            Incarnation::Same => std::thread::sleep(Duration::from_millis(1)),
            _ => return false,
        }
    }
    false
}

/// The child has left the image of this test binary.
fn started(child: &Guard, comm: &str) {
    let path = format!("/proc/{}/comm", child.pid());
    let until = Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&path).unwrap().trim() != comm {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_running_process() {
    let child = Guard::sh("read x");
    started(&child, "sh");
    let target = Target::open(child.pid()).unwrap();
    assert_eq!((target.pid(), target.comm()), (child.pid(), "sh"));
    assert_eq!(target.command().unwrap(), "sh");
    assert_eq!(target.ns_pids().last(), Some(&child.pid()));
    assert_eq!(target.exe_path(), std::fs::canonicalize("/bin/sh").unwrap());
    assert_eq!(target.exe().metadata().unwrap().ino(), std::fs::metadata("/bin/sh").unwrap().ino());
    assert_eq!(std::fs::metadata(target.exe_proc_path()).unwrap().ino(), target.exe_file().inode);
    assert_eq!(target.incarnation().unwrap(), Incarnation::Same);

    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    let now = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
    assert!(target.started_boot_ns() <= now && now - target.started_boot_ns() < 60_000_000_000);
    // Looking left no trace.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
    assert!(status.contains("TracerPid:\t0"), "{status}");
}

#[test]
fn the_load_bias_agrees_with_the_auxiliary_vector() {
    let target = Target::open(std::process::id() as i32).unwrap();
    let bytes = std::fs::read("/proc/self/exe").unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let segments: Vec<Segment> = elf
        .segments()
        .map(|s| Segment {
            vaddr: s.address(),
            offset: s.file_range().0,
            file_size: s.file_range().1,
            executable: matches!(
                s.flags(),
                object::SegmentFlags::Elf { p_flags, .. } if p_flags.0 & object::elf::PF_X.0 != 0
            ),
        })
        .collect();
    let bias = target.exe_load_bias(&target.maps().unwrap(), &segments).unwrap();
    assert_eq!(target.auxv(auxv::ENTRY).unwrap(), elf.entry() + bias);
    assert_ne!(bias, 0, "this test binary is position independent");
}

#[test]
fn exec_is_noticed_also_of_the_same_file() {
    for (script, what) in [("read x; exec sleep 100", "another"), ("read x; exec sh -c 'read y'", "the same")]
    {
        let mut child = Guard::sh(script);
        started(&child, "sh");
        let target = Target::open(child.pid()).unwrap();
        assert_eq!(target.incarnation().unwrap(), Incarnation::Same);
        child.say("go\n");
        assert!(becomes(&target, Incarnation::Execed), "{what}");
        let again = Target::open(child.pid()).unwrap();
        assert_eq!(again.started_boot_ns(), target.started_boot_ns());
    }
}

/// Without address space randomisation all addresses are the same after a re-exec.
#[test]
fn a_re_exec_to_the_same_addresses_is_noticed() {
    let mut command = Command::new("setarch");
    command.args(["-R", "sh", "-c", "read x; exec sh -c 'read x'"]);
    let mut child = Guard::new(&mut command);
    started(&child, "sh");
    let target = Target::open(child.pid()).unwrap();
    child.say("go\n");
    assert!(becomes(&target, Incarnation::Execed));
    let again = Target::open(child.pid()).unwrap();
    assert_eq!(
        again.auxv(auxv::ENTRY),
        target.auxv(auxv::ENTRY),
        "the loader put it elsewhere: proves nothing"
    );
}

#[test]
fn exit_is_noticed_also_unreaped() {
    let mut child = Guard::sh("read x");
    started(&child, "sh");
    let target = Target::open(child.pid()).unwrap();
    child.say("go\n");
    assert!(becomes(&target, Incarnation::Exited));
    // Nobody has waited for it yet.
    let refused = Target::open(child.pid()).unwrap_err();
    assert!(matches!(refused, TargetError::Zombie { .. }), "{refused}");
    assert_eq!(refused.class(), Class::Zombie);
    child.0.wait().unwrap();
    assert_eq!(target.incarnation().unwrap(), Incarnation::Exited);
    assert!(matches!(target.maps(), Err(TargetError::Exited { .. })));
}

#[test]
fn no_such_process() {
    for pid in [0, -1, i32::MIN, i32::MAX] {
        let refused = Target::open(pid).unwrap_err();
        assert!(matches!(refused, TargetError::NoSuchProcess { .. }), "{refused}");
        assert_eq!(refused.class().code(), 10);
    }
}

#[test]
fn a_thread_is_named_with_its_process() {
    let (send, receive) = std::sync::mpsc::channel();
    let (quit, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        send.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = wait.recv();
    });
    let tid = receive.recv().unwrap();
    let refused = Target::open(tid).unwrap_err();
    drop(quit);
    thread.join().unwrap();
    let TargetError::ThreadId { tid: t, pid, .. } = refused else { panic!("{refused}") };
    assert_eq!((t, pid), (tid, std::process::id() as i32));
    assert_eq!(refused.hint(), format!("use `{pid}`"));
}

#[test]
fn a_kernel_thread_is_refused() {
    let kernel_thread = (2..1000).find(|&pid| {
        PidDir::open(pid).ok().and_then(|d| d.stat().ok()).is_some_and(|stat| stat.is_kernel_thread())
    });
    let Some(pid) = kernel_thread else {
        // Only in a namespace of its own can there be none.
        assert!(environment::in_nested_pid_namespace());
        return;
    };
    assert!(matches!(Target::open(pid), Err(TargetError::KernelThread { .. })));
}

/// Capabilities belong to the thread: one that gave all of them up may not read a process that has some, nor, if we
/// never had any, somebody else's.
#[test]
fn what_we_may_not_read_is_refused_by_name() {
    let refused = std::thread::spawn(|| {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        Target::open(1).unwrap_err()
    })
    .join()
    .unwrap();
    let TargetError::NotPermitted { path, .. } = &refused else { panic!("{refused}") };
    assert_eq!(path, "/proc/1/mem");
    assert_eq!(refused.class().code(), 20);
    assert!(refused.hint().contains("sudo"));
}

#[test]
fn a_deleted_program_is_still_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("doomed");
    std::fs::copy("/bin/sleep", &path).unwrap();
    let child = Guard::new(Command::new(&path).arg("100"));
    started(&child, "doomed");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    let target = Target::open(child.pid()).unwrap();
    assert!(target.exe_path().to_str().unwrap().ends_with("/doomed (deleted)"));
    let mut magic = [0; 4];
    target.exe().read_exact_at(&mut magic, 0).unwrap();
    assert_eq!(&magic, b"\x7fELF");
    let maps = target.maps().unwrap();
    assert!(maps.iter().any(|m| m.executable && m.file == target.exe_file()), "{maps:#?}");
}
