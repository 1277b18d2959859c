//! Dumps taken by the library, for tests that ask more than the text tells.

use std::path::Path;

use anyhow::{Context as _, Result};
use tracer::dump::{Dump, Goroutine, ObjectKind};
use tracer::gobin::GoBinary;
use tracer::memory::ProcessMemory;
use tracer::source::dump::{Moment, Subject, take};
use tracer::symbol::DebugInfo;
use tracer::target::Target;

/// A dump of the process, which runs the executable at its linked address.
pub fn dump(pid: u32, executable: &Path) -> Result<Dump> {
    let mut dump = None;
    dumps(pid, executable, &mut |take| {
        dump = Some(take()?);
        Ok(())
    })?;
    dump.context("no dump")
}

/// Takes one dump.
pub type Take<'t> = dyn Fn() -> Result<Dump> + 't;

/// Reads the executable once, for as many dumps as `work` takes.
pub fn dumps(pid: u32, executable: &Path, work: &mut dyn FnMut(&Take<'_>) -> Result<()>) -> Result<()> {
    with_subject(pid, executable, &mut |subject| work(&|| Ok(take(subject, &mut |_, _| {})?)))
}

/// Recognises the process for whatever `work` does with it.
pub fn with_subject(
    pid: u32,
    executable: &Path,
    work: &mut dyn FnMut(&Subject<'_>) -> Result<()>,
) -> Result<()> {
    let image = std::fs::read(executable)?;
    let binary = GoBinary::parse(&image)?;
    let globals = binary.globals();
    let debug = DebugInfo::of(&binary);
    let table = globals.wait_reasons?;
    let target = Target::open(i32::try_from(pid)?)?;
    let memory = ProcessMemory::new(pid);
    let subject = Subject {
        memory: &memory,
        moment: Moment::Now,
        pid,
        comm: String::new(),
        exe: String::new(),
        binary: &binary,
        layout: &binary.layout()?,
        load_bias: 0,
        allgs: globals.allgs?,
        semtable: globals.semtable.ok(),
        wait_reasons: Some((table.addr, table.len)),
        debug: Some(&debug),
        descriptors: Some(&target),
        notes: Vec::new(),
    };
    work(&subject)
}

/// The goroutine whose blocked stack has this function, or that was started with it; there must be one.
pub fn in_function<'d>(dump: &'d Dump, function: &str) -> Result<&'d Goroutine> {
    let all = all_in_function(dump, function);
    let [one] = all[..] else { anyhow::bail!("{} goroutines in {function}", all.len()) };
    Ok(one)
}

pub fn all_in_function<'d>(dump: &'d Dump, function: &str) -> Vec<&'d Goroutine> {
    let stands_there = |g: &&Goroutine| functions(dump, g).contains(&function);
    dump.goroutines.iter().filter(stands_there).collect()
}

/// Of its blocked stack, innermost first, and of its start.
pub fn functions<'d>(dump: &'d Dump, g: &Goroutine) -> Vec<&'d str> {
    let pcs = dump.stack(g).map_or(&[][..], |s| &s.pcs);
    let frames = pcs.iter().filter_map(|pc| dump.places.at(*pc)).flat_map(|p| &p.frames);
    frames.chain(dump.places.started(g.start_pc)).map(|f| f.function.as_str()).collect()
}

/// What it waits on.
pub fn objects<'d>(dump: &'d Dump, g: &Goroutine) -> Vec<&'d ObjectKind> {
    g.waits_on.iter().map(|w| &dump.objects[w.object as usize].kind).collect()
}

/// The one thing it waits on.
pub fn object<'d>(dump: &'d Dump, g: &Goroutine) -> Result<&'d ObjectKind> {
    objects(dump, g).first().copied().with_context(|| format!("goroutine {} waits on nothing known", g.goid))
}
