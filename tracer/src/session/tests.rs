use proptest::prelude::*;
use tracer_common::wire::{self, birth_flag, coro_flag, kind, loss};

use super::scenario::{self, SECOND, World, at, find, gopc, ns, start_pc, symbol, wait_reasons};
use super::snapshot::{Site, Snapshot};
use super::{Limits, Session};
use crate::event::{Event, Symbol, TargetInfo, header, message};
use crate::event_gen::any_event;

mod waits;

fn t(s: f64) -> u64 {
    ns(s)
}

fn birth(s: f64, goid: u64, site: u64) -> Event {
    let h = at(kind::BIRTH, t(s), goid);
    Event::Birth(wire::Birth { h, parent_goid: 1, gopc: gopc(site), start_pc: start_pc(site), stack: site })
}

fn death(s: f64, goid: u64) -> Event {
    Event::Death(wire::Death { h: at(kind::DEATH, t(s), goid) })
}

fn look(kind: u8, s: f64, goid: u64, (site, status, reason): (u64, u32, &str)) -> wire::Seen {
    let reason = scenario::reason(reason);
    let h = at(kind, t(s), goid);
    wire::Seen { h, gopc: gopc(site), start_pc: start_pc(site), status, reason, ..wire::Seen::default() }
}

fn seen(s: f64, goid: u64, what: (u64, u32, &str)) -> Event {
    Event::Seen(look(kind::SEEN, s, goid, what))
}

fn state(s: f64, goid: u64, what: (u64, u32, &str)) -> Event {
    Event::State(look(kind::STATE, s, goid, what))
}

fn begin(s: f64) -> Event {
    Event::LookBegin(wire::LookEdge { h: header(kind::LOOK_BEGIN, t(s)), ..wire::LookEdge::default() })
}

fn end(s: f64, read: u64) -> Event {
    Event::LookEnd(wire::LookEdge { h: header(kind::LOOK_END, t(s)), read, ..wire::LookEdge::default() })
}

fn park(s: f64, goid: u64, reason: &str) -> Event {
    let reason = scenario::reason(reason).into();
    Event::Park(wire::Park { h: at(kind::PARK, t(s), goid), reason, ..wire::Park::default() })
}

fn tick(s: f64) -> Event {
    Event::Tick(header(kind::TICK, t(s)))
}

/// Symbols of two sites, their stacks, and the words; then the events.
fn after(events: impl IntoIterator<Item = Event>) -> Snapshot {
    let mut session = Session::new();
    session.apply(tick(0.0));
    session.apply(wait_reasons());
    for site in [1, 2] {
        session.apply(scenario::stack(site, &[gopc(site), 0x500]));
        session.apply(symbol(gopc(site), &format!("main.site{site}"), false));
        session.apply(symbol(start_pc(site), &format!("main.run{site}"), true));
    }
    events.into_iter().for_each(|e| session.apply(e));
    session.snapshot()
}

fn only(snapshot: &Snapshot) -> &Site {
    assert_eq!(snapshot.sites.len(), 1, "{:#?}", snapshot.sites);
    &snapshot.sites[0]
}

const WAITING: u32 = 4;
const DEAD: u32 = 6;

#[test]
fn births_and_deaths_are_counted_and_timed() {
    let s = after([birth(1.0, 5, 1), birth(2.0, 6, 1), death(4.0, 5), tick(9.0)]);
    let site = only(&s);
    assert_eq!((site.born, site.died, site.live, site.before), (2, 1, 1, 0));
    assert_eq!(site.lifetimes.unwrap().max, 3 * SECOND);
    assert_eq!(site.oldest.map(|a| (a.ns, a.at_least)), Some((7 * SECOND, false)));
    assert_eq!(site.created_at.function, "main.site1");
    assert_eq!(site.creation.frames.len(), 2);
    assert_eq!(site.creation.frames[1].function, "0x500");
    assert!(site.creation.frames[1].unknown_because.is_some());
    assert_eq!((s.totals.born, s.totals.died, s.totals.live), (2, 1, 1));
}

