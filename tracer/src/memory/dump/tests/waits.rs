//! What goroutines wait on that is asked after their stacks were read: only told of the wait in which these were.

use std::collections::HashMap;

use super::super::{holders, network, objects, suspects};
use super::*;
use crate::dump::cycles::{self, Has, Hold};
use crate::dump::{Dump, Place, Places, Wait};
use crate::event::message::Frame;

const LOCK: u64 = 0xc0_0000_8000;
/// Of a `sync.Mutex`.
const SEMA: u64 = LOCK + 4;

fn field(i: u64, offset: u32, value: u64, len: usize) -> Change {
    Box::new(move |words| set(words, g_at(i) + u64::from(offset), value, len))
}

/// What the collector does with a goroutine that waits on: it finds it waiting, marks it in a new cycle, shrinks its stack,
/// and has its bit set.
fn collected() -> Change {
    let l = layout();
    Box::new(move |words| {
        set(words, g_at(0) + u64::from(l.g_waitsince), 500, 8);
        // `gcscandone`.
        set(words, g_at(0) + u64::from(l.kernel.g_waitreason) + 6, 1, 1);
        move_stack(words, 0);
        set(words, g_at(0) + u64::from(l.g_status), (status::WAITING | status::SCAN_BIT).into(), 4);
    })
}

/// What shows that it does not wait any more, or in another wait.
fn went_on() -> Vec<Change> {
    let l = layout();
    vec![
        field(0, l.g_tracking_seq.unwrap(), 1, 1),
        field(0, l.kernel.g_goid, 99, 8),
        field(0, l.kernel.g_waitreason, 1, 1),
        field(0, l.g_status, status::RUNNABLE.into(), 4),
        field(0, l.g_status, status::DEAD.into(), 4),
        field(0, l.g_sched_pc, INNER + 0x20, 8),
        field(0, l.g_sched_sp, sp_of(0) + 8, 8),
        Box::new(|words| (0..0x400).step_by(8).for_each(|at| _ = words.remove(&(g_at(0) + at)))),
    ]
}

fn noted(words: &mut Words, since: u64) {
    set(words, g_at(0) + u64::from(layout().g_waitsince), since, 8);
}

/// What becomes of a semaphore in a locked mutex, on which the first `waiters` goroutines wait. `since` is what a collection has noted of
/// the first one; `meanwhile` happens after all were read, `late` while the mutex is.
fn refined(waiters: u64, since: u64, meanwhile: &Change, late: Change) -> (u64, ObjectKind) {
    let all: Vec<(u64, u32)> = (0..waiters).map(|i| (7 + i, status::WAITING)).collect();
    let once = Cell::new(true);
    let memory = memory(&all, move |_, addr, words| {
        if addr == LOCK && once.replace(false) {
            late(words);
        }
    });
    noted(&mut memory.words.borrow_mut(), since);
    // Locked; one waits.
    memory.words.borrow_mut().insert(LOCK, 1 | 1 << 3);
    let read = dump_of(&memory);
    let mut goroutines = read.goroutines;
    goroutines.iter_mut().for_each(|g| g.waits_on = vec![Wait { object: 0, side: Side::Wait }]);
    let place = |pc: u64, function: &str| {
        let frames = vec![Frame { function: function.to_owned(), ..Frame::default() }];
        (Pc { pc, exact: false }, Place { frames, ..Place::default() })
    };
    let places = [place(INNER, "sync.(*Mutex).Lock"), place(OUTER, "main.f")];
    let mut dump = Dump {
        goroutines,
        stacks: read.stacks,
        objects: vec![Object::new(SEMA, ObjectKind::Semaphore { value: 0 })],
        places: Places(places.into_iter().collect()),
        ..Dump::default()
    };
    meanwhile(&mut memory.words.borrow_mut());
    objects::refine(&memory, &layout(), &mut dump).unwrap();
    let [object] = &dump.objects[..] else { panic!("{:?}", dump.objects) };
    assert_eq!(object.receivers, waiters);
    (object.addr, object.kind.clone())
}

fn nothing() -> Change {
    Box::new(|_| {})
}

