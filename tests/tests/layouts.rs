//! The table of runtime layouts against real toolchains, and what is made of versions that it does not hold.

#[path = "../offsets/measure.rs"]
#[allow(dead_code, reason = "the example `offsets` uses the rest")]
mod measure;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use tracer::gobin::{DebugSections, GoBinary, LayoutError, Reason, Table};
use xtask::{golang, offsets, shell};

fn committed() -> Result<Table> {
    Ok(serde_json::from_str(include_str!("../../tracer/src/gobin/layout/table.json"))?)
}

fn goroot(version: &str) -> Result<PathBuf> {
    let go = golang::find(version)?;
    Ok(go.ancestors().nth(2).context("no GOROOT")?.to_owned())
}

/// What `cargo xtask offsets` wrote is what the toolchains at hand give now.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn the_table_is_what_toolchains_give() -> Result<()> {
    let table = committed()?;
    for version in golang::VERSIONS {
        for arch in ["amd64", "arm64"] {
            if arch == "arm64" && version != golang::DEFAULT {
                continue;
            }
            let program = offsets::fixture(&goroot(version)?, arch, &[], version)?;
            let reading = measure::read(&program, "")?;
            let name = format!("go{version}");
            assert_eq!(reading.version, name);
            let row = table.measured.iter().find(|m| m.version == name && m.arch == arch);
            let row = row.with_context(|| format!("{name} {arch} is not in the table"))?;
            assert_eq!(table.layouts[row.layout], reading.offsets, "{name} {arch}");
            println!("{name} {arch}: as in the table ({})", row.source);
        }
    }
    Ok(())
}

/// Made once for all tests of a run.
static CHANGED: LazyLock<PathBuf> = LazyLock::new(|| changed_toolchain().expect("a changed toolchain"));

/// A copy of the newest toolchain whose `g` has three words more behind `m`, as a later version might.
fn changed_toolchain() -> Result<PathBuf> {
    let from = goroot("1.27.3")?;
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("changed-go");
    let _ = fs::remove_dir_all(&to);
    // Hard links where the file system allows it.
    let copy = |how: &str| shell::quiet(Command::new("cp").arg(how).arg(&from).arg(&to)).map(drop);
    copy("-al").or_else(|_| {
        let _ = fs::remove_dir_all(&to);
        copy("-a")
    })?;
    let file = to.join("src/runtime/runtime2.go");
    let text = fs::read_to_string(&file)?;
    let field = text.lines().find(|l| l.starts_with("\tm ") && l.contains("*m ")).context("no field g.m")?;
    let changed = text.replacen(field, &format!("{field}\n\tnewWords [3]uint64"), 1);
    // The link goes, the original stays.
    fs::remove_file(&file)?;
    fs::write(&file, changed)?;
    Ok(to)
}

struct Built {
    with_dwarf: Vec<u8>,
    stripped: Vec<u8>,
}

fn build(root: &Path, version: &str, name: &str) -> Result<Built> {
    // The linker writes the version where everyone reads it.
    let set = format!("-X 'runtime.buildVersion={version}'");
    let of = |flags: &str, kind: &str| -> Result<Vec<u8>> {
        let flag = format!("-ldflags={set}{flags}");
        Ok(fs::read(offsets::fixture(root, "amd64", &[&flag], &format!("{name}-{kind}"))?)?)
    };
    Ok(Built { with_dwarf: of("", "dwarf")?, stripped: of(" -s -w", "stripped")? })
}

/// Entry of the real `runtime.newproc`, as the symbol table has it.
fn newproc(data: &[u8]) -> Result<u64> {
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(data)?;
    let found = file.symbols().find(|s| s.name() == Ok("runtime.newproc"));
    Ok(found.context("no symbol `runtime.newproc`")?.address())
}

