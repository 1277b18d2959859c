//! A program's own count of its goroutines, held against the session's at the very time: a recording is replayed through the
//! library for that.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use tracer::order::Reorder;
use tracer::session::{Session, Snapshot};
use tracer::source::replay::Replay;

/// Beyond what the count was between the request's begin and its answer: `NumGoroutine` changes some instructions
/// before a birth's probe and after a death's, so one goroutine on each side may be counted the other way; one more
/// for the time stamps' sake.
pub const MARGIN: u64 = 2;

/// One answer of the program about itself: what it counted, some time between two times (`CLOCK_BOOTTIME`, nanoseconds).
#[derive(Clone, Debug)]
pub struct Sample {
    pub during: Range<u64>,
    pub goroutines: u64,
}

impl Sample {
    /// Asks the program, noting when.
    pub fn take(ask: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let start = boot_ns()?;
        let goroutines = ask()?;
        Ok(Self { during: start..boot_ns()?, goroutines })
    }
}

fn boot_ns() -> Result<u64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_nanos() as u64)
}

/// The least and the most that the session counted while a sample was taken; nothing when it does not cover it.
pub type Counted = Option<(u64, u64)>;

/// The session's count while each sample was taken, and the last picture. Takes the same way as
/// [`tracer::pipeline`], but one event after the other: a picture is wanted between any two of them.
pub fn replayed(file: &Path, samples: &[Sample]) -> Result<(Vec<Counted>, Snapshot)> {
    let mut replay = Replay::open(file)?;
    let mut order = Reorder::default();
    let mut session = Session::new();
    let mut counts: Vec<Counted> = vec![None; samples.len()];
    loop {
        let event = replay.next_event()?;
        let ended = event.is_none();
        let mut ready = Vec::new();
        match event {
            Some(event) => order.push(event, &mut |event| ready.push(event)),
            None => order.flush(&mut |event| ready.push(event)),
        }
        for event in ready {
            let (then, now) = (session.now_ns(), event.time_ns());
            // What the count is when the request begins: before the first event after that.
            let begins =
                samples.iter().position(|s| then != 0 && then < s.during.start && now >= s.during.start);
            if let Some(i) = begins {
                let live = session.snapshot().totals.live;
                counts[i] = Some((live, live));
            }
            session.apply(event);
            let during = samples.iter().position(|s| s.during.contains(&now));
            if let Some((least, most)) = during.and_then(|i| counts[i].as_mut()) {
                let live = session.snapshot().totals.live;
                (*least, *most) = ((*least).min(live), (*most).max(live));
            }
        }
        if ended {
            return Ok((counts, session.snapshot()));
        }
    }
}
