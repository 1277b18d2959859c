//! Verdicts over whole worlds: leaks must be named in time, healthy twins never, whatever the chance.

use crate::session::scenario::{NEVER, Rng, World, find, kinds};
use crate::session::snapshot::VerdictKind::{self, Healthy, Leak, Suspect, Unknown};

const SITE: u64 = 3;

fn at_20_and_60(world: &World) -> [VerdictKind; 2] {
    let verdicts = kinds(&world.verdicts(SITE, [20, 60]));
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    [verdicts[0].1, verdicts[1].1]
}

/// With probes and looks, with looks alone, with probes alone.
fn ways(world: &World) -> [World; 3] {
    [world.clone(), World { births_traced: false, ..world.clone() }, World { looks: false, ..world.clone() }]
}

#[test]
fn steady_leaks_are_named_in_time() {
    for (rate, waits, at_20, at_60) in [
        (10.0, "chan send", Leak, Leak),
        (5.0, "chan send", Leak, Leak),
        (1.0, "chan send", Leak, Leak),
        (5.0, "chan receive", Suspect, Leak),
        (5.0, "sync.Mutex.Lock", Suspect, Leak),
        (5.0, "sync.WaitGroup.Wait", Suspect, Leak),
        (1.0, "select", Suspect, Leak),
        (5.0, "sleep", Suspect, Suspect),
        (0.2, "chan receive (nil chan)", Leak, Leak),
    ] {
        let mut world = World::new();
        world.leak(SITE, rate, (0.1, 70.0), waits);
        for (way, world) in ways(&world).iter().enumerate().take(2) {
            assert_eq!(at_20_and_60(world), [at_20, at_60], "{rate}/s in {waits}, way {way}");
        }
    }
}

/// A tenth of the time is watched; a site leaks, and makes many short lives besides; another is a worker pool's.
fn in_windows(until_s: f64) -> World {
    let mut world = World { windows: Some((0.3, 3.0)), ..World::new() };
    let mut rng = Rng(3);
    for i in 0..(until_s * 200.0) as u64 {
        let born = i as f64 / 200.0;
        world.one(5, born, born + rng.exp(0.3), "chan receive");
    }
    world.leak(SITE, 5.0, (0.1, until_s), "chan send");
    world
}

#[test]
fn in_windows_a_leak_is_named_and_the_rest_is_not() {
    let world = in_windows(70.0);
    assert_eq!(kinds(&world.verdicts(SITE, [20, 60])), [(20, Leak), (60, Leak)]);
    assert_eq!(kinds(&world.verdicts(5, [20, 60])), [(20, Healthy), (60, Healthy)]);
    let at_60 = &world.verdicts(SITE, [60])[0].1;
    let share = at_60.evidence.iter().find(|e| e.name == "watch.share").unwrap();
    assert!((share.value - 0.1).abs() < 0.01, "{share:?}");
    assert!(share.text.contains("not for 54 s of it"), "{share:?}");
    assert!(at_60.why.contains("that are known"), "{}", at_60.why);
    let without = World { windows: None, ..world };
    assert!(without.verdicts(SITE, [60])[0].1.evidence.iter().all(|e| e.name != "watch.share"));
}

#[test]
fn in_windows_births_and_lifetimes_are_estimated_and_called_so() {
    let s = in_windows(60.0).watch(60.0);
    let short = find(&s, 5).unwrap();
    let sampled = short.sampled.unwrap();
    assert!((sampled.births_per_s.unwrap() - 200.0).abs() < 10.0, "{sampled:?}");
    assert!(short.born < 200 * 60 * 8 / 10, "not all are known");
    // Exponential with a mean of 0.3 s: the median is 0.21 s. Of those with both ends in a window it would be 0.09 s.
    let lifetimes = short.lifetimes.unwrap();
    assert!((150_000_000..280_000_000).contains(&lifetimes.p50), "{lifetimes:?}");
    assert!(short.verdict.why.contains("of at least"), "{}", short.verdict.why);
    let told = s.looks.disagreements.unwrap();
    assert_eq!((told.births_not_told, told.deaths_not_told), (0, 0), "nothing was to be told");
    assert!(s.totals.found > 0 && s.totals.vanished > 0);
}