/// A pc of the runtime at which a function is inlined.
fn somewhere_inlined(binary: &GoBinary<'_>) -> Result<u64> {
    let runtime = binary.functions().iter().filter(|f| f.name.starts_with("runtime."));
    let mut pcs = runtime.flat_map(|f| f.entry..f.end);
    let deep = |pc: &u64| binary.frames(*pc, true).is_ok_and(|frames| frames.len() > 1);
    pcs.find(deep).context("nothing is inlined into the runtime")
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn newer_versions_are_read_from_dwarf_or_refused() -> Result<()> {
    let base = GoBinary::parse(&build(&goroot("1.27.3")?, "go1.27.3", "as-it-is")?.stripped)?.layout()?;
    for (version, name) in [
        ("go1.28.0", "next"),
        ("go1.28-devel_0a1b2c3 Mon Nov 2 10:00:00 2026 +0000", "devel"),
        ("go1.28rc1", "rc"),
    ] {
        let built = build(&CHANGED, version, name)?;
        let binary = GoBinary::parse(&built.with_dwarf)?;
        assert_eq!(binary.version().raw, version);
        let layout = binary.layout()?;
        assert!(layout.provenance.starts_with("read from debug information"), "{}", layout.provenance);
        // What stood behind the new words has moved, nothing else.
        assert_eq!((layout.kernel.g_m, layout.kernel.g_goid), (base.kernel.g_m, base.kernel.g_goid + 24));
        assert_eq!((layout.g_size, layout.sudog, layout.hchan), (base.g_size + 24, base.sudog, base.hchan));
        let entry = newproc(&built.with_dwarf)?;
        assert_eq!(binary.functions().by_name("runtime.newproc").map(|f| f.entry), Some(entry));
        let inlined = somewhere_inlined(&binary)?;
        let frames = binary.frames(inlined, true)?;

        let mut bare = GoBinary::parse(&built.stripped)?;
        let refused = bare.layout().unwrap_err();
        assert!(matches!(refused, LayoutError::Unknown { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("`{version}`")), "{refused}");
        println!("{refused}");
        // Neither wrappers nor inlined calls are guessed.
        assert_eq!(bare.functions().by_name("runtime.newproc"), None);
        let unknown = Reason::UnknownInlineForm { version: version.to_owned() };
        assert_eq!(bare.frames(inlined, true), Err(unknown));

        // The same from a file of its own.
        let debug = DebugSections::of_file(&built.with_dwarf)?;
        assert_eq!(bare.layout_from(&debug)?.kernel, layout.kernel);
        bare.learn(&debug)?;
        assert_eq!((bare.layout()?, bare.frames(inlined, true)?), (layout, frames));
        assert_eq!(bare.functions().by_name("runtime.newproc").map(|f| f.entry), Some(entry));
    }
    Ok(())
}

/// A patch release that was not measured is compared with the type descriptors that the program has, stripped or not.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn unmeasured_patches_are_compared_with_the_program() -> Result<()> {
    let as_it_is = build(&goroot("1.27.3")?, "go1.27.99", "patch")?;
    let known = GoBinary::parse(&build(&goroot("1.27.3")?, "go1.27.3", "as-it-is")?.stripped)?.layout()?;
    for data in [&as_it_is.stripped, &as_it_is.with_dwarf] {
        let layout = GoBinary::parse(data)?.layout()?;
        assert_eq!(layout.kernel, known.kernel);
        assert!(
            layout.provenance.ends_with("the program's own type descriptors agree"),
            "{}",
            layout.provenance
        );
    }
    let changed = build(&CHANGED, "go1.27.99", "changed-patch")?;
    let refused = GoBinary::parse(&changed.stripped)?.layout();
    assert_eq!(refused, Err(LayoutError::Contradiction { version: "go1.27.99".to_owned() }));
    Ok(())
}

/// Two ways to read the same structs: type descriptors and DWARF.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn type_descriptors_say_what_the_dwarf_says() -> Result<()> {
    use object::{Object as _, ObjectSymbol as _};
    for version in golang::VERSIONS {
        let data = fs::read(offsets::fixture(&goroot(version)?, "amd64", &[], version)?)?;
        let file = object::File::parse(&*data)?;
        let symbol = |name| file.symbols().find(|s| s.name() == Ok(name)).map(|s| s.address());
        let (from, to) = (symbol("runtime.types"), symbol("runtime.etypes"));
        let types = from.context("no `runtime.types`")?..to.context("no `runtime.etypes`")?;
        let own = tracer::gobin::described_by_types(&data, types)?;
        let dwarf = tracer::gobin::described(&DebugSections::of_file(&data)?)?.offsets;
        ensure!((own.g, own.m) == (dwarf.g, dwarf.m), "{version}: {own:?}");
        assert_eq!((own.sudog, own.hchan), (dwarf.sudog, dwarf.hchan), "{version}");
        assert_eq!(own.timer, dwarf.timer, "{version}");
        assert_eq!(own.semaphores_in_waiting, dwarf.semaphores_in_waiting, "{version}");
    }
    Ok(())
}
