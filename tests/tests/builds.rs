//! Programs as they are found in the world: deleted or replaced on disk, started from memory, several of one file, guided
//! by a profile, packed, obfuscated, or no Go program at all. How they were linked is the table's matter (`matrix.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;
use tests::chains::{chains, check};
use tests::gostray::{Background, gostray, report};
use tests::{Fixture, Running, root_only};
use xtask::{debian, golang, npm, shell};

const WAITING: [&str; 5] = ["-wait", "-n", "400", "-m", "150"];

/// Attaches to `exact`, which waits, and holds the report against what it says of itself.
fn exactly(exact: &mut Running) -> Result<Value> {
    let tracing = Background::attach(exact.pid(), &[]);
    exact.go()?;
    exact.wait_for("done")?;
    let report = report(&tracing.end());
    check(&report, &chains(exact.said.iter().map(String::as_str))?, 400, 150);
    ensure!(exact.is_alive()?, "`exact` ended");
    Ok(report.0)
}

fn args() -> Vec<&'static str> {
    WAITING.to_vec()
}

fn doctor(subject: &str) -> Result<Value> {
    let output = gostray(&["doctor", subject, "--json"]);
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A copy of a program in a directory of its own.
fn copy(from: &Path) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("program");
    fs::copy(from, &path)?;
    Ok((dir, path))
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_file_that_was_deleted_or_replaced_since() -> Result<()> {
    root_only()?;
    let (_dir, path) = copy(&Fixture::new("exact").build()?)?;
    let mut exact = Running::start(&path, &args())?;
    let pid = exact.pid().to_string();
    let before = doctor(&pid)?;
    assert_eq!(before["program"]["on_disk"], "same");
    fs::remove_file(&path)?;
    assert_eq!(doctor(&pid)?["program"]["on_disk"], "deleted");
    // Another release's build takes its name.
    fs::copy(Fixture::new("exact").go("1.22.10").build()?, &path)?;
    let after = doctor(&pid)?;
    assert_eq!(after["program"]["on_disk"], "replaced");
    assert_eq!(after["program"]["build_id_in_memory"], true);
    for same in ["build_id", "go_version", "traceable"] {
        assert_eq!(after["program"][same], before["program"][same], "{same}");
    }
    let report = exactly(&mut exact)?;
    assert_eq!(report["target"]["go_version"], format!("go{}", golang::DEFAULT));
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn two_processes_of_one_file_under_two_tracers() -> Result<()> {
    root_only()?;
    let path = Fixture::new("exact").build()?;
    let mut both = [Running::start(&path, &args())?, Running::start(&path, &args())?];
    let tracing: Vec<_> = both.iter().map(|exact| Background::attach(exact.pid(), &[])).collect();
    for exact in &mut both {
        exact.go()?;
    }
    for (exact, tracing) in both.iter_mut().zip(tracing) {
        exact.wait_for("done")?;
        let report = report(&tracing.end());
        check(&report, &chains(exact.said.iter().map(String::as_str))?, 400, 150);
        let note = report.0["notes"].to_string();
        assert!(note.contains("self-check: ") && note.contains("invariants held"), "{note}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_program_that_has_no_name_on_any_disk() -> Result<()> {
    root_only()?;
    let memory = memfd_create(c"secret", MFdFlags::empty())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    fs::write(&path, fs::read(Fixture::new("exact").build()?)?)?;
    let mut exact = Running::start_silent(Command::new(&path).args(args()))?;
    drop(memory);
    exact.wait_for("ready")?;
    exactly(&mut exact).map(drop)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_program_in_another_root() -> Result<()> {
    root_only()?;
    let (dir, _path) = copy(&Fixture::new("exact").build()?)?;
    let mut exact =
        Running::start_silent(Command::new("chroot").arg(dir.path()).arg("/program").args(args()))?;
    exact.wait_for("ready")?;
    assert_eq!(doctor(&exact.pid().to_string())?["program"]["on_disk"], "same");
    exactly(&mut exact).map(drop)
}

/// What `doctor FILE` ends with: exit code and sentence.
fn refusal(subject: &str) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = gostray(&["doctor", subject]);
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn refused(subject: &str, code: i32, words: &[&str]) {
    let (status, said) = refusal(subject);
    assert_eq!(status, Some(code), "{subject}: {said}");
    for word in words.iter().chain(&["try: "]) {
        assert!(said.contains(word), "{subject}: no `{word}` in: {said}");
    }
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn a_file_tells_without_a_process_and_without_root() -> Result<()> {
    let path = Fixture::new("exact").pie().stripped().build()?;
    let (dir, copied) = copy(&path)?;
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let gostray = dir.path().join("gostray");
    fs::copy(tests::gostray::binary(), &gostray)?;
    let mut cmd = Command::new(&gostray);
    if shell::is_root() {
        std::os::unix::process::CommandExt::uid(&mut cmd, 65_534);
    }
    let output = cmd.arg("doctor").arg(&copied).arg("--json").output()?;
    ensure!(output.status.success(), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let file = &all["executable"];
    assert_eq!(file["traceable"], true);
    assert_eq!(file["build"]["position_independent"], true);
    assert_eq!((&file["build"]["stripped"], &file["build"]["cgo"]), (&true.into(), &false.into()));
    assert_eq!(file["globals"].as_array().map(Vec::len), Some(8));
    assert!(file["globals"].as_array().is_some_and(|g| g.iter().all(|g| g["address"].is_u64())), "{file:#}");
    assert!(all["program"].is_null());
    Ok(())
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn altered_programs_are_refused_by_name() -> Result<()> {
    let plain = fs::read(Fixture::new("exact").stripped().build()?)?;
    let dir = tempfile::tempdir()?;
    let written = |name: &str, data: &[u8]| -> Result<String> {
        let path = dir.path().join(name);
        fs::write(&path, data)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let place =
        |needle: &[u8]| plain.windows(needle.len()).position(|w| w == needle).context("it is in the file");
    // As garble does it: another mark, no version, other names.
    let mut data = plain.clone();
    let table = place(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8])?;
    data[table..table + 4].copy_from_slice(&0x2a9b_10c7u32.to_le_bytes());
    refused(&written("mark", &data)?, 17, &["obfuscated", "0x2a9b10c7"]);
    let info = place(b"\xff Go buildinf:")?;
    let version = format!("go{}", golang::DEFAULT);
    assert_eq!(&data[info + 33..info + 33 + version.len()], version.as_bytes());
    data[info + 33..info + 33 + version.len()].copy_from_slice(b"unknown\0");
    data[info + 32] = 7;
    refused(&written("version", &data)?, 17, &["obfuscated", "`unknown`", "0x2a9b10c7"]);
    let mut data = plain.clone();
    let name = place(b"\0runtime.goexit\0")? + 1;
    data[name..name + 7].copy_from_slice(b"zQx8yV1");
    refused(&written("names", &data)?, 17, &["obfuscated", "`runtime.goexit`"]);
    // Machines and files that are none.
    let mut data = plain.clone();
    data[18] = 183;
    refused(&written("arm64", &data)?, 17, &["`arm64`", "amd64"]);
    let mut data = plain;
    (data[4], data[18]) = (1, 3);
    refused(&written("386", &data)?, 17, &["`386`"]);
    refused(&written("text", b"#!/bin/sh\n")?, 15, &["not an ELF file"]);
    refused(&dir.path().to_string_lossy(), 33, &["not a regular file"]);
    refused("/bin/sh", 15, &["not a Go program"]);
    Ok(())
}

#[test]
#[ignore = "needs root and the network at first: cargo xtask test"]
fn a_packed_program_is_refused_by_name_also_while_it_runs() -> Result<()> {
    root_only()?;
    let upx = debian::from_suite("bookworm-backports", &["upx-ucl"])?;
    let (_dir, packed) = copy(&Fixture::new("exact").stripped().build()?)?;
    let mut pack = Command::new(upx.root.join("usr/bin/upx-ucl"));
    pack.env("LD_LIBRARY_PATH", upx.root.join("usr/lib/x86_64-linux-gnu"));
    shell::quiet(pack.args(["-q", "-1"]).arg(&packed))?;
    refused(&packed.to_string_lossy(), 17, &["packed with UPX", "upx -d"]);
    let exact = Running::start(&packed, &args())?;
    refused(&exact.pid().to_string(), 17, &["packed with UPX", "upx -d"]);
    let output = gostray(&["attach", &exact.pid().to_string()]);
    assert_eq!(output.status.code(), Some(17));
    Ok(())
}

#[test]
#[ignore = "needs the network at first: cargo xtask test"]
fn a_program_of_an_old_go_is_refused_by_name() -> Result<()> {
    let old = npm::Package { name: "esbuild-linux-64", version: "0.14.0", path: "bin/esbuild" };
    refused(&old.executable()?.to_string_lossy(), 16, &["built with `go1.1", "Go 1.19"]);
    // Its linker dropped what says the version; Go's own tool does not take it for a Go program either.
    let mute = npm::Package { name: "turbo-linux-64", version: "1.9.3", path: "bin/go-turbo" };
    refused(&mute.executable()?.to_string_lossy(), 17, &["without build information", "Go 1.18 or 1.19"]);
    Ok(())
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn go_code_in_a_library_is_said_to_be_there() -> Result<()> {
    root_only()?;
    let library = Fixture::new("exact").cgo().flag("-tags=withc").flag("-buildmode=c-shared").build()?;
    let script =
        format!("import ctypes,time; ctypes.CDLL({library:?}); print('ready', flush=True); time.sleep(600)");
    let mut python = Running::start_silent(Command::new("python3").args(["-c", &script]))?;
    python.wait_for("ready")?;
    let pid = python.pid().to_string();
    refused(&pid, 15, &["not a Go program", "shared library", &library.to_string_lossy()]);
    Ok(())
}

/// A build that a profile guided, in the form that `go tool preprofile` writes: every call of these functions is hot.
fn guided(go: &str, hot: &[&str]) -> Result<PathBuf> {
    let root = golang::find(go)?.parent().and_then(Path::parent).context("GOROOT")?.to_owned();
    let mut calls = BTreeSet::new();
    for entry in fs::read_dir(root.join("src/runtime"))? {
        let path = entry?.path();
        let is_source =
            path.extension().is_some_and(|e| e == "go") && !path.to_string_lossy().ends_with("_test.go");
        if is_source {
            hot_calls(&fs::read_to_string(&path)?, hot, &mut calls);
        }
    }
    let path = std::env::temp_dir().join(format!("gostray-{go}-{}.preprofile", hot.join("-")));
    fs::write(&path, format!("GO PREPROFILE V1\n{}", calls.into_iter().collect::<String>()))?;
    let flag = format!("-gcflags=all=-pgoprofile={}", path.display());
    Fixture::new("exact").go(go).flag("-pgo=off").flag(&flag).build()
}

/// Caller, callee, line within the caller, and a weight: for the functions and their closures, of which the number is
/// not known here; those that do not exist hurt nobody.
fn hot_calls(source: &str, hot: &[&str], to: &mut BTreeSet<String>) {
    let (mut function, mut closures) = (None, Vec::new());
    for (n, line) in source.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("func ").filter(|r| !r.starts_with('(')) {
            function = rest.split(['(', '[']).next().map(|name| (name, n));
            closures.clear();
            continue;
        }
        let Some((name, first)) = function else { continue };
        if line.contains("func(") {
            closures.push(n);
        }
        for callee in hot.iter().filter(|h| line.contains(&format!("{h}("))) {
            let mut call = |caller: String, line: usize| {
                to.insert(format!("{caller}\nruntime.{callee}\n{line} 1000\n"));
            };
            call(format!("runtime.{name}"), n - first);
            for begin in &closures {
                (1..=4).for_each(|i| call(format!("runtime.{name}.func{i}"), n - begin));
            }
        }
    }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn births_that_a_profile_has_inlined_are_not_missed_silently() -> Result<()> {
    root_only()?;
    for go in [golang::DEFAULT, "1.27.3"] {
        let path = guided(go, &["newproc1"])?;
        refused_for_copies(&path.to_string_lossy())?;
        let exact = Running::start(&path, &args())?;
        let output = gostray(&["attach", &exact.pid().to_string()]);
        assert_eq!(output.status.code(), Some(24));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("`runtime.newproc1` is inlined into"), "{said}");
    }
    Ok(())
}

fn refused_for_copies(path: &str) -> Result<()> {
    let output = gostray(&["doctor", path, "--json"]);
    assert_eq!(output.status.code(), Some(24));
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let sites = all["executable"]["sites"].as_array().context("no sites")?;
    let create = sites.iter().find(|s| s["role"] == "create").context("no create")?;
    let why = create["refused_because"].as_str().unwrap_or_default();
    assert!(why.contains("`runtime.newproc1` is inlined into 2 other functions"), "{why}");
    Ok(())
}

/// With everything hot what newproc1 calls is inlined into it instead: births and deaths stay exact, `ready` has copies.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn a_profile_that_makes_every_probed_function_hot_keeps_births_and_deaths_exact() -> Result<()> {
    root_only()?;
    let hot = [
        "newproc1",
        "gdestroy",
        "goexit0",
        "park_m",
        "ready",
        "execute",
        "gopark",
        "goready",
        "schedule",
        "casgstatus",
    ];
    for go in [golang::DEFAULT, "1.27.3"] {
        let mut exact = Running::start(&guided(go, &hot)?, &args())?;
        let warnings = doctor(&exact.pid().to_string())?["program"]["warnings"].to_string();
        assert!(warnings.contains("`runtime.ready` is inlined into"), "{go}: {warnings}");
        let report = exactly(&mut exact)?;
        let noted = report["notes"].to_string().contains("inlined-copy");
        assert_eq!(noted, report["target"]["park"] == true, "{:#}", report["notes"]);
    }
    Ok(())
}

/// A release that nobody measured, by its name: what it says of its runtime in its DWARF is enough, be that in the program or in
/// a file beside it.
#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn an_unknown_go_is_traced_by_its_debug_information() -> Result<()> {
    root_only()?;
    let (dir, path) = copy(&Fixture::new("exact").build()?)?;
    let mut image = fs::read(&path)?;
    let behind = |from: usize, what: &[u8]| {
        let at = image[from..].windows(what.len()).position(|w| w == what);
        at.map(|at| from + at).with_context(|| format!("no {} in it", String::from_utf8_lossy(what)))
    };
    let version = behind(behind(0, b"\xff Go buildinf:")?, b"go1.26")?;
    image[version..version + 6].copy_from_slice(b"go1.99");
    fs::write(&path, image)?;
    let traced = |path: &Path| -> Result<()> {
        let report = exactly(&mut Running::start(path, &args())?)?;
        let provenance = report["target"]["layout"].as_str().context("no provenance")?;
        ensure!(provenance.contains("DWARF"), "{provenance}");
        ensure!(report["target"]["go_version"] == "go1.99.6", "{}", report["target"]);
        Ok(())
    };
    traced(&path).context("its own debug information")?;
    let objcopy = |args: &[&str]| shell::quiet(Command::new("objcopy").current_dir(dir.path()).args(args));
    objcopy(&["--only-keep-debug", "program", "program.debug"])?;
    objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program", "stripped"])?;
    traced(&dir.path().join("stripped")).context("a debug file beside it")?;
    fs::remove_file(dir.path().join("program.debug"))?;
    let mut stripped = Running::start(&dir.path().join("stripped"), &args())?;
    let refused = gostray(&["attach", &stripped.pid().to_string()]);
    assert_eq!(refused.status.code(), Some(17));
    ensure!(stripped.is_alive()?, "`exact` ended");
    Ok(())
}
