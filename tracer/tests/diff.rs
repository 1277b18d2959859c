//! `gostray diff` as a user meets it: dumps and sessions in, text, JSON and exit codes out. Needs neither root nor the kernel.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tracer::dump::{About, Dump, Goroutine, Pc, Place, Places, Since, Stack, Status, Trace};
use tracer::event::message::Frame;
use tracer::event::{Event, Symbol, TargetInfo, header};
use tracer::output::dump::json::{self, Selection};
use tracer::record::Writer;
use tracer_common::wire::{self, Header, kind};

const S: u64 = 1_000_000_000;
/// Wall clock of the first dump.
const NOON: u64 = 1_792_000_000 * S;
/// The session's clock begins there.
const BEGIN: u64 = 7_000 * S;

/// Where the program lies; a restarted one lies elsewhere.
#[derive(Clone, Copy)]
struct Base(u64);

impl Base {
    const LEAK: u64 = 0x1057;
    const POOL: u64 = 0x2118;
    const START: u64 = 0x3000;
    const BLOCKED: u64 = 0x3040;

    fn gopc(self, of: u64) -> Pc {
        Pc { pc: self.0 + of, exact: false }
    }

    fn start(self) -> Pc {
        Pc { pc: self.0 + Self::START, exact: true }
    }
}

fn frame(function: &str, line: u32) -> Frame {
    Frame { function: function.into(), file: "/src/api/main.go".into(), line, ..Frame::default() }
}

/// So many that leak and so many in a pool, `hours` after noon.
fn dump(base: Base, leaks: u64, pool: u64, hours: u64) -> Dump {
    let place = |f: Frame| Place { frames: vec![f], ..Place::default() };
    let places = [
        (base.gopc(Base::LEAK), place(frame("main.leak", 57))),
        (base.gopc(Base::POOL), place(frame("main.pool", 31))),
        (base.start(), place(frame("main.work", 80))),
        (base.gopc(Base::BLOCKED), place(frame("main.work", 83))),
    ];
    let goroutine = |goid| Goroutine {
        goid,
        g: 0xc000_0000 + goid * 512,
        parent: Some(1),
        status: Status::Waiting,
        reason: Some(1),
        since: Since::Unknown,
        runtime_since: None,
        gopc: base.gopc(if goid < 10 + leaks { Base::LEAK } else { Base::POOL }).pc,
        start_pc: base.start().pc,
        trace: Trace::Whole(0),
        thread: None,
        locked: false,
        labels: None,
        system: false,
        waits_on: vec![],
        wait_mark: None,
        on_stack: None,
    };
    Dump {
        about: About {
            pid: 4242,
            comm: "api".into(),
            build_id: "0123".into(),
            main_package: "example.com/api".into(),
            taken_unix_ns: NOON + hours * 3600 * S,
            ..About::default()
        },
        goroutines: (10..10 + leaks + pool).map(goroutine).collect(),
        stacks: vec![Stack { pcs: vec![base.gopc(Base::BLOCKED)], left_out: None }],
        places: Places(places.into_iter().collect()),
        wait_reasons: vec![String::new(), "chan send".into()],
        ..Dump::default()
    }
}

fn document(dump: &Dump, selection: Option<&Selection>) -> Vec<u8> {
    let mut out = Vec::new();
    json::write(dump, selection, &mut out).unwrap();
    out
}