#[test]
fn who_was_alive_before_enters_by_a_look_and_is_counted_once() {
    let s = after([
        begin(0.5),
        seen(0.6, 5, (1, WAITING, "chan send")),
        end(0.7, 1),
        // A state of a known one changes nothing but its state; a late birth makes it exact.
        state(1.7, 5, (1, WAITING, "select")),
        birth(0.4, 5, 1),
    ]);
    let site = only(&s);
    assert_eq!((site.born, site.before, site.live), (1, 0, 1));
    assert_eq!((s.totals.born, s.totals.before), (1, 0));
    assert_eq!(site.waits[0].reason, "select");
}

#[test]
fn an_early_death_cancels_the_birth_that_comes_after() {
    let s = after([death(2.0, 5), birth(1.5, 5, 1)]);
    assert_eq!((s.totals.born, s.totals.died, s.totals.died_unattributed, s.totals.live), (1, 1, 0, 0));
    assert_eq!(only(&s).lifetimes.unwrap().max, SECOND / 2);
}

#[test]
fn a_look_that_comes_late_wakes_nobody_up() {
    let s = after([birth(1.0, 5, 1), death(2.0, 5), seen(1.9, 5, (1, WAITING, "select")), death(2.0, 5)]);
    assert_eq!((s.totals.live, s.totals.died), (0, 1));
    let s = after([begin(0.5), death(0.55, 9), seen(0.6, 9, (1, WAITING, "select")), end(0.7, 0)]);
    assert_eq!((s.totals.live, s.totals.died, s.totals.died_unattributed), (0, 1, 1));
}

#[test]
fn a_goroutine_that_a_look_no_longer_finds_has_vanished() {
    let gone = [
        begin(0.5),
        seen(0.6, 5, (1, WAITING, "select")),
        end(0.7, 1),
        begin(1.5),
        state(1.6, 5, (1, DEAD, "")),
    ];
    let s = after(gone.clone());
    assert_eq!((s.totals.vanished, s.totals.died, s.totals.live), (1, 0, 0));
    // Its death came after all.
    let s = after(gone.into_iter().chain([death(1.4, 5)]));
    assert_eq!((s.totals.vanished, s.totals.died, s.totals.died_unattributed), (0, 1, 0));
    assert_eq!((only(&s).vanished, only(&s).died), (0, 1));
    // Born while the look was under way: the look saw the `g` before.
    let s = after([begin(1.0), birth(1.1, 5, 1), state(1.2, 5, (1, DEAD, ""))]);
    assert_eq!((s.totals.vanished, s.totals.live), (0, 1));
}

#[test]
fn one_that_no_look_ever_found_is_gone() {
    let s = after([birth(1.0, 5, 1), begin(2.0), end(2.1, 0), birth(2.2, 6, 1)]);
    assert_eq!((s.totals.live, s.totals.vanished), (1, 1));
    // A look that read fewer than are known to live proves nothing.
    let s = after([
        begin(0.1),
        seen(0.2, 4, (1, WAITING, "select")),
        end(0.3, 1),
        birth(1.0, 5, 1),
        begin(2.0),
        end(2.1, 0),
    ]);
    assert_eq!((s.totals.live, s.totals.vanished), (2, 0));
}

#[test]
fn looks_alone_tell_births_from_who_was_there_before() {
    let s = after([
        begin(0.5),
        seen(0.6, 5, (1, WAITING, "select")),
        end(0.7, 1),
        begin(1.5),
        seen(1.6, 6, (1, WAITING, "select")),
        end(1.7, 2),
    ]);
    let site = only(&s);
    assert_eq!((site.before, site.born, site.found, site.live), (1, 1, 1, 2));
    assert_eq!(site.oldest.map(|a| a.at_least), Some(true));
    assert!(site.creation.incomplete_because.as_deref().unwrap().contains("only the `go` statement"));
}