#[test]
fn what_neither_probes_nor_looks_tell_is_unknown() {
    let world = World { looks: false, ..in_windows(40.0) };
    let verdict = &world.verdicts(SITE, [30])[0].1;
    assert_eq!(verdict.kind, Unknown);
    assert!(verdict.why.contains("to keep the budget"), "{}", verdict.why);
}

#[test]
fn without_looks_the_place_is_unknown_and_takes_longer() {
    let mut world = World { looks: false, ..World::new() };
    world.leak(SITE, 5.0, (0.1, 130.0), "chan send");
    assert_eq!(kinds(&world.verdicts(SITE, [20, 60, 100])), [(20, Suspect), (60, Suspect), (100, Leak)]);
}

#[test]
fn what_is_missing_is_said_in_seconds() {
    let mut world = World::new();
    world.leak(SITE, 5.0, (0.6, 70.0), "chan receive");
    let verdicts = world.verdicts(SITE, [20, 46]);
    assert_eq!(verdicts[0].1.missing, ["needs 25 s more of the same growth"]);
    assert_eq!(verdicts[1].1.missing, Vec::<String>::new());
    assert!(
        verdicts[1].1.evidence.iter().any(|e| e.name == "growth.slope_per_s" && (e.value - 5.0).abs() < 0.2)
    );
}

#[test]
fn what_is_new_is_not_called_healthy_until_it_has_shown_something() {
    let mut world = World::new();
    // Three servers from before, three workers born at 2 s that stay; a site of short lives.
    (0..3).for_each(|_| world.one(SITE, -60.0, NEVER, "IO wait"));
    (0..3).for_each(|_| world.one(4, 2.0, NEVER, "select"));
    (0..40).for_each(|i| world.one(5, 2.0 + 0.1 * f64::from(i), 2.05 + 0.1 * f64::from(i), "chan send"));
    let at = |seconds: f64, site| find(&world.watch(seconds), site).cloned().unwrap().verdict;
    let early = at(4.2, SITE);
    assert_eq!(early.kind, Unknown);
    assert_eq!(early.missing, ["needs 6 s more to say whether they do"], "{early:?}");
    assert_eq!(early.why, "3 live and none seen to end, in 4 s");
    assert_eq!((at(4.2, 4).kind, at(4.2, 5).kind), (Unknown, Healthy));
    assert_eq!((at(10.5, SITE).kind, at(10.5, 4).kind), (Healthy, Unknown));
    assert_eq!(at(12.5, 4).kind, Healthy);
}

#[test]
fn a_small_part_that_leaks_from_a_busy_site_is_found() {
    let mut world = World::new();
    let mut rng = Rng(7);
    for i in 0..7000 {
        let born = f64::from(i) / 100.0;
        let dies = if i % 20 == 0 { NEVER } else { born + rng.exp(0.01) };
        world.one(SITE, born, dies, "chan send");
    }
    let verdicts = kinds(&world.verdicts(SITE, [20, 60]));
    assert_eq!(verdicts, [(20, Suspect), (60, Leak)], "where others come home, a stall is told from a leak");
}

#[test]
fn a_slow_leak_is_found_on_a_longer_scale() {
    let mut world = World::new();
    world.leak(SITE, 1.0 / 60.0, (0.0, 3600.0), "chan receive");
    let verdicts = kinds(&world.verdicts(SITE, [60, 600, 2400]));
    assert_eq!(verdicts, [(60, Healthy), (600, Healthy), (2400, Leak)]);
}

