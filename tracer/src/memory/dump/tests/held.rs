//! Who has an address on its stack, while stacks move and goroutines end.

use super::super::holders::holders;
use super::*;
use crate::dump::cycles::{Has, Held, Hold};
use crate::dump::{Dump, ObjectKind};

const OBJECT: u64 = 0xc0_0000_8000;

/// What is found of two goroutines, of which the first one has the address on its stack; `meanwhile` happens between the read
/// of its g and that of its stack.
fn found(meanwhile: impl Fn(&mut Words) + 'static) -> (Dump, Held) {
    let begun = Rc::new(Cell::new(false));
    let begin = begun.clone();
    let memory = memory(&[(7, status::WAITING), (8, status::WAITING)], move |_, addr, words| {
        // The second g is the last thing that is read before the stacks.
        if addr == g_at(1) && begun.replace(false) {
            meanwhile(words);
        }
    });
    memory.words.borrow_mut().insert(sp_of(0) + 32, OBJECT);
    let mut dump = with_object(dump_of(&memory));
    begin.set(true);
    let found = holders(&memory, &layout(), &mut Functions, &mut dump).unwrap();
    (dump, found)
}

fn with_object(read: Read) -> Dump {
    let objects = vec![Object::new(OBJECT, ObjectKind::Semaphore { value: 0 })];
    Dump { goroutines: read.goroutines, stacks: read.stacks, objects, ..Dump::default() }
}

fn hold(has: Has) -> Hold {
    Hold { object: 0, goroutine: 0, has }
}

#[test]
fn who_stands_still_and_has_an_address_is_named() {
    let (dump, found) = found(|_| {});
    assert_eq!((&dump.objects[0].holders[..], dump.objects[0].holders_in_all), (&[7][..], 1));
    assert_eq!((found.holds, found.unsearched), (vec![hold(Has::Address)], vec![]));
}

#[test]
fn a_collection_that_leaves_the_stack_where_it_is_changes_nothing() {
    let l = layout();
    let (dump, found) = found(move |words| {
        let at = |offset: u32| g_at(0) + u64::from(offset);
        set(words, at(l.g_waitsince), 500, 8);
        // `gcscandone`.
        set(words, at(l.kernel.g_waitreason) + 6, 1, 1);
        set(words, at(l.g_status), (status::WAITING | status::SCAN_BIT).into(), 4);
    });
    assert_eq!((&dump.objects[0].holders[..], found.unsearched), (&[7][..], vec![]));
}

#[test]
fn bytes_of_a_stack_that_was_given_back_name_nobody() {
    let l = layout();
    let field = |offset: u32, value: u64, len: usize| -> Change {
        Box::new(move |words| set(words, g_at(0) + u64::from(offset), value, len))
    };
    let all: Vec<Change> = vec![
        // Shrunk by the collector; the old stack is another's now, who has the address.
        Box::new(|words| {
            move_stack(words, 0);
            words.insert(sp_of(0) + 32, OBJECT);
        }),
        field(l.g_status, status::DEAD.into(), 4),
        field(l.kernel.g_goid, 99, 8),
        // It has run.
        field(l.g_tracking_seq.unwrap(), 1, 1),
        Box::new(|words| (0..0x400).step_by(8).for_each(|at| _ = words.remove(&(g_at(0) + at)))),
    ];
    for (i, meanwhile) in all.into_iter().enumerate() {
        let (dump, found) = found(meanwhile);
        assert_eq!((dump.objects[0].holders.len(), dump.objects[0].holders_in_all), (0, 0), "{i}");
        assert_eq!(found.holds, [hold(Has::Perhaps)], "{i}");
        // Of its neighbour all is known.
        assert_eq!(found.unsearched, [0], "{i}");
    }
}

#[test]
fn who_runs_again_is_searched_to_its_end_and_not_named() {
    let memory = memory(&[(7, status::WAITING)], |_, _, _| {});
    // Further in than where it stood.
    memory.words.borrow_mut().insert(stack_of(0) + 64, OBJECT);
    let mut dump = with_object(dump_of(&memory));
    // It runs since, and is on the system's stack now, so that a stack pointer is noted.
    set(&mut memory.words.borrow_mut(), g_at(0) + u64::from(layout().g_status), status::RUNNING.into(), 4);
    let found = holders(&memory, &layout(), &mut Functions, &mut dump).unwrap();
    assert_eq!((found.holds, found.unsearched), (vec![hold(Has::Perhaps)], vec![0]));
    assert_eq!(dump.objects[0].holders_in_all, 0);
}
