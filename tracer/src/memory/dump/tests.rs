use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::dump::{Fires, ObjectKind, Pc};
use crate::gobin::TimerLayout;
use crate::memory::walk::{Passage, Step};

const ALLGS: u64 = 0x1000;
const ARRAY: u64 = 0x2000;
const GS: u64 = 0x10_0000;
const STACKS: u64 = 0x20_0000;
const STACK: u64 = 0x1000;
/// In the code: called by [`OUTER`], which ends the stack.
const INNER: u64 = 0x40_0010;
const OUTER: u64 = 0x50_0020;
/// Ends the stacks of others.
const ANOTHERS: u64 = 0x50_0f30;

type Words = HashMap<u64, u64>;
type Change = Box<dyn Fn(&mut Words)>;
type OnRead = Box<dyn Fn(u32, u64, &mut Words)>;

/// Words at addresses; everything else is not mapped. `on_read` may change them between two reads.
struct Fake {
    words: RefCell<Words>,
    reads: Cell<u32>,
    on_read: OnRead,
}

impl ReadMemory for Fake {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        (self.on_read)(self.reads.replace(self.reads.get() + 1), addr, &mut self.words.borrow_mut());
        let words = self.words.borrow();
        let len = buf.len();
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = addr + i as u64;
            let word = words.get(&(at & !7)).ok_or(MemoryError::Unmapped { addr, len })?;
            *byte = word.to_le_bytes()[(at & 7) as usize];
        }
        Ok(())
    }
}

/// Every function has a frame of two words; those from [`OUTER`] on end stacks.
struct Functions;

impl Code for Functions {
    fn step(&mut self, pc: u64) -> Result<Step, Broken> {
        match pc {
            0x40_0000..0x60_0000 => Ok(Step {
                delta: 16,
                entry: pc & !0xfff,
                args: 0,
                top: pc >= 0x50_0000,
                interrupts: false,
                from_c: false,
            }),
            _ => Err(Broken::NoFunction { pc }),
        }
    }

    fn passage(&mut self, _: u64) -> Option<Passage> {
        None
    }
}

fn layout() -> Layout {
    crate::gobin::newest_layout().unwrap()
}

fn g_at(i: u64) -> u64 {
    GS + i * 0x400
}

fn stack_of(i: u64) -> u64 {
    STACKS + i * STACK
}

/// Where a goroutine is parked.
fn sp_of(i: u64) -> u64 {
    stack_of(i) + STACK - 64
}

/// Where [`move_stack`] puts a stack.
fn moved_to(i: u64) -> u64 {
    STACKS + 0x80_0000 + i * STACK
}

/// Its stack lies elsewhere, half as large, as after a copy by the collector. The old one is another's, in whose calls nothing
/// is wrong.
fn move_stack(words: &mut Words, i: u64) {
    copy_stack(words, i);
    let l = layout();
    let bounds = [
        (l.kernel.g_stack_lo, moved_to(i) + STACK / 2),
        (l.kernel.g_stack_hi, moved_to(i) + STACK),
        (l.g_sched_sp, moved_to(i) + STACK - 64),
    ];
    bounds.iter().for_each(|(at, to)| set(words, g_at(i) + u64::from(*at), *to, 8));
    give_back(words, i);
}

/// What it uses of its stack is at its new place, too.
fn copy_stack(words: &mut Words, i: u64) {
    for at in (0..STACK / 2).step_by(8).map(|at| at + STACK / 2) {
        let word = words[&(stack_of(i) + at)];
        words.insert(moved_to(i) + at, word);
    }
}

fn give_back(words: &mut Words, i: u64) {
    (0..STACK).step_by(8).for_each(|at| _ = words.insert(stack_of(i) + at, ANOTHERS));
}