#[test]
fn extra_ms_and_dead_gs_are_no_goroutines_of_the_program() {
    let mut extra = look(kind::SEEN, 0.6, 17, (1, 3, ""));
    extra.gopc = 0;
    let mut idle = look(kind::SEEN, 0.6, 18, (1, 11, ""));
    idle.gopc = 0;
    let mut main = look(kind::SEEN, 0.6, 1, (2, WAITING, "chan receive"));
    main.gopc = 0;
    let s = after([
        begin(0.5),
        Event::Seen(extra),
        Event::Seen(idle),
        Event::Seen(main),
        seen(0.6, 19, (1, DEAD, "")),
        end(0.7, 3),
    ]);
    assert_eq!((s.totals.live_extra, s.totals.live, s.totals.before), (1, 1, 1));
    let s = after([Event::Seen(extra), Event::State(wire::Seen { status: 6, ..extra })]);
    assert_eq!(s.totals.live_extra, 0, "the callback is over");
}

#[test]
fn coroutines_switch_and_end_without_a_death_event() {
    let target = TargetInfo { park: true, ..TargetInfo::default() };
    let switch = |s, goid, to_goid, flags| {
        let mut h = at(kind::CORO_SWITCH, t(s), goid);
        h.flags = flags;
        Event::CoroSwitch(wire::CoroSwitch { h, to_g: 0, to_goid })
    };
    let traced = Event::Target(header(kind::TARGET, t(0.0)), Box::new(target));
    let head = [traced, birth(1.0, 5, 1), birth(1.0, 6, 2), switch(2.0, 5, 6, 0)];
    let s = after(head.clone());
    assert_eq!(find(&s, 1).unwrap().waits[0].reason, "coroutine");
    assert_eq!(find(&s, 2).unwrap().waits[0].reason, "<running>");
    let s = after(head.into_iter().chain([switch(3.0, 6, 5, coro_flag::EXIT)]));
    assert_eq!((s.totals.died, find(&s, 2).unwrap().live), (1, 0));
    assert_eq!(find(&s, 1).unwrap().waits[0].reason, "<running>");
}

#[test]
fn a_lost_definition_leaves_the_go_statement_and_a_late_one_heals() {
    let unknown = Event::Birth(wire::Birth {
        h: at(kind::BIRTH, t(1.0), 5),
        gopc: gopc(1),
        start_pc: start_pc(1),
        stack: 77,
        parent_goid: 1,
    });
    let s = after([unknown.clone(), birth(1.0, 6, 1)]);
    assert_eq!(s.sites.len(), 2, "another stack than the known one");
    let lost = s.sites.iter().find(|s| s.creation.incomplete_because.is_some()).unwrap();
    assert_eq!(lost.created_at.function, "main.site1");
    assert_eq!(lost.creation.frames.len(), 1);
    let s = after([unknown, birth(1.0, 6, 1), scenario::stack(77, &[gopc(1), 0x500])]);
    assert_eq!(only(&s).live, 2, "same lines, one site");
}

#[test]
fn who_was_there_before_joins_the_one_stack_of_its_go_statement_only() {
    let before = [begin(0.1), seen(0.2, 3, (1, WAITING, "select")), end(0.3, 1)];
    let s = after(before.clone().into_iter().chain([birth(1.0, 5, 1)]));
    assert_eq!((only(&s).before, only(&s).born, only(&s).live), (1, 1, 2));
    assert_eq!(only(&s).creation.incomplete_because, None);
    let second = Event::Birth(wire::Birth {
        h: at(kind::BIRTH, t(1.0), 6),
        gopc: gopc(1),
        start_pc: start_pc(1),
        stack: 77,
        ..wire::Birth::default()
    });
    let s =
        after(before.into_iter().chain([birth(1.0, 5, 1), scenario::stack(77, &[gopc(1), 0x600]), second]));
    assert_eq!(s.sites.len(), 3, "two stacks could have made it: it keeps its own row");
}

#[test]
fn the_id_is_of_lines_and_not_of_addresses() {
    let world = |shift: u64| {
        let mut session = Session::new();
        session.apply(scenario::stack(1 + shift, &[gopc(1) + shift, 0x500 + shift]));
        session.apply(symbol(gopc(1) + shift, "main.a", false));
        session.apply(symbol(0x500 + shift, "main.main", false));
        session.apply(Event::Birth(wire::Birth {
            h: at(kind::BIRTH, t(1.0), 5),
            gopc: gopc(1) + shift,
            stack: 1 + shift,
            ..wire::Birth::default()
        }));
        session.snapshot().sites[0].id.clone()
    };
    assert_eq!(world(0), world(0x1000));
}

