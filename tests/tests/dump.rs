//! A dump from outside says what the program's own full dump (`debug=2`) says: the same goroutines, states, functions,
//! lines and creators, in every release, stripped and not.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::own_dump::{Said, explained, ours, own, parse};
use tests::{Fixture, Running, dump, root_only};
use tracer::dump::{Dump, Fires, Goroutine, ObjectKind, Side, Status};
use xtask::golang;

fn all() -> impl Iterator<Item = &'static str> {
    golang::VERSIONS.into_iter().chain([golang::OLDEST])
}

fn compare(go: &str, fixture: Fixture) -> Result<usize> {
    let mut program = fixture.go(go).start(&[])?;
    let own = own(&mut program)?;
    let ours = ours(program.pid())?;
    let ids = |of: &BTreeMap<u64, Said>| of.keys().copied().collect::<Vec<_>>();
    assert_eq!(ids(&ours), ids(&own), "{go}");
    let differ: Vec<String> = own
        .iter()
        .filter(|(id, said)| !explained(go, **id, said, &ours[id]))
        .map(|(id, said)| format!("{go}: goroutine {id}: itself {said:#?}\nwe {:#?}", ours[id]))
        .collect();
    ensure!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), own.len(), differ.join("\n"));
    Ok(own.len())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn it_says_what_the_program_says_of_itself() -> Result<()> {
    root_only()?;
    let mut failed = Vec::new();
    for go in all() {
        for fixture in [Fixture::new("parked"), Fixture::new("parked").stripped().pie()] {
            match compare(go, fixture) {
                Ok(n) => println!("{go}: {n} goroutines the same"),
                Err(e) => failed.push(format!("{e:#}")),
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

const HUNDRED_HOURS: Duration = Duration::from_secs(100 * 3600);

/// Its dump is of the same moment as ours: nothing runs but the one goroutine that computes.
fn compare_fresh(go: &str, fixture: Fixture) -> Result<usize> {
    let file = tempfile::NamedTempFile::new()?;
    let mut cmd = Command::new(fixture.go(go).build()?);
    cmd.arg(file.path()).env("GOMAXPROCS", "1").env("GODEBUG", "asyncpreemptoff=1");
    let mut program = Running::start_silent(&mut cmd)?;
    program.wait_for("ready")?;
    let own = parse(&fs::read_to_string(file.path())?)?;
    let ours = ours(program.pid())?;
    let ids = |of: &BTreeMap<u64, Said>| of.keys().copied().collect::<Vec<_>>();
    assert_eq!(ids(&ours), ids(&own), "{go}");
    let runnable = own.values().filter(|g| g.state == "runnable]").count();
    ensure!(runnable >= 18, "{go}: only {runnable} have not run: {own:#?}");
    let differ: Vec<String> = own
        .iter()
        .filter(|(id, said)| **id != 1 && **said != ours[id])
        .map(|(id, said)| format!("{go}: goroutine {id}: itself {said:#?}\nwe {:#?}", ours[id]))
        .collect();
    ensure!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), own.len(), differ.join("\n"));
    Ok(runnable)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn goroutines_that_have_not_run_yet() -> Result<()> {
    root_only()?;
    let mut failed = Vec::new();
    for go in all() {
        match compare_fresh(go, Fixture::new("fresh").stripped()) {
            Ok(n) => println!("{go}: {n} runnable goroutines the same"),
            Err(e) => failed.push(format!("{e:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Three write to one connection: one of them waits for room, the others for their turn (`internal/poll.fdMutex`).
fn check_writers(dump: &Dump, peer: &str) -> Result<()> {
    let writers = dump::all_in_function(dump, "main.fills");
    let objects: Vec<_> = writers.iter().map(|g| dump::objects(dump, g)).collect();
    let for_room = |kinds: &&Vec<&ObjectKind>| matches!(kinds[..], [ObjectKind::Descriptor { peer: Some(p), .. }] if p == peer);
    let in_turn = |kinds: &&Vec<&ObjectKind>| kinds[..] == [&ObjectKind::Semaphore { value: 0 }];
    let counted =
        (objects.len(), objects.iter().filter(for_room).count(), objects.iter().filter(in_turn).count());
    ensure!(counted == (3, 1, 2), "{objects:?}");
    let semaphores = dump.objects.iter().filter(|o| matches!(o.kind, ObjectKind::Semaphore { .. }));
    let waiting: Vec<_> = semaphores.map(|o| (o.receivers, o.senders)).collect();
    // It is one, for which both wait.
    ensure!(waiting == [(2, 0)], "{waiting:?}");
    Ok(())
}

/// Who is in a system call is in the one that the kernel says its thread is in.
fn check_threads(dump: &Dump, pid: u32) -> Result<()> {
    /// `read` (arch/x86/entry/syscalls/syscall_64.tbl)
    const READ: &str = "0";
    for function in ["main.readsPipe", "main.main"] {
        let g = dump::in_function(dump, function)?;
        let thread = g.thread.filter(|_| g.status == Status::Syscall).with_context(|| format!("{g:?}"))?;
        // The call's number, then its arguments (proc_pid_syscall(5)).
        let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall"))?;
        let words: Vec<&str> = call.split(' ').collect();
        ensure!(words.len() > 4 && words[0] == READ, "{function}: {call}");
        // It reads stdin, or its pipe, one byte.
        ensure!((words[1] == "0x0") == (function == "main.main"), "{function}: {call}");
        ensure!(function == "main.main" || words[3] == "0x1", "{function}: {call}");
    }
    Ok(())
}

/// What each of `parked`'s goroutines waits on.
fn check_objects(go: &str) -> Result<()> {
    let executable = Fixture::new("parked").go(go).build()?;
    let started = Instant::now();
    let program = Running::start(&executable, &[])?;
    let dump = dump::dump(program.pid(), &executable)?;
    // It says `ready` 200 ms after they began.
    let asleep_for = Duration::from_millis(200)..=started.elapsed();
    let of = |f: &str| {
        let g = dump::in_function(&dump, f)?;
        anyhow::Ok(dump::object(&dump, g)?.clone())
    };
    let channel =
        |len, cap, elem_size| ObjectKind::Channel { len, cap, closed: false, elem_size, timer: None };
    assert_eq!(of("main.sends")?, channel(2, 2, 8));
    let cases = &dump::in_function(&dump, "main.selects")?.waits_on;
    let mut cases: Vec<_> =
        cases.iter().map(|w| (dump.objects[w.object as usize].kind.clone(), w.side)).collect();
    cases.sort_by_key(|(kind, _)| format!("{kind:?}"));
    let never = (channel(0, 0, 0), Side::Receive);
    assert_eq!(cases, [never, (channel(0, 4, 16), Side::Receive), (channel(2, 2, 8), Side::Send)]);
    let receivers = dump::all_in_function(&dump, "main.receives");
    assert_eq!(receivers.len(), 3);
    let empty = &dump.objects[receivers[0].waits_on[0].object as usize];
    assert_eq!((&empty.kind, empty.receivers, empty.senders), (&channel(0, 4, 16), 4, 0));
    let full = &dump.objects[dump::in_function(&dump, "main.sends")?.waits_on[0].object as usize];
    // That of the `select`, too.
    assert_eq!((&full.kind, full.receivers, full.senders), (&channel(2, 2, 8), 0, 2));
    assert_eq!(of("main.locks1")?, ObjectKind::Mutex { locked: true, starving: false, waiters: 2 });
    let held = ObjectKind::RwMutex { readers: 1, writer: true, waiting_for_readers: 0 };
    assert_eq!((of("main.reads")?, of("main.writes")?), (held.clone(), held));
    let readers = ObjectKind::RwMutex { readers: 1, writer: true, waiting_for_readers: 1 };
    assert_eq!(of("main.waitsForReaders")?, readers);
    let conds = dump::all_in_function(&dump, "main.waitsForCond");
    assert_eq!(conds.len(), 2);
    for g in conds {
        assert_eq!(dump::object(&dump, g)?, &ObjectKind::Cond { waiters: 2 });
    }
    assert_eq!(of("main.waitsForGroup")?, ObjectKind::WaitGroup { counter: 2, waiters: 1 });
    assert_eq!(of("main.waitsForOnce")?, ObjectKind::Mutex { locked: true, starving: false, waiters: 1 });
    // Who has the group and is to call Done.
    let group = dump::in_function(&dump, "main.waitsForGroup")?.waits_on[0].object;
    let done = dump::in_function(&dump, "main.endsGroup")?.goid;
    assert_eq!(dump.objects[group as usize].holders, [done]);
    let forever = dump.objects.iter().find(|o| o.kind == ObjectKind::Forever).context("nil channels")?;
    assert_eq!(forever.receivers, 3);

    let descriptor = |f: &str| match of(f)? {
        ObjectKind::Descriptor { fd, peer } => {
            let link = fs::read_link(format!("/proc/{}/fd/{fd}", program.pid()))?;
            ensure!(link.to_string_lossy().starts_with("socket:"), "{fd} is {link:?}");
            peer.context("nothing is known of its peer")
        }
        other => anyhow::bail!("{other:?}"),
    };
    let heard = |word: &str| program.heard(word).map(str::to_owned).context("it says its addresses");
    assert_eq!(descriptor("main.accepts")?, format!("listens on {}", heard("accepts")?));
    assert_eq!(descriptor("main.hears")?, heard("hears")?);
    check_writers(&dump, &heard("hears")?)?;
    check_threads(&dump, program.pid())?;

    let sound = |fires: Option<Fires>| {
        let Some(Fires::In(ns)) = fires else { return false };
        HUNDRED_HOURS
            .checked_sub(Duration::from_nanos(ns.unsigned_abs()))
            .is_some_and(|passed| ns > 0 && asleep_for.contains(&passed))
    };
    let sleeps = of("main.sleeps")?;
    ensure!(
        matches!(sleeps, ObjectKind::Timer { fires } if sound(Some(fires))),
        "{sleeps:?}, {asleep_for:?}"
    );
    let timer = |f: &str| match of(f)? {
        ObjectKind::Channel { cap: 1, timer, .. } => anyhow::Ok(timer),
        other => anyhow::bail!("{other:?}"),
    };
    // Before Go 1.23 a channel does not know of its timer.
    let timers = ["main.hearsTimer", "main.hearsTicker", "main.hearsStopped"];
    let [after, ticker, stopped] = [timer(timers[0])?, timer(timers[1])?, timer(timers[2])?];
    if ["1.19.", "1.21.", "1.22."].iter().any(|old| go.starts_with(old)) {
        assert_eq!([after, ticker, stopped], [None; 3]);
    } else {
        ensure!(sound(after) && sound(ticker), "{after:?}, {ticker:?}, {asleep_for:?}");
        assert_eq!(stopped, Some(Fires::Not));
    }

    let labelled: Vec<_> = dump.goroutines.iter().filter_map(|g| dump.labels(g)).collect();
    let labels = [("path", "/a b"), ("tenant", "blue")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(labelled, [&BTreeMap::from(labels)]);
    let locked: Vec<_> = dump.goroutines.iter().filter(|g| g.locked).collect();
    assert_eq!(locked.len(), 1);
    let thread = locked[0].thread.context("it is locked to a thread")?;
    assert!(fs::exists(format!("/proc/{}/task/{thread}", program.pid()))?);

    let found_elsewhere = |g: &&Goroutine| matches!(dump.reason(g).as_deref(), Some("coroutine"));
    let unknown: Vec<_> = dump
        .goroutines
        .iter()
        .filter(|g| !g.system && g.waits_on.is_empty() && g.status == Status::Waiting)
        .filter(|g| !found_elsewhere(g))
        .map(|g| (dump.reason(g), dump::functions(&dump, g)))
        .collect();
    ensure!(unknown.is_empty(), "{unknown:?}");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_each_goroutine_waits_on() -> Result<()> {
    root_only()?;
    all().try_for_each(|go| check_objects(go).with_context(|| go.to_owned()))
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn of_many_descriptors_it_is_the_right_one() -> Result<()> {
    root_only()?;
    let executable = Fixture::new("parked").build()?;
    let program = Running::start(&executable, &["-files", "300"])?;
    let dump = dump::dump(program.pid(), &executable)?;
    let ObjectKind::Descriptor { fd, peer } = dump::object(&dump, dump::in_function(&dump, "main.accepts")?)?
    else {
        anyhow::bail!("no descriptor");
    };
    let peer = peer.as_deref().context("nothing is known of the listener")?;
    // Not told by number alone: the files are opened before the sockets are.
    ensure!(*fd > 300 && peer.starts_with("listens on 127.0.0.1:"), "{fd}: {peer}");
    Ok(())
}

/// In a bubble of `testing/synctest` times are of its own clock.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn of_a_bubble_no_time_is_told() -> Result<()> {
    root_only()?;
    for go in ["1.25.5", golang::DEFAULT, "1.27.3"] {
        let executable = Fixture::new("bubble").go(go).build()?;
        let program = Running::start(&executable, &[])?;
        let dump = dump::dump(program.pid(), &executable)?;
        let kind = |f: &str| {
            let g = dump::in_function(&dump, f)?;
            anyhow::Ok(dump::object(&dump, g)?.clone())
        };
        assert_eq!(kind("main.sleeps")?, ObjectKind::Timer { fires: Fires::Unknown }, "{go}");
        let channel = kind("main.hearsTimer")?;
        ensure!(
            matches!(channel, ObjectKind::Channel { timer: Some(Fires::Unknown), .. }),
            "{go}: {channel:?}"
        );
    }
    Ok(())
}

/// The runtime notes the end of the collection before the one that found a goroutine waiting: it may not have been there.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn nobody_is_said_to_wait_for_longer_than_it_does() -> Result<()> {
    root_only()?;
    for go in [golang::OLDEST, "1.24.11", "1.27.3"] {
        let executable = Fixture::new("since").go(go).build()?;
        let program = Running::start(&executable, &[])?;
        let begun = Instant::now();
        let dump = dump::dump(program.pid(), &executable)?;
        let (early, late) = (dump::in_function(&dump, "main.early")?, dump::in_function(&dump, "main.late")?);
        let least = early.since.ns().with_context(|| format!("{go}: {:?}", early.since))?;
        ensure!(least > 1_900_000_000, "{go}: {least}");
        // The runtime's own word is wrong: the test would see it.
        let said = late.runtime_since.with_context(|| go.to_owned())?;
        ensure!(said > 2_000_000_000, "{go}: {said}");
        let limit = 1_000_000_000 + begun.elapsed().as_nanos() as u64;
        ensure!(late.since.ns().is_none_or(|ns| ns < limit), "{go}: {:?}", late.since);
    }
    Ok(())
}
