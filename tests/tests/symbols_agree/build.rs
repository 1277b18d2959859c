//! The binaries on which the ways are compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tests::Fixture;
use xtask::{golang, workspace};

/// A build, and the Go that made it.
pub struct Build {
    pub name: &'static str,
    pub go: &'static str,
    pub path: PathBuf,
}

pub fn all() -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    let mut add = |name, go, path: Result<PathBuf>| -> Result<()> {
        builds.push(Build { name, go, path: path.with_context(|| format!("{name}, Go {go}"))? });
        Ok(())
    };
    for go in ["1.21.13", "1.24.11", "1.25.5", golang::DEFAULT, "1.27.3"] {
        add("plain", go, Fixture::new("zoo").go(go).build())?;
    }
    let default = golang::DEFAULT;
    add("-race", default, Fixture::new("zoo").cgo().flag("-race").build())?;
    add("cgo", default, Fixture::new("cgo").build())?;
    add("PIE", default, Fixture::new("zoo").pie().build())?;
    add("-N -l", default, Fixture::new("zoo").flag("-gcflags=all=-N -l").build())?;
    add("cmd/go", default, cmd_go(default))?;
    Ok(builds)
}

pub fn go(version: &str) -> Result<Command> {
    let go = golang::find(version)?;
    let root = go.ancestors().nth(2).context("the toolchain has no root")?.to_owned();
    let mut command = Command::new(&go);
    command.env("GOROOT", root).env("GOTOOLCHAIN", "local").env("GOENV", "off").env("GOFLAGS", "");
    command.env("GOCACHE", workspace::target_dir().join("fixtures/gocache"));
    Ok(command)
}

/// A large program that is at hand wherever Go is.
fn cmd_go(version: &str) -> Result<PathBuf> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cmd-go-{version}"));
    if out.is_file() {
        return Ok(out);
    }
    let go_binary = golang::find(version)?;
    let source = go_binary.ancestors().nth(2).context("the toolchain has no root")?.join("src/cmd");
    let partial = out.with_extension("partial");
    let mut build = go(version)?;
    build.current_dir(source).env("CGO_ENABLED", "0").args(["build", "-o"]).arg(&partial).arg("./go");
    ensure!(build.status()?.success(), "`cmd/go` does not build");
    std::fs::rename(partial, &out)?;
    Ok(out)
}