#[test]
fn births_without_a_stack_say_why() {
    let flagged = |flags| {
        let mut h = at(kind::BIRTH, t(1.0), 5);
        h.flags = flags;
        let s = after([Event::Birth(wire::Birth { h, gopc: gopc(1), ..wire::Birth::default() })]);
        only(&s).creation.incomplete_because.clone().unwrap()
    };
    assert!(flagged(birth_flag::NO_CREATOR).contains("start code"));
    assert!(flagged(birth_flag::UNMATCHED).contains("did not lead"));
    let s = after([Event::Birth(wire::Birth { h: at(kind::BIRTH, t(1.0), 0), ..wire::Birth::default() })]);
    assert_eq!((s.totals.born, s.totals.born_unidentified, s.sites.len()), (1, 1, 0));
}

fn patchy_end(s: f64, read: u64, unreadable: u64) -> Event {
    let h = header(kind::LOOK_END, t(s));
    Event::LookEnd(wire::LookEdge { h, read, unreadable, ..wire::LookEdge::default() })
}

const BEFORE_UNKNOWN: &str = "no look has told who was alive before";

#[test]
fn what_each_look_could_not_read_is_a_loss() {
    let s = after([
        birth(0.1, 5, 1),
        begin(1.0),
        patchy_end(1.5, 1000, 50),
        begin(2.0),
        patchy_end(2.5, 1000, 30),
        begin(3.0),
        patchy_end(3.5, 1000, 0),
    ]);
    let loss = s.losses.iter().find(|l| l.cause == "look-unreadable").expect("a loss");
    assert_eq!((loss.count, loss.from_ns, loss.to_ns), (80, SECOND, 5 * SECOND / 2));
    // A handful in motion is none; a look that read nothing is one.
    let s = after([begin(1.0), patchy_end(1.5, 20, 10), begin(2.0), patchy_end(2.5, 100_000, 900)]);
    assert!(s.losses.is_empty(), "{:?}", s.losses);
    let s = after([begin(1.0), patchy_end(1.5, 0, 4)]);
    assert_eq!(s.losses[0].count, 4);
}

#[test]
fn only_a_look_that_read_something_tells_who_was_there_before() {
    let missing = |events: Vec<Event>| {
        let s = after([birth(0.1, 5, 1)].into_iter().chain(events));
        only(&s).verdict.missing.iter().any(|m| m.contains(BEFORE_UNKNOWN))
    };
    assert!(missing(vec![]));
    assert!(missing(vec![begin(1.0), patchy_end(1.5, 0, 64)]), "`allgs` moved while it was read");
    assert!(missing(vec![begin(1.0), patchy_end(1.5, 64, 64)]), "every entry was unreadable");
    assert!(missing(vec![begin(1.0), patchy_end(1.5, 0, 0)]), "nobody, in a program that runs");
    assert!(!missing(vec![begin(1.0), patchy_end(1.5, 64, 3)]));
    let held = TargetInfo { from_start: true, ..TargetInfo::default() };
    let held = Event::Target(header(kind::TARGET, t(0.0)), Box::new(held));
    assert!(!missing(vec![held, begin(1.0), patchy_end(1.5, 0, 0)]));
}

#[test]
fn who_a_failed_first_look_missed_was_not_born_since() {
    let s = after([
        begin(0.5),
        patchy_end(0.7, 0, 2),
        begin(1.5),
        seen(1.6, 5, (1, WAITING, "select")),
        seen(1.6, 6, (1, WAITING, "select")),
        end(1.7, 2),
        begin(2.5),
        seen(2.6, 7, (1, WAITING, "select")),
        end(2.7, 3),
    ]);
    assert_eq!((only(&s).before, only(&s).born), (2, 1));
    let missing = &only(&s).verdict.missing;
    assert!(missing.iter().any(|m| m.contains("they look younger than they are")), "{missing:?}");
}

