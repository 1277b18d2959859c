//! Separate debug files made by objcopy from real programs: found, proven, refused by name, and used.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use tests::gostray::gostray;
use tests::{Fixture, Running, root_only};
use tracer::event::message::Symbol;
use tracer::gobin::{GoBinary, Proof};
use tracer::symbol::{DebugInfo, DebugSource as _, Symbolizer};
use tracer::target::debug_file::{Roots, Search, find};

fn objcopy(args: &[&str], files: &[&Path]) -> Result<()> {
    let out = Command::new("objcopy").args(args).args(files).output().context("objcopy is needed")?;
    ensure!(out.status.success(), "objcopy {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// A program taken apart: `app`, stripped of everything, and `app.debug`, what was stripped.
struct Parts {
    dir: tempfile::TempDir,
    whole: PathBuf,
}

impl Parts {
    fn of(whole: PathBuf) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        objcopy(&["--only-keep-debug"], &[&whole, &dir.path().join("app.debug")])?;
        objcopy(&["--strip-all"], &[&whole, &dir.path().join("app")])?;
        Ok(Self { dir, whole })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a link to `app.debug`, with its present checksum, into `app`.
    fn link(&self) -> Result<()> {
        let out = Command::new("objcopy")
            .arg("--add-gnu-debuglink=app.debug")
            .arg("app")
            .current_dir(self.dir.path())
            .output()?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }
}

/// Looks for the debug file of an executable as if it ran under this root.
fn search(exe: &Path, named: &[PathBuf], root: Option<&Path>, inside: &Path) -> Result<(Search, Vec<u8>)> {
    let data = fs::read(exe)?;
    let root = root.map(File::open).transpose()?;
    let roots = Roots { named, target: root.as_ref().map(|r| r.as_fd()) };
    let search = find(&GoBinary::parse(&data)?, inside, &File::open(exe)?, &roots);
    Ok((search, data))
}

/// Address of a function in the symbol table of the whole file.
fn address(whole: &Path, name: &str) -> Result<u64> {
    let data = fs::read(whole)?;
    let file = object::File::parse(&*data)?;
    let symbol = file.symbols().find(|s| s.name() == Ok(name));
    Ok(symbol.with_context(|| format!("no `{name}`"))?.address())
}

fn c_symbol(data: &[u8], search: &Search, pc: u64) -> Result<Symbol> {
    let binary = GoBinary::parse(data)?;
    let debug = DebugInfo::of(&binary);
    let debug = match &search.found {
        Some(file) => debug.or(|| file.image()),
        None => debug,
    };
    let symbol = Symbolizer::new(&binary, 0, None).with_debug(&debug).symbol(pc, true);
    Ok(symbol)
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn by_build_id() -> Result<()> {
    for go in ["1.24.11", "1.26.6", "1.27.3"] {
        let parts = Parts::of(Fixture::new("zoo").go(go).build()?)?;
        let ids = GoBinary::parse(&fs::read(parts.at("app"))?)?.build_ids();
        let id = ids.gnu.with_context(|| format!("Go {go} writes no GNU build id"))?;
        let place = parts.dir.path().join(".build-id").join(&id[..2]);
        fs::create_dir_all(&place)?;
        fs::rename(parts.at("app.debug"), place.join(format!("{}.debug", &id[2..])))?;
        let named = [parts.dir.path().to_owned()];
        let (search, _) = search(&parts.at("app"), &named, None, Path::new("/nowhere/app"))?;
        let found = search.found.with_context(|| format!("Go {go}: {:?}", search.refused))?;
        assert_eq!(found.proof, Proof::GnuBuildId);
        let sections = found.image()?.sections()?;
        assert_eq!(units(&sections.dwarf())?, units(&own(&parts.whole)?.dwarf())?, "Go {go}");
    }
    Ok(())
}

fn own(path: &Path) -> Result<tracer::gobin::DebugSections<'static>> {
    let data: &'static [u8] = fs::read(path)?.leak();
    Ok(GoBinary::parse(data)?.debug_sections()?)
}

fn units<R: gimli::Reader>(dwarf: &gimli::Dwarf<R>) -> Result<usize> {
    let mut units = dwarf.units();
    let mut count = 0;
    while units.next()?.is_some() {
        count += 1;
    }
    ensure!(count > 10, "only {count} units");
    Ok(count)
}

/// Go 1.21 writes no GNU build id of its own: then Go's proves it, and the link's checksum must be right as well.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn by_link_and_gos_build_id() -> Result<()> {
    let parts = Parts::of(Fixture::new("zoo").go("1.21.13").build()?)?;
    parts.link()?;
    let root = tempfile::tempdir()?;
    for place in ["opt/app.debug", "opt/.debug/app.debug", "usr/lib/debug/opt/app.debug"] {
        let path = root.path().join(place);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::copy(parts.at("app.debug"), &path)?;
        let look = || search(&parts.at("app"), &[], Some(root.path()), Path::new("/opt/app"));
        let found = look()?.0.found.with_context(|| format!("not found at {place}"))?;
        assert_eq!((found.proof, found.path.as_path()), (Proof::GoBuildId, &*Path::new("/").join(place)));
        // One more byte, and it is another file.
        let mut longer = fs::read(&path)?;
        longer.push(0);
        fs::write(&path, longer)?;
        let (search, _) = look()?;
        assert!(search.found.is_none());
        let why = search.refused.iter().map(|(_, why)| why.to_string()).collect::<String>();
        assert!(why.starts_with("its checksum is") && why.contains("the executable asks for"), "{why}");
        fs::remove_file(path)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn what_is_not_its_own_is_refused_by_name() -> Result<()> {
    let parts = Parts::of(Fixture::new("zoo").build()?)?;
    let other = Parts::of(Fixture::new("exact").build()?)?;
    let named = [parts.dir.path().to_owned()];
    let refused = || -> Result<String> {
        let (search, _) = search(&parts.at("app"), &named, None, Path::new("/nowhere/app"))?;
        ensure!(search.found.is_none());
        Ok(search.refused.first().map(|(_, why)| why.to_string()).unwrap_or_default())
    };
    // Found by its name in a directory that the user names.
    let (own, _) = search(&parts.at("app"), &named, None, Path::new("/nowhere/app"))?;
    assert!(own.found.is_some(), "{:?}", own.refused);
    fs::copy(other.at("app.debug"), parts.at("app.debug"))?;
    let why = refused()?;
    assert!(why.starts_with("its build id `") && why.contains("is not the executable's"), "{why}");
    fs::write(parts.at("app.debug"), b"\x7fELF, but not really")?;
    let why = refused()?;
    assert!(why.contains("ELF"), "{why}");
    fs::remove_file(parts.at("app.debug"))?;
    pipe(&parts.at("app.debug"))?;
    assert_eq!(refused()?, "it is no regular file");
    fs::remove_file(parts.at("app.debug"))?;
    objcopy(&["--only-keep-debug", "--strip-all"], &[&parts.whole, &parts.at("app.debug")])?;
    assert_eq!(refused()?, "it holds neither debug information (DWARF) nor a symbol table");
    Ok(())
}

fn pipe(path: &Path) -> Result<()> {
    Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR)?)
}

/// A Go that was not measured, stripped: `doctor` learns its layout from where a watch learns it, of a process and of a file.
#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn doctor_looks_where_a_watch_looks() -> Result<()> {
    root_only()?;
    let built = Fixture::new("states").go("1.27.3").flag("-ldflags=-compressdwarf=false").build()?;
    let dir = tempfile::tempdir()?;
    let whole = dir.path().join("app");
    let mut bytes = fs::read(&built)?;
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"go1.27.3")).collect();
    places.into_iter().for_each(|at| bytes[at..at + 8].copy_from_slice(b"go1.97.3"));
    fs::copy(built, &whole)?;
    fs::write(&whole, bytes)?;
    let parts = Parts::of(whole)?;
    let elsewhere = tempfile::tempdir()?;
    fs::rename(parts.at("app.debug"), elsewhere.path().join("app.debug"))?;
    let app = parts.at("app");
    let running = Running::start(&app, &["-idle"])?;
    let asked = |subject: &str, part: &str, more: &[&str]| -> Result<serde_json::Value> {
        let out = gostray(&[&["doctor", subject, "--json"], more].concat());
        let mut answer: serde_json::Value = serde_json::from_slice(&out.stdout)
            .with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?;
        Ok(answer[part].take())
    };
    let named = ["--debug-dir", elsewhere.path().to_str().context("a path")?];
    for (subject, part) in
        [(running.pid().to_string(), "program"), (app.to_string_lossy().into_owned(), "executable")]
    {
        let without = asked(&subject, part, &[])?;
        assert!(without["layout"].is_null() && without["traceable"] == false, "{without:#}");
        let with = asked(&subject, part, &named)?;
        let layout = with["layout"].as_str().unwrap_or_default();
        assert!(layout.starts_with("read from debug information"), "{with:#}");
        assert_eq!(with["traceable"], true, "{with:#}");
        assert!(with["warnings"].to_string().contains("debug information is taken from"), "{with:#}");
    }
    Ok(())
}

