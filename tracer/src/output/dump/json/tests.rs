use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::super::fixture::fixture;
use super::*;
use crate::dump::cycles::{Cycle, Step};
use crate::dump::{
    About, Broken, Counts, Fires, Goroutine, LeftOut, Object, ObjectKind, Origin, Place, Places, Side, Since,
    Stack, Status, Trace, Wait,
};
use crate::event::message::{Frame, Note};

fn written(dump: &Dump, selection: Option<&Selection>) -> Vec<u8> {
    let mut out = Vec::new();
    write(dump, selection, &mut out).unwrap();
    out
}

fn selection() -> Selection {
    Selection { filters: vec!["state=select".into()], of: 57 }
}

#[test]
fn full_example() {
    let value: Value = serde_json::from_slice(&written(&fixture(), Some(&selection()))).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn one_line_that_reads_back() {
    let text = written(&fixture(), Some(&selection()));
    assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 1);
    assert_eq!(read(text.as_slice()).unwrap(), (fixture(), Some(selection())));
    let bare = Dump::default();
    assert_eq!(read(written(&bare, None).as_slice()).unwrap(), (bare, None));
}

/// The fixture's document with the value at `path` replaced.
fn with(path: &str, value: Value) -> Value {
    let mut document: Value = serde_json::from_slice(&written(&fixture(), None)).unwrap();
    *document.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
    document
}

