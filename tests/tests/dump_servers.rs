//! Published servers, stripped as distributions ship them, give their own full dump (`debug=2`) over HTTP. Ours, taken between
//! two of those, says the same of every goroutine that was at rest from the first to the second.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::own_dump::{Between, parse};
use tests::real::{PROGRAMS, Program, Started};
use tests::{root_only, rows};
use xtask::table::ALL_VAR;

const ROUNDS: usize = 10;
const ROUNDS_AT_REST: usize = 5;

/// What became of the goroutines of some rounds.
#[derive(Debug, Default)]
struct Seen {
    at_rest: usize,
    /// Who has the same stack in both of its own dumps and another one in ours may have woken and gone to sleep again. That
    /// cannot be seen, so there may be few of them.
    moved: Vec<String>,
    /// They came and went between its own dumps.
    only_ours: usize,
    only_its: usize,
}

impl Seen {
    fn take(&mut self, go: &str, server: &Started) -> Result<()> {
        let own = || parse(&server.own_dump()?);
        let between = Between::take(server.pid(), own)?;
        ensure!(!between.at_rest.is_empty(), "nothing is at rest");
        self.at_rest += between.at_rest.len();
        self.only_ours += between.only_ours().len();
        self.moved.extend(
            between
                .differences(go)
                .into_iter()
                .map(|(id, own, ours)| format!("goroutine {id}: itself {own:#?}\nwe {ours:#?}")),
        );
        // Who writes the dump, and who reads from that connection.
        for (id, said) in between.before.iter().filter(|(id, _)| !between.ours.contains_key(id)) {
            let serves = said.frames.iter().any(|f| f.contains("net/http."));
            ensure!(serves, "only the server has goroutine {id}: {said:#?}");
            self.only_its += 1;
        }
        Ok(())
    }

    fn check(&self, most: usize) -> Result<()> {
        let few = &self.moved[..self.moved.len().min(3)];
        ensure!(self.moved.len() <= most, "{} of {}:\n{}", self.moved.len(), self.at_rest, few.join("\n"));
        Ok(())
    }
}

/// The server and its Go's version, or nothing where this machine cannot run it.
fn started(program: &Program) -> Result<Option<(Started, String)>> {
    let (executable, name) = program.fetch()?;
    if let Some(why) = program.cannot_run(&executable)? {
        println!("{name}: {why}");
        return Ok(None);
    }
    let go = rows::go_version(&executable)?;
    let go = go.strip_prefix("go").context("a Go version")?.to_owned();
    Ok(Some((program.start(&executable)?, go)))
}

/// Nobody asks it for anything but dumps.
fn at_rest(program: &Program) -> Result<bool> {
    let Some((server, go)) = started(program)? else { return Ok(false) };
    let mut seen = Seen::default();
    for _ in 0..ROUNDS_AT_REST {
        seen.take(&go, &server)?;
    }
    println!(
        "{}, Go {go}: {} goroutines at rest, {} moved, only ours {}, only its own {}",
        program.name(),
        seen.at_rest,
        seen.moved.len(),
        seen.only_ours,
        seen.only_its
    );
    // It has timers.
    seen.check(1)?;
    Ok(true)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn servers_at_rest() -> Result<()> {
    root_only()?;
    let all = std::env::var_os(ALL_VAR).is_some();
    let mut failed = Vec::new();
    let mut ran = 0;
    for program in PROGRAMS.iter().filter(|p| p.dumps_itself() && (all || p.always)) {
        match at_rest(program) {
            Ok(here) => ran += usize::from(here),
            Err(e) => failed.push(format!("{}: {e:#}", program.name())),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(ran >= 3, "only {ran} of them run here");
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_server_under_light_load() -> Result<()> {
    root_only()?;
    let is_it = |p: &&Program| p.always && p.dumps_itself() && p.name().starts_with("prometheus");
    let program = PROGRAMS.iter().find(is_it).context("there is no prometheus")?;
    let Some((server, go)) = started(program)? else { return Ok(()) };
    let over = AtomicBool::new(false);
    let mut seen = Seen::default();
    let requests: Result<usize> = thread::scope(|scope| {
        let asks = || {
            let mut requests = 0;
            while !over.load(Relaxed) {
                server.request()?;
                requests += 1;
                thread::sleep(Duration::from_millis(5));
            }
            anyhow::Ok(requests)
        };
        let loads = [scope.spawn(asks), scope.spawn(asks)];
        let rounds = (0..ROUNDS).try_for_each(|_| seen.take(&go, &server));
        over.store(true, Relaxed);
        let mut requests = 0;
        for load in loads {
            requests += load.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))?;
        }
        rounds.map(|()| requests)
    });
    let requests = requests?;
    println!(
        "{}, Go {go}, {requests} requests: {} goroutines at rest, {} moved, only ours {}",
        program.name(),
        seen.at_rest,
        seen.moved.len(),
        seen.only_ours
    );
    ensure!(requests > 20, "that was no load");
    // Who accepts connections sleeps and wakes; of all of them, 2 in 1,648 did at the wrong moment (measured).
    seen.check(seen.at_rest / 50)
}
