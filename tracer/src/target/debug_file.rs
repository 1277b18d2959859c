//! A separate debug file: where it may be, and how its bytes come to us.
//!
//! Whoever runs in a container can put anything there: links are followed inside the container's own root only, nothing but
//! regular files is opened, and the file is copied, not mapped (who owns it could cut it off under a mapping).

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use memmap2::MmapMut;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::gobin::{DebugError, DebugImage, DebugLink, GoBinary, Mismatch, Parts, Proof};

/// No larger file is looked at.
const MAX_FILE: u64 = 2 << 30;
/// Of it, what may be read into memory.
const MAX_READ: u64 = 160 << 20;
/// What a search reads of all files together until one is proven: most of it is checksums, some GB a second.
const MAX_SEARCH: u64 = 512 << 20;
/// Distributions put debug files below it.
const SYSTEM: &str = "/usr/lib/debug";

/// A debug file that proved to belong to the executable.
#[derive(Debug)]
pub struct DebugFile {
    /// As its finder would name it: in the target's root, or in ours.
    pub path: PathBuf,
    pub proof: Proof,
    file: File,
    len: usize,
    all: OnceCell<Result<MmapMut, DebugError>>,
}

/// What came of looking for a debug file.
#[derive(Debug, Default)]
pub struct Search {
    pub found: Option<DebugFile>,
    /// Files that were there, and why they are not used.
    pub refused: Vec<(PathBuf, Refused)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is larger than {MAX_FILE} bytes")]
    TooLarge,
    #[error("it is no regular file")]
    NotRegular,
    #[error("more than {MAX_READ} bytes of it would have to be read")]
    TooMuch,
    #[error("the search would read more than {MAX_SEARCH} bytes, this file and those before it together")]
    TooLong,
}

impl DebugFile {
    /// Its debug sections and symbol table; read when this is called for the first time.
    pub fn image(&self) -> Result<DebugImage<'_>, DebugError> {
        let unreadable = |because: String| DebugError::Unreadable { because };
        let all = self.all.get_or_init(|| {
            copy(&self.file, self.len, Parts::All, &mut { MAX_READ }).map_err(|e| unreadable(e.to_string()))
        });
        let data = all.as_ref().map_err(Clone::clone)?;
        DebugImage::parse(data).map_err(|e| unreadable(e.to_string()))
    }
}

/// The directories to be looked into, in order: those that the user named, the target's root, our own.
pub struct Roots<'a> {
    /// `--debug-dir`
    pub named: &'a [PathBuf],
    /// `/proc/PID/root`
    pub target: Option<BorrowedFd<'a>>,
}

/// Looks for the debug file of `binary`, whose path in the target's root is `exe` and whose file is `exe_file`.
pub fn find(binary: &GoBinary<'_>, exe: &Path, exe_file: &File, roots: &Roots<'_>) -> Search {
    let mut search = Search::default();
    let own = exe_file.metadata().map(|m| (m.dev(), m.ino())).ok();
    let mut seen: Vec<(u64, u64)> = own.into_iter().collect();
    let link = binary.debug_link();
    let mut budget = MAX_SEARCH;
    for place in places(binary, exe, link.as_ref(), roots) {
        let Some(opened) = place.open() else { continue };
        let crc = link.as_ref().filter(|_| place.by_link).map(|link| link.crc);
        if let Ok((_, meta)) = &opened {
            let id = (meta.dev(), meta.ino());
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
        }
        match opened.and_then(|(file, meta)| check(file, &meta, binary, crc, &mut budget)) {
            Ok((file, len, proof)) => {
                search.found = Some(DebugFile { path: place.path, proof, file, len, all: OnceCell::new() });
                break;
            }
            Err(why) => search.refused.push((place.path, why)),
        }
    }
    search
}

/// A path that may lead to a debug file.
struct Place<'a> {
    /// Resolved as if this directory were the root.
    root: Option<BorrowedFd<'a>>,
    path: PathBuf,
    by_link: bool,
}

