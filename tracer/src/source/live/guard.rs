//! Carries out what the governor decides, on a thread of its own: a look over many goroutines or a burst of events may take the
//! main thread longer than the budget lasts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use tracer_common::wire::{self, kind, level_why};

use super::hands::Hands;
use super::{LiveError, boot_ns};
use crate::event::header;
use crate::govern::{Governor, Move, Prices, Standing};

/// Probes on our own body go once so much time has passed and little happens: the kernel takes its time for it.
const OWN_GO_NS: u64 = 1_000_000_000;

/// The thread, and what it shares.
pub struct Guard {
    hands: Arc<Mutex<Hands>>,
    changes: Arc<Changes>,
    prices: Prices,
    /// Nanoseconds that were taken from the target and that no event stands for.
    uncounted_ns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Takes over: the first record says what is watched. Without a budget there is no thread.
    pub fn start(hands: Hands, governor: Governor) -> Result<Self, LiveError> {
        let (hands, changes) = (Arc::new(Mutex::new(hands)), Arc::new(Changes::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (level, standing, prices) = (governor.level(), governor.standing(), governor.prices());
        let start = Move { from: level, to: level, standing, why: level_why::START, load_ns: 0 };
        changes.tell(boot_ns(), &start, governor.budget_ns());
        let mut guard = Self { hands, changes, prices, uncounted_ns: Arc::default(), stop, thread: None };
        if governor.budget_ns() == 0 {
            return Ok(guard);
        }
        let (hands, changes, stop) =
            (Arc::clone(&guard.hands), Arc::clone(&guard.changes), Arc::clone(&guard.stop));
        let uncounted_ns = Arc::clone(&guard.uncounted_ns);
        let work = move || watch(governor, &hands, &changes, &uncounted_ns, &stop);
        // One that took signals would be the one to which the kernel gives those that the main thread has blocked.
        let before = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(|e| LiveError::Thread(e.into()))?;
        let thread = Builder::new().name("gostray-guard".to_owned()).spawn(work);
        before.thread_set_mask().map_err(|e| LiveError::Thread(e.into()))?;
        guard.thread = Some(thread.map_err(LiveError::Thread)?);
        Ok(guard)
    }

    pub fn hands(&self) -> MutexGuard<'_, Hands> {
        locked(&self.hands)
    }

    pub fn prices(&self) -> Prices {
        self.prices
    }

    pub fn uncounted_ns(&self) -> u64 {
        self.uncounted_ns.load(Ordering::Relaxed)
    }

    /// Changes that nobody has heard of yet: from when on what stands, and the record that says so.
    pub fn news(&self) -> Vec<(u64, Standing, wire::Level)> {
        self.changes.take()
    }

    /// Removes every probe, for good.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Had it panicked, the probes would be taken away here all the same.
            let _ = thread.join();
        }
        self.hands().remove();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(
    mut governor: Governor,
    hands: &Mutex<Hands>,
    changes: &Changes,
    uncounted_ns: &AtomicU64,
    stop: &AtomicBool,
) {
    let begin = boot_ns();
    let mut own = true;
    while !stop.load(Ordering::Acquire) {
        // Counts that cannot be read would be a kernel without maps: the tick tells that, and ends the session.
        let Ok(counts) = locked(hands).totals() else { return };
        let now = boot_ns();
        let before = governor.standing();
        if let Some(made) = governor.step(now, &counts) {
            carry_out(&mut governor, before, &made, hands, changes);
            uncounted_ns.store(governor.uncounted_ns(), Ordering::Relaxed);
        } else if own && now > begin + OWN_GO_NS {
            own = false;
            locked(hands).let_go_of_own();
        }
        std::thread::park_timeout(Duration::from_nanos(governor.next_in_ns(boot_ns())));
    }
}

fn carry_out(
    governor: &mut Governor,
    before: Standing,
    made: &Move,
    hands: &Mutex<Hands>,
    changes: &Changes,
) {
    let mut hands = locked(hands);
    let budget_ns = governor.budget_ns();
    let more = made.standing.lives && !before.lives || made.standing.waits && !before.waits;
    // What is watched is watched from when the last probe stands until the first one goes.
    if !more {
        changes.tell(boot_ns(), made, budget_ns);
    }
    let stands = hands.stand(made.standing);
    let Ok(counts) = hands.totals() else { return };
    drop(hands);
    let now = boot_ns();
    if !stands {
        let failed = governor.failed(now);
        changes.tell(now, &failed, budget_ns);
        return;
    }
    governor.done(now, &counts);
    if more {
        changes.tell(now, made, budget_ns);
    }
}

/// What is watched, told by the guard and heard by who reads the ring buffer.
#[derive(Debug, Default)]
struct Changes {
    /// There is something to hear: asked before each record that is read.
    news: AtomicBool,
    told: Mutex<Vec<(u64, Standing, wire::Level)>>,
}

impl Changes {
    fn tell(&self, now: u64, made: &Move, budget_ns: u64) {
        let h = wire::Header { flags: made.standing.flags(), ..header(kind::LEVEL, now) };
        let level = wire::Level {
            h,
            from: made.from.number(),
            to: made.to.number(),
            why: made.why,
            load_ns: made.load_ns,
            budget_ns,
        };
        locked(&self.told).push((now, made.standing, level));
        self.news.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<(u64, Standing, wire::Level)> {
        if !self.news.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut told = locked(&self.told);
        self.news.store(false, Ordering::Release);
        std::mem::take(&mut told)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
