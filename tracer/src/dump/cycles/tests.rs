use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::dump::{Object, Wait, nobody};

const LOCK: ObjectKind = ObjectKind::Mutex { locked: true, starving: false, waiters: 1 };
const CHANNEL: ObjectKind = ObjectKind::Channel { len: 0, cap: 0, closed: false, elem_size: 8, timer: None };

/// Goroutines 1, 2, … by what they wait on; nothing: it runs. Each object in the heap.
fn dump(objects: &[ObjectKind], waits: &[&[(u32, Side)]]) -> Dump {
    let goroutine = |(i, waits): (usize, &&[(u32, Side)])| Goroutine {
        status: if waits.is_empty() { Status::Syscall } else { Status::Waiting },
        trace: Trace::Whole(0),
        waits_on: waits.iter().map(|(object, side)| Wait { object: *object, side: *side }).collect(),
        ..nobody(i as u64 + 1)
    };
    let object =
        |(i, kind): (usize, &ObjectKind)| Object::new(0xc0_0000_0000 + 0x1000 * i as u64, kind.clone());
    Dump {
        goroutines: waits.iter().enumerate().map(goroutine).collect(),
        objects: objects.iter().enumerate().map(object).collect(),
        ..Dump::default()
    }
}

/// Pairs of an object and a goroutine's id.
fn held(holds: &[(u32, u32)]) -> Held {
    let hold = |(object, goid): &(u32, u32)| Hold { object: *object, goroutine: goid - 1, has: Has::Address };
    Held { holds: holds.iter().map(hold).collect(), ..Held::default() }
}

fn one(dump: &Dump, held: &Held) -> Cycle {
    let (mut cycles, more) = find(dump, held);
    assert_eq!((cycles.len(), more), (1, 0), "{cycles:?}");
    cycles.remove(0)
}

fn none(dump: &Dump, held: &Held) {
    assert_eq!(find(dump, held), (vec![], 0));
    assert_eq!(suspects(dump, held), [0; 0]);
}

const W: Side = Side::Wait;

/// Goroutine 1 has lock 0 and waits for lock 1; 2 the other way round.
fn crossed() -> (Dump, Held) {
    (dump(&[LOCK, LOCK], &[&[(1, W)], &[(0, W)], &[]]), held(&[(0, 1), (1, 2)]))
}

#[test]
fn crossed_locks_are_a_circle() {
    let (dump, held) = crossed();
    let cycle = one(&dump, &held);
    assert!(cycle.is_closed());
    let step = |goid, object| Step { goid, object, side: W, cases: 1 };
    assert_eq!(cycle.steps, [step(1, 1), step(2, 0)]);
    assert_eq!((cycle.length, cycle.goroutines, cycle.behind), (2, 2, 0));
    assert_eq!(suspects(&dump, &held), [0, 1]);
}

#[test]
fn one_that_can_go_on_and_has_a_lock_clears_the_others_but_the_circle_is_worth_a_look() {
    for has in [Has::Address, Has::Perhaps] {
        let (dump, mut held) = crossed();
        held.holds.push(Hold { object: 0, goroutine: 2, has });
        let cycle = one(&dump, &held);
        assert!(!cycle.stuck && !cycle.is_closed());
        assert_eq!((cycle.others, cycle.others_in_all), (vec![3], 1));
    }
}

#[test]
fn what_makes_it_less_sure() {
    let (dump, mut held) = crossed();
    held.unsearched.push(2);
    let cycle = one(&dump, &held);
    assert!(cycle.stuck && !cycle.is_closed());
    assert_eq!(cycle.unsearched, 1);
    let mut global = crossed();
    global.0.objects[0].addr = 0x5a_0000;
    global.1.image = 0x40_0000..0x60_0000;
    let cycle = one(&global.0, &global.1);
    assert!(cycle.stuck && cycle.global && !cycle.is_closed());
    // The runtime's own do not count.
    let mut system = crossed();
    system.0.goroutines[2].system = true;
    system.1.unsearched.push(2);
    system.1.holds.push(Hold { object: 0, goroutine: 2, has: Has::Address });
    assert!(one(&system.0, &system.1).is_closed());
}

#[test]
fn one_that_has_run_since_is_in_no_circle() {
    let (dump, mut held) = crossed();
    held.moved.insert(1);
    none(&dump, &held);
}

#[test]
fn a_lock_that_is_free_by_now_is_in_no_circle() {
    let (mut dump, held) = crossed();
    dump.objects[0].kind = ObjectKind::Mutex { locked: false, starving: false, waiters: 1 };
    none(&dump, &held);
}