impl Place<'_> {
    /// Nothing where there is no such file. What is no regular file is not opened at all: opening alone winds a tape back or
    /// starts a watchdog, and a container that may not do so itself can still put the device there.
    fn open(&self) -> Option<Result<(File, Metadata), Refused>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path: OwnedFd = match self.root {
            Some(root) => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(root, &self.path, flags, Mode::empty(), resolve).ok()?
            }
            None => rustix::fs::openat(CWD, &self.path, flags, Mode::empty()).ok()?,
        };
        let path = File::from(path);
        Some(path.metadata().map_err(Refused::from).and_then(|meta| {
            if !meta.is_file() {
                return Err(Refused::NotRegular);
            }
            // The very file that was looked at.
            Ok((File::open(format!("/proc/self/fd/{}", path.as_raw_fd()))?, meta))
        }))
    }
}

fn places<'a>(
    binary: &GoBinary<'_>,
    exe: &Path,
    link: Option<&DebugLink>,
    roots: &Roots<'a>,
) -> Vec<Place<'a>> {
    let by_id = binary.build_ids().gnu.and_then(|id| {
        let (head, rest) = id.split_at_checked(2)?;
        (!rest.is_empty()).then(|| format!(".build-id/{head}/{rest}.debug"))
    });
    // The kernel adds this to the path of a file that has no name any more.
    let bytes = exe.as_os_str().as_bytes();
    let exe = Path::new(OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)));
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let below: PathBuf = dir.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    let mut places = Vec::new();
    let mut add = |root, path: PathBuf, by_link| places.push(Place { root, path, by_link });
    for named in roots.named {
        if let Some(id) = &by_id {
            add(None, named.join(id), false);
        }
        if let Some(link) = link {
            add(None, named.join(&link.name), true);
            add(None, named.join(&below).join(&link.name), true);
        }
        // Without a link the file may carry the executable's name.
        if let Some(name) = exe.file_name() {
            let mut with_suffix = name.to_owned();
            with_suffix.push(".debug");
            add(None, named.join(with_suffix), false);
            add(None, named.join(name), false);
        }
    }
    for root in roots.target.map(Some).into_iter().chain([None]) {
        if let Some(id) = &by_id {
            add(root, Path::new(SYSTEM).join(id), false);
        }
        if let Some(link) = link {
            add(root, dir.join(&link.name), true);
            add(root, dir.join(".debug").join(&link.name), true);
            add(root, Path::new(SYSTEM).join(&below).join(&link.name), true);
        }
    }
    places
}

/// The file, once it is proven to be the executable's. The checksum takes all of it to be read, so it comes last, for a file
/// that build ids do not tell to be another's.
fn check(
    file: File,
    meta: &Metadata,
    binary: &GoBinary<'_>,
    crc: Option<u32>,
    budget: &mut u64,
) -> Result<(File, usize, Proof), Refused> {
    if meta.len() > MAX_FILE {
        return Err(Refused::TooLarge);
    }
    let len = usize::try_from(meta.len()).map_err(|_| Refused::TooLarge)?;
    let head = copy(&file, len, Parts::Identity, budget)?;
    let image = DebugImage::parse(&head).map_err(Mismatch::Unreadable)?;
    let proof = match (image.belongs_to(binary, None), crc) {
        (Ok(_) | Err(Mismatch::Unproven), Some(wanted)) => {
            let found = checksum(&file, len, budget)?;
            image.belongs_to(binary, Some((wanted, found)))
        }
        (proof, _) => proof,
    }?;
    Ok((file, len, proof))
}

/// The whole file's checksum.
fn checksum(file: &File, len: usize, budget: &mut u64) -> Result<u32, Refused> {
    *budget = budget.checked_sub(len as u64).ok_or(Refused::TooLong)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    // What is appended meanwhile does not belong to it.
    while at < len {
        let most = buffer.len().min(len - at);
        let n = file.read_at(&mut buffer[..most], at as u64)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        at += n;
    }
    Ok(hasher.finalize())
}

