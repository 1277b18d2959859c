//! What goroutines wait for, on what and how long, and whether looks and probes agree.

use super::*;

#[test]
fn waits_are_exact_from_parks_and_at_least_from_looks() {
    let s = after([
        birth(1.0, 5, 1),
        begin(1.9),
        seen(2.0, 5, (1, WAITING, "chan send")),
        end(2.1, 1),
        birth(1.0, 6, 2),
        park(3.0, 6, "sync.Mutex.Lock"),
        state(3.5, 6, (2, WAITING, "sync.Mutex.Lock")),
        tick(10.0),
    ]);
    let looked = &find(&s, 1).unwrap().waits[0];
    assert_eq!(
        (looked.reason.as_str(), looked.at_least, looked.waited.unwrap().max),
        ("chan send", true, 8 * SECOND)
    );
    let parked = &find(&s, 2).unwrap().waits[0];
    assert_eq!((parked.at_least, parked.waited.unwrap().max), (false, 7 * SECOND));
    let run = Event::Run(wire::Run { h: at(kind::RUN, t(5.0), 6) });
    let s = after([birth(1.0, 6, 2), park(3.0, 6, "select"), run]);
    assert_eq!(only(&s).waits[0].reason, "<running>");
    assert_eq!(only(&s).waits[0].waited, None);
    assert_eq!(only(&s).past_waits.unwrap().max, 2 * SECOND);
}

#[test]
fn one_that_ran_between_two_looks_has_waited_since_the_later_one() {
    let waiting = (1, WAITING, "select");
    let s = after([begin(0.9), seen(1.0, 5, waiting), end(1.1, 1), state(4.0, 5, waiting), tick(10.0)]);
    assert_eq!(only(&s).waits[0].waited.unwrap().max, 6 * SECOND);
}

#[test]
fn a_wait_that_no_probe_told_is_a_disagreement_once_the_next_look_finds_it_too() {
    let target = TargetInfo { park: true, ..TargetInfo::default() };
    let create = message::ProbeSite { role: "create".to_owned(), ..message::ProbeSite::default() };
    let head = [
        Event::Target(header(kind::TARGET, t(0.0)), Box::new(target)),
        Event::ProbeSite(header(kind::PROBE_SITE, t(0.0)), Box::new(create)),
        birth(1.0, 5, 1),
        Event::Run(wire::Run { h: at(kind::RUN, t(1.5), 5) }),
        begin(1.9),
        state(2.0, 5, (1, WAITING, "select")),
        end(2.1, 1),
    ];
    let told = |more: Vec<Event>| {
        let s = after(head.iter().cloned().chain(more));
        s.looks.disagreements.unwrap().waits_not_told
    };
    // It may be told yet: the look was faster.
    assert_eq!(told(vec![]), Some(0));
    assert_eq!(told(vec![park(2.05, 5, "select"), begin(2.9), end(3.0, 1)]), Some(0));
    assert_eq!(told(vec![begin(2.9), end(3.0, 1)]), Some(1));
    // It is counted once, and not when the wait was over by the next look.
    assert_eq!(told(vec![begin(2.9), end(3.0, 1), begin(3.9), end(4.0, 1)]), Some(1));
    let running = (1, crate::event::status::RUNNING, "");
    assert_eq!(told(vec![begin(2.9), state(2.95, 5, running), end(3.0, 1)]), Some(0));
}

#[test]
fn what_goroutines_wait_on_and_their_labels_are_counted_by_site() {
    let waits = |goid, addr| {
        let on = vec![message::WaitOn { addr, side: wire::side::SEND }];
        Event::Waits(at(kind::WAITS, t(2.0), goid), crate::event::Waits { on, more: 0, labels: 9 })
    };
    let object = message::Object { addr: 0x70, kind: "channel".to_owned(), ..message::Object::default() };
    let label = message::Label { key: "tenant".to_owned(), value: "blue".to_owned() };
    let labels = crate::event::Labels { id: 9, labels: vec![label] };
    let waiting = (1, WAITING, "chan send");
    let events = vec![
        seen(1.0, 5, waiting),
        seen(1.0, 6, waiting),
        Event::Object(header(kind::OBJECT, t(2.0)), Box::new(object)),
        Event::Labels(header(kind::LABELS, t(2.0)), labels),
        waits(5, 0x70),
        waits(6, 0x70),
        // Told again: it is counted once.
        waits(5, 0x70),
    ];
    let s = after(events.clone());
    let on = only(&s).waits[0].on.clone().unwrap();
    assert_eq!((on.objects, on.known, on.most[0].goroutines, on.most[0].senders), (1, 2, 2, 2));
    assert_eq!((only(&s).labels[0].value.as_str(), only(&s).labels[0].goroutines), ("blue", 2));
    // Whoever goes on waits on it no more.
    let running = (1, crate::event::status::RUNNING, "");
    let s = after(events.into_iter().chain([state(3.0, 5, running)]));
    let on = &only(&s).waits.iter().find(|w| w.reason == "chan send").unwrap().on;
    assert_eq!(on.as_ref().unwrap().most[0].senders, 1);
}
