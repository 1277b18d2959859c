//! The binary as a user meets it: recorded sessions in, reports and exit codes out. Needs neither root nor the kernel.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tracer::event::{Event, StackDef, Symbol, TargetInfo, WaitReasons, header, message};
use tracer::output::report::{self, Options};
use tracer::pipeline::Pipeline;
use tracer::record::Writer;
use tracer_common::wire::{self, Header, kind};

const S: u64 = 1_000_000_000;
const BEGIN: u64 = 7_000 * S;
const GO_STATEMENT: u64 = 0x40_1057;
const CALLER: u64 = 0x40_2118;
const START: u64 = 0x40_1200;
const OK_STATEMENT: u64 = 0x40_3031;

fn symbol(pc: u64, function: &str, file: &str, line: u32) -> Event {
    let frame = message::Frame { function: function.into(), file: file.into(), line, ..Default::default() };
    Event::Symbol(
        header(kind::SYMBOL, BEGIN),
        Box::new(Symbol { pc, frames: vec![frame], exact: pc == START, ..Symbol::default() }),
    )
}

fn birth(time_ns: u64, goid: u64, stack: u64, gopc: u64) -> Event {
    let h = Header { time_ns, goid, g: 0xc000_0000 + goid * 512, kind: kind::BIRTH, ..Header::default() };
    Event::Birth(wire::Birth { h, parent_goid: 1, gopc, start_pc: START, stack })
}

/// Two minutes of a service: ten goroutines a second that never end, and as many elsewhere that do.
fn session() -> Vec<Event> {
    let target = TargetInfo {
        pid: 4242,
        comm: "api-server".into(),
        go_version: "go1.26.6".into(),
        from_start: true,
        anchor_boot_ns: BEGIN,
        anchor_unix_ns: 1_790_000_000 * S,
        ..TargetInfo::default()
    };
    let stack = |stack, frames: &[u64]| {
        Event::StackDef(StackDef { h: header(kind::STACK_DEF, BEGIN), stack, frames: frames.to_vec() })
    };
    let mut events = vec![
        Event::Target(header(kind::TARGET, BEGIN), Box::new(target)),
        Event::WaitReasons(header(kind::WAIT_REASONS, BEGIN), WaitReasons { names: vec![String::new()] }),
        stack(1, &[GO_STATEMENT, CALLER]),
        stack(2, &[OK_STATEMENT, CALLER]),
        symbol(GO_STATEMENT, "main.(*hub).publish", "/src/api/fanout.go", 57),
        symbol(OK_STATEMENT, "main.(*hub).work", "/src/api/work.go", 31),
        symbol(CALLER, "main.main", "/src/api/main.go", 12),
        symbol(START, "main.(*hub).publish.func1", "/src/api/fanout.go", 58),
    ];
    let mut goid = 100;
    for second in 0..120 {
        for tenth in 0..10 {
            let t = BEGIN + second * S + tenth * S / 10 + 1;
            events.push(birth(t, goid, 1, GO_STATEMENT));
            events.push(birth(t + 1, goid + 1, 2, OK_STATEMENT));
            let h = Header { time_ns: t + 1_000_000, goid: goid + 1, kind: kind::DEATH, ..Header::default() };
            events.push(Event::Death(wire::Death { h }));
            goid += 2;
        }
        events.push(Event::Tick(header(kind::TICK, BEGIN + (second + 1) * S)));
    }
    let h = header(kind::END, BEGIN + 120 * S + 1);
    events.push(Event::End(wire::End { h, reason: wire::end::ASKED, code: 0 }));
    events
}

fn records() -> Vec<Vec<u8>> {
    let encode = |event: &Event| {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        bytes
    };
    session().iter().map(encode).collect()
}

