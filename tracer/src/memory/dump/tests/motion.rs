//! Goroutines that change while they are read: what is told is as it was at one time, or that it is not known.

use super::*;

/// Another caller of [`INNER`].
const NEW: u64 = OUTER + 0x1000;
/// More reads than one goroutine can need in a batch and alone.
const MANY: u32 = 80;

fn is_sp(addr: u64) -> bool {
    addr == sp_of(0) || addr == moved_to(0) + STACK - 64
}

/// Calls `f` with how often the first goroutine's g was read before, and its stack, when one of them is read.
fn on_its_reads(f: impl Fn(u32, u32, &mut Words) + 'static) -> impl Fn(u32, u64, &mut Words) + 'static {
    let (gs, stacks) = (Cell::new(0), Cell::new(0));
    move |_, addr, words| {
        let count = if addr == g_at(0) {
            &gs
        } else if is_sp(addr) {
            &stacks
        } else {
            return;
        };
        f(gs.get(), stacks.get(), words);
        count.set(count.get() + 1);
    }
}

fn field(words: &mut Words, offset: u32, value: u64, len: usize) {
    set(words, g_at(0) + u64::from(offset), value, len);
}

fn set_status(words: &mut Words, status: u32) {
    field(words, layout().g_status, status.into(), 4);
}

fn read_with(memory: &Fake, reasons: &[Reason]) -> Read {
    read(&source(memory, &layout(), reasons), &mut Functions, &mut |_, _| {}).unwrap()
}

/// What the only goroutine is told to be called by, if its stack is told whole.
fn caller(read: &Read) -> Option<u64> {
    match read.goroutines[..] {
        [Goroutine { trace: Trace::Whole(stack), .. }] => Some(read.stacks[stack as usize].pcs[1].pc),
        _ => None,
    }
}

#[test]
fn one_whose_stack_is_copied_all_the_time_is_moving() {
    let read = dump_of(&memory(&[(7, status::COPYSTACK)], |_, _, _| {}));
    assert_eq!(traces(&read), [(7, Trace::Moving)]);
    assert_eq!((read.counts.retries, read.stacks.len()), (u64::from(TRIES) - 1, 0));
    // Also when the collector has it.
    let read = dump_of(&memory(&[(7, status::COPYSTACK | status::SCAN_BIT)], |_, _, _| {}));
    assert_eq!(traces(&read), [(7, Trace::Moving)]);
}

#[test]
fn one_whose_stack_was_copied_has_the_new_one() {
    // Copied before that read of its g: the first, those of the batch, those of it alone.
    for at in 0..2 * TRIES {
        let memory = memory(
            &[(7, status::COPYSTACK)],
            on_its_reads(move |gs, _, words| {
                if gs == at && words[&(sp_of(0) + 16)] != ANOTHERS {
                    words.insert(sp_of(0) + 16, NEW);
                    move_stack(words, 0);
                    set_status(words, status::WAITING);
                }
            }),
        );
        assert_eq!(caller(&dump_of(&memory)), Some(NEW), "{at}");
    }
}

#[test]
fn a_stack_that_the_collector_shrinks_meanwhile_is_never_read_where_it_was() {
    let coroutines = [Reason::Coroutine];
    for reasons in [&[][..], &coroutines] {
        for at in 0..MANY {
            // Whether the g was read since it is moved.
            let (moved, seen) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
            let (is_moved, is_seen) = (moved.clone(), seen.clone());
            let memory = memory(&[(7, status::WAITING)], move |n, addr, words| {
                if n == at {
                    // Told apart from what it was.
                    words.insert(sp_of(0) + 16, NEW);
                    move_stack(words, 0);
                    is_moved.set(true);
                }
                is_seen.set(is_seen.get() || is_moved.get() && addr == g_at(0));
            });
            let read = read_with(&memory, reasons);
            let expected = if seen.get() { NEW } else { OUTER };
            assert_eq!(caller(&read), Some(expected), "{at} {reasons:?}");
            assert!(moved.get() || memory.reads.get() <= at, "{at}");
            assert!(memory.reads.get() < MANY);
        }
    }
}

#[test]
fn a_g_in_the_midst_of_that_is_not_believed() {
    let l = layout();
    let (lo, hi, sp) = (moved_to(0) + STACK / 2, moved_to(0) + STACK, moved_to(0) + STACK - 64);
    for at in 0..MANY {
        // The collector's stores in its order, one between each two reads; at last the old stack is another's.
        let memory = memory(&[(7, status::WAITING)], move |n, _, words| match n.wrapping_sub(at) {
            0 => set_status(words, status::WAITING | status::SCAN_BIT),
            1 => copy_stack(words, 0),
            2 => field(words, l.kernel.g_stack_lo, lo, 8),
            3 => field(words, l.kernel.g_stack_hi, hi, 8),
            4 => field(words, l.g_sched_sp, sp, 8),
            5 => give_back(words, 0),
            6 => set_status(words, status::WAITING),
            _ => {}
        });
        assert_eq!(caller(&dump_of(&memory)), Some(OUTER), "{at}");
    }
}

/// With `goid_is_late`.
fn late_dump_of(memory: &Fake) -> Read {
    let layout = layout();
    let source = Source { goid_is_late: true, ..source(memory, &layout, &[]) };
    read(&source, &mut Functions, &mut |_, _| {}).unwrap()
}

/// One that was never run yet, at its function's entry.
fn new_at(words: &mut Words, i: u64) {
    set(words, g_at(i) + u64::from(layout().g_sched_pc), INNER & !0xfff, 8);
    words.insert(sp_of(i), OUTER);
}

#[test]
fn a_new_one_has_not_its_last_owners_goid() {
    let l = layout();
    let reads = Rc::new(Cell::new((0, 0)));
    let counted = reads.clone();
    let memory = memory(&[(7, status::RUNNABLE), (6, status::RUNNABLE)], move |_, addr, words| {
        let (first, second) = counted.get();
        if addr == g_at(0) {
            // It is the same both times that the batch is read, and its own afterwards.
            if first == 2 {
                field(words, l.kernel.g_goid, 8, 8);
            }
            counted.set((first + 1, second));
        } else if addr == g_at(1) {
            counted.set((first, second + 1));
        }
    });
    new_at(&mut memory.words.borrow_mut(), 0);
    let read = late_dump_of(&memory);
    assert_eq!(traces(&read), [(6, Trace::Whole(1)), (8, Trace::Whole(0))]);
    // The second one has run before: whose goid it has is not in question.
    assert_eq!(reads.get(), (4, 2));
}

#[test]
fn a_new_one_that_has_ended_meanwhile_is_nobody() {
    let memory = memory(
        &[(7, status::RUNNABLE)],
        on_its_reads(|gs, _, words| {
            if gs == 2 {
                set_status(words, status::DEAD);
            }
        }),
    );
    new_at(&mut memory.words.borrow_mut(), 0);
    let read = late_dump_of(&memory);
    assert_eq!((traces(&read), read.counts.dead), (vec![], 1));
}

#[test]
fn a_g_that_is_anothers_the_next_time_is_told_as_his_alone() {
    let k = layout().kernel;
    for (i, at) in [k.g_goid, k.g_gopc, k.g_startpc].into_iter().enumerate() {
        // Once: all of what is told is of the one who has it then.
        let once = memory(
            &[(7, status::WAITING)],
            on_its_reads(move |gs, _, words| {
                if gs == 1 {
                    field(words, at, 0x43_0000, 8);
                    words.insert(sp_of(0) + 16, NEW);
                }
            }),
        );
        let read = dump_of(&once);
        let [g] = &read.goroutines[..] else { panic!("{read:?}") };
        let mut who = [7, 0x41_0000, 0x42_0000];
        who[i] = 0x43_0000;
        assert_eq!(([g.goid, g.gopc, g.start_pc], caller(&read)), (who, Some(NEW)));
        // Each time: nothing of it is sure.
        let always = memory(
            &[(7, status::WAITING)],
            on_its_reads(move |gs, stacks, words| field(words, at, u64::from(100 + gs + stacks), 8)),
        );
        let read = dump_of(&always);
        assert_eq!((traces(&read), read.counts.unsettled), (vec![], 1), "{i}");
    }
}

#[test]
fn a_list_that_grows_meanwhile_is_read_again_and_given_up_when_it_always_does() {
    const LARGER: u64 = 0x4000;
    // How often it is moved, each time that its length was read. As the runtime does: the array, then the length.
    let grown = |times: u32| {
        let left = Cell::new(times);
        let memory = memory(&[(7, status::WAITING), (8, status::WAITING)], move |_, addr, words| {
            if addr == ALLGS && left.get() > 0 {
                left.set(left.get() - 1);
                let to = LARGER + u64::from(left.get()) * 0x100;
                (0..3).for_each(|i| _ = words.insert(to + i * 8, g_at(i)));
                // What was there is another's.
                (0..3).for_each(|i| _ = words.insert(words[&ALLGS] + i * 8, 0xdead_0000));
                words.extend([(ALLGS, to), (ALLGS + 16, 4), (ALLGS + 8, 3)]);
            }
        });
        put(&mut memory.words.borrow_mut(), 2, 9, status::WAITING);
        read(&source(&memory, &layout(), &[]), &mut Functions, &mut |_, _| {})
    };
    for times in 2..8 {
        let read = grown(times).unwrap();
        assert_eq!((read.goroutines.len(), read.counts.unreadable), (3, 0), "{times}");
    }
    match grown(8) {
        Err(MemoryError::Other { addr: ALLGS, source, .. }) => {
            assert_eq!(source.to_string(), "the list of goroutines grew each time it was read");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_collectors_bit_changes_nothing_and_is_not_told() {
    let scan = status::SCAN_BIT;
    let bits = [status::WAITING, status::RUNNABLE, status::PREEMPTED, status::LEAKED];
    for status in bits {
        let read = dump_of(&memory(&[(7, status | scan)], |_, _, _| {}));
        assert_eq!(traces(&read), [(7, Trace::Whole(0))], "{status}");
        assert_eq!(read.goroutines[0].status, Status::of(status));
    }
    let read = dump_of(&memory(&[(7, status::RUNNING | scan), (8, status::DEAD | scan)], |_, _, _| {}));
    assert_eq!((traces(&read), read.counts.dead), (vec![(7, Trace::Running)], 1));
    // In a system call it has its registers elsewhere.
    let memory = memory(&[(7, status::SYSCALL | scan)], |_, _, _| {});
    in_syscall(&mut memory.words.borrow_mut());
    assert_eq!(caller(&dump_of(&memory)), Some(OUTER));
}

#[test]
fn the_collectors_bit_may_come_and_go() {
    // Once, at any time.
    for at in 0..MANY {
        let memory = memory(&[(7, status::WAITING)], move |n, _, words| match n.wrapping_sub(at) {
            0 => set_status(words, status::WAITING | status::SCAN_BIT),
            1 => set_status(words, status::WAITING),
            _ => {}
        });
        let read = dump_of(&memory);
        assert_eq!((caller(&read), read.goroutines[0].status), (Some(OUTER), Status::Waiting), "{at}");
    }
    // Between each two reads of the g: nothing is told that was not seen twice.
    let always = |gs: u32, _: u32, words: &mut Words| {
        set_status(words, status::WAITING | if gs.is_multiple_of(2) { status::SCAN_BIT } else { 0 });
    };
    let read = dump_of(&memory(&[(7, status::WAITING)], on_its_reads(always)));
    assert_eq!(traces(&read), [(7, Trace::Moving)]);
    assert_eq!(read.goroutines[0].status, Status::Waiting);
}

fn in_syscall(words: &mut Words) {
    let l = layout();
    field(words, l.g_syscallpc, INNER, 8);
    field(words, l.g_syscallsp, sp_of(0), 8);
    field(words, l.g_sched_sp, 0, 8);
}

/// A goroutine whose g never changes, of reads that take long. Before each copy of its stack from the `from`-th to the
/// `to`-th, its caller becomes another one. What is told to be its caller, whether that was so when it was read last, and
/// how often its stack was read.
fn slowly(
    status: u32,
    waitsince: u64,
    reasons: &[Reason],
    changes: std::ops::Range<u32>,
) -> (Option<u64>, bool, u32) {
    let copies = Rc::new(Cell::new(0));
    let count = copies.clone();
    let on_read = on_its_reads(move |_, stacks, words| {
        std::thread::sleep(4 * SHORT);
        if changes.contains(&stacks) {
            words.insert(sp_of(0) + 16, OUTER + u64::from(stacks) * 0x10);
        }
    });
    let memory = memory(&[(7, status)], move |n, addr, words| {
        count.set(count.get() + u32::from(is_sp(addr)));
        on_read(n, addr, words);
    });
    in_syscall_if(&memory, status);
    field(&mut memory.words.borrow_mut(), layout().g_waitsince, waitsince, 8);
    let read = read_with(&memory, reasons);
    let caller = caller(&read);
    let last = memory.words.borrow()[&(sp_of(0) + 16)];
    if caller.is_none() {
        assert_eq!(traces(&read), [(7, Trace::Moving)]);
    }
    (caller, caller == Some(last), copies.get())
}

fn in_syscall_if(memory: &Fake, status: u32) {
    if status == status::SYSCALL {
        in_syscall(&mut memory.words.borrow_mut());
    }
}

#[test]
fn what_was_read_slowly_is_copied_until_it_is_twice_the_same() {
    let (receive, coroutine, other) = ([Reason::Receive], [Reason::Coroutine], [Reason::Other]);
    // Status, `waitsince`, reason, and copies when nothing changes: those of the batch, those of it alone.
    let all: [(u32, u64, &[Reason], u32); 6] = [
        (status::WAITING, 0, &receive, 2),
        (status::RUNNABLE, 500, &receive, 2),
        // These do not count rounds.
        (status::SYSCALL, 500, &[], 2 + 3),
        (status::WAITING, 0, &coroutine, 2 + 3),
        // A collection's note proves nothing of these.
        (status::WAITING, 500, &coroutine, 2 + 3),
        (status::WAITING, 500, &other, 2),
    ];
    for (status, waitsince, reasons, copies) in all {
        let case = (status, waitsince, reasons);
        assert_eq!(slowly(status, waitsince, reasons, 0..0), (Some(OUTER), true, copies), "{case:?}");
        // Once, before any of them but the first.
        for at in 1..copies {
            let (_, as_it_is, _) = slowly(status, waitsince, reasons, at..at + 1);
            assert!(as_it_is, "{case:?} {at}");
        }
        // Each time.
        assert_eq!(slowly(status, waitsince, reasons, 0..u32::MAX).0, None, "{case:?}");
    }
}

#[test]
fn one_that_a_collection_has_found_waiting_is_copied_once() {
    for status in [status::WAITING, status::LEAKED] {
        let (caller, _, copies) = slowly(status, 500, &[Reason::Receive], 1..u32::MAX);
        assert_eq!((caller, copies), (Some(OUTER), 1), "{status}");
    }
}

/// A goroutine with three frames, of which the first one's frame pointer leads to between two others in the first `wrong`
/// copies of its stack: two in the batch, as reads take long, and then two at each attempt.
fn doubted(wrong: u32) -> Counts {
    const MIDDLE: u64 = INNER + 0x1000;
    let memory = memory(
        &[(7, status::WAITING)],
        on_its_reads(move |_, stacks, words| {
            std::thread::sleep(4 * SHORT);
            let pointer = if stacks < wrong { sp_of(0) + 16 } else { sp_of(0) + 32 };
            words.insert(sp_of(0) + 8, pointer);
        }),
    );
    memory.words.borrow_mut().extend([(sp_of(0) + 16, MIDDLE), (sp_of(0) + 40, OUTER)]);
    let read = dump_of(&memory);
    assert_eq!(read.stacks[0].pcs.iter().map(|p| p.pc).collect::<Vec<_>>(), [INNER, MIDDLE, OUTER]);
    assert_eq!(traces(&read), [(7, Trace::Whole(0))]);
    read.counts
}

#[test]
fn a_walk_that_a_frame_pointer_contradicts_is_made_again_and_counted_if_it_still_does() {
    let counts = [0, 1, 2, 3, 4, u32::MAX].map(|wrong| {
        let counts = doubted(wrong);
        (counts.doubted, counts.retries)
    });
    // Never; mended before it is read alone; between the two copies then, which are made once more; not mended.
    assert_eq!(counts, [(0, 0), (0, 0), (0, 0), (0, 1), (1, 0), (1, 0)]);
}