#[test]
fn a_lock_that_it_has_further_out_on_its_own_stack() {
    let dump = dump(&[LOCK], &[&[(0, W)], &[(0, W)], &[]]);
    let further = Hold { object: 0, goroutine: 0, has: Has::FurtherOut };
    let held = Held { holds: vec![further], ..Held::default() };
    let cycle = one(&dump, &held);
    assert!(cycle.is_closed());
    assert_eq!((cycle.length, cycle.goroutines, cycle.behind), (1, 1, 1));
    // Somebody else has it: nothing is said at all.
    let held =
        Held { holds: vec![further, Hold { goroutine: 2, has: Has::Address, ..further }], ..Held::default() };
    none(&dump, &held);
}

#[test]
fn nobody_known_is_not_nobody() {
    // Goroutine 2 waits for a lock that nobody is known to have.
    none(&dump(&[LOCK, LOCK], &[&[(1, W)], &[(0, W)]]), &held(&[(1, 2)]));
    // Not all that have it are told.
    let (dump, mut held) = crossed();
    held.unnamed.insert(1);
    assert!(!one(&dump, &held).stuck);
}

#[test]
fn sends_to_each_other_and_a_group() {
    let send = |o| [(o, Side::Send)];
    let two = dump(&[CHANNEL, CHANNEL], &[&send(1), &send(0)]);
    assert!(one(&two, &held(&[(0, 1), (1, 2)])).is_closed());
    // Workers send to who waits for them to be done.
    let group = ObjectKind::WaitGroup { counter: 2, waiters: 1 };
    let workers = dump(&[group, CHANNEL], &[&[(0, W)], &send(1), &send(1)]);
    let cycle = one(&workers, &held(&[(1, 1), (0, 2), (0, 3)]));
    assert_eq!((cycle.length, cycle.goroutines), (2, 3));
    // Channels are in circles all the time in programs that are well: not told when somebody can act.
    let pool = dump(&[CHANNEL, CHANNEL], &[&send(1), &send(0), &[]]);
    none(&pool, &held(&[(0, 1), (1, 2), (1, 3)]));
}

#[test]
fn a_select_is_stuck_when_all_its_cases_are() {
    let (send, receive) = (|o| (o, Side::Send), |o| (o, Side::Receive));
    let circle = [(0, 1), (1, 2)];
    let with =
        |third: ObjectKind| dump(&[CHANNEL, CHANNEL, third], &[&[send(1), receive(2)], &[send(0)], &[]]);
    let cycle = one(&with(CHANNEL), &held(&[circle[0], circle[1], (2, 2)]));
    assert_eq!(cycle.steps[0].cases, 2);
    none(&with(CHANNEL), &held(&[circle[0], circle[1], (2, 3)]));
    none(&with(CHANNEL), &held(&circle));
    // What a timer or a context does is on no stack.
    let timer = ObjectKind::Channel { len: 0, cap: 1, closed: false, elem_size: 24, timer: None };
    let done = ObjectKind::Channel { len: 0, cap: 0, closed: false, elem_size: 0, timer: None };
    for other in [timer, done] {
        none(&with(other), &held(&[circle[0], circle[1], (2, 2)]));
    }
}

#[test]
fn one_that_waits_forever_helps_nobody() {
    let (mut dump, mut held) = crossed();
    dump.objects.push(Object::new(0, ObjectKind::Forever));
    dump.goroutines[2].status = Status::Waiting;
    dump.goroutines[2].waits_on = vec![Wait { object: 2, side: W }];
    held.holds.extend([0, 1].map(|object| Hold { object, goroutine: 2, has: Has::Address }));
    assert!(one(&dump, &held).is_closed());
}

#[test]
fn a_long_ring_and_a_crowd_take_no_stack_and_little_time() {
    const N: u32 = 200_000;
    let objects = vec![LOCK; N as usize];
    let waits: Vec<[(u32, Side); 1]> = (0..N).map(|i| [((i + 1) % N, W)]).collect();
    let mut waits: Vec<&[(u32, Side)]> = waits.iter().map(|w| &w[..]).collect();
    let crowd = [(7, W)];
    waits.extend((0..N).map(|_| &crowd[..]));
    let holds: Vec<(u32, u32)> = (0..N).map(|i| (i, i + 1)).collect();
    let cycle = one(&dump(&objects, &waits), &held(&holds));
    assert_eq!((cycle.length, cycle.behind, cycle.steps.len()), (N.into(), N.into(), MAX_STEPS));
}

