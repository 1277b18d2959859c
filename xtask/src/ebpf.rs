//! Installing an eBPF toolchain, by either way of [`toolchain::Way`].

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;

use crate::toolchain::{self, Lack, Way};
use crate::{debian, progress, shell, workspace};

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// rustup's pinned nightly, else Debian's packages
    #[default]
    Auto,
    /// rustup's pinned nightly with rust-src
    Rustup,
    /// Debian's rustc-web and LLVM 22
    Debian,
}

/// Version of `bpf-linker` whose default feature `rust-llvm-22` goes with [`toolchain::NIGHTLY`].
const LINKER_FOR_RUSTUP: &str = "0.10.3";
/// Version of `bpf-linker` that was tried with Debian's LLVM 22.
const LINKER_FOR_DEBIAN: &str = "0.13.0";
const DEBIAN_PACKAGES: [&str; 7] =
    ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// Makes one way complete: any for `Auto`, preferring what is there already.
pub fn ensure(choice: Choice) -> Result<Way> {
    let ways: &[Way] = match choice {
        Choice::Auto => &Way::ALL,
        Choice::Rustup => &[Way::Rustup],
        Choice::Debian => &[Way::Debian],
    };
    if let Some(&way) = ways.iter().find(|&&way| toolchain::find(way).is_ok() && linker_is_ours(way)) {
        progress::already(&format!("eBPF toolchain, by way of {way}"));
        return Ok(way);
    }
    if shell::which("rustup").is_none() {
        bail!(
            "{}; try: install rustup as https://rustup.rs says, it manages both ways to an eBPF toolchain",
            Lack::Rustup
        );
    }
    let mut failures = Vec::new();
    for &way in ways {
        match install(way) {
            Ok(()) => return Ok(way),
            Err(e) => {
                progress::note(&format!("no eBPF toolchain by way of {way}: {e:#}"));
                failures.push(format!("by way of {way}: {}", first_line(&e)));
            }
        }
    }
    Err(anyhow!(
        "no eBPF toolchain could be had ({}); try: `rustup toolchain install {} --profile minimal --component rust-src` \
         on a network that reaches rustup's servers, or see docs/building.md",
        failures.join("; "),
        toolchain::NIGHTLY
    ))
}

/// A `bpf-linker` on `PATH` can be of another LLVM; setup trusts only the one that it installed for this way.
fn linker_is_ours(way: Way) -> bool {
    toolchain::cached_linker(way).is_some()
}

fn install(way: Way) -> Result<()> {
    if let Err(lack) = toolchain::has_source(way.toolchain()) {
        progress::part(
            &format!("Rust compiler and library source by way of {way} ({lack})"),
            || match way {
                Way::Rustup => install_nightly(),
                Way::Debian => install_debian(),
            },
        )?;
    }
    if !linker_is_ours(way) {
        progress::part(&format!("bpf-linker by way of {way} (compiled here, a minute or two)"), || {
            install_linker(way)
        })?;
    }
    match toolchain::find(way) {
        Ok(_) => Ok(()),
        Err(lack) => bail!("still not complete after installing: {lack}"),
    }
}

fn install_nightly() -> Result<()> {
    let mut cmd = shell::command("rustup");
    cmd.args(["toolchain", "install", toolchain::NIGHTLY]);
    cmd.args(["--profile", "minimal", "--component", "rust-src", "--no-self-update"]);
    shell::quiet(&mut cmd).map(drop)
}

fn install_debian() -> Result<()> {
    debian::install(&DEBIAN_PACKAGES)?;
    shell::quiet(shell::command("rustup").args(["toolchain", "link", toolchain::DEBIAN, "/usr"])).map(drop)
}

fn install_linker(way: Way) -> Result<()> {
    let tools = workspace::tools()?;
    fs::create_dir_all(&tools)?;
    let mut cmd = match way {
        // Compiled by the nightly itself: it links against that compiler's own LLVM.
        Way::Rustup => {
            let mut cmd = shell::command("rustup");
            cmd.args(["run", toolchain::NIGHTLY, "cargo"]);
            install_args(&mut cmd, LINKER_FOR_RUSTUP);
            cmd
        }
        Way::Debian => {
            let mut cmd = workspace::cargo();
            install_args(&mut cmd, LINKER_FOR_DEBIAN);
            cmd.args(["--no-default-features", "--features", "llvm-22"]);
            cmd.env("LLVM_PREFIX", OsStr::new(DEBIAN_LLVM));
            cmd
        }
    };
    cmd.arg("--root").arg(way.linker_root(&tools));
    // Its own build directory, so that nothing of this workspace's settings gets in.
    cmd.current_dir(&tools).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    shell::quiet(&mut cmd).map(drop)
}

fn install_args(cmd: &mut Command, version: &str) {
    cmd.args(["install", "bpf-linker", "--version", version, "--locked", "--force"]);
}

fn first_line(e: &anyhow::Error) -> String {
    format!("{e:#}").lines().next().unwrap_or_default().to_owned()
}
