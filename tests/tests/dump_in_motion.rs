//! While a program does everything that makes reading its stacks go wrong, no stack that we call whole is wrong.
//!
//! `GOSTRAY_SOAK=10m` (with `cargo xtask test in_motion`) runs for that long with each of three Go releases; by default it is
//! a few seconds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tests::fixtures::PATIENCE;
use tests::{Fixture, Running, dump, root_only, soak};
use tracer::dump::{Dump, Goroutine, Status, Trace};
use tracer::source::dump::{Looks, Subject, take};
use xtask::golang;

/// Goroutines of each path that park for good, the i-th with `i % DEPTHS + 1` frames of its own.
const STILL: usize = 200;
const DEPTHS: usize = 60;
/// Lines that the program is sent, and how many goroutines it starts for each.
const LINES: u64 = 4;
const PER_LINE: u64 = 1_000;

/// What became of the goroutines of many dumps.
#[derive(Debug, Default)]
struct Seen {
    dumps: u64,
    whole: u64,
    /// Of them, those whose truth is known: a function of one of the two paths is on the stack.
    known: u64,
    /// Of them, those that do not park for good.
    lively: u64,
    partial: u64,
    moving: u64,
    running: u64,
    none: u64,
    unsettled: u64,
    unreadable: u64,
    retries: u64,
    doubted: u64,
    by_state: BTreeMap<String, u64>,
    by_kind: BTreeMap<String, u64>,
    /// Most and fewest entries of the runtime's list.
    entries: Option<(u64, u64)>,
    /// By goid, how many frames those have that park for good.
    depths: HashMap<u64, (char, usize)>,
    /// Of them, those that were not whole in a dump.
    not_whole: u64,
    /// By goid, the size of its stack when it was read last.
    sizes: HashMap<u64, u64>,
    shrunk: u64,
}

impl Seen {
    fn take(&mut self, subject: &Subject<'_>, dump: &Dump) -> Result<()> {
        self.dumps += 1;
        self.unsettled += dump.counts.unsettled;
        self.unreadable += dump.counts.unreadable;
        self.retries += dump.counts.retries;
        self.doubted += dump.counts.doubted;
        let entries = dump.counts.entries;
        let (most, fewest) = self.entries.unwrap_or((entries, entries));
        self.entries = Some((most.max(entries), fewest.min(entries)));
        let mut goids = HashSet::new();
        let known_deep = self.depths.len();
        let mut deep = 0;
        for g in &dump.goroutines {
            ensure!(goids.insert(g.goid), "goroutine {} twice in one dump", g.goid);
            match &g.trace {
                Trace::Whole(_) => {
                    self.whole += 1;
                    if let Some(told) = check(dump, g)? {
                        deep += usize::from(told == "deep");
                        self.enter(subject, dump, g, told)?;
                    }
                }
                Trace::Partial { .. } => self.partial += 1,
                Trace::Moving => self.moving += 1,
                Trace::Running => self.running += 1,
                Trace::None { .. } => self.none += 1,
            }
        }
        self.not_whole += known_deep.saturating_sub(deep) as u64;
        Ok(())
    }

    /// One whose truth is known and whose stack is as it must be.
    fn enter(&mut self, subject: &Subject<'_>, dump: &Dump, g: &Goroutine, kind: &str) -> Result<()> {
        self.known += 1;
        *self.by_kind.entry(kind.to_owned()).or_default() += 1;
        self.lively += u64::from(!["Rest", "deep"].contains(&kind));
        *self.by_state.entry(dump.reason(g).unwrap_or_else(|| g.status.name())).or_default() += 1;
        if kind == "deep" && g.status == Status::Waiting {
            let told: Vec<Told<'_>> = names(dump, g).into_iter().filter_map(told).collect();
            let depth = (told[0].letter, told.len());
            let before = self.depths.insert(g.goid, depth);
            ensure!(
                before.is_none_or(|before| before == depth),
                "goroutine {}: {before:?}, {depth:?}",
                g.goid
            );
        }
        if ["Rest", "Grow"].contains(&kind) {
            let mut bounds = [0; 16];
            subject.memory.read(g.g + u64::from(subject.layout.kernel.g_stack_lo), &mut bounds)?;
            let [lo, hi] =
                [0, 8].map(|at| u64::from_le_bytes(bounds[at..at + 8].try_into().unwrap_or_default()));
            // Else it was moved between the two words.
            if let Some(size) = hi.checked_sub(lo).filter(|size| size.is_power_of_two()) {
                let before = self.sizes.insert(g.goid, size);
                self.shrunk += u64::from(before.is_some_and(|before| size < before));
            }
        }
        Ok(())
    }

