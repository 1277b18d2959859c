//! Go 1.20, of which no toolchain can be had: three published programs stand for it. What is read from them must be
//! what their symbol tables and their own runtime say.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSymbol as _};
use tests::fixtures::PATIENCE;
use tracer::gobin::GoBinary;
use xtask::npm::{ESBUILD, Package, TURBO};

const TURBO_LATER: Package = Package { version: "1.11.3", ..TURBO };

fn data(package: Package) -> Result<Vec<u8>> {
    let path: PathBuf = package.executable()?;
    fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

#[test]
#[ignore = "needs a published Go program: cargo xtask test"]
fn their_layouts_are_known() -> Result<()> {
    for (package, version) in [(ESBUILD, "go1.20.7"), (TURBO, "go1.20.10"), (TURBO_LATER, "go1.20.12")] {
        let data = data(package)?;
        let binary = GoBinary::parse(&data)?;
        assert_eq!(binary.version().raw, version);
        let layout = binary.layout()?;
        assert_eq!((layout.kernel.m_waitlock, layout.kernel.g_goid), (640, 152), "{version}");
        let how = if version == "go1.20.7" { "type descriptors agree" } else { "measured in go1.20" };
        assert!(layout.provenance.contains(how), "{}", layout.provenance);
    }
    Ok(())
}

/// Stripped or not, globals are found by decoding code; where there is a symbol table, it agrees.
#[test]
#[ignore = "needs a published Go program: cargo xtask test"]
fn their_globals_and_functions_are_the_symbols() -> Result<()> {
    let data_of_esbuild = data(ESBUILD)?;
    let globals = GoBinary::parse(&data_of_esbuild)?.globals();
    assert!(globals.allgs.is_ok() && globals.allglen.is_ok() && globals.wait_reasons.is_ok(), "{globals:?}");
    for package in [TURBO, TURBO_LATER] {
        let data = data(package)?;
        let binary = GoBinary::parse(&data)?;
        let file = object::File::parse(&*data)?;
        let symbol = |name: &str| file.symbols().find(|s| s.name() == Ok(name)).map(|s| s.address());
        let globals = binary.globals();
        assert_eq!(globals.allgs.ok(), symbol("runtime.allgs"));
        assert_eq!(globals.allglen.ok(), symbol("runtime.allglen"));
        assert_eq!(globals.wait_reasons.ok().map(|w| w.addr), symbol("runtime.waitReasonStrings"));
        // The function that is meant, not the wrapper of the same name.
        let mut compared = 0;
        for name in ["newproc", "goexit1", "newproc1", "gopark", "goexit0", "park_m", "execute", "newstack"] {
            let name = format!("runtime.{name}");
            let ours = binary.functions().by_name(&name).map(|f| f.entry);
            assert_eq!(ours, symbol(&name), "{name}");
            compared += usize::from(ours.is_some());
        }
        assert_eq!(compared, 8);
        assert_eq!(binary.functions().all_by_name("runtime.newproc").count(), 2);
    }
    Ok(())
}

/// What the runtime prints of one frame of the machine's stack: the calls inlined there, then the function.
struct Physical {
    pc: u64,
    /// Function and `file:line`, innermost first.
    frames: Vec<(String, String)>,
}

/// At SIGQUIT the runtime prints every goroutine: `function(args)`, then `\tfile:line +0x… fp=… sp=… pc=…`; an
/// inlined call is printed as `function(...)` and has no more than its file and line.
fn printed(dump: &str) -> Vec<Physical> {
    let (mut all, mut pending, mut function) = (Vec::new(), Vec::new(), None);
    for line in dump.lines() {
        let Some(place) = line.strip_prefix('\t') else {
            if line.is_empty() {
                pending.clear();
            }
            let name = line.rsplit_once('(').map(|(name, _)| name).filter(|_| line.ends_with(')'));
            function = name.map(str::to_owned);
            continue;
        };
        let mut words = place.split(' ');
        let (Some(at), Some(name)) = (words.next(), function.take()) else { continue };
        pending.push((name, at.to_owned()));
        let pc = words.find_map(|w| u64::from_str_radix(w.strip_prefix("pc=0x")?, 16).ok());
        if let Some(pc) = pc {
            all.push(Physical { pc, frames: std::mem::take(&mut pending) });
        }
    }
    all
}

/// A stack printed by the program's own runtime, inlined calls included, is what we make of its addresses.
#[test]
#[ignore = "needs a published Go program: cargo xtask test"]
fn its_runtime_prints_the_frames_that_we_find() -> Result<()> {
    let data = data(ESBUILD)?;
    let binary = GoBinary::parse(&data)?;
    let mut child = Command::new(ESBUILD.executable()?)
        .arg(format!("--service={}", ESBUILD.version))
        .env("GOTRACEBACK", "system")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It says its version and then waits for its first packet, with an open stdin.
    let mut hello = [0; 4];
    child.stdout.as_mut().context("no stdout")?.read_exact(&mut hello)?;
    sleep(Duration::from_millis(200));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT)?;
    let mut dump = String::new();
    let mut stderr = child.stderr.take().context("no stderr")?;
    let killer = std::thread::spawn(move || {
        // Nothing is left behind when it does not end by itself.
        for _ in 0..PATIENCE.as_secs() * 10 {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        let _ = child.kill();
        let _ = child.wait();
    });
    stderr.read_to_string(&mut dump)?;
    killer.join().ok();
    let stacks = printed(&dump);
    let (mut exact, mut inlined) = (0, 0);
    for physical in &stacks {
        let ours: Vec<(String, String)> = binary
            .frames(physical.pc, false)?
            .into_iter()
            .map(|f| (f.function, format!("{}:{}", f.file, f.line)))
            .collect();
        // The frame where a goroutine stands still is no return address.
        let here: Vec<(String, String)> = binary
            .frames(physical.pc, true)?
            .into_iter()
            .map(|f| (f.function, format!("{}:{}", f.file, f.line)))
            .collect();
        assert!(
            ours == physical.frames || here == physical.frames,
            "at {:#x}: {:?}, not {ours:?}",
            physical.pc,
            physical.frames
        );
        exact += usize::from(ours == physical.frames);
        inlined += usize::from(ours.len() > 1);
    }
    assert!(
        stacks.len() >= 15 && inlined >= 3,
        "{} frames, {inlined} with inlined calls\n{dump}",
        stacks.len()
    );
    assert!(exact * 10 >= stacks.len() * 9, "{exact} of {}", stacks.len());
    println!("{} frames of the machine's stack agree, {inlined} of them with inlined calls", stacks.len());
    Ok(())
}
