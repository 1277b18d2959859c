//! `cargo xtask fuzz`: libFuzzer over the readers of bytes that others made, within the limits that hostile input has.
//!
//! All targets share one build (`fuzz/target`, instrumented; any compiler that builds gostray will do). What is found
//! goes to `fuzz/artifacts`; a finding that is mended goes to `fuzz/seeds`, which plain `cargo test` runs too.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{progress, shell, workspace};

pub const TARGETS: [&str; 11] = [
    "elf",
    "buildinfo",
    "pclntab",
    "moduledata",
    "inline_trees",
    "dwarf",
    "layouts",
    "code",
    "session_reader",
    "event_decode",
    "core",
];
/// As long as a run in `cargo xtask test` is.
pub const SHORT: Duration = Duration::from_secs(2);
const VERSION: &str = "0.13.2";
/// What one input may cost: seconds, and megabytes of the whole process.
const TIME: u32 = 1;
const MEMORY: u32 = 256;
/// Lines of a finding that say what it is.
const SHOWN: usize = 12;

/// What libFuzzer said of one run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    coverage: u64,
    /// The target's own words on how deep it got.
    reached: String,
    /// Its last lines, when it found something.
    finding: Vec<String>,
}

/// Runs these targets (all, when none is named), each so long. A finding is an error.
pub fn run(names: &[String], time: Duration) -> Result<()> {
    if let Some(unknown) = names.iter().find(|n| !TARGETS.contains(&n.as_str())) {
        bail!("there is no fuzz target `{unknown}`; try: one of {}", TARGETS.join(", "));
    }
    ensure()?;
    progress::part("fuzz targets", || build(Command::new(cargo_fuzz()?)))?;
    let chosen: Vec<&str> =
        TARGETS.into_iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t)).collect();
    let mut outcomes = Vec::new();
    for target in chosen {
        let name = format!("fuzz {target}, {} s", time.as_secs());
        let outcome = progress::judged(&name, || fuzz(target, time), |o| o.finding.is_empty())?;
        outcomes.push((target, outcome));
    }
    println!("\n{:<16} {:>12} {:>9}  findings", "target", "executions", "coverage");
    for (target, o) in &outcomes {
        println!("{target:<16} {:>12} {:>9}  {}", o.executions, o.coverage, u8::from(!o.finding.is_empty()));
        if !o.reached.is_empty() {
            println!("{:<16} {}", "", o.reached);
        }
        o.finding.iter().for_each(|line| println!("    {line}"));
    }
    let found: Vec<&str> = outcomes.iter().filter(|(_, o)| !o.finding.is_empty()).map(|(t, _)| *t).collect();
    if !found.is_empty() {
        bail!("findings in {}; their inputs are in `fuzz/artifacts`", found.join(", "));
    }
    Ok(())
}

/// Installs cargo-fuzz when it is missing.
pub fn ensure() -> Result<()> {
    let name = format!("cargo-fuzz {VERSION}");
    if cargo_fuzz()?.is_file() {
        progress::already(&name);
        return Ok(());
    }
    progress::part(&name, || {
        let mut cmd = workspace::cargo();
        cmd.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]).arg(root()?);
        shell::quiet(&mut cmd).map(drop).context("cannot install cargo-fuzz")
    })
}

fn root() -> Result<PathBuf> {
    Ok(workspace::tools()?.join("cargo-fuzz"))
}

fn cargo_fuzz() -> Result<PathBuf> {
    Ok(root()?.join("bin/cargo-fuzz"))
}

fn dir() -> PathBuf {
    workspace::root().join("fuzz")
}

/// Builds the targets with what others leave of the processors, so that [`run`] finds them built.
pub fn build_beside() -> Result<()> {
    ensure()?;
    let mut cmd = Command::new("nice");
    cmd.args(["-n", "19"]).arg(cargo_fuzz()?);
    build(cmd).context("the fuzz targets")
}

