//! The self-check says yes to every right table and no to every wrong one, on live programs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{Fixture, Running, root_only};
use tracer::failure::{Class, Fail as _};
use tracer::gobin::{GoBinary, Layout};
use tracer::memory::selfcheck::surroundings::Live;
use tracer::memory::selfcheck::{CheckError, Invariant, Misfit, Outcome, Proof, check};
use tracer::memory::{MemoryError, ProcessMemory, ReadMemory};
use tracer::source::live::boot_ns;
use tracer::source::live::fit::{Fit, fit};
use tracer::source::live::prepare::{About, prepare, read_wait_reasons};
use tracer::source::live::spawn::Stopped;
use xtask::golang;

/// A running program, its file, and the layout that is right for it.
struct Case {
    running: Running,
    image: Vec<u8>,
}

impl Case {
    fn start(go: &str, args: &[&str]) -> Result<Self> {
        let path = Fixture::new("states").go(go).build()?;
        Ok(Self { running: Running::start(&path, args)?, image: std::fs::read(path)? })
    }

    fn binary(&self) -> GoBinary<'_> {
        GoBinary::parse(&self.image).expect("a Go program")
    }

    /// What does not change from check to check.
    fn ready<'b>(&self, binary: &'b GoBinary<'b>) -> Result<Ready<'b>> {
        let pid = self.running.pid();
        let globals = binary.globals();
        let table = globals.wait_reasons?;
        let names = read_wait_reasons(&ProcessMemory::new(pid), (table.addr, table.len));
        let process = Live::new(pid, binary, 0, names, boot_ns() - 60_000_000_000);
        Ok(Ready {
            memory: ProcessMemory::new(pid),
            process,
            layout: binary.layout()?,
            allgs: globals.allgs?,
        })
    }
}

struct Ready<'b> {
    memory: ProcessMemory,
    process: Live<'b>,
    layout: Layout,
    allgs: u64,
}

