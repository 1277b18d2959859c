use super::*;
use crate::dump::Trace;
use crate::output::diff::fixture::{census, fixture, main_goroutine, position, site, system, unnamed};
use crate::output::dump::fixture as dumps;
use crate::output::fixture as sessions;

/// Change, growth and line of each row.
fn told(before: &Census, after: &Census) -> Vec<(Change, i64, Option<u32>)> {
    let rows = diff(before, after).rows;
    rows.iter().map(|r| (r.change(), r.growth(), r.site().and_then(|s| s.created.line))).collect()
}

fn rebuilt(sites: Vec<Site>) -> Census {
    Census { build_id: "ffff".into(), ..census(sites) }
}

#[test]
fn the_largest_growth_first() {
    let before = census(vec![
        site("main.a", 1, 5),
        site("main.b", 2, 5),
        site("main.c", 3, 5),
        site("main.d", 4, 5),
        site("main.e", 5, 9),
    ]);
    let after = census(vec![
        site("main.a", 1, 6),
        site("main.b", 2, 25),
        site("main.d", 4, 5),
        site("main.e", 5, 1),
        site("main.f", 6, 7),
    ]);
    let expected = [
        (Change::Grew, 20, Some(2)),
        (Change::Appeared, 7, Some(6)),
        (Change::Grew, 1, Some(1)),
        (Change::Shrank, -8, Some(5)),
        (Change::Vanished, -5, Some(3)),
        (Change::Unchanged, 0, Some(4)),
    ];
    assert_eq!(told(&before, &after), expected);
}

#[test]
fn the_directory_and_the_process_do_not_matter() {
    let before = census(vec![site("main.a", 1, 5), main_goroutine()]);
    let mut after = before.clone();
    after.pid = 7;
    after.sites[0].created.file = Some("/other/main.go".into());
    // The runtime's start code is not where it was.
    after.sites[1].created.line = Some(1);
    assert!(diff(&before, &after).rows.iter().all(|r| r.change() == Change::Unchanged));
    after.sites[0].created.file = Some("/src/api/other.go".into());
    assert_eq!(told(&before, &after).len(), 3);
}

#[test]
fn another_started_function_is_another_site() {
    let before = census(vec![site("main.a", 1, 5)]);
    let mut after = before.clone();
    after.sites[0].started = Some("main.b".into());
    assert_eq!(told(&before, &after), [(Change::Appeared, 5, Some(1)), (Change::Vanished, -5, Some(1))]);
}

#[test]
fn a_moved_line_is_one_site() {
    let before = census(vec![site("main.a", 1, 5)]);
    let after = rebuilt(vec![site("main.a", 3, 8)]);
    let diff = diff(&before, &after);
    let [row] = &diff.rows[..] else { panic!("{:?}", diff.rows) };
    assert_eq!((row.change(), row.growth(), row.moved_from()), (Change::Grew, 3, Some(1)));
    assert!(!row.ambiguous && diff.notes.iter().any(|n| n.code == note::OTHER_BUILD));
}

#[test]
fn lines_of_one_build_do_not_move() {
    let before = census(vec![site("main.a", 1, 5)]);
    let after = census(vec![site("main.a", 3, 5)]);
    assert_eq!(told(&before, &after), [(Change::Appeared, 5, Some(3)), (Change::Vanished, -5, Some(1))]);
    // An unknown build may be another one.
    let after = Census { build_id: String::new(), ..after };
    assert_eq!(told(&before, &after), [(Change::Unchanged, 0, Some(3))]);
    assert!(diff(&before, &after).notes.iter().any(|n| n.code == note::BUILD_UNKNOWN));
}

#[test]
fn what_may_have_moved_to_several_lines_is_said() {
    let before = census(vec![site("main.a", 1, 5), site("main.b", 9, 1)]);
    let after = rebuilt(vec![site("main.a", 3, 5), site("main.a", 4, 5), site("main.b", 9, 1)]);
    let d = diff(&before, &after);
    let changes: Vec<_> = d.rows.iter().map(|r| (r.change(), r.moved, r.ambiguous)).collect();
    let expected = [
        (Change::Appeared, false, true),
        (Change::Appeared, false, true),
        (Change::Vanished, false, true),
        (Change::Unchanged, false, false),
    ];
    assert_eq!(changes, expected);
    // The same line is no proof either when its neighbours moved.
    let before = census(vec![site("main.a", 1, 5), site("main.a", 3, 1)]);
    let after = rebuilt(vec![site("main.a", 3, 5), site("main.a", 5, 1)]);
    assert!(diff(&before, &after).rows.iter().all(|r| r.ambiguous && !r.moved));
    // All where they were: nothing to doubt.
    let after = rebuilt(before.sites.clone());
    assert!(diff(&before, &after).rows.iter().all(|r| !r.ambiguous));
    // The function is gone, or new: nothing that it could have become.
    assert!(diff(&before, &rebuilt(vec![])).rows.iter().all(|r| !r.ambiguous && !r.moved));
}

