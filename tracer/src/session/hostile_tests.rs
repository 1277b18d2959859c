//! Streams that say much with few bytes.

use tracer_common::wire::{self, kind, loss};

use super::Session;
use super::scenario::{at, gopc, ns, stack, start_pc};
use super::snapshot::Snapshot;
use crate::event::message::{Frame, ProbeSite, WaitReasons};
use crate::event::{Event, Symbol, header};

fn symbol(pc: u64, frames: Vec<Frame>) -> Event {
    let symbol = Symbol { pc, frames, ..Symbol::default() };
    Event::Symbol(header(kind::SYMBOL, 0), Box::new(symbol))
}

fn named(function: String) -> Frame {
    Frame { function, file: "/a.go".into(), line: 7, inlined: true, ..Frame::default() }
}

fn birth(goid: u64, stack: u64) -> Event {
    let h = at(kind::BIRTH, ns(1.0), goid);
    Event::Birth(wire::Birth { h, parent_goid: 1, gopc: gopc(1), start_pc: start_pc(1), stack })
}

fn after(events: &[Event]) -> Snapshot {
    let mut session = Session::new();
    events.iter().for_each(|e| session.apply(e.clone()));
    session.snapshot()
}

/// A symbol, then stacks that name it 64 times each, each with its goroutine.
fn stacks_of(frames: Vec<Frame>) -> Vec<Event> {
    let mut events = vec![symbol(gopc(1), frames)];
    for i in 0..1000u64 {
        let mut pcs = [gopc(1); 64];
        pcs[63] = 0x70_0000 + i;
        events.extend([stack(i + 1, &pcs), birth(i + 2, i + 1)]);
    }
    events
}

#[test]
fn a_small_stream_gives_no_great_picture() {
    for frames in [vec![Frame::default(); 100_000], vec![named("\u{1}".repeat(300_000))]] {
        let events = stacks_of(frames);
        let mut bytes = Vec::new();
        events.iter().for_each(|e| e.encode(&mut bytes));
        assert!(bytes.len() < 1_200_000, "{}", bytes.len());
        let s = after(&events);
        let json = serde_json::to_string(&s).unwrap().len();
        assert!(json < 8 << 20, "{json}");
        assert_eq!((s.sites.len(), s.totals.live), (1000, 1000));
        for site in &s.sites {
            assert_eq!(site.created_at, site.creation.frames[0], "each shows its `go` statement");
        }
        let last = &s.sites[999].creation;
        assert_eq!(last.frames.len(), 1);
        assert!(last.incomplete_because.as_deref().unwrap().contains("up to 4 MiB"), "{last:?}");
    }
}

#[test]
fn too_many_inlined_frames_are_left_out_and_that_is_said() {
    let frames = (0..100).map(|i| named(format!("main.f{i}"))).collect();
    let s = after(&[symbol(gopc(1), frames), stack(1, &[gopc(1)]), birth(2, 1)]);
    let creation = &s.sites[0].creation;
    let names: Vec<_> = creation.frames.iter().map(|f| f.function.as_str()).collect();
    assert_eq!(names.len(), 65);
    assert_eq!((names[0], names[62], names[64]), ("main.f0", "main.f62", "main.f99"));
    assert_eq!(
        creation.frames[63].unknown_because.as_deref(),
        Some("36 inlined frames at this address are left out")
    );
    assert!(creation.incomplete_because.as_deref().unwrap().starts_with("more than 64 frames"));
}

#[test]
fn long_names_are_cut_and_marked() {
    let s = after(&[symbol(gopc(1), vec![named("ä".repeat(5000))]), stack(1, &[gopc(1)]), birth(2, 1)]);
    let name = &s.sites[0].created_at.function;
    assert!(name.len() <= 4096 + '…'.len_utf8() && name.ends_with("ä…"), "{}", name.len());
    let names = vec!["chan send".into(), "x".repeat(100_000)];
    let mut h = at(kind::PARK, ns(2.0), 2);
    h.goid = 2;
    let park = Event::Park(wire::Park { h, reason: 1, ..wire::Park::default() });
    let reasons = Event::WaitReasons(header(kind::WAIT_REASONS, 0), WaitReasons { names });
    let s = after(&[reasons, birth(2, 1), park]);
    assert!(s.sites[0].waits[0].reason.len() < 140);
}

#[test]
fn a_probe_site_of_a_megabyte_is_not_kept() {
    let probe = |offset, refused_because: String| {
        let probe = ProbeSite { role: "create".into(), offset, refused_because, ..ProbeSite::default() };
        Event::ProbeSite(header(kind::PROBE_SITE, ns(0.0)), Box::new(probe))
    };
    let s = after(&[probe(1, "x".repeat(1 << 20)), probe(2, "not there".into())]);
    assert_eq!(s.probes.len(), 1);
    assert_eq!((s.losses[0].cause, s.losses[0].count), ("session-limit", 1));
    assert_eq!(super::loss_ledger::cause_by_name("session-limit"), Some(loss::SESSION_LIMIT.into()));
}