#[test]
fn a_semaphore_is_part_of_a_lock_while_one_waits_for_it_all_the_time() {
    let lock = (LOCK, ObjectKind::Mutex { locked: true, starving: false, waiters: 1 });
    let semaphore = (SEMA, ObjectKind::Semaphore { value: 0 });
    assert_eq!(refined(1, 0, &nothing(), nothing()), lock);
    assert_eq!(refined(1, 500, &nothing(), nothing()), lock);
    assert_eq!(refined(1, 0, &collected(), nothing()), lock);
    assert_eq!(refined(1, 500, &collected(), nothing()), lock);
    // It was found waiting by another collection than before; or by none yet.
    assert_eq!(refined(1, 400, &collected(), nothing()), semaphore);
    assert_eq!(refined(1, 400, &field(0, layout().g_waitsince, 0, 8), nothing()), semaphore);
    for (i, gone) in went_on().into_iter().enumerate() {
        assert_eq!(refined(1, 0, &gone, nothing()), semaphore, "{i}");
        // Another one waits for it still.
        assert_eq!(refined(2, 0, &gone, nothing()), lock, "{i}");
        assert_eq!(refined(1, 0, &nothing(), gone), semaphore, "{i}");
    }
}

const DESC: u64 = 0xc0_0000_9000;

/// One descriptor. `then` happens as it is asked what it is connected to.
struct Open<'m> {
    memory: &'m Fake,
    then: Change,
}

impl network::Descriptors for Open<'_> {
    fn peers(&self, fds: &[u32]) -> HashMap<u32, String> {
        assert_eq!(fds, [5]);
        (self.then)(&mut self.memory.words.borrow_mut());
        HashMap::from([(5, "10.0.0.1:80".to_owned())])
    }
}

/// A goroutine of which `before` happens after its stack was read, and before its g is read for what follows.
fn parked(before: Change) -> Fake {
    let gs = Cell::new(0);
    memory(&[(7, status::WAITING)], move |_, addr, words| {
        if addr == g_at(0) {
            if gs.get() == 2 {
                before(words);
            }
            gs.set(gs.get() + 1);
        }
    })
}

/// What it is told to wait on.
fn waits_on(read: &Read) -> Option<(u64, ObjectKind)> {
    let [g] = &read.goroutines[..] else { panic!("{:?}", read.goroutines) };
    let object = &read.objects[g.waits_on.first()?.object as usize];
    Some((object.addr, object.kind.clone()))
}

#[test]
fn a_descriptor_is_told_of_the_wait_in_which_the_stack_was_read() {
    let found = |before: Change, then: Change| {
        let memory = parked(before);
        (0..96).step_by(8).for_each(|at| _ = memory.words.borrow_mut().insert(DESC + at, 0));
        memory.words.borrow_mut().extend([(DESC + 8, 5), (DESC + 40, g_at(0))]);
        // What `poll_runtime_pollWait` and `netpollblock` go on with.
        memory.words.borrow_mut().extend([(sp_of(0) + 32, DESC), (sp_of(0) + 24, DESC + 40)]);
        let (layout, open) = (layout(), Open { memory: &memory, then });
        let reasons = [Reason::Network, Reason::Network];
        let source = Source { descriptors: Some(&open), ..source(&memory, &layout, &reasons) };
        waits_on(&read(&source, &mut Functions, &mut |_, _| {}).unwrap())
    };
    let peer = Some("10.0.0.1:80".to_owned());
    let descriptor = Some((DESC, ObjectKind::Descriptor { fd: 5, peer }));
    assert_eq!(found(nothing(), nothing()), descriptor);
    assert_eq!(found(collected(), nothing()), descriptor);
    assert_eq!(found(nothing(), collected()), descriptor);
    for (i, (before, then)) in went_on().into_iter().zip(went_on()).enumerate() {
        assert_eq!((found(before, nothing()), found(nothing(), then)), (None, None), "{i}");
    }
}

