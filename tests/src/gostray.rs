//! The built `gostray`, run as a user would run it, and its JSON read back.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test: `GOSTRAY_BIN`, else the one next to the test's own target directory.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GOSTRAY_BIN") {
        return path.into();
    }
    let mut dir = std::env::current_exe().expect("a test binary has a path");
    while dir.pop() {
        let candidate = dir.join("gostray");
        if candidate.is_file() {
            return candidate;
        }
    }
    panic!("gostray is not built; try: cargo build -p tracer")
}

/// Runs it to its end.
pub fn gostray(args: &[&str]) -> Output {
    let output = Command::new(binary()).args(args).stdin(Stdio::null()).output().expect("gostray starts");
    eprintln!("gostray {} → {}", args.join(" "), output.status);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Starts it and leaves it running; killed when dropped.
pub struct Background {
    child: Option<Child>,
}

impl Background {
    pub fn start(args: &[&str]) -> Self {
        let child = Command::new(binary())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gostray starts");
        Self { child: Some(child) }
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("not yet finished").id() as i32
    }

    /// Sends a signal to gostray itself.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the pid is our own child's, not yet waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Waits for its end and gives what it printed.
    pub fn finish(mut self) -> Output {
        let output = self.child.take().expect("finished once").wait_with_output().expect("gostray ends");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The report out of `--json` output: the last line (or the whole document) with the report's schema.
pub fn report(output: &Output) -> Report {
    let text = String::from_utf8_lossy(&output.stdout);
    let whole = serde_json::from_str::<Value>(&text).ok();
    let value = whole
        .into_iter()
        .chain(text.lines().rev().filter_map(|l| serde_json::from_str(l).ok()))
        .find(|v: &Value| v["schema"] == "gostray.report/1")
        .unwrap_or_else(|| panic!("no report in:\n{text}\n{}", String::from_utf8_lossy(&output.stderr)));
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

    /// Sites with this verdict.
    pub fn with_verdict(&self, verdict: &str) -> Vec<Site<'_>> {
        self.sites().into_iter().filter(|s| s.verdict() == verdict).collect()
    }
}

/// One creation site of a report.
#[derive(Clone, Copy)]
pub struct Site<'r>(pub &'r Value);

impl Site<'_> {
    pub fn verdict(&self) -> &str {
        self.0["verdict"]["kind"].as_str().expect("a verdict has a kind")
    }

    pub fn created_in(&self) -> &str {
        self.0["created_at"]["function"].as_str().unwrap_or_default()
    }

    pub fn line(&self) -> Option<u64> {
        self.0["created_at"]["line"].as_u64()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no count `{name}` in {:#}", self.0))
    }

    /// Functions of the creation stack, innermost first.
    pub fn chain(&self) -> Vec<&str> {
        let frames = self.0["creation"]["frames"].as_array().expect("a stack has frames");
        frames.iter().map(|f| f["function"].as_str().unwrap_or_default()).collect()
    }

    /// What its goroutines do now.
    pub fn reasons(&self) -> Vec<&str> {
        let waits = self.0["waits"].as_array().expect("waits is a list");
        waits.iter().map(|w| w["reason"].as_str().unwrap_or_default()).collect()
    }
}

/// Polls until it holds; panics with `what` when it does not within the time.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