#[test]
fn damaged_documents_are_refused() {
    let cases = [
        ("/goroutines/0/stack", 7.into(), "goroutine 1: there is no stack 7"),
        (
            "/goroutines/0/stack",
            Value::Null,
            "goroutine 1: its trace, stack and what is incomplete do not fit",
        ),
        ("/goroutines/0/start", 99.into(), "goroutine 1: there is no place 99"),
        ("/goroutines/0/start", 2.into(), "goroutine 1: place 2 is of another kind"),
        ("/goroutines/2/labels", 2.into(), "goroutine 10: there is no set of labels 2"),
        ("/goroutines/2/waits_on/0/object", 15.into(), "goroutine 10: there is no object 15"),
        ("/goroutines/2/goid", 3_000.into(), "the goroutines are not in order of their ids"),
        ("/goroutines/2/status", "asleep".into(), "goroutine 10: there is no status `asleep`"),
        (
            "/goroutines/9/incomplete/pc",
            Value::Null,
            "goroutine 23: what is incomplete and its numbers do not fit",
        ),
        ("/stacks/0/places/1", 99.into(), "there is no place 99"),
        ("/stacks/2/left_out/after", 1_000.into(), "a stack of 122 frames lacks some after 1000"),
        ("/objects/0/kind", "mutex".into(), "an object of the kind Mutex has not what such one has"),
        ("/objects/7/timer/stopped", true.into(), "a timer is stopped and fires"),
        ("/objects/12/channel/timer/stopped", true.into(), "a timer is stopped and fires"),
        (
            "/objects/2/timer",
            serde_json::json!({"in_ns": 1, "stopped": false}),
            "an object of the kind Forever has not",
        ),
        ("/cycles/1/steps/0/object", 99.into(), "there is no object 99"),
        ("/cycles/1/certainty", "closed".into(), "how sure a cycle is and what it says do not fit"),
        ("/places/3/pc", 1.into(), "the places are not in order of their program counters"),
        (
            "/schema",
            "gostray.dump/2".into(),
            "invalid value: string \"gostray.dump/2\", expected the schema `gostray.dump/1`",
        ),
        ("/goroutines/0/goid", (-1).into(), "invalid value: integer `-1`"),
        ("/counts", serde_json::json!({}), "missing field `entries`"),
    ];
    for (path, value, says) in cases {
        let text = serde_json::to_vec(&with(path, value)).unwrap();
        let error = read(text.as_slice()).expect_err(path).to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
}

#[test]
fn other_texts_are_refused() {
    let text = written(&fixture(), None);
    for len in (0..text.len() - 1).step_by(97).chain([text.len() - 2]) {
        assert!(matches!(read(&text[..len]), Err(ReadError::Json(_))), "cut at {len}");
    }
    assert!(read(&b"{\"schema\":\"gostray.report/1\"}"[..]).is_err());
    assert!(read(&b"{} {}"[..]).is_err());
    assert!(read([text.as_slice(), text.as_slice()].concat().as_slice()).is_err(), "two documents");
    assert!(read("[".repeat(100_000).as_bytes()).is_err());
    let len = text.len() as u64;
    assert!(read_at_most(text.as_slice(), len).is_ok());
    assert!(matches!(read_at_most(text.as_slice(), len - 1), Err(ReadError::TooLong(_))));
}

#[test]
fn what_is_not_known_is_ignored() {
    let mut document = with("/notes", serde_json::json!([]));
    document["goroutines"][0]["mood"] = "good".into();
    assert!(read(serde_json::to_vec(&document).unwrap().as_slice()).is_ok());
}

#[test]
fn a_million_goroutines_stay_small() {
    let mut dump = fixture();
    let g = dump.goroutines[2].clone();
    let before = written(&dump, None).len();
    dump.goroutines.extend((0..10_000).map(|i| Goroutine { goid: 1_000_000 + i, ..g.clone() }));
    let each = (written(&dump, None).len() - before) / 10_000;
    assert!(each < 350, "{each} bytes for each");
}

fn frame() -> impl Strategy<Value = Frame> {
    (any::<String>(), any::<String>(), any::<u32>(), any::<bool>(), any::<String>()).prop_map(
        |(function, file, line, inlined, full_name)| Frame { function, file, line, inlined, full_name },
    )
}

/// Of the model: with frames, or the reason why not.
fn place() -> impl Strategy<Value = Place> {
    (vec(frame(), 0..3), any::<u64>(), any::<bool>(), ".+", option::of(frame())).prop_map(
        |(frames, entry, wrapper, why, starts)| {
            let unknown_because = if frames.is_empty() { why } else { String::new() };
            Place { frames, entry, wrapper, unknown_because, starts }
        },
    )
}

fn fires() -> impl Strategy<Value = Fires> {
    prop_oneof![any::<i64>().prop_map(Fires::In), Just(Fires::Not), Just(Fires::Unknown)]
}

fn kind() -> impl Strategy<Value = ObjectKind> {
    prop_oneof![
        (any::<(u64, u64, bool, u16)>(), option::of(fires())).prop_map(
            |((len, cap, closed, elem_size), timer)| ObjectKind::Channel {
                len,
                cap,
                closed,
                elem_size,
                timer
            }
        ),
        Just(ObjectKind::Forever),
        any::<(bool, bool, u32)>().prop_map(|(locked, starving, waiters)| ObjectKind::Mutex {
            locked,
            starving,
            waiters
        }),
        any::<(i32, bool, i32)>().prop_map(|(readers, writer, waiting_for_readers)| ObjectKind::RwMutex {
            readers,
            writer,
            waiting_for_readers
        }),
        any::<(i32, u32)>().prop_map(|(counter, waiters)| ObjectKind::WaitGroup { counter, waiters }),
        any::<u32>().prop_map(|waiters| ObjectKind::Cond { waiters }),
        any::<u32>().prop_map(|value| ObjectKind::Semaphore { value }),
        fires().prop_map(|fires| ObjectKind::Timer { fires }),
        (any::<u32>(), any::<Option<String>>()).prop_map(|(fd, peer)| ObjectKind::Descriptor { fd, peer }),
    ]
}

fn object() -> impl Strategy<Value = Object> {
    (any::<u64>(), kind(), any::<(u64, u64, u64)>(), vec(any::<u64>(), 0..3)).prop_map(
        |(addr, kind, (receivers, senders, holders_in_all), holders)| Object {
            addr,
            kind,
            receivers,
            senders,
            holders,
            holders_in_all,
        },
    )
}

fn broken() -> impl Strategy<Value = Broken> {
    prop_oneof![
        any::<u64>().prop_map(|pc| Broken::NoFunction { pc }),
        any::<u64>().prop_map(|pc| Broken::NoFrame { pc }),
        Just(Broken::OutOfBounds),
        Just(Broken::Unreadable),
        any::<u64>().prop_map(|limit| Broken::TooDeep { limit }),
        Just(Broken::NoThread),
        Just(Broken::OtherStack),
    ]
}

fn trace() -> impl Strategy<Value = Trace> {
    prop_oneof![
        (0..2u32).prop_map(Trace::Whole),
        (0..2u32, broken()).prop_map(|(stack, because)| Trace::Partial { stack, because }),
        Just(Trace::Running),
        Just(Trace::Moving),
        broken().prop_map(|because| Trace::None { because }),
    ]
}

fn goroutine() -> impl Strategy<Value = Goroutine> {
    let side = prop_oneof![Just(Side::Send), Just(Side::Receive), Just(Side::Wait), Just(Side::Unknown)];
    let since = prop_oneof![
        Just(Since::Unknown),
        any::<u64>().prop_map(Since::AtLeast),
        any::<u64>().prop_map(Since::Exactly)
    ];
    let numbers = any::<(u64, Option<u64>, u32, Option<u8>, u64, u64, Option<u32>)>();
    let rest = (any::<(bool, bool)>(), option::of(0..2u32), vec((0..2u32, side), 0..3));
    (numbers, since, trace(), rest).prop_map(
        |(
            (g, parent, status, reason, gopc, start_pc, thread),
            since,
            trace,
            ((locked, system), labels, waits),
        )| {
            Goroutine {
                goid: 0,
                g,
                parent,
                status: Status::of(status % 20),
                reason,
                since,
                runtime_since: parent,
                gopc,
                start_pc,
                trace,
                thread,
                locked,
                labels,
                system,
                waits_on: waits.into_iter().map(|(object, side)| Wait { object, side }).collect(),
                wait_mark: None,
                on_stack: None,
            }
        },
    )
}

fn pc() -> impl Strategy<Value = Pc> {
    any::<(u64, bool)>().prop_map(|(pc, exact)| Pc { pc, exact })
}

fn stack() -> impl Strategy<Value = Stack> {
    let left_out = (any::<proptest::sample::Index>(), any::<u64>(), vec((pc(), any::<u64>()), 0..3));
    (vec(pc(), 0..5), option::of(left_out)).prop_map(|(pcs, left)| Stack {
        left_out: left.map(|(at, frames, each)| LeftOut { after: at.index(pcs.len() + 1), frames, at: each }),
        pcs,
    })
}

fn cycle() -> impl Strategy<Value = Cycle> {
    let step = (any::<u64>(), 0..2u32, any::<u32>()).prop_map(|(goid, object, cases)| Step {
        goid,
        object,
        side: Side::Wait,
        cases,
    });
    let rest = (any::<(u64, u64, u64, u64)>(), 0..2u64, any::<(bool, bool)>(), vec(any::<u64>(), 0..3));
    (vec(step, 0..3), rest).prop_map(
        |(steps, ((length, goroutines, behind, others_in_all), unsearched, (global, stuck), others))| Cycle {
            steps,
            length,
            goroutines,
            behind,
            others,
            others_in_all,
            unsearched,
            global,
            stuck,
        },
    )
}

fn dump() -> impl Strategy<Value = Dump> {
    let labels = vec(btree_map(any::<String>(), any::<String>(), 0..3), 2);
    let goroutines = (btree_set(any::<u64>(), 0..5), vec(goroutine(), 5));
    let places = vec((pc(), place()), 0..6);
    let numbers = (any::<(u32, u64, u64)>(), any::<(u64, u64, u64, u64, u64, u64)>());
    let texts = (vec(any::<String>(), 9), vec(any::<(String, String)>(), 0..2));
    let stacks = (vec(stack(), 2), vec(cycle(), 0..3));
    (goroutines, stacks, vec(object(), 2), labels, places, numbers, texts).prop_map(
        |(
            (ids, mut goroutines),
            (stacks, cycles),
            objects,
            labels,
            places,
            (about, counts),
            (texts, notes),
        )| {
            goroutines.truncate(ids.len());
            goroutines.iter_mut().zip(ids).for_each(|(g, id)| g.goid = id);
            let [comm, exe, go_version, build_id, arch, main_package, layout, gostray_version, reason] =
                texts.try_into().unwrap();
            let core = Some(comm.clone()).filter(|c| c.len() % 2 == 1);
            let (pid, taken_unix_ns, took_ns) = about;
            let (entries, dead, unreadable, unsettled, retries, doubted) = counts;
            Dump {
                about: About {
                    pid,
                    comm,
                    exe,
                    go_version,
                    build_id,
                    arch,
                    main_package,
                    layout,
                    taken_unix_ns,
                    took_ns,
                    gostray_version,
                    source: core.map_or(Origin::Process, |path| Origin::Core { path }),
                },
                goroutines,
                stacks,
                objects,
                labels,
                places: Places(places.into_iter().collect()),
                wait_reasons: vec![reason],
                notes: notes.into_iter().map(|(code, text)| Note { code, text }).collect(),
                counts: Counts { entries, dead, unreadable, unsettled, retries, doubted },
                cycles,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip(dump in dump()) {
        let text = written(&dump, None);
        prop_assert_eq!(read(text.as_slice()).unwrap(), (dump, None));
    }

    #[test]
    fn a_changed_byte_is_no_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut text = written(&fixture(), None);
        let at = at.index(text.len());
        text[at] = byte;
        let _ = read(text.as_slice());
    }
}