/// A minute in which so many leak that end nowhere; it ends half an hour after noon.
fn session(path: &Path, leaks: u64) {
    let base = Base(0x40_0000);
    let target = TargetInfo {
        pid: 4242,
        comm: "api".into(),
        build_id: "0123".into(),
        main_package: "example.com/api".into(),
        from_start: true,
        anchor_boot_ns: BEGIN,
        anchor_unix_ns: NOON + 1740 * S,
        ..TargetInfo::default()
    };
    let symbol = |pc: Pc, f: Frame| {
        let symbol = Symbol { pc: pc.pc, frames: vec![f], exact: pc.exact, ..Symbol::default() };
        Event::Symbol(header(kind::SYMBOL, BEGIN), Box::new(symbol))
    };
    let mut events = vec![
        Event::Target(header(kind::TARGET, BEGIN), Box::new(target)),
        symbol(base.gopc(Base::LEAK), frame("main.leak", 57)),
        symbol(base.start(), frame("main.work", 80)),
    ];
    for goid in 10..10 + leaks {
        let h = Header { time_ns: BEGIN + goid, goid, g: goid * 512, kind: kind::BIRTH, ..Header::default() };
        let (gopc, start_pc) = (base.gopc(Base::LEAK).pc, base.start().pc);
        events.push(Event::Birth(wire::Birth { h, parent_goid: 1, gopc, start_pc, stack: 0 }));
    }
    events.push(Event::Tick(header(kind::TICK, BEGIN + 60 * S)));
    let h = header(kind::END, BEGIN + 60 * S);
    events.push(Event::End(wire::End { h, reason: wire::end::ASKED, code: 0 }));
    let mut writer = Writer::create(path, false).unwrap();
    for event in events {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// `a`: 3 leak, 4 in the pool. `b`: of another process an hour later, 123 leak, 2 in the pool. `s`: between, 43 leak.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("a", &document(&dump(Base(0x40_0000), 3, 4, 0), None));
        files.write("b", &document(&dump(Base(0x5555_0000_0000), 123, 2, 1), None));
        session(&files.path("s"), 43);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// `gostray diff` in their directory.
    fn diff(&self, args: &[&str]) -> Output {
        self.diff_with(args, Stdio::null())
    }

    fn diff_with(&self, args: &[&str], stdin: impl Into<Stdio>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gostray"));
        command.arg("diff").args(args).current_dir(self.0.path()).env_remove("NO_COLOR").stdin(stdin);
        command.output().unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn succeeded(out: &Output) -> &str {
    assert_eq!((text(&out.stderr), out.status.code()), ("", Some(0)));
    text(&out.stdout)
}

/// Its one sentence.
#[track_caller]
fn failed(out: &Output, code: i32) -> &str {
    let lines: Vec<&str> = text(&out.stderr).lines().collect();
    assert_eq!(out.status.code(), Some(code), "{lines:?}");
    assert!(lines.len() == 2 && lines[1].starts_with("try: "), "{lines:?}");
    lines[0].strip_prefix("gostray: ").unwrap()
}

#[test]
fn two_dumps() {
    let files = Files::new();
    let out = files.diff(&["a", "b"]);
    let shown = succeeded(&out);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].contains("api (pid 4242): 7 goroutines, dump at 2026-10-14T"), "{shown}");
    assert!(lines[1].ends_with(", 1h00m later"), "{shown}");
    let sites = [
        "+120  (3 → 123)  main.leak  /src/api/main.go:57  chan send",
        "      runs main.work · waits in main.work  /src/api/main.go:83 · +120/h",
        "  -2  (4 → 2)    main.pool  /src/api/main.go:31  chan send",
        "      runs main.work · waits in main.work  /src/api/main.go:83 · -2.00/h",
    ];
    assert_eq!(lines[3..7], sites, "{shown}");
    assert!(files.diff(&["a", "b", "--color", "always"]).stdout.contains(&0x1b));
}

#[test]
fn sessions_and_dumps_in_any_mix() {
    let files = Files::new();
    let growth = |a: &str, b: &str| {
        let out = files.diff(&[a, b, "--json"]);
        let shown = succeeded(&out);
        assert_eq!(shown.lines().count(), 1);
        let value: Value = serde_json::from_str(shown).unwrap();
        assert_eq!(value["schema"], "gostray.diff/1");
        let sites = value["sites"].as_array().unwrap();
        let leak = sites.iter().find(|s| s["created_at"]["line"] == 57).unwrap();
        (leak["growth"].as_i64().unwrap(), leak["per_hour"].as_f64())
    };
    assert_eq!(growth("a", "s"), (40, Some(80.0)));
    assert_eq!(growth("s", "b"), (80, Some(160.0)));
    assert_eq!(growth("s", "s"), (0, None));
    assert_eq!(growth("b", "a"), (-120, None));
}

#[test]
fn one_of_them_may_be_the_standard_input() {
    let files = Files::new();
    let by_name = files.diff(&["a", "s"]);
    let stdin = |name| File::open(files.path(name)).unwrap();
    assert_eq!(files.diff_with(&["-", "s"], stdin("a")), by_name);
    assert_eq!(files.diff_with(&["a", "-"], stdin("s")), by_name);
    succeeded(&by_name);
    let out = files.diff_with(&["-", "-"], stdin("a"));
    assert_eq!(failed(&out, 2), "the standard input can be one of the two moments, not both");
}

#[test]
fn growth_that_fails() {
    let files = Files::new();
    let plain = files.diff(&["a", "b"]);
    let out = files.diff(&["a", "b", "--fail-on", "growth=120"]);
    assert_eq!(failed(&out, 3), "grown by 120 or more: +120 at main.leak /src/api/main.go:57");
    assert_eq!(out.stdout, plain.stdout, "the diff is printed all the same");
    assert_eq!(files.diff(&["a", "b", "--fail-on", "growth=121"]), plain);
    assert_eq!(files.diff(&["b", "a", "--fail-on", "growth=3"]).status.code(), Some(0), "it shrank");
    for bad in ["growth=0", "growth=", "growth=-1", "growth=1e3", "leak", "10"] {
        let out = files.diff(&["a", "b", "--fail-on", bad]);
        assert_eq!(out.status.code(), Some(2), "{bad}");
        let says = "growth=N with a number of at least 1, for instance growth=10";
        assert!(text(&out.stderr).contains(says), "{}", text(&out.stderr));
    }
}

#[test]
fn growth_of_the_runtimes_own_does_not_fail() {
    let files = Files::new();
    let mut dump = dump(Base(0x40_0000), 50, 4, 1);
    dump.goroutines.iter_mut().for_each(|g| g.system = true);
    files.write("system", &document(&dump, None));
    let out = files.diff(&["a", "system", "--fail-on", "growth=1"]);
    assert!(succeeded(&out).contains("(+ 54 of the runtime's)"));
}

#[test]
fn an_incomplete_dump_is_said_to_be() {
    let files = Files::new();
    let mut dump = dump(Base(0x40_0000), 123, 2, 1);
    dump.counts.unsettled = 2;
    files.write("gap", &document(&dump, None));
    let out = files.diff(&["a", "gap"]);
    let shown = succeeded(&out);
    let says = "`after` is incomplete, it may be wrong by 2 goroutines: a change of no more is no evidence";
    assert!(shown.contains(says), "{shown}");
    assert_eq!(
        shown.matches("no evidence: not more than what may be missing").count(),
        1,
        "the pool: {shown}"
    );
    let out = files.diff(&["gap", "a", "--fail-on", "growth=2"]);
    assert!(
        failed(&out, 3).ends_with("+2 at main.pool /src/api/main.go:31, not more than what may be missing")
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let files = Files::new();
    let mut other = dump(Base(0x40_0000), 3, 4, 1);
    other.about.main_package = "example.com/other".into();
    files.write("other", &document(&other, None));
    let filters = Selection { filters: vec!["state=chan".into()], of: 9 };
    files.write("some", &document(&dump(Base(0x40_0000), 3, 4, 1), Some(&filters)));
    let cases = [
        ("other", "they are of different programs: `example.com/api` and `example.com/other`"),
        ("some", "they count different goroutines: all and those with `state=chan`"),
    ];
    for (file, says) in cases {
        for before in ["a", "s"] {
            let out = files.diff(&[before, file]);
            assert_eq!((failed(&out, 38), text(&out.stdout)), (says, ""));
            let out = files.diff(&[before, file, "--force"]);
            assert!(succeeded(&out).contains(says), "the doubt stays");
        }
    }
}

#[test]
fn damaged_inputs_have_names() {
    let files = Files::new();
    let whole = std::fs::read(files.path("a")).unwrap();
    files.write("cut", &whole[..whole.len() / 2]);
    files.write("two", &[whole.as_slice(), whole.as_slice()].concat());
    files.write("report", b"{\"schema\":\"gostray.report/1\"}\n");
    files.write("contradiction", text(&whole).replacen("\"stack\":0", "\"stack\":7", 1).as_bytes());
    files.write("empty", b"");
    files.write("text", b"not a session\n");
    files.write("\u{1b}[2J", b"{");
    let session = std::fs::read(files.path("s")).unwrap();
    files.write("header", &session[..9]);
    let cases = [
        ("missing", 33, "cannot open `missing`"),
        (".", 33, "cannot read `.`"),
        ("cut", 37, "`cut` cannot be read as a dump"),
        ("two", 37, "`two` cannot be read as a dump: trailing characters"),
        ("report", 37, "`report` cannot be read as a dump: invalid value: string \"gostray.report/1\""),
        (
            "contradiction",
            37,
            "`contradiction` cannot be read as a dump: it contradicts itself: goroutine 10: there is no",
        ),
        ("empty", 36, "`empty` cannot be read as a session"),
        ("text", 37, "`text` is neither a dump in JSON nor a session file"),
        ("header", 36, "`header` cannot be read as a session"),
        ("\u{1b}[2J", 37, "`\\u{1b}[2J` cannot be read as a dump"),
    ];
    for (file, code, says) in cases {
        for args in [["a", file], [file, "a"]] {
            let out = files.diff(&args);
            let sentence = failed(&out, code);
            assert!(sentence.starts_with(says), "{sentence}");
            assert_eq!(text(&out.stdout), "");
        }
    }
    // What can be read of a recording is, and what is wrong with it is said.
    files.write("short", &session[..session.len() - 3]);
    let out = files.diff(&["a", "short"]);
    assert!(succeeded(&out).contains("[recording-cut-off]"), "{}", text(&out.stdout));
}
