//! A recording replayed says what the live run said, byte for byte, and needs neither the program nor its file.

use std::path::Path;

use tests::fixtures::Fixture;
use tests::gostray::{Background, gostray};

fn record(dir: &Path, scenario: &str, extra: &[&str]) -> (String, String) {
    let file = dir.join(scenario).to_str().unwrap().to_owned();
    let program = Fixture::new("zoo").start(&["-scenario", scenario]).unwrap();
    let pid = program.pid().to_string();
    let mut args = vec!["record", &pid, "-o", &file, "--duration", "12s", "--all"];
    args.extend(extra);
    let output = gostray(&args);
    assert_eq!(output.status.code(), Some(0));
    (String::from_utf8(output.stdout).unwrap(), file)
}

/// The report: what stands behind the live lines.
fn report_of(text: &str) -> &str {
    let at = text.find("\n\n").expect("an empty line between lines and report");
    &text[at + 2..]
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn text_reports_are_equal() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (live, file) = record(dir.path(), "blocked-sender", &[]);
    let replayed = gostray(&["replay", &file, "--all"]);
    assert_eq!(report_of(&live), String::from_utf8_lossy(&replayed.stdout));
    let reported = gostray(&["report", &file, "--all"]);
    assert_eq!(reported.stdout, replayed.stdout);
    assert!(report_of(&live).contains("main.go") || report_of(&live).contains(".go:"), "{live}");
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn json_reports_are_equal_with_parks_too() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (live, file) = record(dir.path(), "saw-tooth", &["--json", "--park", "on"]);
    let replayed = gostray(&["replay", &file, "--json"]);
    let replayed = String::from_utf8(replayed.stdout).unwrap();
    assert_eq!(live.lines().last(), replayed.lines().last());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_killed_recording_replays_to_its_last_second() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = Fixture::new("busy").start(&[]).unwrap();
    let pid = program.pid().to_string();
    for (i, millis) in [1_500, 2_300, 3_100, 4_700].into_iter().enumerate() {
        let file = dir.path().join(format!("killed{i}")).to_str().unwrap().to_owned();
        let recording = Background::start(&["record", &pid, "-o", &file]);
        std::thread::sleep(std::time::Duration::from_millis(millis));
        recording.signal(libc::SIGKILL);
        recording.finish();
        let output = gostray(&["report", &file, "--format", "json"]);
        assert_eq!(output.status.code(), Some(0));
        let report = tests::gostray::report(&output);
        assert!(report.0["end"].is_null());
        let notes = report.0["notes"].as_array().unwrap();
        assert!(notes.iter().any(|n| n["code"] == "recording-cut-off"), "{notes:#?}");
        let watched = report.0["watched_ns"].as_u64().unwrap();
        // The start takes a while too; at most a second of what was watched is missing.
        eprintln!("killed after {millis} ms: {} ms replay", watched / 1_000_000);
        assert!(report.total("born") > 0);
    }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn the_text_twin_says_the_same() {
    tests::root_only().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = record(dir.path(), "mutex", &[]);
    let events = gostray(&["replay", &file, "--events"]);
    let text = dir.path().join("twin.txt");
    std::fs::write(&text, events.stdout).unwrap();
    let of_text = gostray(&["report", text.to_str().unwrap(), "--all"]);
    let of_file = gostray(&["report", &file, "--all"]);
    assert_eq!(String::from_utf8_lossy(&of_text.stdout), String::from_utf8_lossy(&of_file.stdout));
}
