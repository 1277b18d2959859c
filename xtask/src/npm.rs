//! Programs that npm packages carry: the only ones within reach that some Go releases built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{debian, shell, workspace};

/// An npm package that holds an executable.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// With its scope, for instance `@esbuild/linux-x64`.
    pub name: &'static str,
    pub version: &'static str,
    /// Inside the package.
    pub path: &'static str,
}

const fn esbuild(version: &'static str) -> Package {
    Package { name: "@esbuild/linux-x64", version, path: "bin/esbuild" }
}

/// Built with Go 1.20.7, stripped.
pub const ESBUILD: Package = esbuild("0.19.2");
/// Built with Go 1.22.5, stripped.
pub const ESBUILD_122: Package = esbuild("0.23.1");
/// Built with Go 1.20.10, with symbols; its DWARF is only of its C and Rust parts.
pub const TURBO: Package = Package { name: "turbo-linux-64", version: "1.10.16", path: "bin/go-turbo" };

impl Package {
    /// Its executable in the tools cache, downloaded when not there yet. Nothing of the package is run.
    pub fn executable(&self) -> Result<PathBuf> {
        let place = self.place()?;
        let executable = place.join(self.path);
        if executable.is_file() {
            return Ok(executable);
        }
        let scratch = workspace::tools()?.join(format!(".npm-{}", std::process::id()));
        let result = self.fetch(&scratch, &place);
        let _ = fs::remove_dir_all(&scratch);
        result.map_err(|e| {
            anyhow!(
                "cannot get the npm package `{}@{}`: {e:#}; try: npm pack {0}@{1}, and unpack it so that `{}` exists",
                self.name,
                self.version,
                executable.display()
            )
        })?;
        Ok(executable)
    }

    fn place(&self) -> Result<PathBuf> {
        Ok(workspace::tools()?.join("npm").join(self.name.replace('/', "-")).join(self.version))
    }

    fn fetch(&self, scratch: &Path, place: &Path) -> Result<()> {
        if shell::which("npm").is_none() {
            bail!("this machine has no `npm`");
        }
        fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
        let mut pack = shell::command("npm");
        pack.args(["pack", "--silent"]).arg(format!("{}@{}", self.name, self.version));
        shell::quiet(pack.current_dir(scratch))?;
        let archive = fs::read_dir(scratch)?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .find(|p| p.extension().is_some_and(|e| e == "tgz"))
            .context("`npm pack` left no archive")?;
        let unpacked = scratch.join("package");
        fs::create_dir(&unpacked)?;
        // Archives hold one directory; what it is called differs.
        let mut tar = shell::command("tar");
        shell::quiet(tar.args(["--strip-components=1", "-xzf"]).arg(&archive).arg("-C").arg(&unpacked))?;
        ensure!(unpacked.join(self.path).is_file(), "the package holds no `{}`", self.path);
        fs::create_dir_all(place.parent().context("the tools cache has no parent")?)?;
        debian::put(&unpacked, place)
    }
}
