//! Debian's kernels for virtual machines, from any of its releases: downloaded with a private apt configuration, so
//! that this machine's own package lists stay as they are, and unpacked into the tools cache, not installed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{debian, shell, workspace};

/// A series of kernels and the Debian suite that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// For instance `5.10`.
    pub series: &'static str,
    suite: &'static str,
    /// The archive that the suite is in, as the end of its address.
    archive: &'static str,
}

/// The oldest that gostray promises, and long-term ones after it.
pub const KERNELS: [Kernel; 3] = [
    Kernel { series: "5.10", suite: "bullseye-security", archive: SECURITY },
    Kernel { series: "6.1", suite: "bookworm", archive: MAIN },
    Kernel { series: "6.12", suite: "bookworm-backports", archive: MAIN },
];

const MAIN: &str = "debian";
const SECURITY: &str = "debian-security";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The smallest build: with the drivers that virtual machines have. The package depends on the newest one.
const META: &str = "linux-image-cloud-amd64";

impl std::str::FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        KERNELS.into_iter().find(|k| k.series == text).ok_or_else(|| {
            let known: Vec<&str> = KERNELS.iter().map(|k| k.series).collect();
            format!("no kernel `{text}`; there are {}", known.join(", "))
        })
    }
}

impl Kernel {
    fn place(self) -> Result<PathBuf> {
        Ok(workspace::tools()?.join("kernel").join(self.series))
    }

    /// The bootable image in the tools cache, if it is there.
    pub fn find(self) -> Result<Option<PathBuf>> {
        let Ok(boot) = fs::read_dir(self.place()?.join("boot")) else { return Ok(None) };
        Ok(boot
            .filter_map(|e| e.ok())
            .find(|e| e.file_name().to_string_lossy().starts_with("vmlinuz-"))
            .map(|e| e.path()))
    }

    /// Downloads and unpacks it.
    pub fn fetch(self) -> Result<()> {
        let scratch = workspace::tools()?.join(format!(".kernel-{}-{}", self.series, std::process::id()));
        let result = self.fetch_into(&scratch);
        // Leftovers of a failure are only in the way.
        let _ = fs::remove_dir_all(&scratch);
        result.and_then(|()| self.find()?.map(drop).context("the package has no `boot/vmlinuz-*`")).map_err(|e| {
            let place = self.place().unwrap_or_default();
            anyhow!(
                "cannot get a kernel {} from Debian's {}: {e:#}; try: unpack any amd64 kernel package of that series \
                 with `dpkg-deb -x FILE.deb {}`",
                self.series,
                self.suite,
                place.display()
            )
        })
    }

    fn fetch_into(self, scratch: &Path) -> Result<()> {
        if shell::which("apt-get").is_none() || shell::which("dpkg-deb").is_none() {
            bail!("this machine has no `apt-get` and `dpkg-deb`");
        }
        if !Path::new(KEYS).is_file() {
            bail!("Debian's archive keys are not installed (package `debian-archive-keyring`)");
        }
        let apt =
            Apt::new(scratch, &format!("deb [signed-by={KEYS}] {} {} main\n", self.mirror()?, self.suite))?;
        shell::quiet(apt.command("apt-get").arg("update"))?;
        let shown = shell::quiet(apt.command("apt-cache").args(["show", "--no-all-versions", META]))?;
        let package = newest(&shown).with_context(|| format!("`{META}` depends on no kernel"))?;
        shell::quiet(apt.command("apt-get").args(["download", package]).current_dir(scratch))?;
        let deb = fs::read_dir(scratch)?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .find(|p| p.extension().is_some_and(|e| e == "deb"))
            .context("`apt-get download` left no package")?;
        let (unpacked, wanted) = (scratch.join("root"), scratch.join("wanted"));
        shell::quiet(shell::command("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
        // The modules, most of the package, are not used.
        fs::create_dir(&wanted)?;
        fs::rename(unpacked.join("boot"), wanted.join("boot")).context("the package has no `boot`")?;
        let place = self.place()?;
        fs::create_dir_all(place.parent().context("the tools cache has no parent")?)?;
        debian::put(&wanted, &place)
    }

    /// The mirror that this machine uses already.
    fn mirror(self) -> Result<String> {
        let mut ask = shell::command("apt-get");
        let known =
            shell::quiet(ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]))?;
        mirror_of(&known, self.archive).with_context(|| {
            format!("this machine's apt knows no mirror of Debian (an address that ends in `/{MAIN}`)")
        })
    }
}

