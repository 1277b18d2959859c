//! Looks over a made-up process: what changes between two reads is played by the memory itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;
use crate::dump::{LeftOut, Object, ObjectKind, Pc, Side, Wait, nobody};

const ALLGS: u64 = 0x5000;
const ARRAY: u64 = 0x10_0000;
const GS: u64 = 0x20_0000;
const G_SIZE: u64 = 1024;

fn layout() -> Layout {
    crate::gobin::newest_layout().expect("the built-in table")
}

type Words = BTreeMap<u64, u64>;
/// What the process does when its memory is read for the n-th time.
type OnRead = Box<dyn Fn(u32, &mut Words)>;

/// Words at addresses; everything else is not mapped. `on_read` may change them between two reads.
struct Fake {
    words: RefCell<Words>,
    reads: Cell<u32>,
    on_read: OnRead,
}

impl ReadMemory for Fake {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        (self.on_read)(self.reads.replace(self.reads.get() + 1), &mut self.words.borrow_mut());
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

fn put(words: &mut Words, index: u64, goid: u64, status: u32, reason: u8) {
    let l = layout();
    let g = GS + index * G_SIZE;
    for at in (0..G_SIZE).step_by(8) {
        words.insert(g + at, 0);
    }
    let mut field = |offset: u32, value: u64, bytes: usize| {
        let at = g + u64::from(offset);
        let mut word = words[&(at & !7)].to_le_bytes();
        let from = (at & 7) as usize;
        word[from..from + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        words.insert(at & !7, u64::from_le_bytes(word));
    };
    field(l.g_status, status.into(), 4);
    field(l.kernel.g_goid, goid, 8);
    field(l.kernel.g_gopc, 0x400_000 + goid, 8);
    field(l.kernel.g_startpc, 0x500_000, 8);
    field(l.kernel.g_waitreason, reason.into(), 1);
}

fn list(words: &mut Words, array: u64, len: u64) {
    words.insert(ALLGS, array);
    words.insert(ALLGS + 8, len);
    words.insert(ALLGS + 16, len.next_power_of_two());
    for i in 0..len {
        words.insert(array + i * 8, GS + i * G_SIZE);
    }
}

fn fake(goids: &[u64], on_read: impl Fn(u32, &mut Words) + 'static) -> Fake {
    let mut words = BTreeMap::new();
    list(&mut words, ARRAY, goids.len() as u64);
    for (i, goid) in goids.iter().enumerate() {
        put(&mut words, i as u64, *goid, status::WAITING, 7);
    }
    Fake { words: RefCell::new(words), reads: Cell::new(0), on_read: Box::new(on_read) }
}

/// What a look says: (word, goid), and its end's counts.
fn look(looker: &mut Looker, memory: &Fake) -> (Vec<(&'static str, u64)>, u64, u64) {
    let clock = Cell::new(100);
    let now = || clock.replace(clock.get() + 1);
    let mut said = Vec::new();
    let mut end = (0, 0);
    looker
        .look(memory, None, &now, &mut |event| match event {
            Event::Seen(e) => said.push(("seen", e.h.goid)),
            Event::State(e) if e.status == status::DEAD => {
                assert_eq!((e.gopc, e.start_pc, e.parent_goid), (0, 0, 0), "another goroutine's facts");
                said.push(("gone", e.h.goid));
            }
            Event::State(e) => said.push(("state", e.h.goid)),
            Event::LookEnd(e) => end = (e.read, e.unreadable),
            _ => {}
        })
        .unwrap();
    (said, end.0, end.1)
}

#[test]
fn only_what_changed_is_told_again() {
    let memory = fake(&[1, 17, 33], |_, _| {});
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory), (vec![("seen", 1), ("seen", 17), ("seen", 33)], 3, 0));
    assert_eq!(look(&mut looker, &memory).0, []);
    put(&mut memory.words.borrow_mut(), 1, 17, 2, 7);
    put(&mut memory.words.borrow_mut(), 2, 33, status::DEAD, 0);
    assert_eq!(look(&mut looker, &memory).0, [("state", 17), ("gone", 33)]);
    // The g is used again: another goroutine, not the old one come back.
    put(&mut memory.words.borrow_mut(), 2, 50, status::WAITING, 7);
    put(&mut memory.words.borrow_mut(), 0, 2, status::WAITING, 7);
    assert_eq!(look(&mut looker, &memory).0, [("gone", 1), ("seen", 2), ("seen", 50)]);
}

#[test]
fn the_scan_bit_is_no_change() {
    let memory = fake(&[1], |_, _| {});
    let mut looker = Looker::new(layout(), ALLGS);
    look(&mut looker, &memory);
    put(&mut memory.words.borrow_mut(), 0, 1, status::WAITING | status::SCAN_BIT, 7);
    assert_eq!(look(&mut looker, &memory).0, []);
}

#[test]
fn a_goid_that_changes_between_two_reads_is_not_believed() {
    // Before Go 1.24 a new g is runnable before it has its goid: the first read sees the last owner's.
    let last = Cell::new(0u32);
    let memory = fake(&[1, 17], move |read, words| {
        // 0..3 the header, 3 the pointers, 4 the header again, 5 and 6 the g's, then each unknown one again.
        if read == 6 {
            last.set(read);
        } else if last.get() == 6 {
            put(words, 1, 99, 1, 0);
            last.set(0);
        }
    });
    let mut looker = Looker::new(layout(), ALLGS);
    let (said, read, unreadable) = look(&mut looker, &memory);
    assert_eq!((said, read, unreadable), (vec![("seen", 1), ("seen", 99)], 2, 0));
}

#[test]
fn one_that_never_holds_still_is_counted_and_one_that_ended_is_not() {
    // The second g changes hands at every read of it; the third ends after the first.
    let memory = fake(&[1, 17, 33], |read, words| {
        put(words, 1, 100 + u64::from(read), 1, 0);
        if read > 7 {
            put(words, 2, 33, status::DEAD, 0);
        }
    });
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory), (vec![("seen", 1)], 3, 1));
}

