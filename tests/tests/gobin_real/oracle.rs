//! Talks to the oracle program.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::build::Build;

/// Asks all questions at once; gives the answers' lines.
pub fn ask(build: &Build, main: u64, questions: &str) -> Vec<String> {
    let mut child = Command::new(&build.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", build.path.display()));
    let mut stdin = child.stdin.take().unwrap();
    let text = format!("main {main}\n{questions}");
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "{} ended with {}", build.path.display(), out.status);
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}
