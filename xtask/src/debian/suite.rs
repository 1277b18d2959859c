//! Packages from any suite of Debian, only unpacked: with an apt configuration of our own beside the machine's, whose
//! lists, state and cache stay as they are. Needs no root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::put;
use super::sources::Archive;
use crate::{shell, workspace};

/// Packages unpacked into one directory of the tools cache.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// What would be `/` if they were installed.
    pub root: PathBuf,
    /// Of the first of them, for instance `3.5.0+ds-2`.
    pub version: String,
}

/// Packages of one suite (`bookworm`, `bookworm-backports`, `trixie`, `trixie-backports`, `sid`, …), unpacked into one
/// directory: that of the first, `debian/PACKAGE/SUITE/VERSION` in the tools cache. Fetched when not there yet; what is
/// there stays, also when the suite has a newer version by now.
pub fn from_suite(suite: &str, packages: &[&str]) -> Result<Unpacked> {
    if let Some(there) = cached(suite, packages)? {
        return Ok(there);
    }
    let own = own_dir()?;
    let scratch = own.join(format!(".scratch-{}", std::process::id()));
    let result = fetch(suite, packages, &own, &scratch);
    // Leftovers of a failure are only in the way.
    let _ = fs::remove_dir_all(&scratch);
    result.map_err(|e| {
        let place = own.join(packages.first().unwrap_or(&"")).join(suite).join("VERSION");
        anyhow!(
            "cannot get {} from Debian's {suite}: {e:#}; try: unpack each package's file there by hand: \
             `dpkg-deb -x FILE.deb {}`",
            packages.join(", "),
            place.display()
        )
    })
}

/// What an earlier [`from_suite`] left; asks nobody.
pub fn cached(suite: &str, packages: &[&str]) -> Result<Option<Unpacked>> {
    // Names become paths and words of apt's.
    let plain = |name: &&str| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    let names = packages.iter().chain([&suite]);
    ensure!(!packages.is_empty() && names.clone().all(plain), "not names of packages and a suite: {names:?}");
    let Ok(versions) = fs::read_dir(own_dir()?.join(packages[0]).join(suite)) else { return Ok(None) };
    let mut versions: Vec<PathBuf> = versions.flatten().map(|e| e.path()).collect();
    versions.sort();
    // Several only when someone put them there; any will do, but always the same.
    Ok(versions.pop().map(|root| {
        let version = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Unpacked { root, version }
    }))
}

fn own_dir() -> Result<PathBuf> {
    Ok(workspace::tools()?.join("debian"))
}

fn fetch(suite: &str, packages: &[&str], own: &Path, scratch: &Path) -> Result<Unpacked> {
    for program in ["apt-get", "dpkg-deb"] {
        if shell::which(program).is_none() {
            bail!("this machine has no `{program}`");
        }
    }
    fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    // apt fails when another one works on the same lists; ours wait for each other.
    let lock = File::create(own.join(".lock")).context("cannot create a lock file")?;
    lock.lock().context("cannot lock a file")?;
    if let Some(there) = cached(suite, packages)? {
        return Ok(there);
    }
    let apt = Apt::new(own, suite)?;
    let download = || shell::quiet(apt.get("download").args(packages).current_dir(scratch));
    // Lists of an earlier day are as good, unless what they name is gone.
    if !apt.has_lists() || download().is_err() {
        shell::quiet(&mut apt.get("update"))?;
        download()?;
    }
    let root = scratch.join("root");
    let mut version = None;
    for package in packages {
        let (deb, its_version) = find_deb(scratch, package)?;
        shell::quiet(shell::command("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
        version.get_or_insert(its_version);
    }
    let version = version.context("no package was asked for")?;
    let place = own.join(packages[0]).join(suite).join(&version);
    fs::create_dir_all(own.join(packages[0]).join(suite))?;
    put(&root, &place)?;
    Ok(Unpacked { root: place, version })
}

/// Its file `NAME_VERSION_ARCHITECTURE.deb`, and the version without the epoch.
fn find_deb(dir: &Path, package: &str) -> Result<(PathBuf, String)> {
    for path in fs::read_dir(dir)?.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('_').collect();
        if let [its_package, version, end] = parts[..]
            && its_package == package
            && end.ends_with(".deb")
        {
            // The epoch's colon is written `%3a`.
            let version = version.rsplit("%3a").next().unwrap_or(version).to_owned();
            return Ok((path, version));
        }
    }
    bail!("`apt-get download` left no package `{package}`")
}

/// apt-get with sources, lists, state and cache of its own for one suite. Proxies, keyrings and the like stay the
/// machine's.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(own: &Path, suite: &str) -> Result<Self> {
        let dir = own.join(".apt").join(suite);
        for sub in ["lists/partial", "state", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot create `{}`", dir.display()))?;
        }
        // With the machine's own, a package that is installed in a newer version could not be had.
        fs::write(dir.join("state/status"), "")?;
        fs::write(dir.join("suite.sources"), Archive::of_this_machine()?.source(suite))?;
        fs::write(dir.join("apt.conf"), configuration(&dir))?;
        Ok(Self { dir })
    }

    /// apt reads a file named by `-c` last, after all of the machine's.
    fn get(&self, what: &str) -> Command {
        let mut cmd = shell::command("apt-get");
        cmd.env("LC_ALL", "C.UTF-8").arg("-c").arg(self.dir.join("apt.conf")).arg(what);
        cmd
    }

    fn has_lists(&self) -> bool {
        let files = fs::read_dir(self.dir.join("lists")).into_iter().flatten().flatten();
        files.into_iter().any(|e| e.file_name().to_string_lossy().contains("Packages"))
    }
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    [
        ("Dir::Etc::sourcelist", &*format!("{dir}/suite.sources")),
        ("Dir::Etc::sourceparts", "/dev/null"),
        ("Dir::Etc::preferences", "/dev/null"),
        ("Dir::Etc::preferencesparts", "/dev/null"),
        ("Dir::State", &*format!("{dir}/state")),
        ("Dir::State::status", &*format!("{dir}/state/status")),
        ("Dir::State::lists", &*format!("{dir}/lists")),
        ("Dir::Cache", &*format!("{dir}/cache")),
        // As root apt-get would become another user, who cannot write here.
        ("APT::Sandbox::User", "root"),
        // Failing is better than going on with half of the lists.
        ("APT::Update::Error-Mode", "any"),
        ("Acquire::Languages", "none"),
        ("Acquire::Retries", "3"),
    ]
    .map(|(name, value)| format!("{name} \"{value}\";\n"))
    .concat()
}