/// A memory as large as the file, in which those bytes stand that are wanted. The others are zero and take no room.
fn copy(file: &File, len: usize, parts: Parts, budget: &mut u64) -> Result<MmapMut, Refused> {
    let mut memory = MmapMut::map_anon(len.max(1))?;
    let mut have: Vec<Range<u64>> = Vec::new();
    let mut left = MAX_READ;
    // Header, tables, names, sections: each step tells where the next is.
    for _ in 0..4 {
        let mut wanted = DebugImage::wanted(&memory, parts);
        wanted.retain(|range| !have.contains(range));
        for range in wanted {
            let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(len);
            let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
            let size = (end - start) as u64;
            left = left.checked_sub(size).ok_or(Refused::TooMuch)?;
            *budget = budget.checked_sub(size).ok_or(Refused::TooLong)?;
            let part = &mut memory[start..end];
            // Shorter than it was: what is missing stays zero, and is found to be damaged.
            let mut done = 0;
            while done < part.len() {
                match file.read_at(&mut part[done..], (start + done) as u64)? {
                    0 => break,
                    n => done += n,
                }
            }
            have.push(range);
        }
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::gobin::testkit::{self, Spec};

    /// Of a file that its build id tells to be another's, no checksum is made; else not more than is left.
    #[test]
    fn a_checksum_is_made_last_and_not_of_everything() {
        let ours = testkit::build(&Spec::go126());
        let binary = GoBinary::parse(&ours).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refused = |id: std::ops::Range<usize>, with: u8, budget: &mut u64| {
            let mut bytes = ours.clone();
            bytes[id].fill(with);
            // Notes of a debug file are found by their section.
            let (mut header, at) = ([0; 192], bytes.len() as u64);
            header[64 + 4] = 7; // SHT_NOTE
            header[64 + 24..64 + 26].copy_from_slice(&0x200_u16.to_le_bytes());
            header[64 + 32] = 0x24;
            header[128 + 4] = 3; // SHT_STRTAB, of which there must be one
            bytes[40..48].copy_from_slice(&at.to_le_bytes());
            bytes[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
            bytes.extend(header);
            let path = dir.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            let (file, meta) = (File::open(&path).unwrap(), path.metadata().unwrap());
            let why = check(file, &meta, &binary, Some(1), budget).unwrap_err();
            (why, bytes.len() as u64)
        };
        let mut budget = MAX_SEARCH;
        let (why, len) = refused(0x210..0x211, 0xff, &mut budget);
        assert!(matches!(why, Refused::Mismatch(Mismatch::BuildId { .. })), "{why}");
        let identity = MAX_SEARCH - budget;
        assert!(identity < len, "{identity} of {len} bytes");
        // Without an id only the checksum can tell.
        let mut budget = MAX_SEARCH;
        let (why, len) = refused(0x200..0x224, 0, &mut budget);
        assert!(matches!(why, Refused::Mismatch(Mismatch::Checksum { wanted: 1, .. })), "{why}");
        assert_eq!(MAX_SEARCH - budget, identity + len);
        let mut budget = identity + len - 1;
        let (why, _) = refused(0x200..0x224, 0, &mut budget);
        assert!(matches!(why, Refused::TooLong), "{why}");
        let mut budget = identity - 1;
        let (why, _) = refused(0x210..0x211, 0xff, &mut budget);
        assert!(matches!(why, Refused::TooLong), "{why}");
    }

    /// Opening a pipe for reading would let a writer go that waits for a reader.
    #[test]
    fn a_pipe_is_refused_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (writer_at, opened) = (pipe.clone(), std::sync::mpsc::channel());
        let writer = std::thread::spawn(move || {
            let _ = File::options().write(true).open(writer_at);
            let _ = opened.0.send(());
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let root = File::open(dir.path()).unwrap();
        for place in [
            Place { root: Some(root.as_fd()), path: "/pipe".into(), by_link: false },
            Place { root: None, path: pipe.clone(), by_link: false },
        ] {
            assert!(matches!(place.open(), Some(Err(Refused::NotRegular))));
        }
        let waited = opened.1.recv_timeout(std::time::Duration::from_millis(100));
        assert!(waited.is_err(), "somebody opened it");
        File::open(&pipe).unwrap();
        writer.join().unwrap();
    }
}
