//! A rich snapshot for tests: every field of the contract is set somewhere and absent somewhere else.

use crate::session::snapshot::*;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

pub fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame { function: function.into(), file: Some(file.into()), line: Some(line), ..Frame::default() }
}

fn inlined(function: &str, file: &str, line: u32) -> Frame {
    Frame { inlined: true, ..frame(function, file, line) }
}

fn unknown(pc: u64, why: &str) -> Frame {
    // No real frame has all of them: the examples must show every field at every place.
    Frame {
        function: format!("{pc:#x}"),
        unknown_because: Some(why.into()),
        full_name: Some("main.work[go.shape.int]".into()),
        wrapper: Some("main.main.gowrap1".into()),
        source: Some("dwarf".into()),
        ..Frame::default()
    }
}

fn stack(frames: Vec<Frame>) -> Stack {
    Stack { frames, incomplete_because: None }
}

fn percentiles(count: u64, ns: [u64; 5]) -> Percentiles {
    Percentiles { count, p50: ns[0], p90: ns[1], p99: ns[2], p999: ns[3], max: ns[4] }
}

/// A site with nothing but its names, for tests that set what they are about.
pub fn site(id: &str, kind: VerdictKind, created_at: Frame, live: u64) -> Site {
    Site {
        id: id.into(),
        verdict: Verdict { kind, why: "for a test".into(), missing: Vec::new(), evidence: Vec::new() },
        system: false,
        start: Frame { function: format!("{}.func1", created_at.function), ..created_at.clone() },
        creation: stack(vec![created_at.clone()]),
        created_at,
        live,
        born: live,
        died: 0,
        before: 0,
        slope_per_s: None,
        trend: vec![live],
        oldest: None,
        first_seen_ns: 0,
        lifetimes: None,
        waits: Vec::new(),
        vanished: 0,
        found: 0,
        past_waits: None,
        labels: Vec::new(),
        sampled: None,
    }
}

fn leak() -> Site {
    let created_at = frame("main.(*hub).publish", "/src/api/fanout.go", 57);
    Site {
        verdict: Verdict {
            kind: VerdictKind::Leak,
            why: "the live count grows steadily and none of those born here has ended".into(),
            missing: Vec::new(),
            evidence: vec![
                Evidence {
                    name: "growth.slope_per_s",
                    value: 6.8,
                    unit: "goroutines/s",
                    threshold: Some(5.0),
                    text: "the live count's slope over the last 60 s".into(),
                },
                Evidence {
                    name: "survival.plateau",
                    value: 1.0,
                    unit: "fraction",
                    threshold: Some(0.5),
                    text: "of those born here are expected never to end".into(),
                },
                Evidence {
                    name: "age.oldest",
                    value: 44.2e9,
                    unit: "ns",
                    threshold: None,
                    text: "age of the oldest".into(),
                },
            ],
        },
        start: frame("main.(*hub).publish.func1", "/src/api/fanout.go", 58),
        creation: stack(vec![
            created_at.clone(),
            inlined("main.(*hub).each", "/src/api/fanout.go", 41),
            frame("main.(*server).handle", "/src/api/server.go", 118),
            frame("net/http.(*conn).serve", "/usr/lib/go/src/net/http/server.go", 2102),
        ]),
        born: 812,
        slope_per_s: Some(6.8),
        trend: vec![12, 80, 150, 212, 290, 351, 420, 502, 571, 640, 733, 812],
        oldest: Some(Age { ns: 44_200 * MS, at_least: false }),
        first_seen_ns: 800 * MS,
        waits: vec![
            Wait {
                reason: "chan send".into(),
                count: 810,
                waited: Some(percentiles(
                    810,
                    [21_000 * MS, 39_100 * MS, 43_900 * MS, 44_100 * MS, 44_200 * MS],
                )),
                at_least: true,
                on: Some(WaitedOn {
                    objects: 2,
                    known: 809,
                    most: vec![
                        waited_object("channel", Some(0xc000_1000), 808, "unbuffered"),
                        WaitedObject {
                            senders: 0,
                            ..waited_object("forever", None, 1, "nothing can end it")
                        },
                    ],
                }),
                example: Some(Blocked {
                    goid: 1337,
                    alike: 808,
                    stacks: 2,
                    stack: Stack {
                        frames: vec![
                            frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
                            frame("runtime.chansend", "/usr/lib/go/src/runtime/chan.go", 283),
                            frame("main.(*hub).publish.func1", "/src/api/fanout.go", 58),
                        ],
                        incomplete_because: Some("a read of the stack failed after 3 frames".into()),
                    },
                }),
            },
            Wait {
                reason: "<runnable>".into(),
                count: 2,
                waited: None,
                at_least: false,
                on: None,
                example: None,
            },
        ],
        labels: vec![Label { key: "tenant".into(), value: "blue".into(), goroutines: 700 }],
        ..site("5e1f0c9a2b7d4418", VerdictKind::Leak, created_at, 812)
    }
}

