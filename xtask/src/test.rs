//! `cargo xtask test`: everything that says whether gostray is in order, and a summary.
//!
//! Test executables are always built as the user who asked; only the tests that need the kernel are started as root.
//! A part that fails does not keep the next one from running.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::ebpf::Choice;
use crate::setup::{self, Scope};
use crate::toolchain::{self, Way};
use crate::{fuzz, golang, progress, shell, workspace};

const SKIP_VAR: &str = "GOSTRAY_SKIP_EBPF";
/// The toolchains (GOROOT directories) that `tests/tests/gobin_real` compares with.
const GO_VAR: &str = "GOSTRAY_TEST_GO";

pub struct Options {
    /// Neither root nor kernel nor Go.
    pub pure_only: bool,
    /// Only tests whose name contains this.
    pub filter: Option<String>,
}

/// How tests ended, as libtest counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

struct Part {
    name: &'static str,
    time: Duration,
    counts: Option<Counts>,
    /// Why it failed.
    error: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let mut parts = Vec::new();
    if !options.pure_only {
        // Without its tools a test run would say nothing: no summary, just what is missing.
        setup::run(Scope::Tests, Choice::Auto)?;
    }
    if options.filter.is_none() {
        parts.push(part("format", || format().map(|()| None)));
        parts.push(part("lints", || lints(options).map(|()| None)));
    }
    parts.push(part("pure tests", || pure_tests(options).map(Some)));
    if !options.pure_only {
        parts.push(part("Go programs", || go_programs().map(|()| None)));
        parts.push(part("gostray", || build_gostray().map(|()| None)));
        parts.push(part("root tests", || root_tests(options).map(Some)));
        parts.push(part("hostile files", || hostile_files(options).map(Some)));
        if options.filter.is_none() {
            parts.push(part("fuzzers", || fuzz::run(&[], fuzz::SHORT).map(|()| None)));
        }
    }
    summary(&parts, options)
}

fn part(name: &'static str, work: impl FnOnce() -> Result<Option<Counts>>) -> Part {
    let start = Instant::now();
    let result = progress::judged(name, work, |counts| counts.is_none_or(|c| c.failed == 0));
    let (counts, error) = match result {
        Ok(counts) => (counts, None),
        Err(e) => {
            progress::note(&format!("{e:#}"));
            (None, Some(format!("{e:#}").lines().next().unwrap_or_default().to_owned()))
        }
    };
    // Counted failures are failures too.
    let error = error.or_else(|| counts.filter(|c| c.failed > 0).map(|c| format!("{} failed", c.failed)));
    Part { name, time: start.elapsed(), counts, error }
}

/// cargo, with the eBPF object unless only pure tests are wanted and there is nothing to build it with.
fn cargo(options: &Options) -> Command {
    let mut cmd = workspace::cargo();
    let asked_to_skip = std::env::var_os(SKIP_VAR).is_some_and(|v| v == "1");
    let can_build = Way::ALL.into_iter().any(|way| toolchain::find(way).is_ok());
    if options.pure_only && (asked_to_skip || !can_build) {
        cmd.env(SKIP_VAR, "1");
    } else {
        cmd.env_remove(SKIP_VAR);
    }
    cmd
}

fn format() -> Result<()> {
    shell::loud(workspace::cargo().args(["fmt", "--all", "--", "--check"])).context("try: cargo fmt --all")
}