/// A callback of a timer: no creator, always the same `go` statement, here that of site 1.
fn callback(s: f64, goid: u64, runs: u64) -> Event {
    let mut h = at(kind::BIRTH, t(s), goid);
    h.flags = birth_flag::NO_CREATOR;
    Event::Birth(wire::Birth { h, gopc: gopc(1), start_pc: start_pc(runs), ..wire::Birth::default() })
}

#[test]
fn callbacks_of_timers_do_not_answer_for_each_other() {
    let of = |s: &Snapshot, name: &str| s.sites.iter().find(|s| s.start.function == name).cloned().unwrap();
    let mut looked = look(kind::SEEN, 0.2, 3, (1, WAITING, "chan send"));
    looked.start_pc = start_pc(2);
    let s = after([
        begin(0.1),
        Event::Seen(looked),
        end(0.3, 1),
        callback(1.0, 5, 1),
        death(1.1, 5),
        callback(2.0, 6, 2),
        callback(3.0, 7, 2),
    ]);
    assert_eq!(s.sites.len(), 2, "{:#?}", s.sites);
    let (harmless, leaker) = (of(&s, "main.run1"), of(&s, "main.run2"));
    assert_eq!((harmless.born, harmless.live, harmless.before), (1, 0, 0));
    assert_eq!(
        (leaker.born, leaker.live, leaker.before),
        (2, 3, 1),
        "who was there before joins its function"
    );
    assert_ne!(harmless.id, leaker.id);
    let why = leaker.creation.incomplete_because.unwrap();
    assert_eq!(why, "no goroutine created it: the runtime's start code, or a timer");
    let s = after([symbol(start_pc(1), "runtime.main", true), callback(0.1, 1, 1)]);
    assert!(
        only(&s).creation.incomplete_because.as_deref().unwrap().starts_with("the runtime's start code made")
    );
}

#[test]
fn one_go_statement_that_starts_two_functions_is_two_sites() {
    let other = |goid| {
        let h = at(kind::BIRTH, t(1.0), goid);
        let start_pc = start_pc(2);
        Event::Birth(wire::Birth { h, parent_goid: 1, gopc: gopc(1), start_pc, stack: 1 })
    };
    let s = after([birth(1.0, 5, 1), other(6), other(7)]);
    let mut sites: Vec<_> = s.sites.iter().map(|s| (s.start.function.as_str(), s.live)).collect();
    sites.sort_unstable();
    assert_eq!(sites, [("main.run1", 1), ("main.run2", 2)]);
    assert_eq!(s.sites[0].creation, s.sites[1].creation);
    assert_ne!(s.sites[0].id, s.sites[1].id);
}

/// `go f(x)` starts the compiler's wrapper; the reader sees `f`, and where the name is from when it is not Go's table.
#[test]
fn a_wrapper_is_shown_as_what_it_starts() {
    let frame = |function: &str, full_name: &str| message::Frame {
        function: function.into(),
        full_name: full_name.into(),
        ..Default::default()
    };
    let wrapper = Symbol {
        pc: start_pc(1),
        exact: true,
        frames: vec![frame("main.site1.gowrap1", "")],
        starts: Some(frame("main.work[...]", "main.work[go.shape.int]")),
        ..Symbol::default()
    };
    let c = Symbol {
        pc: 0x500,
        frames: vec![frame("call_back", "")],
        source: "dwarf".into(),
        ..Symbol::default()
    };
    let symbols = [wrapper, c].map(|s| Event::Symbol(header(kind::SYMBOL, 0), Box::new(s)));
    let s = after(symbols.into_iter().chain([birth(1.0, 5, 1)]));
    let start = &only(&s).start;
    assert_eq!(start.function, "main.work[...]");
    assert_eq!(start.full_name.as_deref(), Some("main.work[go.shape.int]"));
    assert_eq!(start.wrapper.as_deref(), Some("main.site1.gowrap1"));
    assert_eq!(start.source, None);
    let outer = only(&s).creation.frames.last().unwrap();
    assert_eq!((outer.function.as_str(), outer.source.as_deref()), ("call_back", Some("dwarf")));
}