fn waited_object(kind: &'static str, addr: Option<u64>, goroutines: u64, state: &str) -> WaitedObject {
    WaitedObject {
        goroutines,
        side: "send",
        addr,
        senders: goroutines,
        receivers: 0,
        kind,
        state: state.into(),
    }
}

fn suspect() -> Site {
    let created_at = frame("main.watch", "/src/api/watch.go", 22);
    Site {
        verdict: Verdict {
            kind: VerdictKind::Suspect,
            why: "none of those born here has ended, but the count grows slowly".into(),
            missing: vec![
                "a longer watch: growth of one a minute needs 5 min to be told from warm-up".into(),
            ],
            evidence: vec![Evidence {
                name: "survival.plateau",
                value: 0.94,
                unit: "fraction",
                threshold: Some(0.5),
                text: "of those born here are expected never to end".into(),
            }],
        },
        before: 22,
        born: 3,
        vanished: 1,
        found: 2,
        past_waits: Some(percentiles(40, [900 * MS, 2 * S, 5 * S, 5 * S, 6 * S])),
        slope_per_s: Some(0.066),
        trend: vec![21, 21, 22, 22, 23, 24],
        oldest: Some(Age { ns: 45 * S, at_least: true }),
        waits: vec![Wait {
            reason: "select".into(),
            count: 24,
            waited: Some(percentiles(24, [8 * S, 9 * S, 44 * S, 44 * S, 44 * S])),
            at_least: false,
            on: None,
            example: None,
        }],
        ..site("91b2aa0457fe0031", VerdictKind::Suspect, created_at, 24)
    }
}

fn unclear() -> Site {
    let created_at = unknown(0x4a_5f10, "no function of the binary covers this address");
    Site {
        verdict: Verdict {
            kind: VerdictKind::Unknown,
            why: "births were lost while this site was watched".into(),
            missing: vec!["a watch without losses".into()],
            evidence: Vec::new(),
        },
        start: unknown(0x4a_6000, "no function of the binary covers this address"),
        trend: Vec::new(),
        creation: Stack {
            frames: vec![created_at.clone()],
            incomplete_because: Some(
                "it was born before we watched: only the `go` statement is known".into(),
            ),
        },
        before: 5,
        born: 0,
        ..site("00c1d2e3f4a5b697", VerdictKind::Unknown, created_at, 5)
    }
}

fn pool() -> Site {
    let created_at = frame("main.newPool", "/src/api/pool.go", 31);
    Site {
        verdict: Verdict {
            kind: VerdictKind::Healthy,
            why: "bounded: it filled to 64 and stayed there".into(),
            missing: Vec::new(),
            evidence: Vec::new(),
        },
        before: 64,
        born: 0,
        slope_per_s: Some(0.0),
        trend: vec![64; 6],
        oldest: Some(Age { ns: 45 * S, at_least: true }),
        ..site("77d0e13b6c2f9a58", VerdictKind::Healthy, created_at, 64)
    }
}

fn requests() -> Site {
    let created_at = frame("net/http.(*Server).Serve", "/usr/lib/go/src/net/http/server.go", 3454);
    Site {
        verdict: Verdict {
            kind: VerdictKind::Healthy,
            why: "what is born here ends".into(),
            missing: Vec::new(),
            evidence: Vec::new(),
        },
        born: 4200,
        died: 4188,
        slope_per_s: Some(-0.2),
        trend: vec![14, 9, 11, 17, 12, 12],
        lifetimes: Some(percentiles(4188, [2 * MS, 9 * MS, 40 * MS, 120 * MS, 310 * MS])),
        oldest: Some(Age { ns: 90 * MS, at_least: false }),
        ..site("2f8890abcdef1234", VerdictKind::Healthy, created_at, 12)
    }
}

fn system() -> Site {
    let created_at = frame("runtime.gcBgMarkStartWorkers", "/usr/lib/go/src/runtime/mgc.go", 1373);
    Site {
        system: true,
        verdict: Verdict {
            kind: VerdictKind::Healthy,
            why: "one of the runtime's own".into(),
            missing: Vec::new(),
            evidence: Vec::new(),
        },
        ..site("e000000000000001", VerdictKind::Healthy, created_at, 4)
    }
}

