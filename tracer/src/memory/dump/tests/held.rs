//! Who has an address on its stack, while stacks move and goroutines end.

use super::super::holders::{Search, holders};
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
    let found = holders(&memory, &layout(), &mut Functions, &mut dump, Search::Afresh).unwrap();
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
    let found = holders(&memory, &layout(), &mut Functions, &mut dump, Search::Afresh).unwrap();
    assert_eq!((found.holds, found.unsearched), (vec![hold(Has::Perhaps)], vec![0]));
    assert_eq!(dump.objects[0].holders_in_all, 0);
}

/// What is found of four goroutines with that on the stacks of the first two; how many reads that took.
fn searched(search: Search, words: &[(u64, u64)], gs: &[(u64, u32); 4]) -> (Held, Vec<u64>, u32) {
    let memory = memory(gs, |_, _, _| {});
    words.iter().for_each(|(at, word)| _ = memory.words.borrow_mut().insert(*at, *word));
    let mut dump = with_object(dump_of(&memory));
    let before = memory.reads.get();
    let found = holders(&memory, &layout(), &mut Functions, &mut dump, search).unwrap();
    (found, dump.objects[0].holders.clone(), memory.reads.get() - before)
}

#[test]
fn what_was_kept_of_stacks_tells_what_reading_them_again_does() {
    let parked = [(7, status::WAITING), (8, status::WAITING), (9, status::PREEMPTED), (10, status::RUNNABLE)];
    let cases: [&[(u64, u64)]; 5] = [
        &[],
        &[(sp_of(0) + 32, OBJECT)],
        &[(sp_of(0) + 32, OBJECT), (sp_of(1) + 48, OBJECT), (sp_of(3) + 40, OBJECT)],
        // Twice, and further in than the stack pointer.
        &[(sp_of(0) + 32, OBJECT), (sp_of(0) + 40, OBJECT), (sp_of(1) - 8, OBJECT)],
        // Neighbours are others.
        &[(sp_of(0) + 32, OBJECT + 4), (sp_of(1) + 32, OBJECT - 8)],
    ];
    let mut named = 0;
    for (i, words) in cases.into_iter().enumerate() {
        let (kept, names, reads) = searched(Search::AsRead, words, &parked);
        let (read, again, some) = searched(Search::Afresh, words, &parked);
        assert_eq!((&kept.holds, &kept.unsearched, &names), (&read.holds, &read.unsearched, &again), "{i}");
        assert_eq!(reads, 0, "{i}");
        assert!(some > 0);
        named += names.len();
    }
    assert_eq!(named, 5);
    // Of one that runs nothing was kept: it alone is read.
    let with_one = [(7, status::WAITING), (8, status::RUNNING), (9, status::WAITING), (10, status::WAITING)];
    let (kept, names, reads) =
        searched(Search::AsRead, &[(sp_of(0) + 32, OBJECT), (stack_of(1) + 64, OBJECT)], &with_one);
    assert_eq!((names, reads), (vec![7], 3));
    assert_eq!((kept.holds[1].has, kept.unsearched), (Has::Perhaps, vec![1]));
}

#[test]
fn names_are_of_the_time_when_stacks_were_walked_and_not_told_twice() {
    let memory = memory(&[(7, status::WAITING), (8, status::WAITING)], |_, _, _| {});
    memory.words.borrow_mut().insert(sp_of(0) + 32, OBJECT);
    let mut dump = with_object(dump_of(&memory));
    move_stack(&mut memory.words.borrow_mut(), 0);
    for _ in 0..2 {
        holders(&memory, &layout(), &mut Functions, &mut dump, Search::AsRead).unwrap();
        assert_eq!((&dump.objects[0].holders[..], dump.objects[0].holders_in_all), (&[7][..], 1));
    }
}