#[test]
fn a_change_within_what_may_be_missing_is_no_evidence() {
    let before = census(vec![site("main.a", 1, 5), site("main.b", 2, 5), site("main.c", 3, 5)]);
    let after = census(vec![site("main.a", 1, 8), site("main.b", 2, 9), site("main.c", 3, 5)]);
    let gap = |count, counts| Gap { cause: "unsettled", count, counts, meaning: "" };
    let doubted = |gaps| {
        let before = Census { gaps, ..before.clone() };
        diff(&before, &after).rows.iter().map(|r| r.within_gaps).collect::<Vec<_>>()
    };
    assert_eq!(doubted(vec![]), [false; 3]);
    assert_eq!(doubted(vec![gap(3, true)]), [false, true, false]);
    assert_eq!(doubted(vec![gap(2, true)]), [false; 3]);
    assert_eq!(doubted(vec![gap(2, true), gap(u64::MAX, true)]), [true, true, false]);
    assert_eq!(doubted(vec![gap(100, false)]), [false; 3]);
}

#[test]
fn only_the_programs_own_growth_counts() {
    let before = census(vec![site("main.a", 1, 5), system(1)]);
    let after = census(vec![site("main.a", 1, 8), system(100)]);
    let diff = diff(&before, &after);
    assert_eq!((diff.after.own(), diff.after.system()), (8, 100));
    let grown = |by| diff.grown(by).count();
    assert_eq!((grown(2), grown(3), grown(4), grown(u64::MAX)), (1, 1, 0, 0));
}