/// A link in the target's root leads nowhere but into that root.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn links_do_not_lead_out_of_the_targets_root() -> Result<()> {
    let parts = Parts::of(Fixture::new("zoo").build()?)?;
    parts.link()?;
    let root = tempfile::tempdir()?;
    fs::create_dir_all(root.path().join("opt"))?;
    let look = || search(&parts.at("app"), &[], Some(root.path()), Path::new("/opt/app"));
    for target in [
        parts.at("app.debug"),
        Path::new("../../../../../../..").join(parts.at("app.debug").strip_prefix("/")?),
    ] {
        let link = root.path().join("opt/app.debug");
        symlink(&target, &link)?;
        let (search, _) = look()?;
        assert!(search.found.is_none() && search.refused.is_empty(), "{:?}", search);
        // The same link, and the file where it leads in there.
        let inside = root.path().join(parts.at("app.debug").strip_prefix("/")?);
        fs::create_dir_all(inside.parent().context("no parent")?)?;
        fs::copy(parts.at("app.debug"), &inside)?;
        assert!(look()?.0.found.is_some());
        fs::remove_file(inside)?;
        fs::remove_file(link)?;
    }
    Ok(())
}

/// C code of a cgo program: by the executable's own DWARF, by a separate file's (compressed in each way), by the symbol
/// table, and not at all.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn c_code_is_named_by_whatever_knows_it() -> Result<()> {
    let whole = Fixture::new("cgo").build()?;
    let parts = Parts::of(whole.clone())?;
    let none = Search::default();
    let pc = address(&whole, "crosscall2").or_else(|_| address(&whole, "x_cgo_init"))?;
    let own_pc = address(&whole, "x_cgo_thread_start")?;
    let data = fs::read(&whole)?;
    let by_dwarf = c_symbol(&data, &none, own_pc)?;
    assert_eq!((by_dwarf.source.as_str(), by_dwarf.frames.len()), ("dwarf", 1), "{by_dwarf:?}");
    let frame = &by_dwarf.frames[0];
    assert_eq!(frame.function, "x_cgo_thread_start");
    assert!(frame.file.ends_with(".c") && frame.line > 0, "{frame:?}");
    // Go code stays the function table's.
    let go = c_symbol(&data, &none, pc)?;
    assert!(!go.frames.is_empty());

    for compression in ["none", "zlib", "zstd"] {
        let debug = parts.at("app.debug");
        objcopy(
            &["--only-keep-debug", &format!("--compress-debug-sections={compression}")],
            &[&whole, &debug],
        )?;
        let named = [parts.dir.path().to_owned()];
        let (search, data) = search(&parts.at("app"), &named, None, Path::new("/nowhere/app"))?;
        assert!(search.found.is_some(), "{:?}", search.refused);
        assert_eq!(c_symbol(&data, &search, own_pc)?, by_dwarf, "{compression}");
    }
    let no_dwarf = parts.at("symbols");
    objcopy(&["--strip-debug"], &[&whole, &no_dwarf])?;
    let by_table = c_symbol(&fs::read(&no_dwarf)?, &none, own_pc)?;
    assert_eq!(by_table.source, "symbol table");
    assert_eq!((by_table.frames[0].function.as_str(), by_table.frames[0].line), ("x_cgo_thread_start", 0));
    let nothing = c_symbol(&fs::read(parts.at("app"))?, &none, own_pc)?;
    assert!(nothing.frames.is_empty());
    assert!(nothing.unknown_because.contains("not Go code"), "{}", nothing.unknown_because);
    Ok(())
}

/// Addresses inside a function and at its begin, in a real table.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn the_symbol_table_knows_go_code_too() -> Result<()> {
    let whole = Fixture::new("zoo").build()?;
    let data = fs::read(&whole)?;
    let binary = GoBinary::parse(&data)?;
    let debug = DebugInfo::of(&binary);
    let main = binary.functions().by_name("main.main").context("no main.main")?;
    assert_eq!(debug.symbols().at(main.entry), Some("main.main"));
    assert_eq!(debug.symbols().at(main.entry + 1), Some("main.main"));
    Ok(())
}