#[test]
fn old_leaks_that_no_longer_grow_are_suspects_and_a_pool_is_not() {
    for (count, waits, want) in [
        (150, "chan send", Suspect),
        (150, "sync.Mutex.Lock", Suspect),
        (150, "chan receive", Healthy),
        (1500, "chan receive", Suspect),
        (1500, "IO wait", Healthy),
        (20, "chan send", Healthy),
        (1, "chan receive (nil chan)", Suspect),
        (2, "chan receive (nil chan)", Leak),
    ] {
        let mut world = World::new();
        (0..count).for_each(|_| world.one(SITE, -60.0, NEVER, waits));
        let site = find(&world.watch(45.0), SITE).cloned().unwrap();
        assert_eq!(site.verdict.kind, want, "{count} in {waits}: {:?}", site.verdict);
        assert_eq!((site.before, site.live, site.born), (count, count, 0));
    }
}

#[test]
fn the_runtimes_own_and_main_are_never_accused() {
    use crate::event::Event;
    use crate::session::scenario::{start_pc, symbol};
    for (start, system) in [("runtime.gcBgMarkWorker", true), ("runtime.main", false)] {
        let mut world = World::new();
        world.leak(SITE, 20.0, (0.0, 60.0), "chan send");
        let mut session = crate::session::Session::new();
        let events = world.events(60.0).into_iter();
        let not_start = |e: &Event| !matches!(e, Event::Symbol(_, s) if s.pc == start_pc(SITE));
        events.filter(not_start).for_each(|e| session.apply(e));
        session.apply(symbol(start_pc(SITE), start, true));
        let snapshot = session.snapshot();
        let site = find(&snapshot, SITE).unwrap();
        assert_eq!((site.verdict.kind, site.system), (Healthy, system), "{start}");
        assert_eq!(snapshot.totals.live_system > 0, system);
    }
}

#[test]
fn losses_that_could_explain_growth_make_it_unknown_unless_looks_mend_them() {
    let mut busy = World { lost: 0.2, ..World::new() };
    let mut rng = Rng(11);
    for i in 0..2000 {
        let born = f64::from(i) / 20.0;
        busy.one(SITE, born, born + rng.exp(0.5), "chan send");
    }
    let mended = find(&busy.watch(60.0), SITE).cloned().unwrap();
    assert_eq!(mended.verdict.kind, Healthy, "{:?}", mended.verdict);
    assert!(mended.verdict.missing.iter().any(|m| m.contains("were lost")), "{:?}", mended.verdict);
    assert!(mended.live < 60, "looks found who was gone: {}", mended.live);
    let blind = World { looks: false, ..busy };
    let blind = find(&blind.watch(60.0), SITE).cloned().unwrap();
    assert!(blind.live > 150, "without looks the lost deaths stay alive: {}", blind.live);
    assert_eq!(blind.verdict.kind, Unknown, "{:?}", blind.verdict);
}

/// The six shapes of the leak fixtures, with chance in the births and, in every other world, short-lived goroutines of the same
/// `go` statement.
fn leaking_world(shape: usize, seed: u64) -> (World, f64) {
    let mut rng = Rng(seed.wrapping_mul(97) + shape as u64);
    let mut world = World { seed, births_traced: seed % 3 != 1, ..World::new() };
    // A forgotten ticker's goroutine runs now and then; the others never again.
    let (waits, busy) = [
        ("chan send", 0.0),
        ("chan receive", 0.0),
        ("chan receive", 0.05),
        ("sync.WaitGroup.Wait", 0.0),
        ("sync.Mutex.Lock", 0.0),
        ("chan receive (nil chan)", 0.0),
    ][shape];
    let rate = rng.between(1.0, 10.0);
    let mut t = rng.between(-60.0, -1.0);
    while t < 125.0 {
        t += rng.exp(1.0 / rate);
        world.busy(SITE, t, NEVER, waits, busy);
    }
    if seed % 2 == 1 {
        let (rate, mean) = (rng.between(1.0, 15.0), rng.between(0.001, 0.3));
        let mut t = -5.0;
        while t < 125.0 {
            t += rng.exp(1.0 / rate);
            world.one(SITE, t, t + rng.exp(mean), "chan receive");
        }
    }
    (world, rate)
}