/// The archive's address among those that apt knows, or beside one of them.
fn mirror_of(known: &str, archive: &str) -> Option<String> {
    let known: Vec<&str> = known.lines().map(|l| l.trim().trim_end_matches('/')).collect();
    let with_end = |end: &str| known.iter().find_map(|l| l.strip_suffix(end)?.strip_suffix('/'));
    with_end(archive).or_else(|| with_end(MAIN)).map(|base| format!("{base}/{archive}"))
}

/// The kernel package that the meta package depends on.
fn newest(shown: &str) -> Option<&str> {
    let depends = shown.lines().find_map(|l| l.strip_prefix("Depends:"))?;
    depends
        .split(',')
        .filter_map(|d| d.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-"))
}

/// apt with its own sources, lists, cache and state.
struct Apt(Vec<OsString>);

impl Apt {
    fn new(scratch: &Path, sources: &str) -> Result<Self> {
        let dir = scratch.join("apt");
        for sub in
            ["etc/sources.list.d", "etc/preferences.d", "lists/partial", "cache/archives/partial", "state"]
        {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        }
        fs::write(dir.join("etc/sources.list"), sources)?;
        fs::write(dir.join("state/status"), "")?;
        let mut options = Vec::new();
        for (name, sub) in [
            ("Dir::Etc", "etc"),
            ("Dir::Etc::sourcelist", "etc/sources.list"),
            ("Dir::Etc::sourceparts", "etc/sources.list.d"),
            ("Dir::State", "state"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "state/status"),
            ("Dir::Cache", "cache"),
        ] {
            let mut option = OsString::from(format!("{name}="));
            option.push(dir.join(sub));
            options.extend([OsString::from("-o"), option]);
        }
        // As root apt-get would become another user, who cannot write here.
        options.extend(["-o".into(), "APT::Sandbox::User=root".into()]);
        Ok(Self(options))
    }

    fn command(&self, program: &str) -> Command {
        let mut cmd = shell::command(program);
        cmd.args(&self.0).env("LC_ALL", "C.UTF-8");
        cmd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_machines_own() {
        let known = "http://mirror.example/pub/debian/\nhttp://other.example/node_20.x/\n";
        assert_eq!(mirror_of(known, MAIN).unwrap(), "http://mirror.example/pub/debian");
        assert_eq!(mirror_of(known, SECURITY).unwrap(), "http://mirror.example/pub/debian-security");
        let both = "http://a.example/debian\nhttp://b.example/debian-security\n";
        assert_eq!(mirror_of(both, SECURITY).unwrap(), "http://b.example/debian-security");
        assert_eq!(mirror_of("http://a.example/ubuntu\n", MAIN), None);
    }

    #[test]
    fn the_meta_package_names_the_newest_kernel() {
        let shown =
            "Package: linux-image-cloud-amd64\nDepends: linux-image-5.10.0-46-cloud-amd64 (= 5.10.262-1)\n";
        assert_eq!(newest(shown), Some("linux-image-5.10.0-46-cloud-amd64"));
        assert_eq!(newest("Package: x\nDepends: libc6\n"), None);
    }

    #[test]
    fn only_known_series_are_kernels() {
        assert_eq!("6.1".parse::<Kernel>().unwrap().suite, "bookworm");
        assert!("6".parse::<Kernel>().unwrap_err().contains("5.10, 6.1, 6.12"));
    }
}
