//! What bad input gets (issue: each case its own sentence, "try:" line and exit code), and that no target is hurt by it.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tests::fixtures::Fixture;
use tests::gostray::{Background, binary, gostray, until};

/// The sentence, the hint and the code, all there.
fn refused(output: &Output, code: i32, sentence: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(sentence), "`{sentence}` is not in: {text}");
    let lines: Vec<&str> =
        text.lines().filter(|l| l.starts_with("gostray:") || l.starts_with("try:")).collect();
    assert!(lines.iter().any(|l| l.starts_with("gostray:")), "no sentence: {text}");
    assert_eq!(lines.iter().filter(|l| l.starts_with("try:")).count(), 1, "no single try line: {text}");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn no_such_process() {
    // pid_max is at most 2^22.
    refused(&gostray(&["attach", "4194304"]), 10, "there is no process `4194304`");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_thread_id() {
    let mut program = Fixture::new("demo").start(&[]).unwrap();
    let pid = program.pid();
    let thread = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|tid| *tid != pid)
        .expect("a Go program has threads");
    refused(&gostray(&["attach", &thread.to_string()]), 11, "is a thread of process");
    assert!(program.is_alive().unwrap());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn not_a_go_program() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    refused(&gostray(&["attach", &sleep.id().to_string()]), 15, "is not a Go program");
    assert!(sleep.try_wait().unwrap().is_none(), "the target is disturbed");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    refused(&gostray(&["run", "--", "true"]), 15, "is not a Go program");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_go_older_than_supported() {
    // The version stands in the build information as text: `go1.26.6` and `go1.16.6` have the same length.
    let path = Fixture::new("demo").build().unwrap();
    let mut image = std::fs::read(path).unwrap();
    let find = |image: &[u8], what: &[u8]| image.windows(what.len()).position(|w| w == what);
    let info = find(&image, b"\xff Go buildinf:").expect("build information");
    let at = info + find(&image[info..], b"go1.26").expect("the version behind it");
    image[at..at + 6].copy_from_slice(b"go1.16");
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    std::fs::write(&old, image).unwrap();
    std::os::unix::fs::chown(&old, None, None).unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut program = Command::new(&old).stdout(Stdio::null()).spawn().unwrap();
    refused(&gostray(&["attach", &program.id().to_string()]), 16, "go1.16.6");
    assert!(program.try_wait().unwrap().is_none(), "the target is disturbed");
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn an_unknown_go() {
    let path = Fixture::new("demo").stripped().build().unwrap();
    let mut image = std::fs::read(path).unwrap();
    let find = |image: &[u8], what: &[u8]| image.windows(what.len()).position(|w| w == what);
    let info = find(&image, b"\xff Go buildinf:").expect("build information");
    let at = info + find(&image[info..], b"go1.26").expect("the version behind it");
    image[at..at + 6].copy_from_slice(b"go1.99");
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    std::fs::write(&new, image).unwrap();
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut program = Command::new(&new).stdout(Stdio::null()).spawn().unwrap();
    refused(&gostray(&["attach", &program.id().to_string()]), 17, "go1.99.6");
    assert!(program.try_wait().unwrap().is_none(), "the target is disturbed");
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn without_privileges() {
    tests::root_only().unwrap();
    let mut program = Fixture::new("demo").start(&[]).unwrap();
    // As `nobody`, who owns neither the program nor a capability. The binary is copied to where nobody may read it from.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("gostray");
    std::fs::copy(binary(), &copy).unwrap();
    let output = Command::new(&copy)
        .args(["attach", &program.pid().to_string()])
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    refused(&output, 20, "missing CAP_BPF");
    assert!(program.is_alive().unwrap());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn exits_while_we_attach_or_watch() {
    // Whether it is gone before, during or after the probes are placed depends on the moment; each is one of three
    // answers, and none of them an internal error.
    let mut answers = std::collections::BTreeSet::new();
    for delay in [0, 20, 60, 120, 200, 300, 450, 700] {
        let program = Fixture::new("demo").start(&[]).unwrap();
        let watching = Background::start(&["attach", &program.pid().to_string(), "--json"]);
        std::thread::sleep(Duration::from_millis(delay));
        drop(program);
        let output = watching.finish();
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(code, Some(0 | 10 | 14 | 18)), "after {delay} ms: {code:?}: {said}");
        answers.insert(code);
    }
    eprintln!("exits around the attaching gave {answers:?}");
    // And once it certainly is attached: the exit ends the watch, with a report.
    let program = Fixture::new("demo").start(&[]).unwrap();
    let watching = Background::attach(program.pid(), &[]);
    drop(program);
    let output = watching.finish();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(tests::gostray::report(&output).0["end"]["reason"], "target-exited");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn execs_another_program_while_it_is_watched() {
    let program = Fixture::new("execer").start(&[]).unwrap();
    let watching = Background::attach(program.pid(), &[]);
    program.signal(libc::SIGUSR1).unwrap();
    let output = watching.finish();
    assert_eq!(output.status.code(), Some(0));
    let report = tests::gostray::report(&output);
    assert_eq!(report.0["end"]["reason"], "target-execed");
    let comm = || std::fs::read_to_string(format!("/proc/{}/comm", program.pid())).unwrap_or_default();
    until("the other program runs", Duration::from_secs(5), || comm() == "sleep\n");
    // Now it is no Go program any more.
    refused(&gostray(&["attach", &program.pid().to_string()]), 15, "is not a Go program");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn commands_that_cannot_be_run() {
    refused(&gostray(&["run", "--", "/no/such/program"]), 127, "`/no/such/program` cannot be started");
    refused(&gostray(&["run", "--", "/etc/passwd"]), 126, "`/etc/passwd` cannot be started");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn outputs_that_are_there_already() {
    let program = Fixture::new("demo").start(&[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine");
    std::fs::write(&file, "precious").unwrap();
    let name = file.to_str().unwrap();
    let pid = program.pid().to_string();
    refused(&gostray(&["record", &pid, "-o", name, "--duration", "1s"]), 30, "exists already");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let output = gostray(&["record", &pid, "-o", name, "--duration", "1s", "--force", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(gostray(&["report", name]).status.code(), Some(0));
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_kernel_older_than_supported() {
    let mut program = Fixture::new("demo").start(&[]).unwrap();
    // The personality UNAME26 makes `uname` answer 2.6.x (`kernel/sys.c`, override_release), to us alone.
    let output = Command::new("setarch")
        .args(["x86_64", "--uname-2.6"])
        .arg(binary())
        .args(["attach", &program.pid().to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    refused(&output, 21, "is older than 5.10");
    assert!(program.is_alive().unwrap());
}
