//! The probe program: nothing but the runtime, with debug information.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::golang::{self, Owner};
use crate::{progress, shell, workspace};

/// As Go names them.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

const PROGRAM: &str = "package main\n\nfunc main() {}\n";
const MODULE: &str = "module gostray.test/probe\n\ngo 1.19\n";

/// Builds it with the toolchain at `root` (a GOROOT) as `out`. The build cache may be reused.
pub fn build(root: &Path, arch: &str, experiment: Option<&str>, cache: &Path, out: &Path) -> Result<()> {
    let source = cache.join("probe");
    write_source(&source)?;
    let mut cmd = command(root, arch, cache, out);
    cmd.current_dir(&source);
    if let Some(experiment) = experiment {
        cmd.env("GOEXPERIMENT", experiment);
    }
    shell::quiet(&mut cmd).map(drop)
}

/// Builds it for a test, with more flags for `go build`, as `target/fixtures/probe-NAME`, with the build cache of the
/// other fixtures.
pub fn fixture(root: &Path, arch: &str, flags: &[&str], name: &str) -> Result<PathBuf> {
    let owner = Owner::of_the_target_dir()?;
    let fixtures = workspace::target_dir().join("fixtures");
    let (cache, own) = (fixtures.join("gocache"), fixtures.join(format!("probe-{name}")));
    for dir in [&fixtures, &cache, &own] {
        owner.make_dir(dir)?;
    }
    write_source(&own)?;
    for file in ["main.go", "go.mod"] {
        owner.take(&own.join(file))?;
    }
    let out = own.join(arch);
    let mut cmd = command(root, arch, &cache, &out);
    cmd.current_dir(&own).args(flags).arg(".");
    owner.become_in(&mut cmd);
    shell::quiet(&mut cmd)?;
    Ok(out)
}

fn write_source(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    for (file, text) in [("main.go", PROGRAM), ("go.mod", MODULE)] {
        fs::write(dir.join(file), text).with_context(|| format!("cannot write `{file}`"))?;
    }
    Ok(())
}

fn command(root: &Path, arch: &str, cache: &Path, out: &Path) -> Command {
    let mut cmd = golang::go_command(&root.join("bin/go"), cache);
    cmd.env("CGO_ENABLED", "0").env("GOARCH", arch).args(["build", "-buildvcs=false", "-o"]).arg(out);
    cmd
}

/// Builds it once for each experiment the toolchain knows, turned the other way than it is by default, as
/// `amd64-EXPERIMENT`. What does not build alone cannot be measured and is left out.
pub fn experiments(root: &Path, cache: &Path, own: &Path) -> Result<()> {
    for name in known(root)? {
        let mut built = false;
        for turned in [name.clone(), format!("no{name}")] {
            let out = own.join(format!("amd64-{turned}"));
            // With the cache of all: what was turned to its default is built already.
            if build(root, "amd64", Some(&turned), cache, &out).is_ok() && differs(root, cache, &out)? {
                built = true;
            } else {
                let _ = fs::remove_file(&out);
            }
            if built {
                break;
            }
        }
        if !built {
            progress::note(&format!("experiment {name}: not measurable"));
        }
    }
    Ok(())
}

/// A default that was asked for is not named in the program's version.
fn differs(root: &Path, cache: &Path, program: &Path) -> Result<bool> {
    let says = shell::quiet(golang::go_command(&root.join("bin/go"), cache).arg("version").arg(program))?;
    Ok(says.contains("X:"))
}

/// internal/goexperiment has one file for each experiment and way (`exp_NAME_on.go`, `exp_NAME_off.go`).
fn known(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("src/internal/goexperiment");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_prefix("exp_")?.strip_suffix("_off.go")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