#[test]
fn an_array_that_moves_while_it_is_read_is_read_again() {
    let memory = fake(&[1, 17], |read, words| {
        if read == 4 {
            list(words, ARRAY + 0x1000, 2);
        }
    });
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory), (vec![("seen", 1), ("seen", 17)], 2, 0));
}

#[test]
fn an_array_that_moves_each_time_is_left_to_the_next_look_and_told() {
    // Five reads see one array, the fifth another.
    let memory = fake(&[1, 17], |read, words| list(words, ARRAY + u64::from((read + 1) / 5 % 2) * 0x1000, 2));
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory), (vec![], 0, 2));
    assert_eq!(memory.reads.get(), 5 * u32::from(allgs::TRIES));
}

#[test]
fn a_length_that_cannot_be_costs_no_memory_and_is_told() {
    let memory = fake(&[1], |_, _| {});
    for (len, cap) in [(90_000_000, 100_000_000), (2, 1), (u64::MAX, u64::MAX)] {
        memory.words.borrow_mut().insert(ALLGS + 8, len);
        memory.words.borrow_mut().insert(ALLGS + 16, cap);
        let mut looker = Looker::new(layout(), ALLGS);
        let (said, read, unreadable) = look(&mut looker, &memory);
        assert_eq!((said.len(), read), (0, 0));
        assert!(unreadable > 0);
        assert!(looker.slots.capacity() < 1000 && looker.pointers.capacity() <= allgs::CHUNK as usize * 8);
    }
}

#[test]
fn an_unreadable_g_does_not_keep_the_others_from_being_seen() {
    let memory = fake(&[1, 17, 33], |_, _| {});
    memory.words.borrow_mut().insert(ARRAY + 8, 0xdead_0000);
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory), (vec![("seen", 1), ("seen", 33)], 3, 1));
}

