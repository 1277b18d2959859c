//! A dump with all sorts of goroutines, stacks and objects, the odd ones too.

use std::collections::BTreeMap;

use crate::dump::cycles::{Cycle, Step};
use crate::dump::{
    About, Broken, Counts, Dump, Fires, Goroutine, LeftOut, Object, ObjectKind, Origin, Pc, Place, Places,
    Side, Since, Stack, Status, Trace, Wait, nobody,
};
use crate::event::message::{Frame, Note};

const MINUTE: u64 = 60_000_000_000;

pub const CREATE_MAIN: u64 = 0x48_1010;
pub const START_WORKER: u64 = 0x48_2000;
const CREATE_POOL: u64 = 0x48_1120;
const START_WRAPPED: u64 = 0x48_2100;
const CREATE_INIT: u64 = 0x43_0010;
const START_SYSTEM: u64 = 0x43_1000;
const UNKNOWN: u64 = 0x7f00_0000_1000;

fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame { function: function.into(), file: file.into(), line, ..Frame::default() }
}

fn ret(pc: u64) -> Pc {
    Pc { pc, exact: false }
}

fn exact(pc: u64) -> Pc {
    Pc { pc, exact: true }
}

/// Of one frame.
fn place(entry: u64, function: &str, file: &str, line: u32) -> Place {
    Place { frames: vec![frame(function, file, line)], entry, ..Place::default() }
}

fn places() -> Places {
    let inlined = |f: Frame| Frame { inlined: true, ..f };
    let generic = Frame {
        full_name: "main.(*pair[go.shape.int,go.shape.struct { A int; B int }]).wait".into(),
        ..frame("main.(*pair[...]).wait", "/src/app/pair.go", 12)
    };
    let all = [
        (exact(0x43_5000), place(0x43_4f00, "runtime.gopark", "/go/src/runtime/proc.go", 462)),
        (ret(0x43_6000), place(0x43_5f00, "runtime.chansend", "/go/src/runtime/chan.go", 283)),
        (ret(0x43_6100), place(0x43_60f0, "runtime.chansend1", "/go/src/runtime/chan.go", 161)),
        (
            ret(0x48_2050),
            Place {
                frames: vec![
                    inlined(frame("main.(*queue).put", "/src/app/queue.go", 31)),
                    frame("main.worker", "/src/app/main.go", 57),
                ],
                entry: START_WORKER,
                ..Place::default()
            },
        ),
        (exact(START_WORKER), place(START_WORKER, "main.worker", "/src/app/main.go", 50)),
        (ret(CREATE_MAIN), place(0x48_1000, "main.main", "/src/app/main.go", 21)),
        (
            ret(CREATE_POOL),
            Place {
                frames: vec![
                    inlined(frame("main.(*pool).add", "/src/app/pool.go", 9)),
                    frame("main.fill", "/src/app/main.go", 30),
                ],
                entry: 0x48_1100,
                ..Place::default()
            },
        ),
        (
            exact(START_WRAPPED),
            Place {
                wrapper: true,
                starts: Some(frame("main.(*pool).run", "/src/app/pool.go", 14)),
                ..place(START_WRAPPED, "main.(*pool).add.gowrap1", "/src/app/pool.go", 9)
            },
        ),
        (
            ret(0x48_2110),
            Place {
                wrapper: true,
                ..place(START_WRAPPED, "main.(*pool).add.gowrap1", "/src/app/pool.go", 9)
            },
        ),
        (ret(0x48_2210), place(0x48_2200, "main.(*pool).run", "/src/app/pool.go", 17)),
        (ret(0x48_3010), place(0x48_3000, "main.descend", "/src/app/deep.go", 8)),
        (ret(0x48_4010), Place { frames: vec![generic], entry: 0x48_4000, ..Place::default() }),
        (ret(0x44_0010), place(0x44_0000, "sync.(*Mutex).Lock", "", 0)),
        (ret(CREATE_INIT), place(0x43_0000, "runtime.gcenable", "/go/src/runtime/mgc.go", 204)),
        (exact(START_SYSTEM), place(START_SYSTEM, "runtime.bgsweep", "/go/src/runtime/mgcsweep.go", 276)),
        (ret(0x43_1020), place(START_SYSTEM, "runtime.bgsweep", "/go/src/runtime/mgcsweep.go", 281)),
        (exact(0x43_2000), place(0x43_2000, "runtime.main", "/go/src/runtime/proc.go", 147)),
        (ret(0x48_1200), place(0x48_1000, "main.main", "/src/app/main.go", 40)),
        (ret(0x48_5010), place(0x48_5000, "main.\u{1b}[2Jevil;f", "/src/a\nb.go", 1)),
        (
            ret(UNKNOWN),
            Place { unknown_because: "no function of the program covers it".into(), ..Place::default() },
        ),
    ];
    Places(all.into_iter().collect())
}