#[test]
fn more_circles_than_are_told_are_counted() {
    let objects = vec![LOCK; 80];
    let waits: Vec<[(u32, Side); 1]> = (0..80u32).map(|i| [(i ^ 1, W)]).collect();
    let waits: Vec<&[(u32, Side)]> = waits.iter().map(|w| &w[..]).collect();
    let holds: Vec<(u32, u32)> = (0..80).map(|i| (i, i + 1)).collect();
    let (cycles, more) = find(&dump(&objects, &waits), &held(&holds));
    assert_eq!((cycles.len(), more), (MAX_CYCLES, 8));
}

/// The rule as it is written, for each set of goroutines: of everything that its members wait on somebody is known to have
/// it, and all who are known to have it or wait on it are in the set. The goroutines of the largest such set that come
/// back to themselves.
fn by_hand(dump: &Dump, held: &Held) -> Vec<u64> {
    let n = dump.goroutines.len();
    let waits_on = |g: usize, o: u32| dump.goroutines[g].waits_on.iter().any(|w| w.object == o);
    let accused = |o: u32, g: usize| {
        held.holds.iter().any(|h| h.object == o && h.goroutine as usize == g && h.has != Has::Perhaps)
    };
    let fits = |set: usize| {
        (0..n).filter(|g| set >> g & 1 == 1).all(|g| {
            let g = &dump.goroutines[g];
            g.status == Status::Waiting
                && g.waits_on.iter().all(|w| {
                    let o = w.object;
                    let forever = dump.objects[o as usize].kind == ObjectKind::Forever;
                    let known = (0..n).any(|h| accused(o, h));
                    let all = (0..n)
                        .filter(|h| {
                            waits_on(*h, o)
                                || held.holds.iter().any(|x| x.object == o && x.goroutine as usize == *h)
                        })
                        .all(|h| set >> h & 1 == 1);
                    forever || (known && all)
                })
        })
    };
    let stuck = (0..1usize << n).filter(|set| fits(*set)).fold(0, |all, set| all | set);
    let member = |g: usize| stuck >> g & 1 == 1;
    let mut leads = vec![vec![false; n]; n];
    for (g, to) in leads.iter_mut().enumerate() {
        for (h, leads) in to.iter_mut().enumerate() {
            let objects = dump.goroutines[g].waits_on.iter();
            *leads = member(g) && member(h) && objects.clone().any(|w| accused(w.object, h));
        }
    }
    for by in 0..n {
        for g in 0..n {
            for h in 0..n {
                leads[g][h] |= leads[g][by] && leads[by][h];
            }
        }
    }
    (0..n).filter(|g| leads[*g][*g]).map(|g| g as u64 + 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_is_found_if_and_only_if_it_is_there(
        kinds in vec(0..4u8, 1..5),
        waits in vec(vec(any::<proptest::sample::Index>(), 0..3), 1..6),
        holds in vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0..6u8), 0..12),
    ) {
        let objects: Vec<ObjectKind> =
            kinds.iter().map(|k| if *k == 0 { ObjectKind::Forever } else { CHANNEL }).collect();
        let waits: Vec<Vec<(u32, Side)>> = (waits.iter())
            .map(|w| w.iter().map(|i| (i.index(objects.len()) as u32, Side::Send)).collect())
            .collect();
        let waits: Vec<&[(u32, Side)]> = waits.iter().map(|w| &w[..]).collect();
        let dump = dump(&objects, &waits);
        let mut held = Held::default();
        for (object, goroutine, has) in &holds {
            let (object, goroutine) = (object.index(objects.len()) as u32, goroutine.index(waits.len()) as u32);
            let waits = dump.goroutines[goroutine as usize].waits_on.iter().any(|w| w.object == object);
            let has = match (has, waits) {
                (0, _) => Has::Perhaps,
                (_, true) => Has::FurtherOut,
                (_, false) => Has::Address,
            };
            // Nobody has a nil channel.
            if objects[object as usize] != ObjectKind::Forever {
                held.holds.push(Hold { object, goroutine, has });
            }
        }
        let (cycles, more) = find(&dump, &held);
        prop_assert_eq!(more, 0);
        let by_hand = by_hand(&dump, &held);
        prop_assert_eq!(cycles.iter().map(|c| c.goroutines).sum::<u64>(), by_hand.len() as u64);
        for cycle in &cycles {
            prop_assert!(cycle.steps.iter().all(|s| by_hand.contains(&s.goid)));
            // Each step is what it says: the next one has what this one waits on.
            for (n, step) in cycle.steps.iter().enumerate() {
                let next = cycle.steps[(n + 1) % cycle.steps.len()].goid as u32 - 1;
                let has = |h: &Hold| (h.object, h.goroutine) == (step.object, next) && h.has != Has::Perhaps;
                prop_assert!(held.holds.iter().any(has));
            }
        }
    }
}