#[test]
fn a_process_that_is_gone_ends_the_look() {
    struct Gone;
    impl ReadMemory for Gone {
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), MemoryError> {
            Err(MemoryError::Gone)
        }
    }
    let mut looker = Looker::new(layout(), ALLGS);
    assert!(matches!(looker.look(&Gone, None, &|| 0, &mut |_| ()), Err(MemoryError::Gone)));
}

/// Says of each goroutine that it stands in one stack, and waits on a channel of its own.
struct Stacks {
    asked: Vec<(Vec<u64>, bool)>,
    pc: u64,
}

impl Detail for Stacks {
    fn read(&mut self, addrs: &[u64], ask: bool) -> Result<Dump, MemoryError> {
        self.asked.push((addrs.to_vec(), ask));
        let channel = ObjectKind::Channel { len: 0, cap: 0, closed: false, elem_size: 8, timer: None };
        let goroutine = |(i, addr): (usize, &u64)| Goroutine {
            g: *addr,
            reason: Some(7),
            trace: Trace::Whole(0),
            labels: (i == 0).then_some(0),
            waits_on: vec![Wait { object: i as u32, side: Side::Send }],
            ..nobody((addr - GS) / G_SIZE * 16 + 1)
        };
        Ok(Dump {
            goroutines: addrs.iter().enumerate().map(goroutine).collect(),
            stacks: vec![Stack { pcs: vec![Pc { pc: self.pc, exact: false }], left_out: None }],
            objects: addrs.iter().map(|addr| Object::new(addr + 1, channel.clone())).collect(),
            labels: vec![[("tenant".to_owned(), "blue".to_owned())].into()],
            ..Dump::default()
        })
    }
}

/// What is told besides states: (word, goid or id).
fn told(looker: &mut Looker, memory: &Fake, stacks: &mut Stacks, depth: Depth) -> Vec<(&'static str, u64)> {
    let mut said = Vec::new();
    looker
        .look(memory, Some((stacks, depth)), &|| 100, &mut |event| match event {
            Event::StackDef(_) => said.push(("stack", 0)),
            Event::Blocked(e) => said.push(("blocked", e.h.goid)),
            Event::Waits(h, w) => {
                assert_eq!(w.on.len(), 1);
                said.push((if w.labels == 0 { "waits" } else { "waits, labelled" }, h.goid));
            }
            Event::Object(_, o) => said.push(("object", o.addr - GS)),
            Event::Labels(_, l) => said.push(("labels", l.labels.len() as u64)),
            Event::State(e) => said.push(("state", e.h.goid)),
            _ => {}
        })
        .unwrap();
    said
}

#[test]
fn stacks_are_told_once_and_again_when_they_change() {
    let memory = fake(&[1, 17], |_, _| {});
    let mut looker = Looker::new(layout(), ALLGS);
    let mut stacks = Stacks { asked: Vec::new(), pc: 0x400_000 };
    let rest = Depth::AtRest { ask: true };
    // The first look tells all.
    assert_eq!(
        told(&mut looker, &memory, &mut stacks, rest),
        [
            ("stack", 0),
            ("labels", 1),
            ("object", 1),
            ("blocked", 1),
            ("waits, labelled", 1),
            ("object", G_SIZE + 1),
            ("blocked", 17),
            ("waits", 17)
        ]
    );
    assert_eq!(told(&mut looker, &memory, &mut stacks, rest), []);
    assert_eq!(stacks.asked.len(), 1, "nothing is read again");
    // The collector was there: read again, and nothing to tell.
    let field = |offset: u32, value: u64| {
        memory.words.borrow_mut().insert(GS + u64::from(offset), value);
    };
    field(layout().g_waitsince, 5);
    assert_eq!(told(&mut looker, &memory, &mut stacks, rest), []);
    assert_eq!(stacks.asked.len(), 2);
    // It has come back to where it was by another way.
    field(layout().g_waitsince, 6);
    stacks.pc = 0x401_000;
    assert_eq!(
        told(&mut looker, &memory, &mut stacks, rest),
        [("stack", 0), ("object", 1), ("blocked", 1), ("waits, labelled", 1)]
    );
    // It has run: what was told no longer holds, and it must rest before more is told.
    field(layout().g_sched_pc, 0x500_000);
    assert_eq!(told(&mut looker, &memory, &mut stacks, rest), [("state", 1)]);
    let again = [("object", 1), ("blocked", 1), ("waits, labelled", 1)];
    assert_eq!(told(&mut looker, &memory, &mut stacks, rest), again);
    // At the end all is told that is not as it was told; the other one's stack reads otherwise now, too.
    field(layout().g_sched_pc, 0x500_008);
    let last = told(&mut looker, &memory, &mut stacks, Depth::All);
    let [one, other] = [("waits, labelled", 1), ("waits", 17)];
    assert!(last.contains(&("state", 1)) && last.contains(&one) && last.contains(&other), "{last:?}");
}