fn stacks() -> Vec<Stack> {
    let plain = |pcs: Vec<Pc>| Stack { pcs, left_out: None };
    let mut deep = vec![exact(0x43_5000)];
    deep.extend([ret(0x48_3010); 60]);
    deep.extend([ret(0x48_3010); 60]);
    deep.push(ret(0x48_2050));
    let left_out = LeftOut { after: 61, frames: 900, at: vec![(ret(0x43_6000), 1), (ret(0x48_3010), 899)] };
    vec![
        plain(vec![exact(0x43_5000), ret(0x43_6000), ret(0x43_6100), ret(0x48_2050)]),
        plain(vec![exact(0x43_5000), ret(0x44_0010), ret(0x48_2210), ret(0x48_2110)]),
        Stack { pcs: deep, left_out: Some(left_out) },
        plain(vec![exact(0x43_5000), ret(0x48_4010), ret(UNKNOWN)]),
        plain(vec![exact(0x43_5000), ret(0x43_1020)]),
        plain(vec![exact(0x43_5000), ret(0x48_1200)]),
        plain(vec![ret(0x48_5010)]),
    ]
}

fn objects() -> Vec<Object> {
    let object =
        |addr, kind| Object { addr, kind, receivers: 1, senders: 0, holders: vec![], holders_in_all: 0 };
    let channel = ObjectKind::Channel { len: 2, cap: 2, closed: false, elem_size: 8, timer: None };
    vec![
        Object {
            addr: 0xc000_0100,
            kind: channel,
            receivers: 0,
            senders: 4,
            holders: vec![1, 31],
            holders_in_all: 5,
        },
        object(0xc000_0200, ObjectKind::Mutex { locked: true, starving: true, waiters: 2 }),
        object(0, ObjectKind::Forever),
        object(0xc000_0300, ObjectKind::RwMutex { readers: -1, writer: true, waiting_for_readers: 1 }),
        object(0xc000_0400, ObjectKind::WaitGroup { counter: 2, waiters: 1 }),
        object(0xc000_0500, ObjectKind::Cond { waiters: 2 }),
        object(0xc000_0600, ObjectKind::Semaphore { value: 0 }),
        object(0xc000_0700, ObjectKind::Timer { fires: Fires::In(90 * MINUTE as i64) }),
        object(0xc000_0800, ObjectKind::Timer { fires: Fires::In(-5_000_000) }),
        object(0xc000_0900, ObjectKind::Descriptor { fd: 7, peer: Some("tcp 10.0.0.7:5432".into()) }),
        object(0xc000_0a00, ObjectKind::Descriptor { fd: 8, peer: None }),
        object(0xc000_0b00, ObjectKind::Channel { len: 0, cap: 0, closed: true, elem_size: 0, timer: None }),
        object(0xc000_0c00, ticks(Fires::In(90 * MINUTE as i64))),
        object(0xc000_0d00, ticks(Fires::Not)),
        object(0xc000_0e00, ObjectKind::Timer { fires: Fires::Unknown }),
    ]
}

fn ticks(fires: Fires) -> ObjectKind {
    ObjectKind::Channel { len: 0, cap: 1, closed: false, elem_size: 24, timer: Some(fires) }
}

/// Waits whole on the first stack.
fn goroutine(goid: u64) -> Goroutine {
    Goroutine {
        g: 0xc000_0000_0000 + goid * 0x400,
        parent: Some(1),
        reason: Some(1),
        gopc: CREATE_MAIN,
        start_pc: START_WORKER,
        trace: Trace::Whole(0),
        ..nobody(goid)
    }
}

