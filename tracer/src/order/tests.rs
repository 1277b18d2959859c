use proptest::prelude::*;
use tracer_common::wire::{Death, Header};

use super::*;
use crate::event::{Note, StackDef};

fn death(time_ns: u64, goid: u64) -> Event {
    Event::Death(Death { h: Header { time_ns, goid, kind: kind::DEATH, ..Header::default() } })
}

fn tick(time_ns: u64) -> Event {
    Event::Tick(header(kind::TICK, time_ns))
}

/// What pushing these one after another gives.
fn push(order: &mut Reorder, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut out = Vec::new();
    events.into_iter().for_each(|e| order.push(e, &mut |e| out.push(e)));
    out
}

fn flush(order: &mut Reorder) -> Vec<Event> {
    let mut out = Vec::new();
    order.flush(&mut |e| out.push(e));
    out
}

fn run(window_ns: u64, events: &[Event]) -> Vec<Event> {
    let mut order = Reorder::new(window_ns);
    let mut out = push(&mut order, events.iter().cloned());
    out.extend(flush(&mut order));
    out
}

#[test]
fn holds_back_until_the_window_has_passed() {
    let mut order = Reorder::new(100);
    let early = push(&mut order, [death(1000, 1), death(1100, 2)]);
    assert_eq!(early, [], "1000 is not older than 1100 - 100");
    assert_eq!(push(&mut order, [death(1101, 3)]), [death(1000, 1)]);
    assert_eq!(order.held(), 2);
}

#[test]
fn sorts_within_the_window_and_keeps_arrival_order_for_equal_times() {
    let out = run(100, &[death(50, 1), death(40, 2), death(50, 3), death(30, 4)]);
    assert_eq!(out, vec![death(30, 4), death(40, 2), death(50, 1), death(50, 3)]);
}

#[test]
fn a_late_event_passes_at_once_and_becomes_a_loss_with_the_next_tick() {
    let mut order = Reorder::new(100);
    let out = push(&mut order, [death(1000, 1), death(2000, 2), death(500, 3)]);
    assert_eq!(out, vec![death(1000, 1), death(500, 3)]);
    let out = push(&mut order, [tick(2050), death(9000, 4)]);
    let Event::Loss(l) = &out[1] else { panic!("no loss: {out:?}") };
    assert_eq!((l.cause, l.count, l.from_ns, l.h.time_ns), (loss::LATE.into(), 1, 500, 1000));
    assert_eq!(out[2], tick(2050));
    assert_eq!(order.late(), 1);
}

#[test]
fn lateness_is_reported_at_the_end_even_without_a_tick() {
    let out = run(10, &[death(100, 1), death(200, 2), death(50, 3)]);
    assert!(matches!(out.last(), Some(Event::Loss(l)) if l.count == 1));
}

#[test]
fn definitions_are_neither_delayed_nor_an_obstacle() {
    let def = Event::StackDef(StackDef { h: header(kind::STACK_DEF, u64::MAX), stack: 1, frames: vec![1] });
    let note = Event::Note(header(kind::NOTE, 0), Note::default());
    let mut order = Reorder::new(100);
    let out = push(&mut order, [death(1000, 1), def.clone(), note.clone()]);
    assert_eq!(out, vec![def, note]);
    push(&mut order, [death(1000, 2)]);
    assert_eq!(order.late(), 0, "the definition's time did not move the window");
}

#[test]
fn the_number_of_held_events_is_bounded() {
    let mut order = Reorder::new(u64::MAX);
    order.max_held = 8;
    let mut out = push(&mut order, (0..100).map(|i| death(1000 - i, i)));
    assert!(order.held() <= 8);
    out.extend(flush(&mut order));
    assert_eq!(out.iter().filter(|e| matches!(e, Event::Death(_))).count(), 100);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_what_is_in_time_comes_out_sorted(
        times in proptest::collection::vec(0u64..2000, 0..200), window in 0u64..500,
    ) {
        let events: Vec<_> = times.iter().enumerate().map(|(i, t)| death(*t, i as u64)).collect();
        let out = run(window, &events);
        prop_assert_eq!(&out, &run(window, &events));
        let mut goids: Vec<_> = out.iter().filter_map(|e| match e {
            Event::Death(d) => Some(d.h.goid), _ => None }).collect();
        goids.sort_unstable();
        prop_assert_eq!(goids, (0..events.len() as u64).collect::<Vec<_>>());
        let lost: u64 = out.iter().map(|e| match e { Event::Loss(l) => l.count, _ => 0 }).sum();
        let deaths: Vec<_> = out.iter().filter(|e| matches!(e, Event::Death(_))).map(Event::time_ns).collect();
        // An event out of order is late, and each late one is counted.
        let mut top = 0;
        let mut behind = 0;
        for t in deaths { if t < top { behind += 1 } else { top = t } }
        prop_assert_eq!(lost, behind);
    }

    #[test]
    fn disorder_below_the_window_is_undone(jitter in proptest::collection::vec(0u64..100, 1..300)) {
        let mut stream: Vec<_> = jitter.iter().enumerate()
            .map(|(i, j)| (i as u64 * 10 + j, death(1000 + i as u64 * 10, i as u64))).collect();
        stream.sort_by_key(|(arrives, _)| *arrives);
        let events: Vec<_> = stream.into_iter().map(|(_, e)| e).collect();
        let out = run(100, &events);
        prop_assert!(out.is_sorted_by_key(Event::time_ns));
        prop_assert_eq!(out.len(), events.len());
    }
}