#[test]
fn leaks_of_every_shape_are_named_whatever_the_chance() {
    for shape in 0..6 {
        for seed in 0..12 {
            let (world, rate) = leaking_world(shape, seed);
            let verdicts = kinds(&world.verdicts(SITE, [20, 40, 60, 80, 100, 120]));
            let named = verdicts.iter().filter(|v| matches!(v.1, Leak | Suspect)).count();
            let says = format!("shape {shape}, seed {seed}, {rate:.1}/s: {verdicts:?}");
            assert!(named >= 5 && verdicts.iter().skip(3).any(|v| v.1 == Leak), "{says}");
            if rate >= 3.0 && seed % 2 == 0 {
                assert!(matches!(verdicts[0].1, Leak | Suspect), "{says}");
            }
        }
    }
}

/// The rule that `growth` replaces: least squares over 12 points of 5 s; alarm above 1.8 times the median of the past
/// windows' slopes in three windows on end, or above 5/s outright. `live`: a count every 5 s.
fn old_rule_alarms(live: &[f64]) -> bool {
    let slope = |w: &[f64]| {
        let mean = w.iter().sum::<f64>() / 12.0;
        let sxy: f64 = w.iter().enumerate().map(|(i, y)| (i as f64 - 5.5) * (y - mean)).sum();
        sxy / 143.0 / 5.0
    };
    let slopes: Vec<f64> = live.windows(12).map(slope).collect();
    let mut above = 0;
    for (i, s) in slopes.iter().enumerate() {
        let mut past = slopes[..i].to_vec();
        past.sort_by(f64::total_cmp);
        let median = past.get(past.len() / 2).copied().unwrap_or(f64::INFINITY);
        above = if *s > 1.8 * median { above + 1 } else { 0 };
        if above >= 3 || *s > 5.0 {
            return true;
        }
    }
    false
}

#[test]
fn where_the_old_rule_fails_the_new_one_does_not() {
    // A steady leak of one a second is its own median: an hour of it raises no alarm.
    let steady: Vec<f64> = (0..720).map(|i| f64::from(i) * 5.0).collect();
    assert!(!old_rule_alarms(&steady));
    let mut leak = World::new();
    leak.leak(SITE, 1.0, (0.0, 70.0), "chan receive");
    assert_eq!(kinds(&leak.verdicts(SITE, [60])), [(60, Leak)]);
    // A saw-tooth of five minutes, filled at ten a second for 100 s, alarms every time.
    let saw: Vec<f64> = (0..240).map(|i| (f64::from(i % 60) * 5.0).min(100.0) * 10.0).collect();
    assert!(old_rule_alarms(&saw));
    // So does the first filling of a pool that then stays; here it is a suspect while it fills, and healthy after.
    let pool: Vec<f64> = (0..48).map(|i| (f64::from(i) * 5.0).min(40.0) * 10.0).collect();
    assert!(old_rule_alarms(&pool));
    let mut filled = World::new();
    filled.leak(SITE, 10.0, (0.0, 40.0), "chan receive");
    filled.one(9, 100.0, 101.0, "chan receive");
    assert_eq!(kinds(&filled.verdicts(SITE, [30, 70, 100])), [(30, Suspect), (70, Healthy), (100, Healthy)]);
}