fn set(words: &mut Words, addr: u64, value: u64, bytes: usize) {
    let mut word = words.get(&(addr & !7)).copied().unwrap_or(0).to_le_bytes();
    let from = (addr & 7) as usize;
    word[from..from + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    words.insert(addr & !7, u64::from_le_bytes(word));
}

/// A goroutine parked in INNER, called by OUTER.
fn put(words: &mut Words, i: u64, goid: u64, status: u32) {
    let l = layout();
    let g = g_at(i);
    (0..0x400).step_by(8).for_each(|at| _ = words.insert(g + at, 0));
    (0..STACK).step_by(8).for_each(|at| _ = words.insert(stack_of(i) + at, 0));
    let sp = sp_of(i);
    words.insert(sp + 16, OUTER);
    let mut field = |offset: u32, value: u64| set(words, g + u64::from(offset), value, 8);
    field(l.kernel.g_stack_lo, stack_of(i));
    field(l.kernel.g_stack_hi, stack_of(i) + STACK);
    field(l.g_sched_sp, sp);
    field(l.g_sched_pc, INNER);
    field(l.kernel.g_goid, goid);
    field(l.kernel.g_gopc, 0x41_0000);
    field(l.kernel.g_startpc, 0x42_0000);
    set(words, g + u64::from(l.g_status), status.into(), 4);
}

fn memory(goroutines: &[(u64, u32)], on_read: impl Fn(u32, u64, &mut Words) + 'static) -> Fake {
    let mut words = HashMap::new();
    let len = goroutines.len() as u64;
    words.extend([(ALLGS, ARRAY), (ALLGS + 8, len), (ALLGS + 16, len)]);
    for (i, (goid, status)) in goroutines.iter().enumerate() {
        words.insert(ARRAY + i as u64 * 8, g_at(i as u64));
        put(&mut words, i as u64, *goid, *status);
    }
    Fake { words: RefCell::new(words), reads: Cell::new(0), on_read: Box::new(on_read) }
}

fn source<'a>(memory: &'a Fake, layout: &'a Layout, reasons: &'a [Reason]) -> Source<'a> {
    Source {
        memory,
        layout,
        allgs: ALLGS,
        now: Some(1_000),
        goid_is_late: false,
        labels: labels::Form::List,
        reasons,
        semtable: None,
        descriptors: None,
        standing: None,
        is_system: &|_| false,
    }
}

fn dump_of(memory: &Fake) -> Read {
    read(&source(memory, &layout(), &[]), &mut Functions, &mut |_, _| {}).unwrap()
}

fn traces(read: &Read) -> Vec<(u64, Trace)> {
    read.goroutines.iter().map(|g| (g.goid, g.trace.clone())).collect()
}

#[test]
fn one_that_holds_still_is_read_whole_and_equal_stacks_are_one() {
    let read = dump_of(&memory(
        &[(7, status::WAITING), (3, status::RUNNABLE), (0, 0), (9, status::DEAD)],
        |_, _, _| {},
    ));
    assert_eq!(traces(&read), [(3, Trace::Whole(0)), (7, Trace::Whole(0))]);
    let pcs = [INNER, OUTER].map(|pc| Pc { pc, exact: false }).to_vec();
    assert_eq!(read.stacks, [Stack { pcs, left_out: None }]);
    assert_eq!((read.counts.entries, read.counts.dead, read.counts.retries), (4, 2, 0));
}

#[test]
fn one_that_ran_in_between_is_read_again() {
    // Its `trackingSeq` (or whatever else) changes once, after the first read.
    let changed = Cell::new(false);
    let memory = memory(&[(7, status::WAITING)], move |_, addr, words| {
        if addr == sp_of(0) && !changed.replace(true) {
            set(words, g_at(0) + 0xc8, 1, 1);
        }
    });
    let read = dump_of(&memory);
    assert_eq!(traces(&read), [(7, Trace::Whole(0))]);
}

#[test]
fn one_that_never_holds_still_is_told_as_moving() {
    let memory = memory(&[(7, status::WAITING)], |n, addr, words| {
        if addr == sp_of(0) {
            set(words, g_at(0) + 0xc8, n.into(), 1);
        }
    });
    let read = dump_of(&memory);
    assert_eq!(traces(&read), [(7, Trace::Moving)]);
    assert_eq!((read.counts.retries, read.stacks.len()), (u64::from(TRIES) - 1, 0));
}

#[test]
fn one_that_is_never_twice_the_same_goroutine_is_counted_and_not_told() {
    let l = layout();
    let memory = memory(&[(7, status::WAITING)], move |n, addr, words| {
        if addr == sp_of(0) {
            set(words, g_at(0) + u64::from(l.kernel.g_goid), 100 + u64::from(n), 8);
        }
    });
    let read = dump_of(&memory);
    assert_eq!((traces(&read), read.counts.unsettled), (vec![], 1));
}

#[test]
fn one_that_runs_has_no_stack_and_one_that_ended_is_nobody() {
    let l = layout();
    let memory = memory(&[(7, status::RUNNING), (8, status::WAITING)], move |_, addr, words| {
        if addr == sp_of(1) {
            set(words, g_at(1) + u64::from(l.g_status), status::DEAD.into(), 4);
        }
    });
    let read = dump_of(&memory);
    assert_eq!((traces(&read), read.counts.dead), (vec![(7, Trace::Running)], 1));
}

