//! From probe programs to the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use tracer::gobin::{
    self, DebugSections, GoBinary, GoVersion, Goroutines, Measured, ModuleOffsets, Offsets, Table,
};

const ABOUT: &str = "Offsets in the structs of Go's runtime, in bytes, and numbers that differ between its versions. \
    Written by `cargo xtask offsets`, never by hand; docs/layouts.md shows it. Fields that a version does not have are \
    left out.";

/// One program's numbers and what they were read from.
pub struct Reading {
    pub version: String,
    pub offsets: Offsets,
    pub source: String,
}

/// Of all directories below `dir`, each with one program for each architecture and a line that says where it is from.
pub fn table(dir: &Path) -> Result<Table> {
    let mut table = Table {
        about: ABOUT.split_whitespace().collect::<Vec<_>>().join(" "),
        measured: Vec::new(),
        harmless_experiments: BTreeMap::new(),
        layouts: Vec::new(),
    };
    let mut rows: Vec<(GoVersion, String, Reading)> = Vec::new();
    for own in sorted(dir)? {
        let Ok(origin) = fs::read_to_string(own.join("origin.txt")) else { continue };
        for arch in ["amd64", "arm64"] {
            let reading = read(&own.join(arch), origin.trim())?;
            let version = GoVersion::parse(&reading.version).context("no version")?;
            let same = rows.iter_mut().find(|(v, a, _)| v.raw == version.raw && a == arch);
            if let Some((_, _, other)) = same {
                ensure!(
                    other.offsets == reading.offsets,
                    "{} {arch} differs between {} and {origin}",
                    version.raw,
                    other.source
                );
                other.source = format!("{}; {}", other.source, reading.source);
                continue;
            }
            if arch == "amd64" {
                experiments(&own, &version, &reading.offsets, &mut table.harmless_experiments)?;
            }
            rows.push((version, arch.to_owned(), reading));
        }
    }
    rows.sort_by(|(a, x, _), (b, y, _)| (a.minor, a.patch, x).cmp(&(b.minor, b.patch, y)));
    for (version, arch, reading) in rows {
        let layout = table.layouts.iter().position(|l| *l == reading.offsets).unwrap_or_else(|| {
            table.layouts.push(reading.offsets);
            table.layouts.len() - 1
        });
        table.measured.push(Measured { version: version.raw, arch, source: reading.source, layout });
    }
    Ok(table)
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// Those programs built with one experiment that give the same numbers as the one without.
fn experiments(
    own: &Path,
    version: &GoVersion,
    plain: &Offsets,
    harmless: &mut BTreeMap<String, Vec<String>>,
) -> Result<()> {
    for path in sorted(own)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(experiment) = name.strip_prefix("amd64-") else { continue };
        let data = fs::read(&path)?;
        let says = GoBinary::parse(&data).with_context(|| format!("`{}`", path.display()))?.version().clone();
        ensure!(says.experiments == [experiment], "`{}` is {says}", path.display());
        let minor = format!("{}.{}", version.major, version.minor);
        if described(&data).with_context(|| format!("`{}`", path.display()))?.1 == *plain {
            harmless.entry(minor).or_default().push(experiment.to_owned());
        } else {
            println!("go{minor}: {experiment} changes the layout");
        }
    }
    Ok(())
}

/// What one program says: its DWARF, or where that does not describe Go, its type descriptors.
pub fn read(path: &Path, origin: &str) -> Result<Reading> {
    let data = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    match described(&data) {
        Ok((version, offsets)) => Ok(Reading { version, offsets, source: format!("DWARF, {origin}") }),
        Err(why) => {
            let (version, offsets) = published(&data, &path.with_file_name("amd64"))
                .with_context(|| format!("`{}`: {why}", path.display()))?;
            Ok(Reading { version, offsets, source: format!("type descriptors and symbols, {origin}") })
        }
    }
}

fn described(data: &[u8]) -> Result<(String, Offsets)> {
    let described = gobin::described(&DebugSections::of_file(data)?)?;
    Ok((described.version, described.offsets))
}

