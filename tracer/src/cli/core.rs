//! `gostray dump --core`: a core file, and the executable that it is of.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::executable::{search_notes, with_debug_file};
use crate::dump::Dump;
use crate::event::Note;
use crate::failure::{Class, Failure};
use crate::gobin::GoBinary;
use crate::memory::core::{Core, CoreError, CoreMemory, Registers};
use crate::memory::selfcheck::surroundings::Frozen;
use crate::memory::selfcheck::{CheckError, Misfit, Outcome, Proof, check};
use crate::probe::verify::notes_are_same;
use crate::source::dump::{Moment, Subject, take};
use crate::source::live::fit;
use crate::source::live::prepare::read_wait_reasons;
use crate::symbol::DebugInfo;
use crate::target::BiasError;
use crate::target::debug_file::Roots;

/// Which files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub core: &'a Path,
    /// Else where the process had it.
    pub exe: Option<&'a Path>,
    pub debug_dirs: &'a [PathBuf],
}

/// Reads the core and checks that all belongs together, then reads its goroutines.
pub fn dump_of(request: &Request<'_>) -> Result<Dump, Failure> {
    let path = request.core.display();
    let (_, data) = map(request.core, "the core file")?;
    let core = Core::parse(&data).map_err(|e| refused(request.core, e))?;
    let exe = match (request.exe, core.executable()) {
        (Some(exe), _) => exe.to_owned(),
        (None, Some(exe)) => exe,
        (None, None) => {
            let (class, state) = match core.cut_off {
                Some(_) => (Class::DamagedCore, "is cut off and does"),
                None => (Class::CannotRead, "does"),
            };
            let text = format!("the core file `{path}` {state} not tell which executable it is of");
            return Err(Failure::new(class, text).with_hint("name it with `--exe FILE`"));
        }
    };
    let (file, image) = map(&exe, "the executable").map_err(|e| match request.exe {
        Some(_) => e,
        None => e.with_hint("if it is elsewhere, name it with `--exe FILE`"),
    })?;
    let roots = Roots { named: request.debug_dirs, target: None };
    let (binary, search) = with_debug_file(&image, &exe, &file, &roots).map_err(|e| {
        let failure = Failure::from(e);
        let hint = failure.hint().to_owned();
        Failure::new(failure.class(), format!("`{}` is {failure}", exe.display())).with_hint(hint)
    })?;
    let other = |why: String| {
        let text = format!("the core file `{path}` is not of the executable `{}`: {why}", exe.display());
        Failure::new(Class::OtherExecutable, text)
    };
    // The ids first: they say more than that the places do not fit.
    let same = core.build_ids();
    let same = binary.build_ids().same_build(&same).transpose().map_err(|e| other(e.to_string()))?;
    let load_bias = core.load_bias(&binary).map_err(|e| match e {
        BiasError::NotMapped if core.cut_off.is_some() => cut_off(request.core, &e.to_string()),
        _ => other(e.to_string()),
    })?;
    let known_same = match same {
        Some(()) => true,
        // Only what the core itself holds: the executable's notes would prove themselves.
        None => match notes_are_same(&binary, &core, load_bias) {
            Some(false) => return Err(other("its notes are others in the core".to_owned())),
            Some(true) => true,
            None => false,
        },
    };
    let layout = binary.layout()?;
    let globals = binary.globals();
    let allgs = globals.allgs.map_err(|e| Failure::because(Class::NoSafeSite, e))?.wrapping_add(load_bias);
    let wait_reasons = globals.wait_reasons.ok().map(|t| (t.addr.wrapping_add(load_bias), t.len));
    let memory = CoreMemory::new(&core, &binary, load_bias);
    let names = wait_reasons.and_then(|table| read_wait_reasons(&memory, table));
    let around = Frozen::new(&core, &binary, load_bias, names);
    let proof = proof(check(&memory, &layout, allgs, &around), &core, &binary, request.core)?;
    let threads: HashMap<u32, Registers> = core.notes.threads.iter().map(|t| (t.tid, t.registers)).collect();
    let debug = match &search.found {
        Some(file) => DebugInfo::of(&binary).or(|| file.image()),
        None => DebugInfo::of(&binary),
    };
    let note = |code: &str, text: String| Note { code: code.to_owned(), text };
    let notes = std::iter::once(fit::note(&proof))
        .chain(core_notes(&core, known_same).into_iter().map(|(code, text)| note(code, text)))
        .chain(search_notes(&search).into_iter().map(|(code, text)| note(code, text)));
    let name = path.to_string();
    let subject = Subject {
        memory: &memory,
        moment: Moment::Then { path: &name, threads: &threads },
        pid: core.notes.pid,
        comm: core.notes.comm.clone(),
        exe: exe.to_string_lossy().into_owned(),
        binary: &binary,
        layout: &layout,
        load_bias,
        allgs,
        semtable: globals.semtable.ok().map(|at| at.wrapping_add(load_bias)),
        wait_reasons,
        debug: Some(&debug),
        descriptors: None,
        notes: notes.collect(),
    };
    take(&subject, &mut |_, _| {}).map_err(|e| match core.cut_off {
        Some(_) => cut_off(request.core, &e.to_string()),
        None => e.into(),
    })
}