impl Ready<'_> {
    fn check(&self, layout: &Layout) -> Result<Outcome, CheckError> {
        check(&self.memory, layout, self.allgs, &self.process)
    }

    /// As a watch sees it whose patience is over: what is missing will not come, the program has long been ready.
    fn finally(&self, layout: &Layout) -> Result<Outcome, CheckError> {
        match self.check(layout)? {
            Outcome::TooEarly(missing) => Err(missing.into()),
            fits => Ok(fits),
        }
    }

    fn proof(&self) -> Result<Proof> {
        match self.check(&self.layout)? {
            Outcome::Fits(proof) => Ok(proof),
            Outcome::TooEarly(missing) => bail!("too early: {missing}"),
        }
    }
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn the_right_table_fits_every_release_and_all_of_it_is_seen() -> Result<()> {
    root_only()?;
    for go in golang::VERSIONS {
        let case = Case::start(go, &[])?;
        let proof = case.ready(&case.binary())?.proof().with_context(|| go.to_owned())?;
        let unproven: Vec<_> = proof.unproven.iter().filter(|i| **i != Invariant::WaitSince).collect();
        assert!(unproven.is_empty(), "{go}: {unproven:?}");
        assert!(proof.judged >= 15 && proof.judged <= proof.goroutines, "{go}: {proof:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn what_an_idle_program_does_not_show_is_named() -> Result<()> {
    root_only()?;
    let case = Case::start(golang::DEFAULT, &["-idle"])?;
    let proof = case.ready(&case.binary())?.proof()?;
    for expected in [Invariant::Curg, Invariant::Procid] {
        assert!(proof.unproven.contains(&expected), "{proof:?}");
    }
    Ok(())
}

/// Everything that the check claims to cover, by name; `None` where the version has no such field.
fn fields(l: &mut Layout) -> Vec<(&'static str, Option<&mut u32>)> {
    let k = &mut l.kernel;
    let parent = (k.g_parent_goid != u32::MAX).then_some(&mut k.g_parent_goid);
    vec![
        ("g.stack.lo", Some(&mut k.g_stack_lo)),
        ("g.stack.hi", Some(&mut k.g_stack_hi)),
        ("g.m", Some(&mut k.g_m)),
        ("g.sched.bp", Some(&mut k.g_sched_bp)),
        ("g.goid", Some(&mut k.g_goid)),
        ("g.parentGoid", parent),
        ("g.gopc", Some(&mut k.g_gopc)),
        ("g.startpc", Some(&mut k.g_startpc)),
        ("g.waitreason", Some(&mut k.g_waitreason)),
        ("m.curg", Some(&mut k.m_curg)),
        ("g.atomicstatus", Some(&mut l.g_status)),
        ("g.sched.sp", Some(&mut l.g_sched_sp)),
        ("g.sched.pc", Some(&mut l.g_sched_pc)),
        ("g.syscallsp", Some(&mut l.g_syscallsp)),
        ("g.syscallpc", Some(&mut l.g_syscallpc)),
        ("g.waiting", Some(&mut l.g_waiting)),
        ("m.procid", Some(&mut l.m_procid)),
        ("m.g0", Some(&mut l.m_g0)),
        ("sudog.g", Some(&mut l.sudog.g)),
        ("sudog.next", Some(&mut l.sudog.next)),
        ("sudog.prev", Some(&mut l.sudog.prev)),
        ("hchan.qcount", Some(&mut l.hchan.qcount)),
        ("hchan.dataqsiz", Some(&mut l.hchan.dataqsiz)),
        ("hchan.buf", Some(&mut l.hchan.buf)),
        ("hchan.elemsize", Some(&mut l.hchan.elemsize)),
        ("hchan.elemtype", Some(&mut l.hchan.elemtype)),
        ("hchan.recvq.first", Some(&mut l.hchan.recvq_first)),
        ("hchan.recvq.last", Some(&mut l.hchan.recvq_last)),
        ("hchan.sendq.first", Some(&mut l.hchan.sendq_first)),
        ("hchan.sendq.last", Some(&mut l.hchan.sendq_last)),
    ]
}

/// One field, 8 bytes off: refused, whichever it is.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_single_field_that_is_off_is_refused() -> Result<()> {
    root_only()?;
    // A refusal waits for most of its time.
    let tried: Result<usize> = std::thread::scope(|scope| {
        let each = golang::VERSIONS.map(|go| scope.spawn(move || single_fields(go)));
        each.into_iter().try_fold(0, |sum, one| Ok(sum + one.join().ok().context("see above")??))
    });
    let tried = tried?;
    ensure!(tried >= 300, "only {tried} were tried");
    Ok(())
}

fn single_fields(go: &str) -> Result<usize> {
    let case = Case::start(go, &[])?;
    let binary = case.binary();
    let ready = case.ready(&binary)?;
    let mut right = ready.layout.clone();
    let count = fields(&mut right).len();
    let mut tried = 0;
    for (i, off) in (0..count).flat_map(|i| [(i, 8i32), (i, -8)]) {
        let mut wrong = right.clone();
        let (name, field) = fields(&mut wrong).swap_remove(i);
        let Some(field) = field else { continue };
        let Some(moved) = field.checked_add_signed(off) else { continue };
        *field = moved;
        match ready.finally(&wrong) {
            Err(CheckError::Misfit(misfit)) => eprintln!("{go} {name}{off:+}: {misfit}"),
            other => panic!("{go}: {name}{off:+} was taken: {other:?}"),
        }
        tried += 1;
    }
    Ok(tried)
}

/// The three that every program has are recognised by their start, two of them through what the compiler made of it.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn the_runtimes_own_goroutines_are_known() -> Result<()> {
    root_only()?;
    for go in golang::VERSIONS.into_iter().chain([golang::OLDEST]) {
        let case = Case::start(go, &["-idle"])?;
        let binary = case.binary();
        let by = |number: &str| {
            let names = ["gowrap", "func"].map(|kind| format!("runtime.gcenable.{kind}{number}"));
            let f = names.iter().find_map(|name| binary.functions().all_by_name(name).next())?;
            binary.wrapped(f.entry).map(|frame| frame.function)
        };
        let called = [by("1"), by("2")];
        let expected = ["runtime.bgsweep", "runtime.bgscavenge"].map(|name| Some(name.to_owned()));
        assert_eq!(called, expected, "{go}");
        let ready = case.ready(&binary)?;
        let mut wrong = ready.layout.clone();
        if wrong.kernel.g_parent_goid == u32::MAX {
            continue;
        }
        // A word that is never 1 and a possible id: only whose parent is known can say that it is wrong.
        wrong.kernel.g_parent_goid = wrong.kernel.g_gopc;
        match ready.finally(&wrong) {
            Err(CheckError::Misfit(Misfit::Broken {
                invariant: Invariant::Parent,
                broken: 3,
                of: 3,
                ..
            })) => {}
            other => panic!("{go}: {other:?}"),
        }
    }
    Ok(())
}

