//! The built `gostray`, run as a user would run it, and its JSON read back.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test: `$GOSTRAY_BIN` (set by `cargo xtask test`), else this workspace's debug build.
pub fn binary() -> PathBuf {
    let path =
        std::env::var_os("GOSTRAY_BIN").map_or_else(|| xtask::workspace::gostray(false), PathBuf::from);
    assert!(path.is_file(), "there is no gostray at `{}`; try: cargo xtask build", path.display());
    path
}

/// No test watches longer: one that was to be refused and was not would watch for ever.
const LONGEST: Duration = Duration::from_secs(300);

/// Runs it to its end.
pub fn gostray(args: &[&str]) -> Output {
    let output = Background::start(args).finish();
    eprintln!("gostray {} → {}", args.join(" "), output.status);
    output
}

/// Starts it and leaves it running; killed when dropped. What it prints is read all along.
pub struct Background {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Background {
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gostray starts");
        let stdout = Captured::start(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Captured::start(child.stderr.take().expect("stderr is a pipe"));
        Self { child, stdout, stderr }
    }

    /// `gostray attach PID --json --budget off` and more arguments, with its probes in place when this returns: they stay, whatever the
    /// program does.
    pub fn attach(pid: u32, more: &[&str]) -> Self {
        let pid = pid.to_string();
        let mut args = vec!["attach", &pid, "--json", "--budget", "off"];
        args.extend(more);
        let mut it = Self::start(&args);
        it.watching();
        it
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to gostray itself.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the pid is our own child's, not yet waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Waits until it has told of a creation site, which it first does a second after the last probe was placed.
    pub fn watching(&mut self) {
        self.until_printed("a live line", |line| line.starts_with("{\"schema\":\"gostray.live/1\""));
    }

    /// Waits until it, or the program that it runs, has printed such a line.
    pub fn until_printed(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !self.stdout.any_line(&wanted) && !self.stderr.any_line(&wanted) {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(
                ended.is_none() && start.elapsed() < Duration::from_secs(60),
                "no {what} after {:?} ({ended:?}):\n{}\n{}",
                start.elapsed(),
                String::from_utf8_lossy(&self.stdout.so_far()),
                String::from_utf8_lossy(&self.stderr.so_far()),
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end and gives what it printed.
    pub fn finish(mut self) -> Output {
        until("gostray ends", LONGEST, || self.has_ended());
        let status = self.child.wait().expect("it is our child");
        self.printed(status)
    }

    /// Ends the watch as Ctrl-C does and gives what it printed.
    pub fn end(self) -> Output {
        self.signal(libc::SIGINT);
        self.finish()
    }

    /// Kills it at once.
    pub fn kill(mut self) -> Output {
        self.child.kill().expect("it is our child");
        let status = self.child.wait().expect("it is our child");
        self.printed(status)
    }

    fn printed(&mut self, status: ExitStatus) -> Output {
        let output = Output { status, stdout: self.stdout.take_all(), stderr: self.stderr.take_all() };
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already; both then do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was read from a pipe so far.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn start(pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let filled = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                filled.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn any_line(&self, wanted: impl Fn(&str) -> bool) -> bool {
        String::from_utf8_lossy(&self.so_far()).lines().any(wanted)
    }

    fn take_all(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not panic");
        }
        std::mem::take(&mut self.so_far())
    }
}

/// The report out of `--json` output: the last line (or the whole document) with the report's schema. On stderr, where
/// `run` prints it, when stdout has none.
pub fn report(output: &Output) -> Report {
    let text = String::from_utf8_lossy(&output.stdout);
    let beside = String::from_utf8_lossy(&output.stderr);
    let whole = serde_json::from_str::<Value>(&text).ok();
    let value = whole
        .into_iter()
        .chain(text.lines().rev().chain(beside.lines().rev()).filter_map(|l| serde_json::from_str(l).ok()))
        .find(|v: &Value| v["schema"] == "gostray.report/1")
        .unwrap_or_else(|| panic!("no report in:\n{text}\n{beside}"));
    Report(value)
}

/// A report as `--json` gives it.
pub struct Report(pub Value);

impl Report {
    pub fn total(&self, name: &str) -> u64 {
        self.0["totals"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no total `{name}` in {:#}", self.0["totals"]))
    }

    pub fn losses(&self) -> &Vec<Value> {
        self.0["losses"].as_array().expect("losses is a list")
    }

    pub fn sites(&self) -> Vec<Site<'_>> {
        self.0["sites"].as_array().expect("sites is a list").iter().map(Site).collect()
    }

    /// Sites whose `go` statement is in `function`.
    pub fn created_in(&self, function: &str) -> Vec<Site<'_>> {
        self.sites().into_iter().filter(|s| s.created_in() == function).collect()
    }

    /// Sites that are not the runtime's own.
    pub fn own(&self) -> Vec<Site<'_>> {
        self.sites().into_iter().filter(|s| !s.is_system()).collect()
    }

    /// Sites with this verdict.
    pub fn with_verdict(&self, verdict: &str) -> Vec<Site<'_>> {
        self.sites().into_iter().filter(|s| s.verdict() == verdict).collect()
    }
}

/// One creation site of a report.
#[derive(Clone, Copy)]
pub struct Site<'r>(pub &'r Value);

impl<'r> Site<'r> {
    pub fn verdict(&self) -> &'r str {
        self.0["verdict"]["kind"].as_str().expect("a verdict has a kind")
    }

    pub fn created_in(&self) -> &'r str {
        self.0["created_at"]["function"].as_str().unwrap_or_default()
    }

    pub fn line(&self) -> Option<u64> {
        self.0["created_at"]["line"].as_u64()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no count `{name}` in {:#}", self.0))
    }

    /// Functions of the creation stack, innermost first.
    pub fn chain(&self) -> Vec<&'r str> {
        let frames = self.0["creation"]["frames"].as_array().expect("a stack has frames");
        frames.iter().map(|f| f["function"].as_str().unwrap_or_default()).collect()
    }

    /// Whether it is one of the runtime's own.
    pub fn is_system(&self) -> bool {
        self.0["system"].as_bool().expect("a site is the system's or not")
    }

    /// Why the creation stack is not whole; `None` when it is.
    pub fn incomplete_because(&self) -> Option<&'r str> {
        self.0["creation"]["incomplete_because"].as_str()
    }

    /// The function that its goroutines run.
    pub fn start(&self) -> &'r str {
        self.0["start"]["function"].as_str().unwrap_or_default()
    }

    /// What its goroutines do now.
    pub fn reasons(&self) -> Vec<&'r str> {
        let waits = self.0["waits"].as_array().expect("waits is a list");
        waits.iter().map(|w| w["reason"].as_str().unwrap_or_default()).collect()
    }
}

/// Polls until it holds; panics with `what` when it does not within the time.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
