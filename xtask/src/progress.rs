//! Progress lines that read well on a terminal and in a log: one when a part starts, one when it ends, and a sign of
//! life in between. No cursor tricks.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// A part that takes longer says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Runs `work` between a line that names it and a line with its time.
pub fn part<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    judged(name, work, |_| true)
}

/// [`part`], whose result can be bad without being an error.
pub fn judged<T>(
    name: &str,
    work: impl FnOnce() -> Result<T>,
    is_good: impl FnOnce(&T) -> bool,
) -> Result<T> {
    line(&format!("…  {name}"));
    let start = Instant::now();
    let result = while_alive(name, start, work);
    let mark = if result.as_ref().is_ok_and(is_good) { "ok" } else { "!!" };
    line(&format!("{mark} {name}  {}", seconds(start.elapsed())));
    result
}

/// A part that had nothing to do.
pub fn already(name: &str) {
    line(&format!("ok {name}  (there already)"));
}

/// A remark.
pub fn note(text: &str) {
    line(&format!("   {text}"));
}

pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 100.0 { format!("{s:.1} s") } else { format!("{} min {:02} s", s as u64 / 60, s as u64 % 60) }
}

fn while_alive<T>(name: &str, start: Instant, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
                line(&format!("…  {name}, {} so far", seconds(start.elapsed())));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// One whole line on stderr; a closed stderr is no reason to stop working.
fn line(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{text}").and_then(|()| err.flush());
}