    /// What has not been seen and must be.
    fn lacks(&self, go: &str) -> Option<String> {
        if self.entries.is_none_or(|(most, fewest)| most < fewest + LINES * PER_LINE) {
            return Some("the list of goroutines has not grown".to_owned());
        }
        if self.shrunk == 0 {
            return Some("no stack has shrunk".to_owned());
        }
        // Go 1.19 has no word of its own for a lock, and neither it nor Go 1.22 has `iter.Pull`.
        let old = go == golang::OLDEST;
        let lock = if old { "semacquire" } else { "sync.Mutex.Lock" };
        let states = ["chan send", "chan receive", "sleep", lock, "syscall", "runnable"];
        let kinds =
            ["Chan", "Recv", "Sched", "Nap", "Lock", "Sys", "Grow", "Serve", "Rest", "deep", "born", "yield"];
        let state = states.into_iter().find(|s| !self.by_state.contains_key(*s));
        let kind = || kinds.into_iter().find(|k| !(self.by_kind.contains_key(*k) || old && *k == "yield"));
        state.or_else(kind).map(|what| format!("none was in `{what}`"))
    }

    fn depths_are_the_programs(&self) -> Result<()> {
        let mut seen: Vec<(char, usize)> = self.depths.values().copied().collect();
        let mut made: Vec<(char, usize)> =
            (0..STILL).flat_map(|i| ['A', 'B'].map(|letter| (letter, i % DEPTHS + 1))).collect();
        seen.sort_unstable();
        made.sort_unstable();
        ensure!(seen == made, "frames of those that park for good: {seen:?}");
        Ok(())
    }
}

/// Shares of all goroutines that were read.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.whole + self.partial + self.moving + self.running + self.none;
        let percent = |n: u64| format!("{:.4} %", n as f64 * 100.0 / all.max(1) as f64);
        let (most, fewest) = self.entries.unwrap_or_default();
        writeln!(f, "{} dumps, {all} goroutines of {fewest} to {most} entries", self.dumps)?;
        for (what, n) in [
            ("whole", self.whole),
            ("whose truth is known", self.known),
            ("of them, lively", self.lively),
            ("running", self.running),
            ("moving", self.moving),
            ("partial", self.partial),
            ("none", self.none),
            ("retried", self.retries),
            ("unsettled", self.unsettled),
            ("unreadable", self.unreadable),
            ("doubted", self.doubted),
            ("parked for good and not whole", self.not_whole),
            ("shrunk since they were read last", self.shrunk),
        ] {
            writeln!(f, "  {what}: {n}, {}", percent(n))?;
        }
        write!(f, "  {:?}\n  {:?}", self.by_state, self.by_kind)
    }
}

/// What the name of one of the program's functions tells.
#[derive(Clone, Copy, Debug)]
struct Told<'n> {
    letter: char,
    kind: &'n str,
    /// 1 is called first; of `grow` it is the rest of division by three of the calls that follow; `deep` has none.
    step: u32,
}

fn told(function: &str) -> Option<Told<'_>> {
    let name = function.strip_prefix("main.")?;
    for prefix in ["path", "yield", "grow", "deep", "bornEnd", "born"] {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let letter = rest.chars().next().filter(|c| matches!(c, 'A' | 'B'))?;
        let rest = &rest[1..];
        let step = rest.chars().last().and_then(|c| c.to_digit(10)).unwrap_or(0);
        let kind = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        return Some(match prefix {
            "path" => Told { letter, kind, step },
            "bornEnd" => Told { letter, kind: "born", step: 2 },
            "born" => Told { letter, kind: "born", step: 1 },
            _ => Told { letter, kind: prefix, step },
        });
    }
    None
}

fn names<'d>(dump: &'d Dump, g: &Goroutine) -> Vec<&'d str> {
    let pcs = dump.stack(g).map_or(&[][..], |s| &s.pcs);
    let places = pcs.iter().filter_map(|pc| dump.places.at(*pc));
    // What the compiler makes of a `go` statement with arguments is no function of the program's; what is inlined there is.
    let frames =
        places.flat_map(|p| &p.frames[..p.frames.len() - usize::from(p.wrapper && !p.frames.is_empty())]);
    frames.map(|f| f.function.as_str()).collect()
}

