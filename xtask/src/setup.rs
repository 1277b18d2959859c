//! `cargo xtask setup`: installs what building, the demo and the tests need and this machine lacks.
//!
//! Everything but Debian packages goes into the tools cache. What is there is left alone, so a second run takes
//! no time. One failure does not keep the rest from being set up; all are told at the end.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::{self, Choice};
use crate::{debian, fuzz, golang, progress, shell, workspace};

/// How much to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Building gostray.
    Build,
    /// Building it, and the Go that the demo service is built with.
    Demo,
    /// All that the tests use.
    Tests,
}

/// Sets up; the error lists everything that could not be had, each with a way to get it.
pub fn run(scope: Scope, choice: Choice) -> Result<()> {
    let start = Instant::now();
    let tools = workspace::tools()?;
    fs::create_dir_all(&tools)
        .with_context(|| format!("cannot create the tools cache `{}`", tools.display()))?;
    let mut failures = Vec::new();
    let mut attempt = |result: Result<()>| {
        if let Err(e) = result {
            failures.push(format!("{e:#}"));
        }
    };
    attempt(basics(scope));
    attempt(ebpf::ensure(choice).map(drop));
    let versions: &[&str] = match scope {
        Scope::Build => &[],
        Scope::Demo => &[golang::DEFAULT],
        Scope::Tests => &golang::VERSIONS,
    };
    for version in versions.iter().chain((scope == Scope::Tests).then_some(&golang::OLDEST)) {
        attempt(go(version));
    }
    if scope == Scope::Tests {
        attempt(fuzz::ensure());
        for program in &debian::PROGRAMS {
            attempt(debian_program(program));
        }
    }
    if failures.is_empty() {
        progress::note(&format!("everything is set up  ({})", progress::seconds(start.elapsed())));
        return Ok(());
    }
    bail!("{} could not be set up:\n  - {}", plural(failures.len()), failures.join("\n  - "))
}

/// Programs that everything else builds on, with the Debian package that has each.
fn basics(scope: Scope) -> Result<()> {
    let mut wanted = vec![("cc", "gcc"), ("cc", "libc6-dev")];
    if scope != Scope::Build {
        wanted.push(("python3", "python3"));
    }
    if scope == Scope::Tests {
        wanted.push(("gcore", "gdb"));
    }
    let missing: Vec<&str> =
        wanted.into_iter().filter(|(program, _)| shell::which(program).is_none()).map(|(_, p)| p).collect();
    if !missing.is_empty() {
        progress::part(&format!("Debian packages {}", missing.join(" ")), || debian::install(&missing))?;
    }
    if scope == Scope::Tests {
        components()?;
    }
    Ok(())
}

/// The tests begin with rustfmt and clippy.
fn components() -> Result<()> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(sub, _)| shell::quiet(workspace::cargo().args([sub, "--version"])).is_err())
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    progress::part(&format!("Rust components {names}"), || {
        let mut cmd = shell::command("rustup");
        if let Some(name) = std::env::var_os("RUSTUP_TOOLCHAIN") {
            cmd.env("RUSTUP_TOOLCHAIN", name);
        }
        shell::quiet(cmd.args(["component", "add"]).args(&missing))
            .map(drop)
            .with_context(|| format!("cannot add {names} to this Rust; try: rustup component add {names}"))
    })
}

fn go(version: &str) -> Result<()> {
    let name = format!("Go {version}");
    if golang::find(version).is_ok() {
        progress::already(&name);
        return Ok(());
    }
    progress::part(&name, || golang::install(version))
}

fn debian_program(program: &debian::Program) -> Result<()> {
    let name = format!("Debian's {} ({})", program.package, program.what_for);
    if program.executable()?.is_file() {
        progress::already(&name);
        return Ok(());
    }
    progress::part(&name, || program.fetch())
}

fn plural(n: usize) -> String {
    if n == 1 { "one thing".to_owned() } else { format!("{n} things") }
}
