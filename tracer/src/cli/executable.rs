//! What a watch and `doctor` share: the process opened, its executable recognised, and what is said where that fails.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memmap2::Mmap;

use crate::event::Note;
use crate::failure::{Class, Failure};
use crate::gobin::{GoBinError, GoBinary, Layout};
use crate::memory::ProcessMemory;
use crate::source::dump::{Moment, Subject};
use crate::symbol::DebugSource;
use crate::target::debug_file::{self, Roots, Search};
use crate::target::{Environment, Incarnation, Target, TargetError};

/// A large program maps some hundred.
const MAX_LIBRARIES: usize = 512;
/// Of them, what is searched for Go's build information. A browser's largest library has 200 MB.
const MAX_LIBRARY_BYTES: u64 = 512 << 20;

/// Opens a process to watch. What is wrong with the process is said before what is wrong with our permissions, except
/// where the one comes from the other.
pub(super) fn open(pid: u32) -> Result<Target, Failure> {
    match Target::open(i32::try_from(pid).unwrap_or(i32::MAX)) {
        Ok(target) => Ok(target),
        Err(e @ TargetError::NotPermitted { .. }) => {
            Environment::probe().check()?;
            Err(e.into())
        }
        Err(e) => Err(e.into()),
    }
}

/// The executable's bytes.
pub(super) fn map(target: &Target) -> Result<Mmap, Failure> {
    // SAFETY: the kernel refuses writes to a file that a process executes (ETXTBSY), so its bytes stay as they are while
    // the target runs; should it be truncated after the target's end, we die of SIGBUS and nobody else does.
    unsafe { Mmap::map(target.exe()) }.map_err(|e| {
        Failure::because(Class::CannotRead, format!("cannot map `{}`: {e}", target.exe_path().display()))
    })
}

/// The executable of `target`, whose bytes are `data`, and its separate debug file, looked for in the directories `named`
/// first.
pub(super) fn recognise<'d>(
    target: &Target,
    data: &'d [u8],
    named: &[PathBuf],
) -> Result<(GoBinary<'d>, Search), Failure> {
    let root = target.root().ok();
    let roots = Roots { named, target: root.as_ref().map(AsFd::as_fd) };
    with_debug_file(data, target.exe_path(), target.exe(), &roots).map_err(|e| not_readable(target, e))
}

/// The process as a dump reads it: `at` are its load bias and where the slice header `runtime.allgs` is.
pub(super) fn readable<'d>(
    target: &'d Target,
    memory: &'d ProcessMemory,
    binary: &'d GoBinary<'d>,
    layout: &'d Layout,
    at: (u64, u64),
    debug: Option<&'d dyn DebugSource>,
    notes: Vec<Note>,
) -> Subject<'d> {
    let (load_bias, allgs) = at;
    let globals = binary.globals();
    Subject {
        memory,
        moment: Moment::Now,
        pid: target.pid() as u32,
        comm: target.comm().to_owned(),
        exe: target.exe_path().to_string_lossy().into_owned(),
        binary,
        layout,
        load_bias,
        allgs,
        semtable: globals.semtable.ok().map(|at| at.wrapping_add(load_bias)),
        wait_reasons: globals.wait_reasons.ok().map(|t| (t.addr.wrapping_add(load_bias), t.len)),
        debug,
        descriptors: Some(target),
        notes,
    }
}

/// An executable and its separate debug file. That is looked for where the executable holds no debug information itself; of
/// a Go that was not measured it tells the layout.
pub(super) fn with_debug_file<'d>(
    data: &'d [u8],
    path: &Path,
    file: &File,
    roots: &Roots<'_>,
) -> Result<(GoBinary<'d>, Search), GoBinError> {
    let mut binary = GoBinary::parse(data)?;
    if binary.has_debug_info() {
        return Ok((binary, Search::default()));
    }
    let search = debug_file::find(&binary, path, file, roots);
    if binary.layout().is_err()
        && let Some(file) = &search.found
        && let Ok(sections) = file.image().and_then(|image| image.sections())
    {
        binary.learn(&sections)?;
    }
    Ok((binary, search))
}

