//! A way out that never makes the watch wait: a thread writes, behind a queue that holds a few MiB at most.
//!
//! A pipe or terminal that nobody reads stops who writes to it. While probes stand in a target and signals are read
//! from a descriptor, that must not be the thread that sees to them. So it only offers lines; what finds no place is
//! left out, and counted.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::print::Reader;
use crate::failure::{Class, Failure};

/// Blocks that wait to be written, and the size from which lines go into another block, bytes.
const BLOCKS: usize = 64;
const BLOCK: usize = 64 << 10;
/// How long the end may take before a signal may cut it off. A reader that reads needs far less, and a second Ctrl-C
/// from an impatient hand is not to cost the report.
const GRACE: Duration = Duration::from_secs(1);
/// What ends a process that does nothing about it.
const DEADLY: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Writes in order what is offered. Dropping it waits as [`wait`](Self::wait) does.
pub struct Outlet {
    blocks: Option<SyncSender<Vec<u8>>>,
    shared: Arc<Shared>,
    /// Nothing is ever sent: it is disconnected when the thread is done.
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
    left_out: u64,
}

#[derive(Default)]
struct Shared {
    gone: AtomicBool,
    failed: Mutex<Option<Failure>>,
    /// Blocks offered and not yet written.
    pending: AtomicUsize,
    /// Written when all blocks are.
    last: Mutex<Vec<u8>>,
}

impl Outlet {
    /// Starts the thread. When that cannot be, [`reader`](Self::reader) tells so.
    pub fn start(mut write: impl FnMut(&[u8]) -> Result<Reader, Failure> + Send + 'static) -> Self {
        let (blocks, queue) = sync_channel::<Vec<u8>>(BLOCKS);
        let (alive, done) = channel::<()>();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let work = move || {
            let _alive = alive;
            for block in queue {
                state.write(&mut write, &block);
                state.pending.fetch_sub(1, Ordering::AcqRel);
            }
            let last = std::mem::take(&mut *locked(&state.last));
            state.write(&mut write, &last);
        };
        let thread = spawn_deaf(work)
            .map_err(|e| {
                shared.gone.store(true, Ordering::Release);
                let why = format!("cannot start the thread that writes: {e}");
                *locked(&shared.failed) = Some(Failure::because(Class::Internal, why));
            })
            .ok();
        Self { blocks: Some(blocks), shared, done, thread, left_out: 0 }
    }

    /// Lines that found no place since one last did.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.shared.pending.load(Ordering::Acquire) == 0
    }

    /// Whether anybody reads still. A failure to write is told once.
    pub fn reader(&self) -> Result<Reader, Failure> {
        if let Some(failure) = locked(&self.shared.failed).take() {
            return Err(failure);
        }
        Ok(if self.shared.gone.load(Ordering::Acquire) { Reader::Gone } else { Reader::There })
    }

    /// Queues lines, each with its newline, as far as there is room, and counts the others. `notice` tells of those that
    /// were left out before and goes ahead of the first. Never waits.
    pub fn offer(&mut self, notice: Option<String>, lines: &[String]) {
        let mut block = notice.unwrap_or_default();
        let mut held = 0;
        for (i, line) in lines.iter().enumerate() {
            block.push_str(line);
            held += 1;
            let next = lines.get(i + 1);
            if next.is_none_or(|next| block.len() + next.len() > BLOCK) {
                if !self.offer_bytes(std::mem::take(&mut block).into_bytes()) {
                    // What comes later in the round would stand without a word about the gap before it.
                    self.left_out += held + (lines.len() - i - 1) as u64;
                    return;
                }
                self.left_out = 0;
                held = 0;
            }
        }
    }

    /// Queues one block. False when there was no room. Never waits.
    pub fn offer_bytes(&mut self, block: Vec<u8>) -> bool {
        let Some(blocks) = &self.blocks else { return false };
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        match blocks.try_send(block) {
            Ok(()) => true,
            Err(e) => {
                self.shared.pending.fetch_sub(1, Ordering::AcqRel);
                // Without a thread nothing is slow; why there is none has been told.
                matches!(e, TrySendError::Disconnected(_))
            }
        }
    }

    /// Nothing is offered any more; `last` is written after all that was. Does not wait; the second call does nothing.
    pub fn close(&mut self, last: Vec<u8>) {
        if self.blocks.is_some() {
            *locked(&self.shared.last) = last;
            self.blocks = None;
        }
    }

    /// Waits until all is written or the reader is gone. If nobody reads, that may be for ever: then signals that are
    /// blocked for their descriptor's sake end the process again, as they do by default.
    pub fn wait(&mut self) -> Result<Reader, Failure> {
        self.close(Vec::new());
        if let Some(thread) = self.thread.take() {
            if self.done.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                let deadly: SigSet = DEADLY.into_iter().collect();
                let before = deadly.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
                let _ = self.done.recv();
                if let Ok(before) = before {
                    let _ = before.thread_set_mask();
                }
            }
            if thread.join().is_err() {
                return Err(Failure::new(Class::Internal, "the thread that writes has panicked"));
            }
        }
        self.reader()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