/// Without a sanitizer: the readers are safe code, and a sanitizer's memory would count against the limit.
fn build(mut cmd: Command) -> Result<()> {
    let cargo = workspace::cargo();
    cmd.args(["fuzz", "build", "--sanitizer", "none", "--target-dir"]).arg(dir().join("target"));
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => cmd.env(name, value),
            None => cmd.env_remove(name),
        };
    }
    // A compiler that is no nightly takes cargo-fuzz's flags only so.
    cmd.env("RUSTC_BOOTSTRAP", "1").env("GOSTRAY_SKIP_EBPF", "1").current_dir(workspace::root());
    shell::quiet(&mut cmd).map(drop)
}

fn fuzz(target: &str, time: Duration) -> Result<Outcome> {
    let (corpus, artifacts) = (dir().join("corpus").join(target), dir().join("artifacts").join(target));
    for d in [&corpus, &artifacts] {
        fs::create_dir_all(d).with_context(|| format!("cannot create `{}`", d.display()))?;
    }
    let executable = dir().join("target/x86_64-unknown-linux-gnu/release").join(target);
    let mut child = shell::command(&executable)
        .arg(&corpus)
        .arg(dir().join("seeds").join(target))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={}", time.as_secs()))
        .args([format!("-timeout={TIME}"), format!("-rss_limit_mb={MEMORY}")])
        .arg("-print_final_stats=1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", executable.display()))?;
    let stderr = child.stderr.take().context("the fuzzer has no stderr")?;
    let (mut outcome, mut tail) = (Outcome::default(), Vec::new());
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if !outcome.read(&line) {
            tail.push(line);
            tail.drain(..tail.len().saturating_sub(4 * SHOWN));
        }
    }
    if !child.wait()?.success() {
        outcome.finding = finding(tail);
    }
    Ok(outcome)
}

impl Outcome {
    /// Whether the line is one of the numbers that are shown.
    fn read(&mut self, line: &str) -> bool {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(0);
        } else if let Some(reached) = line.strip_prefix("reached: ") {
            self.reached = reached.to_owned();
        } else if line.starts_with('#') && line.contains("cov: ") {
            let words = line.split_whitespace();
            let value = words.skip_while(|w| *w != "cov:").nth(1).and_then(|w| w.parse().ok());
            self.coverage = value.unwrap_or(self.coverage);
        } else {
            return line.starts_with("stat::");
        }
        true
    }
}

/// From the line that names the failure on.
fn finding(tail: Vec<String>) -> Vec<String> {
    let says = |l: &String| l.contains("panicked at") || l.contains("ERROR: libFuzzer");
    let from = tail.iter().position(says).unwrap_or(tail.len().saturating_sub(SHOWN));
    let mut lines: Vec<String> = tail[from..].iter().take(SHOWN).cloned().collect();
    lines.extend(tail.iter().filter(|l| l.contains("Test unit written to")).cloned());
    if lines.is_empty() {
        lines.push("it ended badly without a word".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_binary_and_seeds() {
        let manifest = fs::read_to_string(dir().join("Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(fs::read_dir(dir().join("seeds").join(target)).unwrap().count() > 1, "{target}");
        }
    }

    #[test]
    fn libfuzzers_lines_are_read() {
        let mut o = Outcome::default();
        assert!(o.read("#4096\tpulse  cov: 1713 ft: 6072 corp: 351/217Kb lim: 3216 exec/s: 1365 rss: 60Mb"));
        assert!(o.read("stat::number_of_executed_units: 41920"));
        assert!(o.read("reached: 1024 inputs, Reached { parsed: 3 }"));
        assert!(o.read("stat::peak_rss_mb: 77") && !o.read("INFO: Running with entropic power schedule"));
        let reached = "1024 inputs, Reached { parsed: 3 }".to_owned();
        assert_eq!(o, Outcome { executions: 41920, coverage: 1713, reached, finding: Vec::new() });
    }

    #[test]
    fn a_finding_is_told_from_its_first_line() {
        let lines =
            ["INFO: x", "thread '<unnamed>' panicked at a.rs:1:2:", "overflow", "Test unit written to ./c"];
        let told = finding(lines.map(str::to_owned).to_vec());
        assert_eq!(told.first().map(String::as_str), Some(lines[1]));
        assert!(told.contains(&lines[3].to_owned()));
        assert!(!finding(Vec::new()).is_empty());
    }
}