/// The refusal of an executable that cannot be read.
fn not_readable(target: &Target, e: GoBinError) -> Failure {
    gone_instead(target).unwrap_or_else(|| {
        let library = if e == GoBinError::NotGo { go_library(target) } else { None };
        let failure = Failure::from(e);
        let exe = target.exe_path().display();
        match library {
            Some((library, version)) => {
                let library = library.display();
                let text = format!("`{exe}` is not a Go program: its Go code (`{version}`) is in a shared library, `{library}`");
                Failure::new(failure.class(), text)
                    .with_hint("gostray traces Go programs; try the same code built as a program of its own")
            }
            None => {
                let hint = failure.hint().to_owned();
                Failure::new(failure.class(), format!("`{exe}` is {failure}")).with_hint(hint)
            }
        }
    })
}

/// A shared library with Go code that the process has mapped (`-buildmode=c-shared`, a plugin's host), and its Go version.
fn go_library(target: &Target) -> Option<(PathBuf, String)> {
    let maps = target.maps().ok()?;
    let mut seen = HashSet::new();
    let own = target.exe_file().inode;
    let code = maps.iter().filter(|m| m.executable && m.file.inode != 0 && m.file.inode != own);
    let files = code.filter(|m| seen.insert(m.file.inode)).take(MAX_LIBRARIES).filter_map(|m| {
        // The very file that is mapped, also if it was deleted since.
        let mapped = format!("/proc/{}/map_files/{:x}-{:x}", target.pid(), m.start, m.end);
        // A device's memory can be mapped too; opening that would be an act.
        let file = std::fs::metadata(&mapped).ok()?.is_file().then(|| File::open(&mapped))?.ok()?;
        Some((m.path.clone()?, file))
    });
    first_go(files, MAX_LIBRARY_BYTES)
}

/// The first of the files that holds Go code. Those that do not fit into what is left of `bytes` are passed over.
fn first_go(files: impl Iterator<Item = (PathBuf, File)>, mut bytes: u64) -> Option<(PathBuf, String)> {
    files.filter_map(|(path, file)| Some((path, file.metadata().ok()?.len(), file))).find_map(
        |(path, len, file)| {
            bytes = bytes.checked_sub(len)?;
            // SAFETY: only read, and wrong bytes are checked like any others; should its owner cut it off meanwhile, we die
            // of SIGBUS, before any probe, and nobody else does.
            let data = unsafe { Mmap::map(&file) }.ok()?;
            Some((path, crate::gobin::go_version_in(&data)?.raw))
        },
    )
}

/// What a reader should know of the search: (code, one sentence).
pub(super) fn search_notes(search: &Search) -> Vec<(&'static str, String)> {
    let found = search.found.as_ref().map(|file| {
        let text = format!("debug information is taken from `{}`, {}", file.path.display(), file.proof);
        ("debug-file", text)
    });
    let refused = search.refused.iter().map(|(path, why)| {
        ("debug-file-refused", format!("the debug file `{}` is not used: {why}", path.display()))
    });
    refused.chain(found).collect()
}

/// What looks like a failure of ours may be the target's end. A process that is on its way out is refused by the
/// kernel's probes before its pidfd tells of it, so it is given a moment; only where something has failed already.
pub(super) fn gone_instead(target: &Target) -> Option<Failure> {
    let pid = target.pid();
    for _ in 0..20 {
        match target.incarnation() {
            Ok(Incarnation::Exited) => return Some(TargetError::Exited { pid }.into()),
            Ok(Incarnation::Execed) => return Some(TargetError::Execed { pid }.into()),
            Ok(Incarnation::Same) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::testkit::{self, Spec};

    #[test]
    fn the_search_for_go_code_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let go = testkit::build(&Spec::go126());
        let len = go.len() as u64;
        let file = |name: &str, bytes: &[u8], len: u64| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            // The rest is a hole.
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            (path.clone(), File::open(&path).unwrap())
        };
        let other = || file("other", b"\x7fELF", 1000);
        let huge = || file("huge", &go, 1 << 40);
        let found = |limit| {
            let files = [huge(), other(), file("go", &go, len)];
            first_go(files.into_iter(), limit)
                .map(|(path, version)| (path.file_name().unwrap().to_owned(), version))
        };
        let expected = ("go".into(), "go1.26.6".to_owned());
        assert_eq!(found(1000 + len), Some(expected));
        assert_eq!(found(1000 + len - 1), None);
    }
}