#[test]
fn no_goroutine_is_counted_twice_or_lost() {
    let (before, after) = fixture();
    for (a, b) in [(&before, &after), (&after, &before), (&before, &before)] {
        let diff = diff(a, b);
        let sum = |of: fn(&Row<'_>) -> u64| diff.rows.iter().map(of).sum::<u64>();
        assert_eq!((sum(|r| r.was()), sum(|r| r.now())), (a.own() + a.system(), b.own() + b.system()));
        assert!(diff.rows.iter().all(|r| r.site().is_some()));
    }
}

#[test]
fn an_hour_is_an_hour_and_unknown_is_unknown() {
    let (before, mut after) = fixture();
    let rate = |after: &Census| diff(&before, after).per_hour(120);
    assert_eq!(rate(&after), Some(60.0));
    after.at_unix_ns = None;
    assert_eq!(rate(&after), None);
    after.at_unix_ns = before.at_unix_ns;
    assert_eq!(rate(&after), None);
    let notes = diff(&before, &after).notes;
    assert!(notes.iter().any(|n| n.code == note::NOT_LATER));
}

#[test]
fn other_programs_and_other_filters_are_refused() {
    let (before, after) = fixture();
    assert_eq!(refusal(&before, &after), None);
    let other = Census { main_package: "example.com/b".into(), ..after.clone() };
    let refused = refusal(&before, &other).unwrap();
    assert_eq!(refused.to_string(), "they are of different programs: `example.com/api` and `example.com/b`");
    assert_eq!(diff(&before, &other).notes[0].code, note::OTHER_PROGRAM);
    let unknown = Census { main_package: String::new(), ..after.clone() };
    assert_eq!(refusal(&before, &unknown), None);
    assert!(diff(&before, &unknown).notes.iter().any(|n| n.code == note::PROGRAM_UNKNOWN));
    let filtered = |of: &Census, by: &[&str]| Census {
        filters: by.iter().map(|f| (*f).to_owned()).collect(),
        ..of.clone()
    };
    let refused = refusal(&before, &filtered(&after, &["state=chan"])).unwrap();
    assert_eq!(refused.to_string(), "they count different goroutines: all and those with `state=chan`");
    let (a, b) = (filtered(&before, &["x=1", "y=2"]), filtered(&after, &["y=2", "x=1"]));
    assert_eq!(refusal(&a, &b), None);
    assert!(diff(&a, &b).notes.iter().any(|n| n.code == note::FILTERED));
}

#[test]
fn a_dump_is_counted_whole() {
    let dump = dumps::fixture();
    let census = Census::of_dump(&dump, &[]);
    assert_eq!(census.own() + census.system(), dump.goroutines.len() as u64);
    assert_eq!(census.system(), 1);
    let find = |function: &str, started: &str| {
        let mut all = census.sites.iter().filter(|s| {
            s.created.function.as_deref() == Some(function) && s.started.as_deref() == Some(started)
        });
        all.next().cloned().unwrap()
    };
    // Ten wait, one of them has moved, one has no stack, one runs.
    let workers = find("main.main", "main.worker");
    assert_eq!(workers.created, position("main.main", "/src/app/main.go", 21));
    assert_eq!(workers.waits_at, Some(position("main.(*queue).put", "/src/app/queue.go", 31)));
    assert_eq!(workers.states[0], ("chan send".to_owned(), 6));
    assert_eq!(workers.states.iter().map(|(_, n)| n).sum::<u64>(), workers.live);
    // What an inlined call creates, and a wrapper starts.
    let pool = find("main.(*pool).add", "main.(*pool).run");
    assert_eq!((pool.live, pool.role), (2, Role::Program));
    assert_eq!(pool.waits_at, Some(position("main.(*pool).run", "/src/app/pool.go", 17)));
    let main: Vec<_> = census.sites.iter().filter(|s| s.role == Role::Main).collect();
    assert_eq!(main.len(), 1);
    assert_eq!(census.uncertain(), 3);
    let causes: Vec<_> = census.gaps.iter().map(|g| (g.cause, g.count, g.counts)).collect();
    let expected =
        [("unreadable", 1, true), ("unsettled", 2, true), ("moving", 1, false), ("no-stack", 1, false)];
    assert_eq!(causes, expected);
}

#[test]
fn addresses_do_not_matter() {
    let dump = dumps::fixture();
    let mut moved = dump.clone();
    let by = |pc: &mut u64| *pc += if *pc == 0 { 0 } else { 0x1000_0000 };
    for g in &mut moved.goroutines {
        by(&mut g.gopc);
        by(&mut g.start_pc);
    }
    for stack in &mut moved.stacks {
        stack.pcs.iter_mut().for_each(|pc| by(&mut pc.pc));
    }
    moved.places.0 = std::mem::take(&mut moved.places.0)
        .into_iter()
        .map(|(mut pc, place)| {
            by(&mut pc.pc);
            (pc, place)
        })
        .collect();
    assert_eq!(Census::of_dump(&moved, &[]), Census::of_dump(&dump, &[]));
}

#[test]
fn a_session_is_counted_as_it_is() {
    let session = sessions::fixture();
    let census = Census::of_session(&session);
    let live = |system| session.sites.iter().filter(|s| s.system == system).map(|s| s.live).sum::<u64>();
    assert_eq!((census.own(), census.system()), (live(false), live(true)));
    let (began, watched) = (session.started_unix_ns.unwrap(), session.watched_ns);
    assert_eq!(census.at_unix_ns, Some(began + watched));
    // An address is no name.
    assert!(census.sites.iter().any(|s| s.created == Position::default() && s.started.is_none()));
    let losses = session.losses.iter().map(|l| l.cause);
    assert!(losses.eq(census.gaps.iter().map(|g| g.cause).filter(|c| *c != "born-unidentified")));
    let mut lossy = session;
    lossy.losses = vec![crate::session::snapshot::Loss {
        cause: "sched-ring-full",
        count: 7,
        from_ns: 0,
        to_ns: 1,
        meaning: "",
    }];
    lossy.totals.born_unidentified = 2;
    assert_eq!(Census::of_session(&lossy).uncertain(), 2);
}

#[test]
fn unnamed_statements_are_together_and_of_the_program() {
    let mut dump = dumps::fixture();
    let own = Census::of_dump(&dump, &[]).own();
    dump.places = crate::dump::Places::default();
    for g in &mut dump.goroutines {
        g.trace = Trace::Running;
    }
    let census = Census::of_dump(&dump, &[]);
    // The runtime's own stay apart.
    assert_eq!((census.own(), census.sites.len()), (own, 2), "{:?}", census.sites);
    let own = census.sites.iter().find(|s| s.role == Role::Program);
    assert_eq!(own.map(Site::key), Some(unnamed(1).key()));
}
