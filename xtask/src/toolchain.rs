//! Where the tools are and which of the two eBPF toolchains can be used.
//!
//! Standard library only: `tracer/build.rs` includes this very file, so that what `cargo xtask setup` installs and
//! what the build looks for cannot drift apart.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Overrides the choice: `rustup`, `debian`, or the name of any toolchain that rustup knows.
pub const TOOLCHAIN_VAR: &str = "GOSTRAY_EBPF_TOOLCHAIN";
/// Overrides the tools cache's directory.
pub const TOOLS_VAR: &str = "GOSTRAY_TOOLS";
/// The nightly that the eBPF object is built with: LLVM 22, as `bpf-linker`'s `rust-llvm-22` expects.
pub const NIGHTLY: &str = "nightly-2026-05-20";
/// The name under which Debian's compiler in `/usr` is linked into rustup.
pub const DEBIAN: &str = "debian-web";

/// The tools cache: `$GOSTRAY_TOOLS`, else `$XDG_CACHE_HOME/gostray`, else `~/.cache/gostray`.
/// `None` when none of the three variables is set.
pub fn tools_dir() -> Option<PathBuf> {
    let dir = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    dir(TOOLS_VAR)
        .or_else(|| dir("XDG_CACHE_HOME").map(|d| d.join("gostray")))
        .or_else(|| dir("HOME").map(|d| d.join(".cache").join("gostray")))
}

/// A way to come by a Rust compiler with its library source and a `bpf-linker` of the same LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// rustup's pinned nightly with the component `rust-src`.
    Rustup,
    /// Debian's packages `rustc-web`, `cargo-web`, `rust-web-src`, `llvm-22-dev`.
    Debian,
}

impl Way {
    /// In the order of preference.
    pub const ALL: [Self; 2] = [Self::Rustup, Self::Debian];

    pub const fn toolchain(self) -> &'static str {
        match self {
            Self::Rustup => NIGHTLY,
            Self::Debian => DEBIAN,
        }
    }

    /// Where this way's `bpf-linker` is installed to. Each works with its own compiler only (it reads that
    /// compiler's bitcode with that compiler's LLVM), so the two are kept apart.
    pub fn linker_root(self, tools: &Path) -> PathBuf {
        tools.join(match self {
            Self::Rustup => "bpf-linker-rustup",
            Self::Debian => "bpf-linker-debian",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        })
    }
}

/// A complete eBPF toolchain.
#[derive(Clone, Debug)]
pub struct Ebpf {
    /// What `rustup run` is given.
    pub toolchain: String,
    /// The directory that holds `bpf-linker`; goes in front of `PATH`.
    pub linker_dir: PathBuf,
    /// A stable compiler only does `-Z build-std` when `RUSTC_BOOTSTRAP=1` is set.
    pub needs_bootstrap: bool,
}

/// What an eBPF toolchain lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    Rustup,
    Toolchain(String),
    Source(String),
    Linker,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup => write!(f, "`rustup` is not installed"),
            Self::Toolchain(name) => write!(f, "rustup has no toolchain `{name}`"),
            Self::Source(name) => write!(f, "toolchain `{name}` has no library source (`rust-src`)"),
            Self::Linker => write!(f, "its `bpf-linker` is not installed"),
        }
    }
}

/// The way's toolchain when it is complete, else the first thing that it lacks.
pub fn find(way: Way) -> Result<Ebpf, Lack> {
    has_source(way.toolchain())?;
    let linker_dir = cached_linker(way).or_else(linker_on_path).ok_or(Lack::Linker)?;
    Ok(Ebpf { toolchain: way.toolchain().to_owned(), linker_dir, needs_bootstrap: way == Way::Debian })
}

/// A toolchain of the caller's own choice. A linker on `PATH` is taken first: who chose the compiler chose it too.
pub fn find_named(name: &str) -> Result<Ebpf, Lack> {
    if let Some(way) = Way::ALL.into_iter().find(|w| name == w.to_string() || name == w.toolchain()) {
        return find(way);
    }
    has_source(name)?;
    let linker_dir = linker_on_path().or_else(|| cached_linker(Way::Rustup)).ok_or(Lack::Linker)?;
    Ok(Ebpf { toolchain: name.to_owned(), linker_dir, needs_bootstrap: !name.starts_with("nightly") })
}

/// Whether rustup can run the toolchain and the library source lies beside it.
pub fn has_source(toolchain: &str) -> Result<(), Lack> {
    let out = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .output()
        .map_err(|_| Lack::Rustup)?;
    if !out.status.success() {
        return Err(Lack::Toolchain(toolchain.to_owned()));
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    // `-Z build-std` reads the library's own lock file, so this file is what it will miss first.
    let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
    if source.is_file() { Ok(()) } else { Err(Lack::Source(toolchain.to_owned())) }
}

/// The directory of this way's own `bpf-linker`, when it is in the tools cache.
pub fn cached_linker(way: Way) -> Option<PathBuf> {
    let dir = way.linker_root(&tools_dir()?).join("bin");
    dir.join("bpf-linker").is_file().then_some(dir)
}

fn linker_on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|dir| dir.join("bpf-linker").is_file())
}