impl Shared {
    fn write(&self, write: &mut impl FnMut(&[u8]) -> Result<Reader, Failure>, bytes: &[u8]) {
        if bytes.is_empty() || self.gone.load(Ordering::Acquire) {
            return;
        }
        match write(bytes) {
            Ok(Reader::There) => {}
            Ok(Reader::Gone) => self.gone.store(true, Ordering::Release),
            Err(failure) => {
                *locked(&self.failed) = Some(failure);
                self.gone.store(true, Ordering::Release);
            }
        }
    }
}

/// Spawns a thread that takes no signal. One that could would be the one to which the kernel gives a signal that the
/// main thread has blocked for its descriptor, and the process would end of it with its probes in place.
fn spawn_deaf(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = Builder::new().name("gostray-write".to_owned()).spawn(work);
    before.thread_set_mask()?;
    thread
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;
    use std::time::Instant;

    use super::*;

    /// An outlet whose reader has begun with a first line, and goes on only once the sender is dropped.
    fn gated() -> (Outlet, Sender<()>, Arc<Mutex<String>>) {
        let (gate, opened) = channel();
        let read = Arc::new(Mutex::new(String::new()));
        let filled = Arc::clone(&read);
        let (begin, begun) = channel();
        let mut outlet = Outlet::start(move |bytes| {
            let _ = begin.send(());
            let _ = opened.recv();
            locked(&filled).push_str(std::str::from_utf8(bytes).unwrap());
            Ok(Reader::There)
        });
        outlet.offer(None, &["first\n".to_owned()]);
        begun.recv().unwrap();
        (outlet, gate, read)
    }

    fn line(n: usize) -> String {
        format!("{n}\n")
    }

    fn offer(outlet: &mut Outlet, lines: &[String]) {
        let notice = (outlet.left_out() > 0).then(|| format!("left out {}\n", outlet.left_out()));
        outlet.offer(notice, lines);
    }

    #[test]
    fn what_finds_no_place_is_counted_and_the_rest_keeps_its_order() {
        let (mut outlet, gate, read) = gated();
        for n in 0..200 {
            offer(&mut outlet, &[line(n)]);
        }
        assert_eq!(outlet.left_out(), 200 - BLOCKS as u64);
        assert!(!outlet.is_idle());
        drop(gate);
        let start = Instant::now();
        while !outlet.is_idle() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        offer(&mut outlet, &[line(200), line(201)]);
        assert_eq!(outlet.left_out(), 0);
        outlet.close(b"report\n".to_vec());
        assert_eq!(outlet.wait().unwrap(), Reader::There);
        let lines: String = (0..BLOCKS).map(line).collect();
        assert_eq!(*locked(&read), format!("first\n{lines}left out 136\n200\n201\nreport\n"));
    }

    #[test]
    fn a_large_round_is_cut_between_lines_and_after_a_gap_nothing_follows_unsaid() {
        let (mut outlet, gate, read) = gated();
        let long = |n: usize| format!("{n:040000}\n");
        offer(&mut outlet, &(0..100).map(long).collect::<Vec<_>>());
        assert_eq!(outlet.left_out(), 100 - BLOCKS as u64);
        drop(gate);
        outlet.wait().unwrap();
        assert_eq!(*locked(&read), format!("first\n{}", (0..BLOCKS).map(long).collect::<String>()));
    }

    #[test]
    fn closing_does_not_wait_and_waiting_flushes() {
        let (mut outlet, gate, read) = gated();
        offer(&mut outlet, &[line(1)]);
        let start = Instant::now();
        outlet.close(b"report\n".to_vec());
        assert!(start.elapsed() < GRACE);
        assert_eq!(*locked(&read), "");
        assert!(!outlet.offer_bytes(b"late".to_vec()));
        let later = std::thread::spawn(move || {
            // Past the grace: the wait goes on.
            std::thread::sleep(GRACE + Duration::from_millis(200));
            drop(gate);
        });
        let before = SigSet::thread_get_mask().unwrap();
        assert_eq!(outlet.wait().unwrap(), Reader::There);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        later.join().unwrap();
        assert_eq!(*locked(&read), "first\n1\nreport\n");
    }

    #[test]
    fn a_reader_that_goes_is_told_and_a_failure_once() {
        for fails in [false, true] {
            let mut outlet = Outlet::start(move |_| {
                if fails { Err(Failure::new(Class::CannotWrite, "broken")) } else { Ok(Reader::Gone) }
            });
            outlet.offer(None, &[line(1)]);
            let start = Instant::now();
            while !outlet.is_idle() {
                assert!(start.elapsed() < Duration::from_secs(20));
                std::thread::yield_now();
            }
            assert_eq!(outlet.reader().is_err(), fails);
            assert_eq!(outlet.reader().unwrap(), Reader::Gone);
            outlet.close(b"never written".to_vec());
            assert_eq!(outlet.wait().unwrap(), Reader::Gone);
        }
    }

    #[test]
    fn the_thread_takes_no_signal_and_its_spawner_does_as_before() {
        let before = SigSet::thread_get_mask().unwrap();
        let mask = Arc::new(Mutex::new(SigSet::empty()));
        let seen = Arc::clone(&mask);
        let mut outlet = Outlet::start(move |_| {
            *locked(&seen) = SigSet::thread_get_mask().unwrap();
            Ok(Reader::There)
        });
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        outlet.close(b"x".to_vec());
        outlet.wait().unwrap();
        let mask = locked(&mask);
        assert!(DEADLY.iter().chain(&[Signal::SIGUSR1, Signal::SIGCONT]).all(|s| mask.contains(*s)));
    }
}