#[test]
fn limits_are_kept_and_reported() {
    let limits =
        Limits { goroutines: 10, stack_sites: 2, sites: 4, stacks: 3, recent: 5, ..Limits::default() };
    let mut session = Session::with_limits(limits);
    for i in 0..100 {
        session.apply(scenario::stack(i, &[i]));
        session.apply(birth(1.0, i + 2, i % 7 + 1));
        session.apply(death(1.0, 10_000 + i));
    }
    assert_eq!(session.goroutines.len(), 10);
    assert!(session.sites.list().len() <= 4);
    let s = session.snapshot();
    assert_eq!(s.totals.born, 100);
    let limit = s.losses.iter().find(|l| l.cause == "session-limit").unwrap();
    assert!(limit.count >= 90 + 97, "{limit:?}");
    assert!(s.sites.iter().any(|s| {
        s.creation.incomplete_because.as_deref().is_some_and(|w| w.contains("more creation stacks"))
    }));
}

#[test]
fn losses_and_the_end_are_shown() {
    let lost =
        wire::Loss { h: header(kind::LOSS, t(3.0)), from_ns: t(2.0), count: 7, cause: loss::LATE.into() };
    let over = wire::End { h: header(kind::END, t(4.0)), reason: wire::end::TARGET_EXITED, code: u64::MAX };
    let s = after([birth(1.0, 5, 1), Event::Loss(lost), Event::End(over)]);
    assert_eq!((s.losses[0].cause, s.losses[0].count), ("late", 7));
    assert_eq!((s.losses[0].from_ns, s.losses[0].to_ns), (2 * SECOND, 3 * SECOND));
    assert_eq!(s.end, Some(super::snapshot::EndReason::TargetExited { wait_status: None }));
    assert_eq!(only(&s).live, 1, "who was alive at the end stays so");
}

#[test]
fn exact_counts_over_many_goroutines() {
    let mut world = World::new();
    for i in 0..20_000_u32 {
        let born = f64::from(i) / 1000.0;
        world.one(
            1 + u64::from(i) % 2,
            born,
            if i % 4 == 0 { scenario::NEVER } else { born + 0.3 },
            "select",
        );
    }
    let s = world.watch(30.0);
    assert_eq!((s.totals.born, s.totals.died, s.totals.live, s.totals.vanished), (20_000, 15_000, 5_000, 0));
    assert!(s.losses.is_empty());
}

fn json(events: &[Event]) -> String {
    let mut session = Session::new();
    events.iter().for_each(|e| session.apply(e.clone()));
    serde_json::to_string(&session.snapshot()).unwrap()
}

