use super::*;

/// Functions of 0x100 bytes: `f(n)` has a frame of `n` words; from 0xf000 on they end stacks.
struct Fake;

impl Code for Fake {
    fn step(&mut self, pc: u64) -> Result<Step, Broken> {
        if !(0x1000..0x10000).contains(&pc) {
            return Err(Broken::NoFunction { pc });
        }
        let entry = pc & !0xff;
        let words = (entry >> 8) as u32 & 0xf;
        let delta = if pc == entry { 0 } else { words * 8 };
        Ok(Step {
            delta,
            entry,
            args: 0,
            top: entry >= 0xf000,
            interrupts: entry == 0xe000,
            from_c: entry == 0xd200,
        })
    }

    fn passage(&mut self, _: u64) -> Option<Passage> {
        None
    }
}

const LO: u64 = 0x70_0000;

/// Walks from `pc` over these words, which begin at the stack pointer.
fn walked(pc: u64, words: &[u64]) -> (Stack, Option<Broken>) {
    let Walked { stack, broken, .. } = whole(pc, words);
    (stack, broken)
}

fn whole(pc: u64, words: &[u64]) -> Walked {
    let start = Start { pc, sp: LO, lo: LO, hi: LO + words.len() as u64 * 8 };
    walk(&mut Fake, start, &mut |at| words.get(((at - LO) / 8) as usize).copied())
}

fn pc(pc: u64) -> Pc {
    Pc { pc, exact: false }
}

fn exact(pc: u64) -> Pc {
    Pc { pc, exact: true }
}

#[test]
fn frames_of_all_sizes_up_to_the_top() {
    // f(2) called by f(0) called by f(1) called by the top.
    let words = [0xbad, 0xbad, 0x2010, 0x2120, 0xbad, 0xf001];
    let (stack, broken) = walked(0x1230, &words);
    assert_eq!(broken, None);
    assert_eq!(stack.pcs, [pc(0x1230), pc(0x2010), pc(0x2120), pc(0xf001)]);
    assert_eq!(stack.left_out, None);
}

#[test]
fn one_that_never_ran_is_at_its_entry() {
    let (stack, broken) = walked(0x1500, &[0xf001]);
    assert_eq!((stack.pcs, broken), (vec![exact(0x1500), pc(0xf001)], None));
}

#[test]
fn what_a_signal_interrupted_is_at_that_very_instruction() {
    let (stack, broken) = walked(0xe010, &[0x1133, 0xbad, 0xf001]);
    assert_eq!((stack.pcs, broken), (vec![pc(0xe010), exact(0x1133), pc(0xf001)], None));
}

#[test]
fn a_walk_that_cannot_go_on_says_why_and_keeps_what_it_has() {
    let no_function = walked(0x1110, &[0xbad, 0x20]);
    assert_eq!(no_function, (stack(&[pc(0x1110)]), Some(Broken::NoFunction { pc: 0x20 })));
    // The frame of f(3) is larger than what is left.
    assert_eq!(walked(0x1310, &[1, 2, 3]), (stack(&[pc(0x1310)]), Some(Broken::OutOfBounds)));
    assert_eq!(walked(0x10, &[]), (stack(&[]), Some(Broken::NoFunction { pc: 0x10 })));
    let start = Start { pc: 0x1110, sp: u64::MAX - 4, lo: 0, hi: u64::MAX };
    assert_eq!(walk(&mut Fake, start, &mut |_| Some(0)).broken, Some(Broken::OutOfBounds));
    let start = Start { pc: 0x1110, sp: LO, lo: LO, hi: LO + 64 };
    assert_eq!(walk(&mut Fake, start, &mut |_| None).broken, Some(Broken::Unreadable));
    // Below the stack.
    let start = Start { pc: 0x1110, sp: LO - 64, lo: LO, hi: LO + 64 };
    assert_eq!(walk(&mut Fake, start, &mut |_| Some(0xf001)).broken, Some(Broken::OutOfBounds));
}

fn stack(pcs: &[Pc]) -> Stack {
    Stack { pcs: pcs.to_vec(), left_out: None }
}

#[test]
fn a_deep_recursion_is_cut_in_the_middle_and_counted() {
    for depth in [199, 200, 201, 350, 1000] {
        // f(1) calling itself from two places, then the top.
        let mut words = Vec::new();
        let mut all = vec![pc(0x1110)];
        for i in 1..depth {
            let ra = if i % 3 == 0 { 0x1120 } else { 0x1140 };
            words.extend([0xbad, ra]);
            all.push(pc(ra));
        }
        words.extend([0xbad, 0xf001]);
        all.push(pc(0xf001));
        let (stack, broken) = walked(0x1110, &words);
        assert_eq!(broken, None);
        if all.len() <= 2 * KEPT {
            assert_eq!((stack.pcs, stack.left_out), (all, None), "{depth}");
            continue;
        }
        let left = stack.left_out.expect("something left out");
        let middle = &all[KEPT..all.len() - KEPT];
        assert_eq!(stack.pcs, [&all[..KEPT], &all[all.len() - KEPT..]].concat(), "{depth}");
        assert_eq!((left.after, left.frames), (KEPT, middle.len() as u64), "{depth}");
        let count = |at: u64| middle.iter().filter(|p| p.pc == at).count() as u64;
        let expected: Vec<_> =
            [0x1120, 0x1140].map(|at| (pc(at), count(at))).into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(left.at, expected, "{depth}");
    }
}

#[test]
fn a_stack_without_end_has_an_end() {
    let start = Start { pc: 0x1110, sp: 0x1000, lo: 0x1000, hi: u64::MAX };
    let Walked { stack, broken, .. } = walk(&mut Fake, start, &mut |_| Some(0x1110));
    assert_eq!(broken, Some(Broken::TooDeep { limit: MAX_WALKED }));
    assert_eq!(stack.pcs.len(), 2 * KEPT);
    assert_eq!(stack.left_out.map(|l| l.frames), Some(MAX_WALKED - 2 * KEPT as u64));
}

#[test]
fn a_frame_pointer_leads_to_a_frame_further_out_or_the_walk_is_doubted() {
    // f(2), f(0), f(1), f(2) and the top. Where f(2), f(1) and f(2) have saved theirs:
    let at = |word: u64| LO + 8 * word;
    let (a, b, c) = (at(1), at(4), at(7));
    let doubted = |fp_a: u64, fp_b: u64, fp_c: u64| {
        let words = [0xbad, fp_a, 0x2010, 0x1120, fp_b, 0x1220, 0xbad, fp_c, 0xf001];
        let walked = whole(0x1230, &words);
        assert_eq!((walked.stack.pcs.len(), walked.broken), (5, None));
        walked.doubted
    };
    assert!(!doubted(b, c, 0), "each to the next one");
    assert!(!doubted(c, 0xbad, 0), "past a frame that saves none");
    assert!(!doubted(0, c, 0) && !doubted(b, 0, 0), "some begin anew");
    assert!(!doubted(0x1234, at(400), a), "not within what lies further out");
    // The same, but C code has called the second one: f(2) at 0xd200.
    let words = [0xbad, at(4), 0xd210, 0xbad, at(5), 0x1120, at(9), 0x1220, 0xbad, 0, 0xf001];
    let walked = whole(0x1230, &words);
    assert_eq!((walked.stack.pcs.len(), walked.broken, walked.doubted), (5, None, false));
    assert!(doubted(at(5), c, 0) && doubted(b, at(6), 0) && doubted(at(2), b, 0), "between frames");
}