/// A program whose DWARF describes C only, but that has its symbols. `amd64` is the same one for amd64, which tells the
/// ids of functions for all architectures.
fn published(data: &[u8], amd64: &Path) -> Result<(String, Offsets)> {
    let file = object::File::parse(data)?;
    let symbol = |name: &str| -> Result<u64> {
        let found = file.symbols().find(|s| s.name() == Ok(name));
        Ok(found.with_context(|| format!("no symbol `{name}`"))?.address())
    };
    let goroutines = gobin::described_by_types(data, symbol("runtime.types")?..symbol("runtime.etypes")?)?;
    let module =
        bytes(&file, symbol("runtime.firstmoduledata")?, 512).context("no module data in the file")?;
    // Where it holds the addresses that it is known to hold.
    let places = |name: &str| -> Result<Vec<u32>> {
        let address = symbol(name)?.to_le_bytes();
        let words = module.chunks(8).enumerate().filter(|(_, w)| *w == address);
        Ok(words.map(|(i, _)| 8 * i as u32).collect())
    };
    let one = |name: &str, found: &[u32]| match found {
        [place] => Ok(*place),
        _ => bail!("the address of `{name}` stands at {found:?} in the module data"),
    };
    let etypes = one("runtime.etypes", &places("runtime.etypes")?)?;
    // Read-only data begins where types do, and stands there once more.
    let types = places("runtime.types")?.into_iter().filter(|at| at + 8 == etypes).collect::<Vec<_>>();
    let moduledata = ModuleOffsets {
        gofunc: one("go:func.*", &places("go:func.*")?)?,
        types: one("runtime.types", &types)?,
        etypes,
    };
    let version = build_version(data).context("no build information")?;
    Ok((version, offsets(goroutines, moduledata, wrapper_id(&fs::read(amd64)?)?)))
}

fn offsets(of: Goroutines, moduledata: ModuleOffsets, wrapper_id: u8) -> Offsets {
    Offsets {
        g: of.g,
        m: of.m,
        sudog: of.sudog,
        hchan: of.hchan,
        timer: of.timer,
        moduledata,
        wrapper_id,
        status_dead_extra: None,
        semaphores_in_waiting: of.semaphores_in_waiting,
    }
}

fn bytes<'d>(file: &object::File<'d>, at: u64, len: u64) -> Option<&'d [u8]> {
    file.segments().find_map(|s| s.data_range(at, len).ok().flatten())
}

/// internal/buildinfo: a magic, flags, and at 32 the version after its length.
fn build_version(data: &[u8]) -> Option<String> {
    let mut at = data.windows(14).enumerate().filter(|(i, w)| i % 16 == 0 && *w == b"\xff Go buildinf:");
    let rest = data.get(at.next()?.0 + 32..)?;
    let (len, text) = rest.split_first()?;
    String::from_utf8(text.get(..usize::from(*len))?.to_vec()).ok()
}

/// `runtime.newproc` stands in the function table twice: itself and the wrapper for assembly, whose id is not 0.
fn wrapper_id(data: &[u8]) -> Result<u8> {
    let binary = GoBinary::parse(data)?;
    let ids = |name| -> Vec<u8> {
        let mut ids: Vec<u8> = binary.functions().all_by_name(name).map(|f| f.func_id).collect();
        ids.sort_unstable();
        ids
    };
    let (one, other) = (ids("runtime.newproc"), ids("runtime.goexit1"));
    ensure!(one == other && one.len() == 2 && one[0] == 0, "ids of newproc {one:?}, of goexit1 {other:?}");
    Ok(one[1])
}

/// One line for each measurement and each struct: what changes is seen in a diff.
pub fn json(table: &Table) -> Result<String> {
    let mut out = format!("{{\n  \"about\": {},\n  \"measured\": [\n", serde_json::to_string(&table.about)?);
    lines(&mut out, table.measured.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?);
    out.push_str("  ],\n  \"harmless_experiments\": {\n");
    let experiments = table.harmless_experiments.iter();
    let experiments = experiments.map(|(minor, e)| Ok(format!("\"{minor}\": {}", serde_json::to_string(e)?)));
    lines(&mut out, experiments.collect::<Result<Vec<_>>>()?);
    out.push_str("  },\n  \"layouts\": [\n");
    let layouts = table.layouts.iter().map(|l| {
        let serde_json::Value::Object(parts) = serde_json::to_value(l)? else { bail!("no object") };
        let parts: Vec<String> = parts.iter().map(|(name, v)| format!("\"{name}\": {v}")).collect();
        Ok(format!("{{{}}}", parts.join(",\n     ")))
    });
    lines(&mut out, layouts.collect::<Result<Vec<_>>>()?);
    out.push_str("  ]\n}\n");
    Ok(out)
}

fn lines(out: &mut String, lines: Vec<String>) {
    let last = lines.len().saturating_sub(1);
    for (i, line) in lines.iter().enumerate() {
        let comma = if i == last { "" } else { "," };
        out.push_str(&format!("    {line}{comma}\n"));
    }
}