#[test]
fn the_same_events_give_the_same_bytes() {
    let mut world = World { lost: 0.1, ..World::new() };
    world.leak(1, 20.0, (-10.0, 50.0), "chan send");
    world.leak(2, 3.0, (0.0, 50.0), "sync.Mutex.Lock");
    (0..500).for_each(|i| world.busy(3, f64::from(i) / 20.0, f64::from(i) / 10.0, "IO wait", 0.3));
    let events = world.events(40.0);
    // Each session has its own random hash order, so a few of them meet many orders.
    let first = json(&events);
    for _ in 0..8 {
        let other = json(&events);
        if let Some(i) = first.bytes().zip(other.bytes()).position(|(a, b)| a != b) {
            let around = i.saturating_sub(200)..i + 50;
            panic!("differs: {:?} and {:?}", first.get(around.clone()), other.get(around));
        }
        assert_eq!(first.len(), other.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes in whatever order: no panic, the same bytes, and the books balance.
    #[test]
    fn any_sequence_of_events_is_taken(events in prop::collection::vec(any_event(), 0..120)) {
        let text = json(&events);
        prop_assert_eq!(&text, &json(&events));
        let mut session = Session::new();
        events.iter().for_each(|e| session.apply(e.clone()));
        let s = session.snapshot();
        let t = &s.totals;
        let alive = session.goroutines.len() as u64;
        prop_assert_eq!(t.live + t.live_system, alive);
        prop_assert_eq!(t.born - t.born_unidentified + t.before, alive + t.died - t.died_unattributed + t.vanished);
        for site in &s.sites {
            prop_assert_eq!(site.before + site.born, site.live + site.died + site.vanished);
            prop_assert_eq!(site.waits.iter().map(|w| w.count).sum::<u64>(), site.live);
        }
        prop_assert_eq!(t.events, events.len() as u64);
    }

    /// The same with limits so small that everything meets them.
    #[test]
    fn limits_hold_for_any_sequence(events in prop::collection::vec(any_event(), 0..120)) {
        let limits = Limits {
            goroutines: 3, stack_sites: 1, sites: 2, stacks: 2, symbols: 2, text_bytes: 64, recent: 2, notes: 2, note_bytes: 8,
            symbol_frames: 1, name_bytes: 3, picture_bytes: 600, label_sets: 1, label_bytes: 3,
        };
        let mut session = Session::with_limits(limits);
        events.into_iter().for_each(|e| session.apply(e));
        prop_assert!(session.goroutines.len() <= 3 && session.sites.list().len() <= 2);
        prop_assert!(session.notes.len() <= 2 && session.probes.len() <= 2 && session.extras.len() <= 3);
        session.snapshot();
    }
}

/// Parks are watched, then births and deaths alone, then nothing: what is known of a goroutine is what looks tell from then on.
#[test]
fn a_level_down_leaves_the_rest_to_looks() {
    let text = r#"
        @1000s     target pid=7 park
        @1000s     wait-reasons name="" name="chan send" name="chan receive"
        @1000s     probe-site role=create function=runtime.newproc1
        @1000s     probe-site role=exit function=runtime.goexit0
        @1000.1s   level from=waits to=waits why=start budget=100000000 flags=3
        @1000.2s   look-begin seq=1
        @1000.2s   look-end seq=1
        @1000.3s   birth goid=10 gopc=0x1 start=0x2 stack=0x3
        @1000.4s   birth goid=11 gopc=0x1 start=0x2 stack=0x3
        @1000.5s   park goid=10 reason=1
        @1001s     level from=waits to=lives why=spent load=91000000 budget=100000000 flags=1
        @1001.2s   look-begin seq=2
        @1001.2s   seen goid=10 gopc=0x1 start=0x2 status=4 reason=2
        @1001.2s   seen goid=11 gopc=0x1 start=0x2 status=4 reason=1
        @1001.2s   look-end seq=2 read=2
        @1002s     level from=lives to=looks why=spent load=93000000 budget=100000000 flags=0
        @1002.2s   look-begin seq=3
        @1002.2s   state goid=11 status=6
        @1002.2s   seen goid=12 gopc=0x1 start=0x2 status=4 reason=1
        @1002.2s   look-end seq=3 read=2
        @1003s     cost target=3000000 own=5 bytes=6 delivered=3 prices=2000,1000
        @1003s     tick
    "#;
    let mut session = Session::new();
    crate::source::text::parse(text).unwrap().into_iter().for_each(|e| session.apply(e));
    let s = session.snapshot();
    let w = s.watching.as_ref().unwrap();
    assert_eq!((w.level, w.budget_ns, w.moves.len()), ("looks", Some(100_000_000), 2));
    assert_eq!(
        (w.watched_ns, w.unwatched_ns, w.waits_unwatched_ns),
        (1_900_000_000, SECOND, Some(2 * SECOND))
    );
    assert_eq!((s.totals.born, s.totals.found, s.totals.vanished, s.totals.died), (3, 1, 1, 0));
    let told = s.looks.disagreements.unwrap();
    assert_eq!((told.births_not_told, told.deaths_not_told, told.waits_not_told), (0, 0, None));
    let waits: Vec<(&str, bool)> =
        s.sites.iter().flat_map(|s| &s.waits).map(|w| (w.reason.as_str(), w.at_least)).collect();
    assert_eq!(waits, [("chan send", true), ("chan receive", true)], "no longer exact");
    let cost = s.cost.unwrap();
    assert_eq!((cost.target_ns, cost.prices.birth, cost.prices.park), (3_000_000, Some(2_000), None));
}