/// The layout of another release is refused unless it is the same in all that the check covers.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn the_table_of_another_release_is_refused() -> Result<()> {
    root_only()?;
    let mut layouts = BTreeMap::new();
    for go in golang::VERSIONS {
        let image = std::fs::read(Fixture::new("states").go(go).build()?)?;
        layouts.insert(go, GoBinary::parse(&image)?.layout()?);
    }
    let covered = |layout: &Layout| {
        let mut layout = layout.clone();
        fields(&mut layout).into_iter().map(|(name, at)| (name, at.map(|at| *at))).collect::<Vec<_>>()
    };
    let mut refused = 0;
    for go in golang::VERSIONS {
        let case = Case::start(go, &[])?;
        let binary = case.binary();
        let ready = case.ready(&binary)?;
        for (other, layout) in &layouts {
            let same = covered(layout) == covered(&layouts[go]);
            match ready.finally(layout) {
                Ok(Outcome::Fits(_)) => assert!(same, "{go} took the layout of {other}"),
                Err(CheckError::Misfit(misfit)) => {
                    eprintln!("{other} on {go}: {misfit}");
                    assert!(!same, "{go} refused {other}, which is the same: {misfit}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    ensure!(refused >= 20, "only {refused} refusals");
    Ok(())
}

/// Nothing that a busy program does between two reads makes the right table look wrong.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_busy_program_is_never_refused() -> Result<()> {
    root_only()?;
    for (go, times) in [(golang::DEFAULT, 100), ("1.21.13", 60), ("1.23.9", 60)] {
        let case = Case::start(go, &["-churn", "-many", "500"])?;
        let binary = case.binary();
        let ready = case.ready(&binary)?;
        for i in 0..times {
            ready.proof().with_context(|| format!("{go}, time {i}"))?;
        }
    }
    Ok(())
}

/// A process's memory, and how much of it is asked for.
struct Counted {
    memory: ProcessMemory,
    reads: Cell<usize>,
    bytes: Cell<usize>,
}

impl ReadMemory for Counted {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buf.len());
        self.memory.read(addr, buf)
    }

    fn read_each(
        &self,
        at: &[u64],
        size: usize,
        into: &mut [u8],
        ok: &mut [bool],
    ) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + at.len());
        self.bytes.set(self.bytes.get() + into.len());
        self.memory.read_each(at, size, into, ok)
    }
}

/// Of however many goroutines a sample is read, each once and the few words around it.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn of_a_hundred_thousand_goroutines_a_sample_is_read() -> Result<()> {
    root_only()?;
    let case = Case::start(golang::DEFAULT, &["-idle", "-many", "100000"])?;
    let binary = case.binary();
    let Ready { process, layout, allgs, .. } = case.ready(&binary)?;
    let (reads, bytes) = (Cell::new(0), Cell::new(0));
    let memory = Counted { memory: ProcessMemory::new(case.running.pid()), reads, bytes };
    let Outcome::Fits(proof) = check(&memory, &layout, allgs, &process)? else { bail!("too early") };
    ensure!(proof.goroutines > 100_000 && proof.judged <= 256, "{proof:?}");
    let (reads, bytes) = (memory.reads.get(), memory.bytes.get());
    eprintln!("self-check of {} goroutines: {reads} reads of {bytes} bytes", proof.goroutines);
    // What is at rest is settled in three rounds: the entry, the g twice, some 30 words of its channel and its stack.
    ensure!(reads <= 3 * 256 * 40, "{reads} reads");
    ensure!(bytes <= 3 * 256 * (8 + 2 * 1024 + 40 * 8), "{bytes} bytes");
    Ok(())
}