#[test]
fn two_words_that_do_not_lead_to_the_goroutine_are_no_descriptor() {
    let found = |on_stack: [u64; 2], in_desc: [(u64, u64); 2]| {
        let memory = parked(nothing());
        (0..96).step_by(8).for_each(|at| _ = memory.words.borrow_mut().insert(DESC + at, 0));
        memory.words.borrow_mut().extend(in_desc.map(|(at, word)| (DESC + at, word)));
        let on_stack = [sp_of(0) + 24, sp_of(0) + 32].into_iter().zip(on_stack);
        memory.words.borrow_mut().extend(on_stack);
        let (layout, reasons) = (layout(), [Reason::Network, Reason::Network]);
        waits_on(&read(&source(&memory, &layout, &reasons), &mut Functions, &mut |_, _| {}).unwrap())
    };
    let of = |fd, desc| Some((desc, ObjectKind::Descriptor { fd, peer: None }));
    let right = [(8, 5), (40, g_at(0))];
    assert_eq!(found([DESC, DESC + 40], right), of(5, DESC), "nobody to ask who is at the other end");
    assert_eq!(found([DESC, DESC + 24], [(8, 0), (24, g_at(0))]), of(0, DESC), "Go 1.20");
    assert_eq!(found([DESC, DESC + 40], [(8, 5), (40, g_at(1))]), None, "another waits");
    assert_eq!(
        found([DESC, DESC + 40], [(8, 1 << 31), (40, g_at(0))]),
        None,
        "no descriptor has that number"
    );
    assert_eq!(found([DESC, DESC + 48], right), None, "too far apart");
    assert_eq!(found([0, DESC + 40], right), None, "the descriptor is not there");
}

const TABLE: u64 = 0xc1_0000_0000;
const SUDOG: u64 = 0xc0_0000_a000;
const LIST: u64 = 0xc0_0000_b000;

/// Before Go 1.26: what a goroutine is found to wait on; `then` happens as the table or the list is read.
fn found_elsewhere(reason: Reason, before: Change, then: Change) -> Option<(u64, ObjectKind)> {
    let parked = parked(before);
    let mut words = parked.words.into_inner();
    let l = Layout { semaphores_in_waiting: false, ..layout() };
    (0..251 * 64).step_by(8).for_each(|at| _ = words.insert(TABLE + at, 0));
    (0..0x80).step_by(8).for_each(|at| _ = words.insert(SUDOG + at, 0));
    words.insert(TABLE + 3 * 64 + 8, SUDOG);
    set(&mut words, SUDOG + u64::from(l.sudog.g), g_at(0), 8);
    set(&mut words, SUDOG + u64::from(l.sudog.elem), SEMA, 8);
    words.insert(LOCK, 0);
    // Of a condition: tickets, a lock, and both ends of its list.
    words.extend([(LIST, 1), (LIST + 8, 0), (LIST + 16, SUDOG), (LIST + 24, SUDOG)]);
    words.extend([(sp_of(0) + 24, LIST), (sp_of(0) + 32, SUDOG)]);
    let memory = Fake {
        words: RefCell::new(words),
        reads: Cell::new(0),
        on_read: Box::new(move |n, addr, words| {
            (parked.on_read)(n, addr, words);
            if addr == TABLE || addr == LIST + 16 {
                then(words);
            }
        }),
    };
    let reasons = [reason, reason];
    let source = Source { semtable: Some(TABLE), ..source(&memory, &l, &reasons) };
    waits_on(&read(&source, &mut Functions, &mut |_, _| {}).unwrap())
}

#[test]
fn semaphores_and_conditions_that_are_found_elsewhere_are_of_the_wait_in_which_the_stack_was_read() {
    let semaphore = Some((SEMA, ObjectKind::Semaphore { value: 0 }));
    let cond = Some((LIST, ObjectKind::Cond { waiters: 1 }));
    for (reason, expected) in [(Reason::Semaphore, semaphore), (Reason::Cond, cond)] {
        let found = |before, then| found_elsewhere(reason, before, then);
        assert_eq!(found(nothing(), nothing()), expected);
        assert_eq!(found(collected(), nothing()), expected);
        assert_eq!(found(nothing(), collected()), expected);
        for (i, (before, then)) in went_on().into_iter().zip(went_on()).enumerate() {
            assert_eq!((found(before, nothing()), found(nothing(), then)), (None, None), "{reason:?} {i}");
        }
    }
}

fn lock_of(i: u64) -> u64 {
    LOCK + i * 0x1000
}