fn goroutines() -> Vec<Goroutine> {
    let wait = |object, side| vec![Wait { object, side }];
    let mut all = vec![Goroutine {
        parent: None,
        gopc: 0,
        start_pc: 0x43_2000,
        status: Status::Syscall,
        reason: None,
        trace: Trace::Whole(5),
        thread: Some(4242),
        locked: true,
        ..goroutine(1)
    }];
    let system = Goroutine {
        gopc: CREATE_INIT,
        start_pc: START_SYSTEM,
        reason: Some(3),
        trace: Trace::Whole(4),
        system: true,
        ..goroutine(2)
    };
    all.push(system);
    for (n, since) in
        [Since::AtLeast(5 * MINUTE), Since::Exactly(90 * MINUTE), Since::Unknown, Since::AtLeast(3 * MINUTE)]
            .into_iter()
            .enumerate()
    {
        let labels = [Some(0), Some(1), Some(0), None][n];
        let runtime_since = since.ns();
        let waits_on = wait(0, Side::Send);
        all.push(Goroutine { since, runtime_since, labels, waits_on, ..goroutine(10 + n as u64) });
    }
    let pool = |goid| Goroutine {
        gopc: CREATE_POOL,
        start_pc: START_WRAPPED,
        reason: Some(2),
        trace: Trace::Whole(1),
        waits_on: wait(1, Side::Wait),
        ..goroutine(goid)
    };
    all.extend([pool(20), pool(21)]);
    all.push(Goroutine {
        trace: Trace::Whole(2),
        since: Since::AtLeast(1_000),
        runtime_since: Some(1_500),
        ..goroutine(22)
    });
    let broken = Broken::NoFunction { pc: UNKNOWN };
    all.push(Goroutine {
        trace: Trace::Partial { stack: 3, because: broken },
        waits_on: (2..15).map(|object| Wait { object, side: Side::Wait }).collect(),
        reason: Some(77),
        ..goroutine(23)
    });
    let running = Goroutine { status: Status::Running, reason: None, thread: Some(4243), ..goroutine(30) };
    all.push(Goroutine { trace: Trace::Running, ..running.clone() });
    all.push(Goroutine { goid: 31, trace: Trace::Moving, status: Status::Runnable, thread: None, ..running });
    all.push(Goroutine {
        trace: Trace::None { because: Broken::Unreadable },
        parent: None,
        start_pc: 0,
        ..goroutine(32)
    });
    all.push(Goroutine { trace: Trace::Whole(6), status: Status::Other(17), reason: None, ..goroutine(33) });
    all.push(Goroutine {
        status: Status::Leaked,
        since: Since::AtLeast(5 * MINUTE),
        runtime_since: Some(7 * MINUTE),
        waits_on: wait(0, Side::Send),
        ..goroutine(34)
    });
    all
}

/// One of which nothing is unsure, one with a doubt, one of locks.
fn cycles() -> Vec<Cycle> {
    let step = |goid, object, side| Step { goid, object, side, cases: 1 };
    let pair = Cycle {
        steps: vec![step(20, 1, Side::Wait)],
        length: 1,
        goroutines: 1,
        stuck: true,
        ..Cycle::default()
    };
    let send = Step { cases: 3, ..step(10, 0, Side::Send) };
    vec![
        pair,
        Cycle {
            steps: vec![send, step(23, 4, Side::Wait)],
            length: 2,
            goroutines: 5,
            behind: 7,
            unsearched: 2,
            global: true,
            stuck: true,
            ..Cycle::default()
        },
        Cycle {
            steps: vec![step(21, 1, Side::Wait), step(23, 3, Side::Wait)],
            length: 2,
            goroutines: 2,
            behind: 1,
            others: vec![1, 31],
            others_in_all: 12,
            ..Cycle::default()
        },
    ]
}

pub fn fixture() -> Dump {
    let labels = |of: &[(&str, &str)]| {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    Dump {
        about: About {
            pid: 4242,
            comm: "app".into(),
            exe: "/srv/app".into(),
            go_version: "go1.26.6".into(),
            build_id: "0123abcd".into(),
            arch: "amd64".into(),
            main_package: "example.com/app".into(),
            layout: "measured on go1.26.6".into(),
            taken_unix_ns: 1_792_000_000_000_000_000,
            took_ns: 1_234_567,
            gostray_version: "0.1.0".into(),
            source: Origin::Process,
        },
        goroutines: goroutines(),
        stacks: stacks(),
        objects: objects(),
        labels: vec![labels(&[("job", "mail"), ("tenant", "a\u{7}b")]), labels(&[("job", "index")])],
        places: places(),
        wait_reasons: vec![
            String::new(),
            "chan send".into(),
            "sync.Mutex.Lock".into(),
            "GC sweep wait".into(),
        ],
        notes: vec![Note { code: "debug-file".into(), text: "no separate debug file was found".into() }],
        counts: Counts { entries: 20, dead: 3, unreadable: 1, unsettled: 2, retries: 4, doubted: 1 },
        cycles: cycles(),
    }
}