/// What the goroutine does, if a function of one of the paths is on its stack, which then must be one that the program can
/// have: the functions stand in the order that they call each other in, with nothing between them; who waits is in the step
/// that waits; below them are those that call the first; and all ends where all stacks end.
fn check<'d>(dump: &'d Dump, g: &Goroutine) -> Result<Option<&'d str>> {
    let names = names(dump, g);
    let wrong =
        |why: &str| Err(anyhow::anyhow!("goroutine {} ({}): {why}: {names:?}", g.goid, dump.state(g)));
    let left_out = dump.stack(g).is_some_and(|s| s.left_out.is_some());
    if names.last() != Some(&"runtime.goexit") || left_out {
        return wrong("a stack that is not whole");
    }
    let Some(from) = names.iter().position(|n| told(n).is_some()) else { return Ok(None) };
    let path: Vec<Told<'d>> = names[from..].iter().map_while(|n| told(n)).collect();
    let callers = &names[from + path.len()..];
    let Told { letter, .. } = path[0];
    if callers.iter().any(|n| told(n).is_some()) || path.iter().any(|t| t.letter != letter) {
        return wrong("two paths");
    }
    // In a system call, too, it stands in the step that makes it.
    let waits = matches!(g.status, Status::Waiting | Status::Leaked | Status::Syscall);
    let coroutine = dump.reason(g).as_deref() == Some("coroutine");
    if matches!(g.status, Status::Waiting | Status::Leaked) && !coroutine && names[0] != "runtime.gopark" {
        return wrong("it waits elsewhere than in gopark");
    }
    let grown = path.iter().take_while(|t| t.kind == "grow").count();
    let (grow, steps) = path.split_at(grown);
    if let Some(last) = grow.last() {
        let counts = grow.windows(2).all(|w| w[1].step == (w[0].step + 1) % 3);
        let all = steps.first().is_some_and(|t| (t.kind, t.step) == ("Grow", 3));
        if !counts || last.step != 0 || !all || waits && grow[0].step != 0 {
            return wrong("it does not count down to its end");
        }
    }
    let Some(first) = steps.first() else { return wrong("nobody called it") };
    if steps.iter().any(|t| t.kind != first.kind) {
        return wrong("calls of two kinds");
    }
    let innermost = match first.kind {
        "deep" => 0,
        "born" | "yield" => 2,
        _ => 3,
    };
    let in_order =
        steps.windows(2).all(|w| w[0].step == w[1].step + 1) && steps.last().is_some_and(|t| t.step == 1);
    if first.kind != "deep" && !in_order {
        return wrong("calls that are not made");
    }
    if waits && (first.step != innermost || first.kind == "Grow" && grow.is_empty()) {
        return wrong("it waits where it does not");
    }
    let called = match first.kind {
        "deep" | "born" | "Rest" => callers == ["runtime.goexit"],
        "yield" => callers[0] == "main.coroutine.func1",
        "Serve" => {
            callers[0] == "net/http.HandlerFunc.ServeHTTP" && callers.contains(&"net/http.(*conn).serve")
        }
        _ => callers == ["main.work", "runtime.goexit"],
    };
    if !called { wrong("others call it") } else { Ok(Some(first.kind)) }
}

fn watch(go: &str, time: Duration) -> Result<()> {
    let executable = Fixture::new("moving").go(go).build()?;
    let mut program = Running::start(&executable, &["-still", &STILL.to_string()])?;
    let begin = Instant::now();
    let mut seen = Seen::default();
    let (mut waited, mut lines) = (0, 0);
    dump::with_subject(program.pid(), &executable, &mut |subject| {
        let mut looks = Looks::new(subject);
        // A slow machine is given the time that it needs to start and see them all.
        while begin.elapsed() < time || seen.lacks(go).is_some() && begin.elapsed() < time + PATIENCE {
            seen.take(subject, &take(subject, &mut |_, _| {})?)?;
            // Many dumps of few goroutines first, most of which move.
            if lines < LINES && begin.elapsed() > time / 2 {
                program.say("more")?;
                lines += 1;
            }
            waited += looks.look(&mut |_, _| {})?.waited;
            seen.take(subject, &looks.dump(&mut |_, _| {})?)?;
        }
        Ok(())
    })?;
    ensure!(waited > 0, "nobody was known to wait still");
    println!("{go}: {seen}");
    ensure!(program.is_alive()?, "the program died");
    ensure!(seen.known > 100 * seen.dumps, "few goroutines whose truth is known");
    // What it cannot read it says, and that is the exception.
    let doubtful = seen.partial + seen.moving + seen.none + seen.unsettled + seen.unreadable;
    ensure!(doubtful * 50 < seen.whole, "more than 2 in 100 were not read");
    ensure!(seen.lively > 5 * seen.dumps, "few goroutines that move");
    ensure!(doubtful * 4 < seen.lively, "of those that move, more than 1 in 5 were not read");
    seen.depths_are_the_programs()?;
    if let Some(what) = seen.lacks(go) {
        bail!("{what}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn no_stack_that_is_called_whole_is_wrong() -> Result<()> {
    root_only()?;
    let time = soak(Duration::from_secs(4))?;
    [golang::OLDEST, "1.23.9", golang::DEFAULT].into_iter().try_for_each(|go| watch(go, time))
}
