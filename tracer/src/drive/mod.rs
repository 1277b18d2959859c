//! Drives a live session: when to drain, tick and look, and when it is over. The only room with a timer.

mod signals;

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracer_common::wire::end;

use crate::memory::MemoryError;
use crate::source::live::{Live, LiveError, Sink, boot_ns};
use crate::target::{Incarnation, Target};

pub use signals::{Caught, Signals, hold_signals};

/// How long the ring buffer is left alone while little happens, and while much happens.
const DRAIN_IDLE: Duration = Duration::from_millis(10);
const DRAIN_BUSY: Duration = Duration::from_millis(1);
/// More records than that in one drain: the next one comes sooner.
const BUSY: usize = 2_000;
/// Records taken before timers and signals get their turn.
const DRAIN_LIMIT: usize = 200_000;
const TICK: Duration = Duration::from_secs(1);

/// When to stop and how often to look.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub duration: Option<Duration>,
    pub look_every: Duration,
}

/// Why a session is over, in the words of the stream (`wire::end`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub reason: u64,
    pub code: u64,
}

/// What the session is shown to and stopped by, besides time and the target.
pub trait View {
    /// Between two drains: true when the user wants to end (a key of the live table).
    fn wants_end(&mut self) -> bool {
        false
    }
    /// Once a second, after the tick.
    fn refresh(&mut self) {}
    /// The recording failed: the session ends, its report still comes.
    fn output_failed(&self) -> bool {
        false
    }
}

#[derive(Debug, Error)]
pub enum DriveError {
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("cannot wait for the process or for signals")]
    Wait(#[from] io::Error),
}

/// How the target's exit is learnt and told.
pub trait Exit {
    /// The wait status if we are the parent; called once the process is gone.
    fn wait_status(&mut self) -> Option<u32>;
    /// A signal came for us. True: it ends the session; false: it was passed on to the target.
    fn on_signal(&mut self, caught: Caught) -> bool;
}

/// Runs until something ends it; the session's last records are written before it returns. Where the watch itself
/// fails the session still gets its last records, but no end.
pub async fn run(
    live: &mut Live<'_>,
    target: &Target,
    pace: Pace,
    exit: &mut dyn Exit,
    view: &mut dyn View,
    sink: &mut Sink<'_>,
) -> Result<Ending, DriveError> {
    // Until then the target was certainly the program that was prepared.
    let mut same_ns = boot_ns();
    let watched = watch_on(live, target, pace, exit, view, sink, &mut same_ns).await;
    match &watched {
        Ok(ending) => {
            let over = if ending.reason == end::TARGET_EXECED { same_ns } else { boot_ns() };
            live.finish(over, Some((ending.reason, ending.code)), sink)?;
        }
        Err(e) => {
            live.note("watch-failed", format!("the watch broke off: {e}"));
            live.finish(boot_ns(), None, sink)?;
        }
    }
    watched
}

async fn watch_on(
    live: &mut Live<'_>,
    target: &Target,
    pace: Pace,
    exit: &mut dyn Exit,
    view: &mut dyn View,
    sink: &mut Sink<'_>,
    same_ns: &mut u64,
) -> Result<Ending, DriveError> {
    let gone = watch(target.pidfd().try_clone_to_owned()?)?;
    let mut signals = Signals::new()?;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tick.reset();
    let deadline = pace.duration.map(|d| Instant::now() + d);
    let mut next_drain = Instant::now();
    let mut next_look = Instant::now();
    let end_at = |reason, code| Ending { reason, code };
    // Who lives now is known from now on; until the first tick many would have ended, and nobody would know which.
    look(live, false)?;

    let ending = loop {
        tokio::select! {
            biased;
            readable = gone.readable() => {
                drop(readable?);
                live.drain(usize::MAX);
                live.release(sink);
                break end_at(end::TARGET_EXITED, exit.wait_status().map_or(u64::MAX, u64::from));
            }
            caught = signals.next() => {
                if exit.on_signal(caught?) {
                    break end_at(end::ASKED, 0);
                }
            }
            () = sleep_until(deadline.unwrap_or_else(far)), if deadline.is_some() => {
                break end_at(end::DURATION, 0);
            }
            _ = tick.tick() => {
                check_fit(live, target)?;
                live.drain(DRAIN_LIMIT);
                if Instant::now() >= next_look {
                    next_look = Instant::now() + pace.look_every;
                    look(live, false)?;
                }
                live.tick()?;
                // What is shown next is to know of this tick, unless the reader is far behind.
                live.drain(DRAIN_LIMIT);
                if !still_the_same(live, target, sink, same_ns) {
                    break end_at(end::TARGET_EXECED, 0);
                }
                view.refresh();
            }
            () = sleep_until(next_drain) => {
                check_fit(live, target)?;
                let taken = live.drain(DRAIN_LIMIT);
                next_drain = Instant::now() + if taken > BUSY { DRAIN_BUSY } else { DRAIN_IDLE };
                if !still_the_same(live, target, sink, same_ns) {
                    break end_at(end::TARGET_EXECED, 0);
                }
                if view.wants_end() {
                    break end_at(end::ASKED, 0);
                }
            }
        }
        if view.output_failed() {
            break end_at(end::OUTPUT_FAILED, 0);
        }
    };
    if matches!(ending.reason, end::ASKED | end::DURATION) {
        // The report shows what they wait for at its end, not up to a second before.
        look(live, true)?;
        live.drain(usize::MAX);
        if !still_the_same(live, target, sink, same_ns) {
            return Ok(end_at(end::TARGET_EXECED, 0));
        }
    }
    Ok(ending)
}

/// An exec leaves pid and probes of the same file, but nothing else that we knew: the goroutines are another program's,
/// read at addresses that may mean something else. So what was taken is passed on only once it is known that
/// the program had not changed afterwards. False: it has, and what is staged is not for this session.
fn still_the_same(live: &mut Live<'_>, target: &Target, sink: &mut Sink<'_>, same_ns: &mut u64) -> bool {
    let now = boot_ns();
    if matches!(target.incarnation(), Ok(Incarnation::Execed)) {
        return false;
    }
    *same_ns = now;
    live.release(sink);
    true
}

/// The self-check, where it is still to be made. What an exec brought is not held against the layout: the next
/// [`still_the_same`] ends the session.
fn check_fit(live: &mut Live<'_>, target: &Target) -> Result<(), DriveError> {
    match live.check_fit() {
        Err(e) if matches!(target.incarnation(), Ok(Incarnation::Same)) => Err(e.into()),
        _ => Ok(()),
    }
}

/// A look. A process that is gone meanwhile is no error: the pidfd tells it next.
fn look(live: &mut Live<'_>, closing: bool) -> Result<(), DriveError> {
    match live.look(closing) {
        Ok(()) | Err(LiveError::Look(MemoryError::Gone)) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Lets the runtime wait for a descriptor.
fn watch<T: AsRawFd>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: only called with owners of their descriptor (`OwnedFd`, `SignalFd`), which keep it open, and the same,
    // until the `AsyncFd` that now owns them is dropped.
    unsafe { AsyncFd::register(fd) }.map_err(|e| e.into_parts().1)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}

/// Waits until a process that is no longer watched ends; signals go to `on_signal`.
pub async fn until_exit(pid: u32, on_signal: &mut dyn FnMut(Caught)) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
    let gone = watch(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)?;
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            biased;
            readable = gone.readable() => {
                drop(readable?);
                return Ok(());
            }
            caught = signals.next() => on_signal(caught?),
        }
    }
}
