//! The self-check of the runtime's layout against the process: before any probe where that can be, else as soon as the program
//! has goroutines.

use std::time::{Duration, Instant};

use super::LiveError;
use super::prepare::{Prepared, read_wait_reasons};
use crate::event::Note;
use crate::gobin::{GoBinary, Layout};
use crate::memory::selfcheck::surroundings::Live as Process;
use crate::memory::selfcheck::{CheckError, Misfit, Outcome, Proof, STARTED, check};
use crate::memory::{MemoryError, ProcessMemory};

/// Code of the note that carries the result.
pub const NOTE: &str = "self-check";
/// A process that runs is looked at again for so long. Its age says nothing: an `exec` may have been a moment ago.
const PATIENCE: Duration = Duration::from_millis(1500);
/// A program started by us, once it has begun: it may be one of many that start together.
const PATIENCE_FROM_START: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Whether the layout fits.
pub enum Fit<'d> {
    /// It does, or there is nothing to check it with; the note says which.
    Known(Note),
    /// The program is held before its first instruction.
    Later(Box<Unchecked<'d>>),
}

/// Everything that a check needs.
pub struct Unchecked<'d> {
    pub pid: u32,
    pub binary: &'d GoBinary<'d>,
    pub layout: Layout,
    /// Runtime address of the slice header.
    pub allgs: u64,
    /// Runtime address and length of the table.
    pub wait_reasons: Option<(u64, u64)>,
    pub load_bias: u64,
    /// `CLOCK_BOOTTIME`
    pub started_boot_ns: u64,
    pub tried: Tried,
}

/// What came of the checks that were too early.
#[derive(Default)]
pub struct Tried {
    next: Option<Instant>,
    /// Since then it is known that there are goroutines.
    begun: Option<Instant>,
    missing: Option<Misfit>,
}

/// Checks a process that runs: refused if it does not come to show that it fits. One held before its first instruction
/// (`from_start`) is left for later.
pub fn fit<'d>(prepared: &Prepared<'d>) -> Result<Fit<'d>, LiveError> {
    let Some(allgs) = prepared.allgs else {
        let text = "self-check: not made, the list of goroutines was not found".to_owned();
        return Ok(Fit::Known(Note { code: NOTE.to_owned(), text }));
    };
    let unchecked = Unchecked {
        pid: prepared.target.pid,
        binary: prepared.binary,
        layout: prepared.layout.clone(),
        allgs,
        wait_reasons: prepared.wait_reasons,
        load_bias: prepared.load_bias,
        started_boot_ns: prepared.target.started_boot_ns,
        tried: Tried::default(),
    };
    if prepared.target.from_start {
        return Ok(Fit::Later(Box::new(unchecked)));
    }
    unchecked.prove().map(|proof| Fit::Known(note(&proof)))
}

impl Unchecked<'_> {
    /// Looks again until there is an answer, 1.5 s at most.
    pub fn prove(&self) -> Result<Proof, LiveError> {
        let begin = Instant::now();
        loop {
            let missing = match self.attempt()? {
                Outcome::Fits(proof) => return Ok(proof),
                Outcome::TooEarly(missing) => missing,
            };
            if begin.elapsed() > PATIENCE {
                return Err(self.refusal(missing));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Once more, not more often than makes sense; `births` is how many the probes have seen. The note to leave behind, or
    /// nothing while it is too early.
    pub(super) fn try_again(&mut self, births: u64) -> Result<Option<Note>, LiveError> {
        let now = Instant::now();
        if self.tried.next.is_some_and(|next| now < next) {
            return Ok(None);
        }
        let missing = match self.attempt() {
            Ok(Outcome::Fits(proof)) => return Ok(Some(note(&proof))),
            Ok(Outcome::TooEarly(missing)) => missing,
            // Its end is told by others.
            Err(LiveError::Look(MemoryError::Gone)) => return Ok(None),
            Err(e) => return Err(e),
        };
        // Before `newproc1` returns, the goroutine is in the list: who sees births and an empty list looks elsewhere.
        let has_begun = births >= STARTED || matches!(missing, Misfit::NoEvidence { .. });
        if has_begun {
            let since = *self.tried.begun.get_or_insert(now);
            if now.duration_since(since) > PATIENCE_FROM_START && !is_stopped(self.pid) {
                return Err(self.misfit(missing));
            }
        }
        self.tried.missing = Some(missing);
        self.tried.next = Some(Instant::now() + 4 * PAUSE);
        Ok(None)
    }

    /// What is told when the session ends before the check was made.
    pub(super) fn not_made(&self) -> String {
        match &self.tried.missing {
            Some(missing) => format!("self-check: not made before the end: {missing}"),
            None => "self-check: not made, the program ended at once".to_owned(),
        }
    }

    fn attempt(&self) -> Result<Outcome, LiveError> {
        let memory = ProcessMemory::new(self.pid);
        let names = self.wait_reasons.and_then(|table| read_wait_reasons(&memory, table));
        let process = Process::new(self.pid, self.binary, self.load_bias, names, self.started_boot_ns);
        check(&memory, &self.layout, self.allgs, &process).map_err(|e| match e {
            CheckError::Memory(e) => e.into(),
            CheckError::Misfit(misfit) => self.misfit(misfit),
        })
    }

    /// Of a process that still shows too little. One that is stopped, or has no goroutines, may be right.
    fn refusal(&self, missing: Misfit) -> LiveError {
        let stopped = is_stopped(self.pid);
        match missing {
            Misfit::NoEvidence { .. } if !stopped => self.misfit(missing),
            _ => LiveError::NotBegun { pid: self.pid, stopped, missing },
        }
    }

    fn misfit(&self, misfit: Misfit) -> LiveError {
        LiveError::Misfit {
            version: self.binary.version().raw.clone(),
            provenance: self.layout.provenance.clone(),
            misfit,
        }
    }
}

/// By a signal or by a debugger (proc_pid_status(5)).
fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| state.trim_start().starts_with(['T', 't']))
}

pub fn note(proof: &Proof) -> Note {
    Note { code: NOTE.to_owned(), text: sentence(proof) }
}

/// `self-check: 57 goroutines, 14 invariants held`
pub fn sentence(proof: &Proof) -> String {
    let of =
        if proof.judged < proof.goroutines { format!(" of {}", proof.goroutines) } else { String::new() };
    let unproven: Vec<&str> = proof.unproven.iter().map(|i| i.fields()).collect();
    let unproven = match unproven[..] {
        [] => String::new(),
        _ => format!("; nothing in the process showed {}", unproven.join(", ")),
    };
    format!("self-check: {}{of} goroutines, {} invariants held{unproven}", proof.judged, proof.held.len())
}