fn lints(options: &Options) -> Result<()> {
    // The kernel side only compiles for its own target; its build by `tracer/build.rs` shows its warnings.
    shell::loud(
        cargo(options)
            .args(["clippy", "-q", "--workspace", "--exclude", "tracer-ebpf", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    )
}

fn pure_tests(options: &Options) -> Result<Counts> {
    let mut cmd = cargo(options);
    cmd.args(["test", "-q", "--no-fail-fast"]);
    if let Some(filter) = &options.filter {
        cmd.args(["--", filter]);
    }
    let (counts, ended_well) = counted(&mut cmd)?;
    if !ended_well && counts.failed == 0 {
        bail!("`cargo test` failed without a failed test: something does not compile or crashed");
    }
    Ok(counts)
}

/// What a hostile executable costs can only be measured in a release build.
fn hostile_files(options: &Options) -> Result<Counts> {
    let mut cmd = cargo(options);
    cmd.args([
        "test",
        "-q",
        "--release",
        "--package",
        "tracer",
        "--test",
        "hostile_binaries",
        "--",
        "--ignored",
    ]);
    cmd.args(&options.filter);
    let (counts, ended_well) = counted(&mut cmd)?;
    if !ended_well && counts.failed == 0 {
        bail!("ended without a result");
    }
    Ok(counts)
}

fn go_programs() -> Result<()> {
    for version in golang::VERSIONS {
        for program in ["zoo", "exact"] {
            golang::build(&golang::Build { program, go: version, flags: &[], cgo: false })?;
        }
    }
    for program in ["demo", "busy", "coro", "execer", "cgo"] {
        golang::build(&golang::Build { program, go: golang::DEFAULT, flags: &[], cgo: program == "cgo" })?;
    }
    Ok(())
}

fn build_gostray() -> Result<()> {
    let mut cmd = workspace::cargo();
    cmd.env_remove(SKIP_VAR);
    cmd.args(["build", "-q", "--release", "--package", "tracer", "--bin", "gostray"]);
    shell::loud(&mut cmd)
}

/// Tests that read files, or programs at rest, and compute. They fill the time in which the others wait for a program.
const AT_EASE: [&str; 5] = ["dump_cgo", "dump_corpus", "gobin_real", "layouts", "symbols_agree"];

fn root_tests(options: &Options) -> Result<Counts> {
    let (at_ease, others): (Vec<_>, Vec<_>) =
        test_executables(options)?.into_iter().partition(|path| AT_EASE.contains(&name_of(path).as_str()));
    let mut total = Counts::default();
    let mut crashed = Vec::new();
    let mut take = |executable: &Path, (counts, ended_well): (Counts, bool)| {
        total.passed += counts.passed;
        total.failed += counts.failed;
        if !ended_well && counts.failed == 0 {
            crashed.push(name_of(executable));
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let beside = scope.spawn(|| {
            // Where this fails, the part that needs them builds them again and says so.
            if options.filter.is_none()
                && let Err(e) = fuzz::build_beside()
            {
                progress::note(&format!("{e:#}"));
            }
            let run = |path: &PathBuf| Ok((path.clone(), root_test(path, options, &[], Priority::Low)?));
            at_ease.iter().map(run).collect::<Result<Vec<_>>>()
        });
        for executable in &others {
            take(executable, root_test(executable, options, &[], Priority::Normal)?);
        }
        let ended = beside.join().map_err(|_| anyhow!("the tests beside the others broke off"))?;
        ended?.into_iter().for_each(|(path, result)| take(&path, result));
        Ok(())
    })?;
    if !crashed.is_empty() {
        bail!("ended without a result: {}", crashed.join(", "));
    }
    if total == Counts::default() && options.filter.is_none() {
        bail!("no test was run");
    }
    Ok(total)
}

/// The test's name: cargo puts a hash behind it.
fn name_of(executable: &Path) -> String {
    let stem = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    stem.rsplit_once('-').map_or(stem.clone(), |(name, _hash)| name.to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    Normal,
    /// Only what the others leave of the processors. What it prints comes at its end.
    Low,
}

/// Runs the root tests of one executable; also says whether it ended well.
fn root_test(
    executable: &Path,
    options: &Options,
    more: &[(&str, &OsStr)],
    priority: Priority,
) -> Result<(Counts, bool)> {
    let tools = workspace::tools()?;
    let gostray = workspace::gostray(true);
    let target = workspace::target_dir();
    let backtrace = std::env::var_os("RUST_BACKTRACE").unwrap_or_else(|| OsString::from("0"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go_roots = go_roots()?;
    let mut vars: Vec<(&str, &OsStr)> = vec![
        ("GOSTRAY_BIN", gostray.as_os_str()),
        (toolchain::TOOLS_VAR, tools.as_os_str()),
        (GO_VAR, &go_roots),
        ("CARGO_TARGET_DIR", target.as_os_str()),
        ("RUST_BACKTRACE", &backtrace),
        // A test that returns an error says it in one line; panics keep their backtrace.
        ("RUST_LIB_BACKTRACE", OsStr::new("0")),
        ("PATH", &path),
    ];
    vars.extend(more);
    let low = priority == Priority::Low;
    let program = if low { OsStr::new("nice") } else { executable.as_os_str() };
    let mut cmd = shell::as_root("tracing in the tests", program, &vars)?;
    if low {
        cmd.args(["-n", "19"]).arg(executable);
    }
    // One at a time: they measure, and they all trace the same kernel.
    cmd.args(["--ignored", "--test-threads=1"]).current_dir(workspace::root().join("tests"));
    cmd.args(&options.filter);
    counted_as(&mut cmd, low)
}

/// Builds gostray and runs the root tests of one test executable, with more variables.
pub(crate) fn only(name: &str, more: &[(&str, &OsStr)]) -> Result<()> {
    let options = Options { pure_only: false, filter: None };
    build_gostray()?;
    let executables = test_executables(&options)?;
    let executable = executables.iter().find(|path| name_of(path) == name);
    let executable = executable.with_context(|| format!("there is no test `{name}`"))?;
    let (counts, ended_well) = root_test(executable, &options, more, Priority::Normal)?;
    if counts.failed > 0 || !ended_well {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

/// What the caller says, else every Go that setup installs.
fn go_roots() -> Result<OsString> {
    if let Some(roots) = std::env::var_os(GO_VAR) {
        return Ok(roots);
    }
    let mut roots = Vec::new();
    for version in golang::VERSIONS {
        let go = golang::find(version)?;
        roots.extend(go.ancestors().nth(2).map(Path::to_owned));
    }
    std::env::join_paths(roots).context("the tools cache's path holds a `:`")
}

/// Builds the crate `tests` and says where its test executables are.
fn test_executables(options: &Options) -> Result<Vec<PathBuf>> {
    let mut cmd = cargo(options);
    built_by(cmd.args(["test", "-q", "--package", "tests", "--no-run"]))
}

/// The executables that a cargo command with `--no-run` has built of tests and benches.
fn built_by(cmd: &mut Command) -> Result<Vec<PathBuf>> {
    cmd.arg("--message-format=json-render-diagnostics");
    let out = cmd.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !out.status.success() {
        bail!("the crate `tests` does not compile");
    }
    let mut executables = Vec::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let wanted = message["profile"]["test"] == true || message["target"]["kind"][0] == "bench";
        if wanted && let Some(path) = message["executable"].as_str() {
            executables.push(Path::new(path).to_owned());
        }
    }
    executables.sort();
    Ok(executables)
}

/// `cargo xtask bench`: what gostray costs, printed as tables of docs/costs.md.
pub fn bench(bench: &str, args: &[String]) -> Result<()> {
    setup::run(Scope::Tests, Choice::Auto)?;
    build_gostray()?;
    let mut cmd = workspace::cargo();
    cmd.env_remove(SKIP_VAR);
    let built = built_by(cmd.args(["bench", "-q", "--package", "tests", "--bench", bench, "--no-run"]))?;
    let executable = built.first().context("cargo built no bench")?;
    let (tools, gostray) = (workspace::tools()?, workspace::gostray(true));
    let vars = [("GOSTRAY_BIN", gostray.as_os_str()), (toolchain::TOOLS_VAR, tools.as_os_str())];
    shell::loud(shell::as_root("tracing in the bench", executable.as_os_str(), &vars)?.args(args))
}

/// Runs tests, passes their output on without the empty parts, and adds up libtest's result lines.
/// Also says whether the command itself ended well.
fn counted(cmd: &mut Command) -> Result<(Counts, bool)> {
    counted_as(cmd, false)
}

/// [`counted`]; the output may be kept together until the end.
fn counted_as(cmd: &mut Command, at_the_end: bool) -> Result<(Counts, bool)> {
    let shown = shell::show(cmd);
    let mut child = cmd.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().context("the tests have no stdout")?;
    let mut total = Counts::default();
    let mut kept = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(counts) = counts_of(&line) {
            total.passed += counts.passed;
            total.failed += counts.failed;
            total.ignored += counts.ignored;
            if counts.passed + counts.failed == 0 {
                continue;
            }
        } else if line.is_empty() || line == "running 0 tests" {
            continue;
        }
        if at_the_end {
            kept.extend([&line, "\n"]);
        } else {
            // A closed stdout is no reason to stop testing.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
    let _ = write!(std::io::stdout(), "{kept}");
    Ok((total, child.wait()?.success()))
}

/// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
fn counts_of(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        numbers.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

fn summary(parts: &[Part], options: &Options) -> Result<()> {
    println!();
    let mut time = Duration::ZERO;
    for part in parts {
        time += part.time;
        let counts =
            part.counts.map(|c| format!("{} passed, {} failed", c.passed, c.failed)).unwrap_or_default();
        let outcome = part.error.as_deref().map_or("ok", |_| "FAILED");
        println!("{:<12} {outcome:<7} {:>12}  {counts}", part.name, progress::seconds(part.time));
    }
    println!("{:<12} {:<7} {:>12}", "all", "", progress::seconds(time));
    let count = |name: &str| parts.iter().find(|p| p.name == name).and_then(|p| p.counts).unwrap_or_default();
    let (pure, root, hostile) = (count("pure tests"), count("root tests"), count("hostile files"));
    let left_out = pure.ignored.saturating_sub(root.passed + root.failed + hostile.passed + hostile.failed);
    if options.pure_only {
        println!("not run: the tests that need root, the kernel or Go; try: cargo xtask test");
    } else if left_out > 0 {
        println!("not run: {left_out} tests that are ignored and not asked for here");
    }
    let failed: Vec<&str> = parts.iter().filter(|p| p.error.is_some()).map(|p| p.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_result_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.5s";
        assert_eq!(counts_of(line), Some(Counts { passed: 12, failed: 3, ignored: 1 }));
        let line =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(counts_of(line), Some(Counts::default()));
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["", "running 3 tests", "test result: ok. many passed", "test a ... ok"] {
            assert_eq!(counts_of(line), None, "{line}");
        }
    }

    #[test]
    fn a_counted_failure_is_a_failed_part() {
        let ok = part("x", || Ok(Some(Counts { passed: 1, ..Counts::default() })));
        assert!(ok.error.is_none());
        let failed = part("x", || Ok(Some(Counts { passed: 1, failed: 1, ignored: 0 })));
        assert!(failed.error.is_some());
    }
}