/// A service with one leak, one suspect, one site that nothing can be said about, two healthy ones and one of the
/// runtime's.
pub fn fixture() -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        target: Target {
            pid: 4242,
            comm: "api-server".into(),
            exe: "/usr/bin/api-server".into(),
            go_version: "go1.26.6".into(),
            build_id: "c0ffee00".into(),
            arch: "amd64".into(),
            main_package: "example.com/api".into(),
            kernel: "6.18.0".into(),
            from_start: false,
            park: false,
            looks_only: false,
            layout: "table for go1.26".into(),
            gostray_version: "0.1.0".into(),
        },
        watched_ns: 45 * S,
        started_unix_ns: Some(1_790_000_000_123_000_000),
        end: Some(EndReason::Duration),
        totals: Totals {
            live: 917,
            live_system: 4,
            live_extra: 1,
            born: 5015,
            died: 4188,
            before: 95,
            vanished: 1,
            kernel_births: Some(5018),
            kernel_deaths: Some(4188),
            events: 11_870,
            found: 2,
            born_unidentified: 1,
            died_unattributed: 4,
        },
        looks: Looks {
            count: 45,
            every_ns: S,
            disagreements: Some(Disagreements {
                births_not_told: 2,
                deaths_not_told: 1,
                waits_not_told: Some(0),
            }),
        },
        watching: Some(Watching {
            budget_ns: Some(100 * MS),
            level: "lives",
            watched_ns: 45 * S,
            unwatched_ns: 0,
            waits_unwatched_ns: Some(32 * S),
            windows: 0,
            moves: vec![Move { at_ns: 13 * S, from: "waits", to: "lives", why: "spent", load_ns: 91 * MS }],
            moves_left_out: 0,
        }),
        cost: Some(Cost {
            target_ns: 180 * MS,
            target_most_ns: 93 * MS,
            own_cpu_ns: 310 * MS,
            own_bytes: 46_900_000,
            own_most_bytes: 47_100_000,
            delivered: 9_206,
            prices: Prices {
                birth: Some(2_800),
                death: Some(1_050),
                park: Some(1_500),
                ready: Some(1_050),
                run: Some(1_050),
                coro_switch: Some(1_300),
                walk: Some(1_400),
                stack: Some(1_500),
            },
        }),
        losses: vec![Loss {
            cause: "birth-ring-full",
            count: 3,
            from_ns: 12 * S,
            to_ns: 13 * S,
            meaning: "goroutines born then are missing from their sites",
        }],
        probes: vec![
            probe("create", "runtime.newproc1", 0x1c3, "jne 0x1e0", None),
            probe("exit", "runtime.goexit0", 0x6, "push rbp", None),
            probe(
                "exit",
                "runtime.coroswitch_m",
                0x6,
                "push rbp",
                Some("memory and file differ at this offset"),
            ),
        ],
        notes: vec![Note {
            code: "lock-layout-unknown".into(),
            text: "the layout of `runtime.m` is not known for this patch release: locks are not named".into(),
        }],
        sites: vec![leak(), suspect(), unclear(), pool(), requests(), system()],
    }
}

fn probe(role: &str, function: &str, offset: u64, instruction: &str, refused: Option<&str>) -> Probe {
    Probe {
        role: role.into(),
        function: function.into(),
        offset,
        instruction: instruction.into(),
        cost_class: "emulated".into(),
        refused_because: refused.map(Into::into),
    }
}

/// The same service where births and deaths could be watched for moments only.
pub fn sampled() -> Snapshot {
    let mut s = fixture();
    s.watching = Some(Watching {
        budget_ns: Some(100 * MS),
        level: "windows",
        watched_ns: 15 * S,
        unwatched_ns: 30 * S,
        waits_unwatched_ns: None,
        windows: 9,
        moves: vec![Move { at_ns: 13 * S, from: "lives", to: "windows", why: "spent", load_ns: 91 * MS }],
        moves_left_out: 2,
    });
    for site in &mut s.sites {
        let births_per_s = (site.born > 0).then_some(site.born as f64 / 15.0);
        site.sampled = Some(Sampled { share: 1.0 / 3.0, births_per_s });
    }
    s
}

/// The same service without its ill sites and losses, cleanly ended.
pub fn healthy() -> Snapshot {
    let mut s = fixture();
    s.sites.retain(|site| site.verdict.kind == VerdictKind::Healthy);
    s.losses.clear();
    s.notes.clear();
    if let Some(watching) = &mut s.watching {
        (watching.moves, watching.waits_unwatched_ns) = (Vec::new(), None);
    }
    s.probes.retain(|p| p.refused_because.is_none());
    s.totals = Totals {
        live: 76,
        live_system: 4,
        born: 4200,
        died: 4188,
        before: 64,
        kernel_births: Some(4200),
        kernel_deaths: Some(4188),
        events: 9000,
        ..Totals::default()
    };
    s
}
