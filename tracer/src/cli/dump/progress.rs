//! How far the reading has come, on standard error if that is a terminal and the reading takes its time.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

/// A dump that takes less needs no word.
const PATIENCE: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(100);

/// Takes its line away again when dropped.
pub struct Progress {
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { next: Instant::now() + PATIENCE, terminal: stderr().is_terminal(), shown: false }
    }
}

impl Progress {
    /// So many goroutines of so many are read.
    pub fn hear(&mut self, done: usize, all: usize) {
        let now = Instant::now();
        if self.terminal && now >= self.next {
            self.next = now + EVERY;
            self.shown = true;
            // Nothing depends on it.
            let _ = write!(stderr(), "\r\u{1b}[Kgostray: {done} of {all} goroutines read");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}