/// A healthy world of each shape, with chance in every number.
fn healthy_world(shape: u64, seed: u64) -> World {
    let mut rng = Rng(seed.wrapping_mul(31) + shape);
    let mut world = World { seed, ..World::new() };
    match seed % 6 {
        0 => world.looks = false,
        1 | 2 => world.births_traced = false,
        _ => {}
    }
    let waits = ["chan receive", "select", "IO wait"][(rng.next() % 3) as usize];
    match shape {
        // A worker pool that fills and stays.
        0 => {
            let (n, over) = (rng.between(10.0, 400.0), rng.between(0.01, 25.0));
            let start = rng.between(-10.0, 20.0);
            for i in 0..n as u64 {
                world.busy(SITE, start + over * i as f64 / n, NEVER, waits, rng.between(0.0, 0.5));
            }
        }
        // A burst that drains.
        1 => {
            let (n, at) = (rng.between(50.0, 2000.0), rng.between(-5.0, 40.0));
            let (over, drain) = (rng.between(0.1, 8.0), rng.between(1.0, 40.0));
            let waits = ["chan send", "sync.Mutex.Lock", "chan receive"][(rng.next() % 3) as usize];
            for _ in 0..n as u64 {
                let born = at + rng.between(0.0, over);
                world.one(SITE, born, born + 0.5 + rng.between(0.0, drain), waits);
            }
        }
        // A saw-tooth: a ramp, then all are let go.
        2 => {
            let (period, rate, phase) =
                (rng.between(3.0, 40.0), rng.between(2.0, 30.0), rng.between(0.0, 40.0));
            let mut t = -80.0;
            while t < 130.0 {
                world.one(SITE, t, (((t + phase) / period).floor() + 1.0) * period - phase, waits);
                t += 1.0 / rate;
            }
        }
        // Long-lived server loops, and connections that come and go around a level reached long ago.
        3 => {
            let (mean, rate) = (rng.between(0.05, 60.0), rng.between(0.2, 20.0));
            for _ in 0..(rng.next() % 8) {
                world.one(SITE, -30.0, NEVER, waits);
            }
            let mut t = -5.0 * mean;
            while t < 125.0 {
                t += rng.exp(1.0 / rate);
                world.one(SITE, t, t + rng.exp(mean), waits);
            }
        }
        // A slow warm-up: towards a level, slower and slower.
        _ => {
            let (level, tau) = (rng.between(20.0, 300.0), rng.between(5.0, 25.0));
            for i in 1..level as u64 {
                let t = -tau * (1.0 - i as f64 / level).ln();
                world.busy(SITE, t, NEVER, waits, rng.between(0.0, 0.3));
            }
        }
    }
    world
}

#[test]
fn healthy_twins_are_never_called_a_leak() {
    let (mut suspects, mut asked) = ([0; 5], [0; 5]);
    for shape in 0..5 {
        for seed in 0..42 {
            let world = healthy_world(shape, seed);
            for (second, verdict) in world.verdicts(SITE, (5..=115).step_by(10)) {
                assert_ne!(verdict.kind, Leak, "shape {shape}, seed {seed}, at {second} s: {verdict:#?}");
                if world.looks {
                    asked[shape as usize] += 1;
                    suspects[shape as usize] += u32::from(verdict.kind == Suspect);
                }
            }
        }
    }
    // While it rises, a pool, a saw-tooth or a warm-up may be suspected; a burst or a steady service hardly ever. (Without
    // looks the goroutines alive before are invisible, and a steady service looks like a warm-up.)
    for shape in [1, 3] {
        assert!(
            suspects[shape] * 50 <= asked[shape],
            "shape {shape}: {} of {}",
            suspects[shape],
            asked[shape]
        );
    }
}

#[test]
fn healthy_twins_settle_as_healthy() {
    for (shape, settled_after) in [(0, 90), (1, 90), (4, 150)] {
        for seed in 0..20 {
            let world = healthy_world(shape, seed);
            let verdicts = world.verdicts(SITE, [settled_after]);
            for (second, verdict) in verdicts {
                assert_eq!(verdict.kind, Healthy, "shape {shape}, seed {seed}, at {second} s: {verdict:#?}");
            }
        }
    }
}
