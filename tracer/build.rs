//! Builds the kernel side for the bpf target and leaves the object in `OUT_DIR` as `tracer-ebpf`.
//!
//! `GOSTRAY_SKIP_EBPF=1` leaves an empty file instead, so that everything that needs no kernel can be built and
//! tested without an eBPF toolchain; the loader refuses the empty object by name.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use aya_build::{Package, Toolchain};

// Some of it is for xtask only.
#[allow(dead_code)]
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use toolchain::{Ebpf, TOOLCHAIN_VAR, TOOLS_VAR, Way};

const SKIP_VAR: &str = "GOSTRAY_SKIP_EBPF";
const OBJECT: &str = "tracer-ebpf";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Cargo shows one line for each of these and nothing else of a failed build script at first.
            println!("cargo::error={}", format!("{e:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    for name in [SKIP_VAR, TOOLCHAIN_VAR, TOOLS_VAR, "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["../tracer-common", "../Cargo.lock", "../xtask/src/toolchain.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let object = PathBuf::from(env::var_os("OUT_DIR").context("`OUT_DIR` is not set")?).join(OBJECT);

    if env::var_os(SKIP_VAR).is_some_and(|v| v == "1") {
        println!("cargo::warning={SKIP_VAR}=1: this gostray has no eBPF object and cannot trace");
        return fs::write(&object, []).with_context(|| format!("cannot write `{}`", object.display()));
    }

    let ebpf = choose()?;
    println!("cargo::rerun-if-changed={}", ebpf.linker_dir.join("bpf-linker").display());
    set_environment(&ebpf)?;
    let root_dir = format!("{}/../tracer-ebpf", env::var("CARGO_MANIFEST_DIR")?);
    aya_build::build_ebpf(
        [Package { name: OBJECT, root_dir: &root_dir, ..Package::default() }],
        Toolchain::Custom(&ebpf.toolchain),
    )
    .with_context(|| {
        let linker = ebpf.linker_dir.display();
        format!(
            "the eBPF object does not build with toolchain `{}` and `{linker}/bpf-linker`",
            ebpf.toolchain
        )
    })?;
    check(&object)
}

/// The toolchain asked for, else the first complete one.
fn choose() -> Result<Ebpf> {
    if let Some(name) = env::var_os(TOOLCHAIN_VAR).filter(|v| !v.is_empty()) {
        let name = name.to_string_lossy();
        return toolchain::find_named(&name).map_err(|lack| {
            anyhow!("`{TOOLCHAIN_VAR}={name}` cannot be used: {lack}; try: cargo xtask setup")
        });
    }
    let mut lacks = Vec::new();
    for way in Way::ALL {
        match toolchain::find(way) {
            Ok(ebpf) => return Ok(ebpf),
            Err(lack) => lacks.push(format!("by way of {way}: {lack}")),
        }
    }
    bail!("no eBPF toolchain is complete ({}); try: cargo xtask setup", lacks.join("; "))
}

/// aya-build starts `rustup run … cargo` with this process's environment, so it is changed here.
fn set_environment(ebpf: &Ebpf) -> Result<()> {
    let mut path = vec![ebpf.linker_dir.clone()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut vars: Vec<(&str, OsString)> = vec![
        ("PATH", env::join_paths(path).context("the tools cache's path holds a `:`")?),
        // aya-build turns the inner cargo's progress into warnings; only real ones are wanted.
        ("CARGO_TERM_QUIET", "true".into()),
    ];
    if ebpf.needs_bootstrap {
        vars.push(("RUSTC_BOOTSTRAP", "1".into()));
    }
    for (name, value) in vars {
        // SAFETY: a build script is a process of its own, and this one has started no thread yet.
        unsafe { env::set_var(name, value) };
    }
    Ok(())
}

/// A build can succeed and leave nothing (a renamed bin): say so here, not at load time.
fn check(object: &Path) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("the build left no `{}`", object.display()))?;
    // ELF magic, and machine 247 (EM_BPF, linux/elf-em.h) at offset 18 in the target's byte order.
    let machine = bytes.get(18..20).map(|m| [m[0], m[1]]);
    let is_bpf = machine == Some([247, 0]) || machine == Some([0, 247]);
    if !bytes.starts_with(b"\x7fELF") || !is_bpf {
        bail!("`{}` is not an eBPF object", object.display());
    }
    Ok(())
}
