//! Where things are in this workspace, and cargo.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{shell, toolchain};

/// The repository's root.
pub fn root() -> &'static Path {
    // This crate's directory is one below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

pub fn target_dir() -> PathBuf {
    // Relative to where cargo was started, like cargo itself reads it.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The built `gostray`.
pub fn gostray(release: bool) -> PathBuf {
    target_dir().join(if release { "release" } else { "debug" }).join("gostray")
}

/// The cargo that started us, at the workspace's root.
pub fn cargo() -> Command {
    let mut cmd = shell::command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Some(name) = env::var_os("RUSTUP_TOOLCHAIN") {
        cmd.env("RUSTUP_TOOLCHAIN", name);
    }
    cmd.current_dir(root());
    cmd
}

/// The tools cache; see [`toolchain::tools_dir`].
pub fn tools() -> Result<PathBuf> {
    toolchain::tools_dir().with_context(|| {
        format!("there is no home directory for the tools cache; try: set `{}`", toolchain::TOOLS_VAR)
    })
}

/// Builds `gostray`.
pub fn build(release: bool) -> Result<PathBuf> {
    let mut cmd = cargo();
    cmd.args(["build", "-q", "--package", "tracer", "--bin", "gostray"]);
    if release {
        cmd.arg("--release");
    }
    shell::loud(&mut cmd)?;
    Ok(gostray(release))
}
