//! `cargo xtask demo`: starts the leaking service of `tests/go/demo`, traces it for a while, shows the report, and
//! checks that the report names the leak.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::ebpf::Choice;
use crate::setup::{self, Scope};
use crate::{golang, progress, shell, workspace};

/// Long enough for growth and survival to agree (the growth rule's shortest alarm takes three samples of 5 s).
const DURATION: &str = "20s";
const MARKER: &str = "// LEAK";

/// Runs the demo with a fresh release build, or with the given `gostray`.
pub fn run(gostray: Option<PathBuf>) -> Result<()> {
    setup::run(Scope::Demo, Choice::Auto)?;
    let gostray = match gostray {
        Some(path) => path,
        None => progress::part("gostray (release build)", || workspace::build(true))?,
    };
    let how = golang::Build { program: "demo", go: golang::DEFAULT, flags: &[], cgo: false };
    let service = progress::part("the demo service", || golang::build(&how))?;
    let place = leak()?;

    let service = Service::start(&service)?;
    progress::note(&format!(
        "the service runs as process {} and leaks 6 goroutines a second",
        service.0.id()
    ));
    progress::note(&format!("tracing it: gostray attach {} --duration {DURATION}", service.0.id()));
    let mut cmd = shell::as_root("attaching to a process", gostray.as_os_str(), &[])?;
    cmd.args(["attach", &service.0.id().to_string(), "--budget", "off", "--duration", DURATION]);
    let said = shown(&mut cmd)?;
    drop(service);

    if !names(&said, &place) {
        bail!(
            "the report above does not call it a leak where the leak is, at `{place}`; try: cargo xtask test, and an issue"
        );
    }
    progress::note(&format!("the report names the leak: {place}"));
    Ok(())
}

/// The leak's file and line, the file from the repository's root on.
pub fn leak() -> Result<String> {
    let file = "tests/go/demo/main.go";
    let source =
        fs::read_to_string(workspace::root().join(file)).with_context(|| format!("cannot read `{file}`"))?;
    let line = source.lines().position(|l| l.ends_with(MARKER)).context("the demo's leak is not marked")?;
    Ok(format!("{file}:{}", line + 1))
}

/// The report calls this very place a leak. That the place appears is not enough: the live lines, and healthy sites in
/// the report, name places too.
fn names(report: &str, place: &str) -> bool {
    report.lines().any(|line| {
        // `1. LEAK  FILE:LINE` heads a site; numbers before the word, nothing else.
        let head =
            line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim_start();
        head.starts_with("LEAK ")
            && head.match_indices(place).any(|(at, _)| {
                // Not the beginning of a longer line number.
                !head[at + place.len()..].starts_with(|c: char| c.is_ascii_digit())
            })
    })
}

/// Runs a command, shows its output as it comes and returns it.
fn shown(cmd: &mut Command) -> Result<String> {
    let name = shell::show(cmd);
    let mut child = cmd.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{name}`"))?;
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().context("it has no stdout")?).lines() {
        let line = line?;
        let _ = writeln!(std::io::stdout(), "{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(said)
}

/// The demo service; ends with this value.
struct Service(Child);

impl Service {
    fn start(executable: &Path) -> Result<Self> {
        let child = Command::new(executable).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut service = Self(child.context("the demo service does not start")?);
        let stdout = service.0.stdout.take().context("the demo service has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the demo service said `{}` where `ready` was expected", line.trim());
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leak_is_a_go_statement() {
        let place = leak().unwrap();
        let (file, line) = place.rsplit_once(':').unwrap();
        let source = fs::read_to_string(workspace::root().join(file)).unwrap();
        let text = source.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
        assert!(text.trim().starts_with("go fetchPrice("), "{text}");
    }

    #[test]
    fn only_a_leak_at_the_very_line_counts() {
        let place = "demo/main.go:14";
        for yes in
            ["1. LEAK  /x/demo/main.go:14", "LEAK  the `go` statement at /x/demo/main.go:14 in demo leaks"]
        {
            assert!(names(yes, place), "{yes}");
        }
        for no in [
            "1. LEAK  /x/demo/main.go:141",
            "1. LEAK  /x/demo/main.go:4",
            "1. SUSPECT  /x/demo/main.go:14",
            "  1.15s  new  /x/demo/main.go:14  6 alive, healthy",
            "NO LEAK  at /x/demo/main.go:14",
            "  at /x/demo/main.go:14",
        ] {
            assert!(!names(no, place), "{no}");
        }
    }
}