fn recorded(dir: &Path) -> PathBuf {
    let path = dir.join("x.session");
    let mut writer = Writer::create(&path, false).unwrap();
    for record in records() {
        writer.write(&record).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn gostray(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gostray"));
    command.args(args).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    gostray(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn replay_gives_the_report_of_the_live_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let mut live = Pipeline::new();
    for record in records() {
        live.push(&record);
    }
    live.finish();
    let expected = report::text(&live.snapshot(), &Options::default());
    assert!(expected.lines().next().unwrap().contains("/src/api/fanout.go:57"), "{expected}");
    for command in ["replay", "report"] {
        let out = output(&[command, path.to_str().unwrap()]);
        assert_eq!(text(&out.stdout), expected);
        assert_eq!((text(&out.stderr), out.status.code()), ("", Some(0)));
    }
}

#[test]
fn the_standard_input_is_a_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let by_name = output(&["report", path.to_str().unwrap()]);
    let file = std::fs::File::open(&path).unwrap();
    let by_stdin = gostray(&["report", "-"]).stdin(file).output().unwrap();
    assert_eq!(by_stdin, by_name);
    assert_eq!(by_stdin.status.code(), Some(0));
}

#[test]
fn fail_on_leak_has_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let out = output(&["report", path.to_str().unwrap(), "--fail-on", "leak"]);
    let leak = text(&out.stdout).starts_with("LEAK  ");
    assert_eq!(out.status.code(), Some(if leak { 3 } else { 0 }), "{}", text(&out.stdout));
}

#[test]
fn json_is_one_object_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let path = path.to_str().unwrap();
    let replay = output(&["replay", path, "--json"]);
    assert_eq!(replay.stdout, output(&["report", path, "--format", "json"]).stdout);
    let live = output(&["replay", path, "--json", "--live"]);
    let lines: Vec<serde_json::Value> =
        text(&live.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (last, changes) = lines.split_last().unwrap();
    assert_eq!(last["schema"], "gostray.report/1");
    assert_eq!(last["target"]["pid"], 4242);
    assert!(changes.len() >= 3 && changes.iter().all(|l| l["schema"] == "gostray.live/1"));
    assert_eq!(live.stdout.strip_suffix(replay.stdout.as_slice()).map(<[u8]>::is_empty), Some(false));
}

#[test]
fn lines_come_before_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let path = path.to_str().unwrap();
    let out = output(&["replay", path, "--live"]);
    let report = output(&["replay", path]);
    let lines = text(&out.stdout).strip_suffix(text(&report.stdout)).expect("the report is at the end");
    assert!(lines.contains("new") && lines.contains("/src/api/fanout.go:57"), "{lines}");
    assert!(lines.lines().count() < 40, "a line a change, not a second:\n{lines}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    for args in [
        vec!["report"],
        vec!["replay", "--live"],
        vec!["report", "--format", "json"],
        vec!["replay", "--all"],
    ] {
        let mut args = args;
        args.push(path.to_str().unwrap());
        let mut child = gostray(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before the first byte is written.
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert_eq!((text(&out.stderr), out.status.code()), ("", Some(0)), "{args:?}");
    }
    let mut child = gostray(&["replay", "--live", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("new"));
    let out = child.wait_with_output().unwrap();
    assert_eq!((text(&out.stderr), out.status.code()), ("", Some(0)));
}

#[test]
fn a_full_disk_under_the_report_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let out = gostray(&["report", path.to_str().unwrap()]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(31));
    assert!(
        text(&out.stderr).starts_with("gostray: cannot write to standard output"),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn each_failure_has_one_sentence_a_try_line_and_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("text"), "not a session\n").unwrap();
    std::fs::write(path("empty"), "").unwrap();
    let cases = [(path("missing"), 33), (path("text"), 34), (path("empty"), 36)];
    for (file, code) in cases {
        for command in ["report", "replay"] {
            let out = output(&[command, &file]);
            assert_eq!(out.status.code(), Some(code), "{file}");
            assert_eq!(text(&out.stdout), "");
            let lines: Vec<&str> = text(&out.stderr).lines().collect();
            assert!(lines.len() == 2 && lines[0].starts_with("gostray: "), "{lines:?}");
            assert!(lines[1].starts_with("try: "), "{lines:?}");
        }
    }
}

#[test]
fn a_cut_off_recording_is_replayed_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() * 3 / 4]).unwrap();
    let out = output(&["report", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("Ended: it still runs, or the recording was cut off."));
    assert!(text(&out.stdout).contains("[recording-cut-off]"), "{}", text(&out.stdout));
}

#[test]
fn a_name_in_an_error_cannot_touch_the_terminal() {
    let out = output(&["report", "/nonexistent/\u{1b}[2Jx"]);
    assert_eq!(out.status.code(), Some(33));
    assert!(!text(&out.stderr).contains('\u{1b}') && text(&out.stderr).contains("\\u{1b}[2Jx"));
}

#[test]
fn colours_follow_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let path = path.to_str().unwrap();
    let escapes = |args: &[&str]| output(args).stdout.contains(&0x1b);
    assert!(!escapes(&["report", path]), "a pipe gets none");
    assert!(escapes(&["report", path, "--color", "always"]));
    assert!(!escapes(&["report", path, "--color", "never"]));
}

#[test]
fn usage_errors_are_claps() {
    let out = output(&["attach"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("Usage: gostray attach"));
}