#[test]
fn a_stack_that_does_not_come_to_its_end_says_where_and_why() {
    let memory = memory(&[(7, status::WAITING), (8, status::WAITING), (9, status::WAITING)], |_, _, _| {});
    {
        let mut words = memory.words.borrow_mut();
        words.insert(sp_of(0) + 16, 0x99);
        // Its stack pointer is not on its stack.
        let l = layout();
        set(&mut words, g_at(1) + u64::from(l.g_sched_sp), 8, 8);
        words.insert(ARRAY + 16, 0xdead_0000);
    }
    let read = dump_of(&memory);
    let partial = Trace::Partial { stack: 0, because: Broken::NoFunction { pc: 0x99 } };
    assert_eq!(traces(&read), [(7, partial), (8, Trace::None { because: Broken::OutOfBounds })]);
    assert_eq!(read.counts.unreadable, 1);
}

#[test]
fn labels_are_read_in_both_forms() {
    let memory = memory(&[], |_, _, _| {});
    let mut words = memory.words.borrow_mut();
    let text = |words: &mut Words, at: u64, s: &str| {
        s.bytes().enumerate().for_each(|(i, b)| set(words, at + i as u64, b.into(), 1));
        (at, s.len() as u64)
    };
    let (key, value) = (text(&mut words, 0x9000, "tenant"), text(&mut words, 0x9100, "blue"));
    // A list of one pair.
    words.extend([(0x8000, 0x8100), (0x8008, 1), (0x8010, 1)]);
    words.extend([(0x8100, key.0), (0x8108, key.1), (0x8110, value.0), (0x8118, value.1)]);
    // A map of one pair, in its third slot.
    (0..0x400).step_by(8).for_each(|at| _ = words.insert(0xa000 + at, 0));
    words.extend([(0x8800, 0xa000), (0xa000, 1), (0xa010, 0xa100)]);
    set(&mut words, 0xa100 + 2, 77, 1);
    words.extend([(0xa100 + 8 + 32, key.0), (0xa100 + 8 + 40, key.1)]);
    words.extend([(0xa100 + 136 + 32, value.0), (0xa100 + 136 + 40, value.1)]);
    drop(words);
    let expected = labels::Labels::from([("tenant".to_owned(), "blue".to_owned())]);
    assert_eq!(labels::read(&memory, labels::Form::List, 0x8000).unwrap(), Some(expected.clone()));
    assert_eq!(labels::read(&memory, labels::Form::Map, 0x8800).unwrap(), Some(expected));
    // What is no map of that many.
    memory.words.borrow_mut().insert(0xa000, 2);
    assert_eq!(labels::read(&memory, labels::Form::Map, 0x8800).unwrap(), None);
    assert_eq!(labels::read(&memory, labels::Form::List, 0x7000).unwrap(), None);
}

/// What one that sleeps waits for, by these fields of its g and the time in its timer.
fn sleeps(
    layout: &Layout,
    fields: &[(u32, u64)],
    timer: &[(u32, u64)],
    now: Option<u64>,
) -> Option<Vec<Found>> {
    const TIMER: u64 = 0x9_0000;
    let memory = memory(&[(7, status::WAITING)], |_, _, _| {});
    let mut bytes = vec![0; g::window(layout)];
    {
        let mut words = memory.words.borrow_mut();
        fields.iter().for_each(|(at, value)| set(&mut words, g_at(0) + u64::from(*at), *value, 8));
        timer.iter().for_each(|(at, value)| set(&mut words, TIMER + u64::from(*at), *value, 8));
    }
    memory.read(g_at(0), &mut bytes).unwrap();
    let mut g = G::parse(g_at(0), &bytes, layout);
    g.timer = g.timer.min(1) * TIMER;
    let mut waits = Waits::new(now);
    let at_once = waits.of(&memory, layout, &g, Reason::Sleep).unwrap();
    waits.fetch(&memory, layout, [g].into_iter()).unwrap();
    assert_eq!(waits.of(&memory, layout, &g, Reason::Sleep).unwrap(), at_once);
    at_once
}

