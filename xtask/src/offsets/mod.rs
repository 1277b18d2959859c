//! `cargo xtask offsets`: measures the layout of Go's runtime in every toolchain that can be had, and writes the table
//! that `gobin` embeds and the page that shows it.
//!
//! Each toolchain builds a program that does nothing, for amd64 and arm64; its debug information says where the fields
//! are. The programs are kept in `target/offsets` (2 MB each), the toolchains are not, so that a second run only
//! fetches what is missing. Reading is done by the example `offsets` of the crate `tests`, with the very code that
//! gostray itself uses: this crate cannot use it, because what it sets up is needed to build it.

mod probe;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{progress, shell, workspace};

pub use probe::{ARCHITECTURES, build, fixture};
use source::Source;

/// Where the probe programs are kept, one directory for each toolchain.
pub fn dir() -> PathBuf {
    workspace::target_dir().join("offsets")
}

/// What to do beyond reading again what was built before.
pub struct Options {
    /// Build anew what was built before.
    pub fresh: bool,
    /// Fetch nothing.
    pub offline: bool,
    /// Fetch only sources whose directory's name contains this.
    pub only: Option<String>,
}

/// Fetches, builds and reads.
pub fn run(options: &Options) -> Result<()> {
    let Options { fresh, offline, only } = options;
    let (fresh, offline) = (*fresh, *offline);
    let dir = dir();
    let mut missing = Vec::new();
    for source in source::all() {
        if only.as_ref().is_some_and(|only| !source.slug().contains(only)) {
            continue;
        }
        let own = dir.join(source.slug());
        if is_complete(&own) && !fresh {
            progress::already(&source.to_string());
            continue;
        }
        if offline {
            missing.push(source.to_string());
            continue;
        }
        if let Err(e) = progress::part(&source.to_string(), || gather(&source, &own)) {
            progress::note(&format!("{e:#}"));
            missing.push(source.to_string());
        }
    }
    progress::part("reading", || read(&dir))?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!("the table was written without these, which could not be had:\n  - {}", missing.join("\n  - "))
}

/// The file that names the source is written last.
const ORIGIN: &str = "origin.txt";

fn is_complete(own: &Path) -> bool {
    own.join(ORIGIN).is_file()
}

fn gather(source: &Source, own: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(own);
    let scratch = workspace::target_dir().join(format!("offsets-scratch-{}", std::process::id()));
    let result = gather_by_way_of(source, own, &scratch);
    let removed = fs::remove_dir_all(&scratch);
    if result.is_err() {
        let _ = fs::remove_dir_all(own);
    } else if scratch.exists() {
        removed.with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    }
    result
}

fn gather_by_way_of(source: &Source, own: &Path, scratch: &Path) -> Result<()> {
    for dir in [own, scratch] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    }
    if let Source::Published(program) = source {
        program.fetch(own)?;
        return finish(own, &source.to_string());
    }
    let toolchain = source.toolchain(scratch)?;
    let built = build_all(source, &toolchain.root, &scratch.join("gocache"), own);
    if let Some(dir) = toolchain.remove {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove `{}`", dir.display()))?;
        // Suite and package, unless something else is kept there.
        for parent in dir.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(parent);
        }
    }
    built?;
    finish(own, &toolchain.origin)
}

fn build_all(source: &Source, root: &Path, cache: &Path, own: &Path) -> Result<()> {
    for arch in ARCHITECTURES {
        build(root, arch, None, cache, &own.join(arch))?;
    }
    if source.tries_experiments() {
        probe::experiments(root, cache, own)?;
    }
    Ok(())
}

fn finish(own: &Path, origin: &str) -> Result<()> {
    fs::write(own.join(ORIGIN), format!("{origin}\n")).context("cannot write the origin")
}

fn read(dir: &Path) -> Result<()> {
    let root = workspace::root();
    let mut cmd = workspace::cargo();
    cmd.env("GOSTRAY_SKIP_EBPF", "1");
    cmd.args(["run", "-q", "--package", "tests", "--example", "offsets", "--"]);
    cmd.arg(dir).arg(root.join("tracer/src/gobin/layout/table.json")).arg(root.join("docs/layouts.md"));
    shell::loud(&mut cmd)
}
