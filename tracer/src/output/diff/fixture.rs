//! Two moments of a program that was rebuilt in between, with every sort of change.

use crate::analysis::Role;
use crate::diff::{Census, Gap, Position, Site, Source};
use crate::session::snapshot::Note;

const HOUR_NS: u64 = 3_600_000_000_000;

pub fn position(function: &str, file: &str, line: u32) -> Position {
    Position { function: Some(function.into()), file: Some(file.into()), line: Some(line) }
}

/// Waits in its started function, ten lines below the `go` statement.
pub fn site(function: &str, line: u32, live: u64) -> Site {
    let started = format!("{function}.func1");
    Site {
        created: position(function, "/src/api/main.go", line),
        waits_at: Some(position(&started, "/src/api/main.go", line + 10)),
        started: Some(started),
        role: Role::Program,
        live,
        states: vec![("chan send".into(), live)],
    }
}

pub fn main_goroutine() -> Site {
    let created = position("runtime.rt0_go", "/go/src/runtime/asm_amd64.s", 409);
    let states = vec![("IO wait".to_owned(), 1)];
    Site { created, started: Some("runtime.main".into()), role: Role::Main, live: 1, states, waits_at: None }
}

pub fn system(live: u64) -> Site {
    Site {
        created: position("runtime.gcBgMarkStartWorkers", "/go/src/runtime/mgc.go", 1373),
        started: Some("runtime.gcBgMarkWorker".into()),
        role: Role::System,
        live,
        states: vec![("GC worker (idle)".into(), live)],
        waits_at: None,
    }
}

/// A `go` statement of which nothing is known.
pub fn unnamed(live: u64) -> Site {
    let states = vec![("select".into(), live)];
    Site { created: Position::default(), started: None, role: Role::Program, live, states, waits_at: None }
}

pub fn census(sites: Vec<Site>) -> Census {
    Census {
        pid: 4242,
        comm: "api".into(),
        exe: "/srv/api".into(),
        go_version: "go1.26.6".into(),
        build_id: "0123abcd".into(),
        main_package: "example.com/api".into(),
        at_unix_ns: Some(1_792_000_000_000_000_000),
        sites,
        ..Census::default()
    }
}

pub fn fixture() -> (Census, Census) {
    let evil = Site {
        created: position("main.\u{1b}[2Jevil", "/src/a\nb.go", 1),
        states: vec![("select".into(), 2), ("IO wait".into(), 1), ("running".into(), 1), ("sleep".into(), 1)],
        ..site("main.evil", 1, 5)
    };
    let before = census(vec![
        main_goroutine(),
        system(4),
        site("main.leak", 33, 3),
        site("main.moved", 40, 10),
        site("main.ends", 50, 8),
        site("main.shrinks", 60, 9),
        site("main.pool", 70, 64),
        site("main.twice", 80, 1),
        site("main.twice", 82, 1),
        unnamed(1),
    ]);
    let after = census(vec![
        main_goroutine(),
        system(5),
        site("main.leak", 33, 123),
        site("main.moved", 44, 30),
        site("main.shrinks", 60, 5),
        site("main.pool", 70, 64),
        site("main.twice", 82, 9),
        site("main.twice", 84, 1),
        evil,
        unnamed(3),
    ]);
    let unsettled =
        Gap { cause: "unsettled", count: 2, counts: true, meaning: "never the same in two reads" };
    let moving = Gap { cause: "moving", count: 1, counts: false, meaning: "ran between each two reads" };
    let before = Census { gaps: vec![unsettled, moving], ..before };
    let after = Census {
        source: Source::Session,
        pid: 4300,
        build_id: "4567cdef".into(),
        at_unix_ns: before.at_unix_ns.map(|ns| ns + 2 * HOUR_NS),
        notes: vec![Note { code: "recording-cut-off".into(), text: "the recording has no end".into() }],
        ..after
    };
    (before, after)
}
