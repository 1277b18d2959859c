//! `gostray run`: exit status and signals are the program's own, and it is watched from its first goroutine.

use std::time::Duration;

use tests::fixtures::{Fixture, build};
use tests::gostray::{Background, gostray};

/// A Go program that ends as it is told. Built on the spot: none of the shipped ones does nothing but exit.
fn exiter(dir: &std::path::Path) -> String {
    let source = r#"package main
import ("fmt"; "os"; "os/signal"; "strconv"; "time")
func main() {
	if code, err := strconv.Atoi(os.Args[1]); err == nil {
		fmt.Println("out"); os.Exit(code)
	}
	c := make(chan os.Signal, 4)
	signal.Notify(c)
	fmt.Println("ready")
	for {
		select {
		case s := <-c:
			if s.String() == "urgent I/O condition" { continue }
			fmt.Println("got", s)
			if s == os.Interrupt { os.Exit(42) }
		case <-time.After(20 * time.Second): os.Exit(9)
		}
	}
}
"#;
    std::fs::write(dir.join("main.go"), source).unwrap();
    std::fs::write(dir.join("go.mod"), "module exiter\ngo 1.21\n").unwrap();
    let go = tests::fixtures::go_toolchain(xtask::golang::DEFAULT).unwrap();
    let done = std::process::Command::new(go)
        .args(["build", "-o", "exiter", "."])
        .current_dir(dir)
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod")])
        .status()
        .unwrap();
    assert!(done.success());
    dir.join("exiter").to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn the_exit_status_is_the_programs() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = exiter(dir.path());
    for code in [0, 1, 7, 255] {
        let output = gostray(&["run", "--", &program, &code.to_string()]);
        assert_eq!(output.status.code(), Some(code));
        // Standard output is the program's alone.
        assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn signals_are_passed_on() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = exiter(dir.path());
    let mut running = Background::start(&["run", "--", &program, "wait"]);
    running.until_printed("ready", |line| line == "ready");
    for signal in [libc::SIGUSR1, libc::SIGHUP, libc::SIGTERM, libc::SIGINT] {
        running.signal(signal);
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = running.finish();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "ready\ngot user defined signal 1\ngot hangup\ngot terminated\ngot interrupt\n");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_killed_program_gives_the_shells_code() {
    tests::root_only().unwrap();
    let program = build("demo", xtask::golang::DEFAULT).unwrap();
    let program = program.to_str().unwrap();
    let mut running = Background::start(&["run", "--json", "--", program]);
    running.watching();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
    let child: i32 = children.trim().parse().expect("one child");
    // SAFETY: a plain system call on our grandchild.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    let output = running.finish();
    assert_eq!(output.status.code(), Some(128 + libc::SIGKILL));
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn the_program_outlives_the_watch() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = exiter(dir.path());
    let mut running = Background::start(&["run", "--duration", "1s", "--", &program, "wait"]);
    running.until_printed("end of the watch", |line| line.contains("the program goes on"));
    running.signal(libc::SIGINT);
    let output = running.finish();
    assert_eq!(output.status.code(), Some(42), "{}", String::from_utf8_lossy(&output.stdout));
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(report.contains("the program goes on"), "{report}");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn the_first_goroutine_is_seen_born() {
    tests::root_only().unwrap();
    for fixture in [Fixture::new("zoo"), Fixture::new("zoo").pie(), Fixture::new("zoo").stripped()] {
        let program = fixture.build().unwrap();
        let mut running =
            Background::start(&["run", "--json", "--", program.to_str().unwrap(), "-scenario", "pool"]);
        running.watching();
        running.signal(libc::SIGTERM);
        let output = running.finish();
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: serde_json::Value = lines
            .lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .find(|v: &serde_json::Value| v["schema"] == "gostray.report/1")
            .expect("a report on standard error");
        assert_eq!(report["target"]["from_start"], true);
        assert_eq!(report["totals"]["before"], 0, "somebody was born before we watched");
        let main = report["sites"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["start"]["function"] == "runtime.main")
            .expect("the main goroutine");
        assert_eq!((main["born"].as_u64(), main["live"].as_u64()), (Some(1), Some(1)));
    }
}