/// A file's bytes.
fn map(path: &Path, what: &str) -> Result<(File, Mmap), Failure> {
    let cannot = |e: std::io::Error| {
        Failure::because(Class::CannotRead, format!("cannot read {what} `{}`: {e}", path.display()))
    };
    let file = File::open(path).map_err(cannot)?;
    // SAFETY: only read, and wrong bytes are checked like any others; should somebody cut the file off meanwhile, we die of
    // SIGBUS and nobody else does.
    let data = unsafe { Mmap::map(&file) }.map_err(cannot)?;
    Ok((file, data))
}

fn refused(path: &Path, e: CoreError) -> Failure {
    let class = match e {
        CoreError::Damaged { .. } => Class::DamagedCore,
        CoreError::NotElf
        | CoreError::Packed { .. }
        | CoreError::NotCore { .. }
        | CoreError::NotAmd64 { .. } => Class::NotACore,
    };
    let hint = match &e {
        CoreError::Packed { .. } => "unpack it first; `coredumpctl dump` does".to_owned(),
        CoreError::NotCore { .. } => "`gostray dump --core CORE --exe EXECUTABLE`".to_owned(),
        CoreError::NotAmd64 { .. } => "use the core of a program built for linux/amd64".to_owned(),
        CoreError::NotElf | CoreError::Damaged { .. } => class.hint().to_owned(),
    };
    Failure::new(class, format!("`{}` is no core file that can be read: {e}", path.display())).with_hint(hint)
}

fn cut_off(path: &Path, why: &str) -> Failure {
    let text = format!("the core file `{}` is cut off before its goroutines: {why}", path.display());
    Failure::new(Class::DamagedCore, text)
}

/// What the self-check came to.
fn proof(
    checked: Result<Outcome, CheckError>,
    core: &Core<'_>,
    binary: &GoBinary<'_>,
    path: &Path,
) -> Result<Proof, Failure> {
    let misfit = match checked {
        Ok(Outcome::Fits(proof)) => return Ok(proof),
        Ok(Outcome::TooEarly(misfit)) | Err(CheckError::Misfit(misfit)) => misfit,
        Err(CheckError::Memory(e)) => return Err(e.into()),
    };
    let path_shown = path.display();
    Err(match misfit {
        Misfit::List { .. } | Misfit::NoEvidence { .. } if core.cut_off.is_some() => {
            cut_off(path, &misfit.to_string())
        }
        // What lies beyond the cut contradicts whatever leads there.
        Misfit::Broken { .. } if core.cut_off.is_some() => {
            let text = format!(
                "the core file `{path_shown}` is cut off, and too little of its goroutines is left to be sure of them: {misfit}"
            );
            Failure::new(Class::DamagedCore, text)
        }
        Misfit::Few { .. } => {
            let text = format!(
                "the core file `{path_shown}` shows no goroutines to check what is known of its memory: {misfit}"
            );
            Failure::new(Class::NotBegun, text).with_hint("take the core once the program runs")
        }
        _ => {
            let version = &binary.version().raw;
            let text =
                format!("what is known of `{version}` does not fit the core file `{path_shown}`: {misfit}");
            Failure::new(Class::LayoutMisfit, text)
        }
    })
}

/// What a reader should know of the core: (code, one sentence).
fn core_notes(core: &Core<'_>, known_same: bool) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    if let Some(lost) = core.cut_off {
        let text = format!(
            "the core file is cut off: {} of {} bytes are missing, so goroutines and frames may be",
            lost.missing, lost.of
        );
        notes.push(("core-cut-off", text));
    }
    if !known_same {
        let text = "the core file does not hold the executable's build id: that it is of this executable could not be checked";
        notes.push(("core-executable", text.to_owned()));
    }
    if core.notes.threads.is_empty() {
        let text = "the core file does not tell of threads: stacks of running goroutines are unknown";
        notes.push(("core-threads", text.to_owned()));
    }
    let text = "the core file does not tell when it was written: a waiting time is what had passed when the garbage collector last found a goroutine newly waiting, at least";
    notes.push(("core-clock", text.to_owned()));
    notes
}