/// As a watch does it: refused before there is anything to place, with a code and a sentence of its own.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_watch_with_a_wrong_table_is_refused() -> Result<()> {
    root_only()?;
    let case = Case::start(golang::DEFAULT, &[])?;
    let binary = case.binary();
    let mut prepared = prepare(about(case.running.pid()), &binary)?;
    let Fit::Known(note) = fit(&prepared)? else { bail!("it has goroutines") };
    assert!(note.text.starts_with("self-check: ") && note.text.contains(" invariants held"), "{}", note.text);
    prepared.layout.kernel.g_goid += 8;
    let error = fit(&prepared).err().context("a wrong table was taken")?;
    assert_eq!(error.class(), Class::LayoutMisfit);
    let said = error.to_string();
    assert!(said.contains("does not fit this process: `g.goid` of goroutine"), "{said}");
    // Held before its first instruction a program has nothing to be checked yet.
    prepared.target.from_start = true;
    assert!(matches!(fit(&prepared)?, Fit::Later(_)));
    Ok(())
}

fn about(pid: u32) -> About {
    About {
        pid,
        comm: String::new(),
        exe: String::new(),
        command: String::new(),
        started_boot_ns: boot_ns() - 60_000_000_000,
        load_bias: 0,
        kernel: String::new(),
        cpus: 0,
        from_start: false,
        park: false,
        looks_only: false,
        limits: Default::default(),
    }
}

/// The address of a word that stays zero looks like a program that has not begun, however long it has run.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn an_empty_list_in_a_program_that_runs_is_refused() -> Result<()> {
    root_only()?;
    let case = Case::start(golang::DEFAULT, &[])?;
    let binary = case.binary();
    let memory = ProcessMemory::new(case.running.pid());
    let mut prepared = prepare(about(case.running.pid()), &binary)?;
    let allgs = prepared.allgs.context("no `runtime.allgs`")?;
    let is_empty = |at: &u64| [0, 8, 16].iter().all(|o| memory.read_u64(at + o).is_ok_and(|word| word == 0));
    prepared.allgs = Some((allgs + 24..).step_by(8).take(10_000).find(is_empty).context("no zeroes")?);
    let error = fit(&prepared).err().context("an empty list was taken")?;
    assert_eq!(error.class(), Class::NotBegun);
    let said = error.to_string();
    assert!(
        said.contains(" shows too little to be checked: `runtime.allgs` at ") && said.contains(" lists 0 "),
        "{said}"
    );
    Ok(())
}

/// A program stopped before its first instruction is refused by name, and taken in the first milliseconds of its run, though
/// the process be old.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_program_that_has_not_begun_is_waited_for() -> Result<()> {
    root_only()?;
    let path = Fixture::new("states").build()?;
    let image = std::fs::read(&path)?;
    let binary = GoBinary::parse(&image)?;
    let held = Stopped::start(&path.clone().into(), &[])?;
    let prepared = prepare(about(held.pid()), &binary)?;
    let begin = Instant::now();
    let error = fit(&prepared).err().context("nothing was there to check")?;
    assert_eq!(error.class(), Class::NotBegun);
    let said = error.to_string();
    let start = format!("process `{}`, which is stopped, shows too little to be checked: ", held.pid());
    assert!(said.starts_with(&start), "{said}");
    assert!(error.hint().contains(&format!("kill -CONT {}", held.pid())), "{}", error.hint());
    assert!(begin.elapsed() < Duration::from_secs(30));
    let mut running = held.release()?;
    let fits = fit(&prepared);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.pid() as i32), nix::sys::signal::SIGKILL)?;
    running.wait()?;
    assert!(matches!(fits, Ok(Fit::Known(_))), "{:?}", fits.err());
    Ok(())
}

/// What is no list of goroutines is refused as such.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn another_address_is_no_list_of_goroutines() -> Result<()> {
    root_only()?;
    let case = Case::start(golang::DEFAULT, &[])?;
    let binary = case.binary();
    let Ready { memory, process, layout, allgs } = case.ready(&binary)?;
    for wrong in [0, allgs + 8, allgs - 8, binary.functions().text_range().0] {
        match check(&memory, &layout, wrong, &process) {
            Err(CheckError::Misfit(misfit)) => eprintln!("{wrong:#x}: {misfit}"),
            // Zeroes look like a program that has not begun.
            Ok(Outcome::TooEarly(missing)) => eprintln!("{wrong:#x}: {missing}"),
            other => panic!("{wrong:#x}: {other:?}"),
        }
    }
    Ok(())
}
