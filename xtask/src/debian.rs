//! What comes from Debian: packages that are installed, and programs that are only unpacked into the tools cache.

mod sources;
mod suite;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail};

pub use self::suite::{Unpacked, cached, from_suite};
use crate::{shell, workspace};

/// Installs packages as root; refreshes the package lists when they do not know one of them.
pub fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if shell::which("apt-get").is_none() {
        bail!(
            "this machine has no `apt-get`; try: install what Debian calls {wanted} with its own package manager"
        );
    }
    let what_for = format!("installing the Debian packages {wanted}");
    let apt_get = |args: &[&str]| {
        let mut cmd = shell::as_root(
            &what_for,
            OsStr::new("apt-get"),
            &[("DEBIAN_FRONTEND", OsStr::new("noninteractive")), ("LC_ALL", OsStr::new("C.UTF-8"))],
        )?;
        shell::quiet(cmd.args(args))
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    apt_get(&install).or_else(|_| {
        apt_get(&["update"])?;
        apt_get(&install)
    })?;
    Ok(())
}

/// A program that tests use as it is in Debian, unpacked but not installed.
pub struct Program {
    /// The package, and the directory in the tools cache.
    pub package: &'static str,
    /// Inside the package.
    pub path: &'static str,
    pub what_for: &'static str,
}

pub const PROGRAMS: [Program; 2] = [
    Program {
        package: "prometheus",
        path: "usr/bin/prometheus",
        what_for: "a real, stripped Go program to trace",
    },
    Program { package: "hey", path: "usr/bin/hey", what_for: "HTTP load" },
];

impl Program {
    /// Where its executable is or will be.
    pub fn executable(&self) -> Result<PathBuf> {
        Ok(workspace::tools()?.join(self.package).join(self.path))
    }

    /// Downloads and unpacks it.
    pub fn fetch(&self) -> Result<()> {
        let tools = workspace::tools()?;
        let scratch = tools.join(format!(".{}-{}", self.package, std::process::id()));
        let result = self.fetch_into(&scratch);
        // Leftovers of a failure are only in the way.
        let _ = fs::remove_dir_all(&scratch);
        result.map_err(|e| {
            let (package, place) = (self.package, tools.join(self.package));
            anyhow!(
                "cannot get Debian's `{package}` ({}): {e:#}; try: unpack any Debian package of that name with \
                 `dpkg-deb -x {package}.deb {}`",
                self.what_for,
                place.display()
            )
        })
    }

    fn fetch_into(&self, scratch: &std::path::Path) -> Result<()> {
        if shell::which("apt-get").is_none() || shell::which("dpkg-deb").is_none() {
            bail!("this machine has no `apt-get` and `dpkg-deb`");
        }
        fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
        let download = || {
            let mut cmd = shell::command("apt-get");
            // As root apt-get would become another user, who cannot write here.
            cmd.args(["-o", "APT::Sandbox::User=root", "download", self.package]).current_dir(scratch);
            shell::quiet(&mut cmd)
        };
        if download().is_err() {
            let update = "refreshing the package lists";
            let mut cmd = shell::as_root(update, OsStr::new("apt-get"), &[])?;
            shell::quiet(cmd.arg("update"))?;
            download()?;
        }
        let deb = fs::read_dir(scratch)?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .find(|p| p.extension().is_some_and(|e| e == "deb"))
            .context("`apt-get download` left no package")?;
        let unpacked = scratch.join("root");
        shell::quiet(shell::command("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
        // It must at least start here (its libc may be newer than ours); every Go program with flags knows --help.
        let exe = unpacked.join(self.path);
        let started = shell::command(&exe).arg("--help").env("HOME", env::temp_dir()).output();
        started.with_context(|| format!("`{}` does not start", self.path))?;
        put(&unpacked, &workspace::tools()?.join(self.package))
    }
}

/// Moves a finished directory into its place, so that a half-made one is never found there.
pub fn put(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove `{}`", to.display()))?;
    }
    fs::rename(from, to).with_context(|| format!("cannot move `{}` into its place", to.display()))
}