/// The first two goroutines each wait for a lock of which the other one has the address, and all have been read.
pub(super) fn crossed(memory: &Fake, source: &Source<'_>) -> Dump {
    let l = source.layout;
    for i in 0..2 {
        let mut words = memory.words.borrow_mut();
        let sudog = SUDOG + i * 0x100;
        (0..0x80).step_by(8).for_each(|at| _ = words.insert(sudog + at, 0));
        set(&mut words, sudog + u64::from(l.sudog.g), g_at(i), 8);
        set(&mut words, sudog + u64::from(l.sudog.elem), lock_of(i) + 4, 8);
        set(&mut words, g_at(i) + u64::from(l.g_waiting), sudog, 8);
        words.insert(lock_of(i), 1);
        words.insert(sp_of(i) + 32, lock_of(1 - i));
    }
    let read = read(source, &mut Functions, &mut |_, _| {}).unwrap();
    let lock = |i| Object::new(lock_of(i), ObjectKind::Mutex { locked: true, starving: false, waiters: 1 });
    let dump = Dump {
        goroutines: read.goroutines,
        stacks: read.stacks,
        objects: vec![lock(0), lock(1)],
        ..Dump::default()
    };
    assert!(dump.goroutines.iter().take(2).enumerate().all(|(i, g)| g.waits_on[0].object == i as u32));
    dump
}

/// Two goroutines that each wait for a lock which the other one has; how many circles are found if `first` happens before
/// their stacks are searched, `meanwhile` before they are questioned, and `late` when the first one's g is read for the last time.
fn circles(first: &Change, meanwhile: &Change, late: Change) -> usize {
    let l = layout();
    let gs = Rc::new(Cell::new(None));
    let left = gs.clone();
    let memory = memory(&[(7, status::WAITING), (8, status::WAITING)], move |_, addr, words| {
        if addr == g_at(0) && left.get() == Some(0) {
            late(words);
        }
        if addr == g_at(0) {
            left.set(left.get().and_then(|n: u32| n.checked_sub(1)));
        }
    });
    let reasons = [Reason::Semaphore, Reason::Other];
    let source = source(&memory, &l, &reasons);
    let mut dump = crossed(&memory, &source);
    first(&mut memory.words.borrow_mut());
    let mut held = holders::holders(&memory, &l, &mut Functions, &mut dump, holders::Search::Afresh).unwrap();
    let has = |object, goroutine| Hold { object, goroutine, has: Has::Address };
    assert_eq!(held.holds, [has(1, 0), has(0, 1)]);
    meanwhile(&mut memory.words.borrow_mut());
    // What it waits on, and at three times.
    gs.set(Some(3));
    suspects::question(&source, &dump, &mut held).unwrap();
    cycles::find(&dump, &held).0.len()
}

#[test]
fn a_circle_is_one_of_goroutines_that_have_not_run_since_they_were_read() {
    let none = nothing();
    assert_eq!(circles(&none, &none, nothing()), 1);
    // Collections move and mark them, and are no reason to clear anybody.
    let all = [
        circles(&collected(), &none, nothing()),
        circles(&none, &collected(), nothing()),
        circles(&none, &none, collected()),
    ];
    assert_eq!(all, [1, 1, 1]);
    for (i, (meanwhile, late)) in went_on().into_iter().zip(went_on()).enumerate() {
        assert_eq!((circles(&none, &meanwhile, nothing()), circles(&none, &none, late)), (0, 0), "{i}");
    }
    // Its count is what it was by the time it is questioned, and was not when its stack was searched.
    let count = |n| field(0, layout().g_tracking_seq.unwrap(), n, 1);
    assert_eq!(circles(&count(1), &count(0), nothing()), 0);
}

#[test]
fn an_owner_that_has_the_lock_only_since_its_stack_was_walked_is_found() {
    let l = layout();
    // The third one waits for something that ends by itself.
    let told = |reasons: [Reason; 2], later: &dyn Fn(&mut Words)| {
        let memory =
            memory(&[(7, status::WAITING), (8, status::WAITING), (9, status::RUNNABLE)], |_, _, _| {});
        let source = source(&memory, &l, &reasons);
        let mut dump = crossed(&memory, &source);
        later(&mut memory.words.borrow_mut());
        let held = suspects::held(&source, &mut Functions, &mut dump, 0..0).unwrap().expect("a circle");
        let (cycles, _) = cycles::find(&dump, &held);
        (
            cycles.iter().map(|c| (c.stuck, c.others.clone())).collect::<Vec<_>>(),
            dump.objects[0].holders.clone(),
        )
    };
    let reasons = [Reason::Semaphore, Reason::Other];
    assert_eq!(told(reasons, &|_| {}), (vec![(true, vec![])], vec![8]));
    let locked = told(reasons, &|words| _ = words.insert(sp_of(2) + 40, lock_of(0)));
    assert_eq!(locked, (vec![(false, vec![9])], vec![8, 9]));
}