#[test]
fn a_sleeper_has_its_timer_with_the_time() {
    let new = layout();
    let at = |l: &Layout| (l.g_timer.unwrap(), 1);
    let fires = |found: Option<Vec<Found>>| match found.as_deref() {
        Some([Found { addr: 0x9_0000, kind: ObjectKind::Timer { fires }, side: Side::Wait }]) => *fires,
        other => panic!("{other:?}"),
    };
    let until = |when| (new.g_sleep_when.unwrap(), when);
    assert_eq!(fires(sleeps(&new, &[at(&new), until(1_500)], &[], Some(1_000))), Fires::In(500));
    assert_eq!(fires(sleeps(&new, &[at(&new), until(400)], &[], Some(1_000))), Fires::In(-600));
    // The end of time; no time at all.
    let end = fires(sleeps(&new, &[at(&new), until(i64::MAX as u64)], &[], Some(1_000)));
    assert_eq!(end, Fires::In(i64::MAX - 1_000));
    assert_eq!(fires(sleeps(&new, &[at(&new), until(u64::MAX)], &[], Some(1_000))), Fires::Unknown);
    // Of a core it is not known when it was; a bubble has a clock of its own.
    assert_eq!(fires(sleeps(&new, &[at(&new), until(1_500)], &[], None)), Fires::Unknown);
    let bubble = (new.g_bubble.unwrap(), 0x8000);
    assert_eq!(fires(sleeps(&new, &[at(&new), until(1_500), bubble], &[], Some(1_000))), Fires::Unknown);
    // The runtime's own sleepers have none.
    assert_eq!(sleeps(&new, &[until(1_500)], &[], Some(1_000)), Some(vec![]));
    // Before Go 1.23 the timer has the time; `when` is the last sleep's until it is parked.
    let timer = TimerLayout { when: 8, nextwhen: Some(56) };
    let old = Layout { g_sleep_when: None, timer: Some(timer), ..new.clone() };
    let (when, nextwhen) = ((8, 700), (56, 1_500));
    assert_eq!(fires(sleeps(&old, &[at(&old)], &[when, nextwhen], Some(1_000))), Fires::In(500));
    // Not to be read: read again.
    assert_eq!(sleeps(&old, &[at(&old)], &[], Some(1_000)), None);
    // A layout that does not say where it stands.
    let unknown = Layout { timer: None, ..old.clone() };
    assert_eq!(fires(sleeps(&unknown, &[at(&unknown)], &[], Some(1_000))), Fires::Unknown);
}

#[test]
fn cases_in_all_are_limited_and_those_left_out_are_counted() {
    let l = layout();
    // A `select` of a hundred cases, all on one channel.
    const CASES: u64 = 100;
    let (sudogs, channel) = (0x1000_0000, 0x9000);
    let size = u64::from(l.sudog.size).next_multiple_of(8);
    let memory = memory(&[(7, status::WAITING)], |_, _, _| {});
    {
        let mut words = memory.words.borrow_mut();
        (0..0x100).step_by(8).for_each(|at| _ = words.insert(channel + at, 0));
        for i in 0..CASES {
            let at = sudogs + i * size;
            (0..size).step_by(8).for_each(|word| _ = words.insert(at + word, 0));
            set(&mut words, at + u64::from(l.sudog.g), g_at(0), 8);
            set(&mut words, at + u64::from(l.sudog.c), channel, 8);
            let next = if i + 1 < CASES { at + size } else { 0 };
            set(&mut words, at + u64::from(l.sudog.waitlink), next, 8);
        }
        set(&mut words, g_at(0) + u64::from(l.g_waiting), sudogs, 8);
    }
    let mut g = vec![0; g::window(&l)];
    memory.read(g_at(0), &mut g).unwrap();
    let g = G::parse(g_at(0), &g, &l);
    let mut waits = Waits::limited(3 * (CASES - 1) + 10);
    let mut found = || {
        waits.forget();
        let before = memory.reads.get();
        let found = waits.of(&memory, &l, &g, Reason::Select).unwrap().unwrap().len() as u64;
        (found, memory.reads.get() - before, waits.left_out)
    };
    // A read for each case, and one for the channel.
    for _ in 0..3 {
        assert_eq!(found(), (CASES, CASES as u32 + 1, 0));
    }
    // The limit comes in the midst of one; from then on they cost next to nothing.
    assert_eq!(found(), (0, 13, 1));
    assert_eq!(found(), (0, 3, 2));
    // One with a single case is told as before.
    set(&mut memory.words.borrow_mut(), sudogs + u64::from(l.sudog.waitlink), 0, 8);
    assert_eq!(found(), (1, 2, 2));
}