#[test]
fn an_exact_pc_is_told_as_a_return_address_and_what_was_left_out_as_cut() {
    let pc = |pc, exact| Pc { pc, exact };
    let stack = Stack { pcs: vec![pc(10, false), pc(20, true)], left_out: None };
    assert_eq!(frames(&stack, &Trace::Whole(0)), (vec![10, 21], stack_end::COMPLETE));
    let left_out = LeftOut { after: 1, frames: 7, at: Vec::new() };
    let cut = Stack { left_out: Some(left_out), ..stack };
    assert_eq!(frames(&cut, &Trace::Whole(0)), (vec![10], stack_end::TOO_DEEP));
}

#[test]
fn one_that_has_run_and_waits_again_at_the_same_place_is_told_anew() {
    let memory = fake(&[1, 17], |_, _| {});
    let mut looker = Looker::new(layout(), ALLGS);
    look(&mut looker, &memory);
    // The collector's marks are no change.
    let at = |offset: u32| GS + u64::from(offset);
    memory.words.borrow_mut().insert(at(layout().g_waitsince), 9);
    assert_eq!(look(&mut looker, &memory).0, []);
    let seq = at(layout().g_tracking_seq.expect("the newest table has it"));
    *memory.words.borrow_mut().get_mut(&(seq & !7)).unwrap() += 1 << (8 * (seq & 7));
    assert_eq!(look(&mut looker, &memory).0, [("state", 1)]);
    assert_eq!(look(&mut looker, &memory).0, []);
}

#[test]
fn labels_are_told_up_to_a_limit_and_a_note_says_so_once() {
    let (mut known, mut said) = (HashSet::new(), Vec::new());
    let mut id_of = |n: usize| {
        let mut dump = Stacks { asked: Vec::new(), pc: 1 }.read(&[GS], false).unwrap();
        dump.labels = vec![[("request".to_owned(), n.to_string())].into()];
        labels_of(&mut known, &dump, &dump.goroutines[0], &Header::default(), &mut |e| said.push(e))
    };
    let first = id_of(0);
    assert!((1..MAX_LABEL_SETS).all(|n| id_of(n) != 0));
    assert_eq!((id_of(MAX_LABEL_SETS), id_of(MAX_LABEL_SETS + 1), id_of(0)), (0, 0, first));
    let notes = said.iter().filter(|e| matches!(e, Event::Note(..))).count();
    assert_eq!((notes, said.len()), (1, MAX_LABEL_SETS + 1));
}

#[test]
fn one_that_settles_is_known_as_what_it_settled_to() {
    // Its goid comes with the second read, and it runs by then.
    let memory = fake(&[1], |n, words| {
        if n == 3 {
            put(words, 0, 17, status::RUNNABLE, 0);
        }
    });
    let mut looker = Looker::new(layout(), ALLGS);
    assert_eq!(look(&mut looker, &memory).0, [("seen", 17)]);
    assert_eq!(look(&mut looker, &memory).0, []);
}