fn look_at(memory: &Fake, looker: &mut again::Looker) -> again::Changes {
    let layout = layout();
    let source = source(memory, &layout, &[Reason::Sleep, Reason::Coroutine]);
    looker.look(&source, &mut Functions, &mut |_, _| {}).unwrap()
}

fn goids(goroutines: &[Goroutine]) -> Vec<u64> {
    goroutines.iter().map(|g| g.goid).collect()
}

/// Ten goroutines that the collector has found waiting, looked at twice.
fn ten_looked_at() -> (Fake, again::Looker) {
    let l = layout();
    let all: Vec<(u64, u32)> = (0..10).map(|i| (20 + i, status::WAITING)).collect();
    let memory = memory(&all, |_, _, _| {});
    for i in 0..10 {
        set(&mut memory.words.borrow_mut(), g_at(i) + u64::from(l.g_waitsince), 500, 8);
    }
    let mut looker = again::Looker::new();
    assert_eq!(look_at(&memory, &mut looker).new.len(), 10);
    let second = look_at(&memory, &mut looker);
    assert_eq!((second.waited, second.changed.len(), second.new.len()), (10, 0, 0));
    (memory, looker)
}

#[test]
fn who_is_proven_to_wait_is_not_read_and_everybody_else_is() {
    let (memory, mut looker) = ten_looked_at();
    let l = layout();
    {
        let mut words = memory.words.borrow_mut();
        // Stacks that are other ones, which only a read of them can tell.
        for i in 0..10 {
            words.insert(sp_of(i) + 16, OUTER + 0x1000);
        }
        let mut field = |i: u64, offset: u32, value: u64, len: usize| {
            set(&mut words, g_at(i) + u64::from(offset), value, len);
        };
        field(0, l.g_waitsince, 0, 8);
        field(1, l.g_waitsince, 501, 8);
        field(2, l.kernel.g_waitreason, 1, 1);
        field(3, l.g_status, status::RUNNABLE.into(), 4);
        field(4, l.g_status, status::DEAD.into(), 4);
        field(5, l.kernel.g_goid, 90, 8);
        // Seen by the collector right now, and waiting all the same.
        field(6, l.g_status, (status::WAITING | status::SCAN_BIT).into(), 4);
        words.insert(ARRAY + 7 * 8, 0xdead_0000);
    }
    let changes = look_at(&memory, &mut looker);
    assert_eq!(goids(&changes.changed), [20, 21, 22, 23]);
    assert_eq!((goids(&changes.new), changes.gone, changes.lost), (vec![90], vec![24, 25], vec![27]));
    assert_eq!((changes.waited, changes.counts.dead, changes.counts.unreadable), (3, 1, 1));
    let picture = looker.picture();
    let top = |g: &Goroutine| picture.stacks[g.trace.stack().unwrap() as usize].pcs[1].pc;
    let old: Vec<u64> = picture.goroutines.iter().filter(|g| top(g) == OUTER).map(|g| g.goid).collect();
    assert_eq!(old, [26, 28, 29]);
    // A coroutine runs without a trace in its g: it is read each time.
    assert_eq!(look_at(&memory, &mut looker).waited, 3 + 2);
}

#[test]
fn who_cannot_be_read_any_more_is_not_told_as_ended() {
    let (memory, mut looker) = ten_looked_at();
    (0..0x400).step_by(8).for_each(|at| _ = memory.words.borrow_mut().remove(&(g_at(3) + at)));
    let changes = look_at(&memory, &mut looker);
    assert_eq!((changes.lost, changes.gone, changes.counts.unreadable), (vec![23], vec![], 1));
}

#[test]
fn how_long_they_have_waited_and_what_nobody_has_any_more_is_as_in_a_first_look() {
    let (memory, mut looker) = ten_looked_at();
    // One of them ends, whose stack was its own.
    let l = layout();
    memory.words.borrow_mut().insert(sp_of(0) + 16, OUTER + 0x1000);
    set(&mut memory.words.borrow_mut(), g_at(0) + u64::from(l.g_waitsince), 600, 8);
    look_at(&memory, &mut looker);
    assert_eq!(looker.picture().stacks.len(), 2);
    set(&mut memory.words.borrow_mut(), g_at(0) + u64::from(l.g_status), status::DEAD.into(), 4);
    assert_eq!(look_at(&memory, &mut looker).gone, [20]);
    let picture = looker.picture();
    assert_eq!((picture.stacks.len(), picture.goroutines.len()), (1, 9));
    assert!(picture.goroutines.iter().all(|g| g.runtime_since == Some(500)));
}

mod held;
mod motion;
mod waits;
