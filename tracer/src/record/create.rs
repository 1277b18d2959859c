//! Where a session's bytes go, and how its file comes into the world without harm to another.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::writer::WriteError;

/// What the writer needs of a file.
pub trait Output {
    /// Writes all of `bytes`, in one call if the system takes them in one.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts off what stands behind the first `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Makes sure that it survives a power failure.
    fn sync(&mut self) -> io::Result<()>;
    /// For messages.
    fn path(&self) -> &Path;
}

/// The session file. Until its first chunk is written it has no claim to exist: it is removed when dropped before,
/// and a file that it is to replace is still there.
#[derive(Debug)]
pub struct FileOutput {
    file: File,
    path: PathBuf,
    /// Where it stands until it replaces `path`.
    interim: Option<PathBuf>,
    chunks: u64,
}

impl FileOutput {
    /// Creates the file, readable by its owner alone (mode 0600).
    ///
    /// Without `force` nothing may exist at `path`, not even a dangling link. With `force` a new file takes the
    /// place of a regular file or a link once the first chunk is there. It is a rename: what a link points to, and
    /// what else has the old file open, stays as it is. Devices, pipes and directories are never replaced.
    pub fn create(path: &Path, force: bool) -> Result<Self, WriteError> {
        let failed = |source| WriteError::Create { path: path.to_path_buf(), source };
        match exclusive(path) {
            Ok(file) => return Ok(Self { file, path: path.to_path_buf(), interim: None, chunks: 0 }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
        let there = fs::symlink_metadata(path).map_err(failed)?.file_type();
        if !there.is_file() && !there.is_symlink() {
            return Err(WriteError::NotAFile { path: path.to_path_buf() });
        }
        if !force {
            return Err(WriteError::Exists { path: path.to_path_buf() });
        }
        // A hundred names: somebody else's leftovers do not stop us, an endless loop does not start.
        for n in 0..100 {
            let interim = beside(path, n);
            match exclusive(&interim) {
                Ok(file) => {
                    return Ok(Self { file, path: path.to_path_buf(), interim: Some(interim), chunks: 0 });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Of a file that is written as one piece ([`io::Write`]), not in chunks: it takes its place, and stays, now that it is
    /// whole.
    pub fn complete(mut self) -> io::Result<()> {
        self.claim()?;
        self.chunks = 2;
        self.sync()
    }

    /// Replaces what stands at `path`, if it is to.
    fn claim(&mut self) -> io::Result<()> {
        if let Some(interim) = self.interim.take()
            && let Err(e) = fs::rename(&interim, &self.path)
        {
            self.interim = Some(interim);
            return Err(e);
        }
        Ok(())
    }

    fn standing_at(&self) -> &Path {
        self.interim.as_deref().unwrap_or(&self.path)
    }

    /// True if the name still leads to the file that we made.
    fn is_still_ours(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(self.standing_at())) {
            (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
            _ => false,
        }
    }
}

fn exclusive(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn beside(path: &Path, n: u32) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{n}.partial", std::process::id()));
    path.with_file_name(name)
}

/// Until [`FileOutput::complete`] is called, what is written here is removed when dropped.
impl Write for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for FileOutput {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        // The first one is the file header alone; the second one is the first chunk.
        self.chunks += 1;
        if self.chunks == 2 { self.claim() } else { Ok(()) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        // `set_len` leaves the position behind the end: the next write would leave a hole.
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(len)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let dir = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The name, too. A directory that we may not open is no reason to call the recording failed.
        if let Ok(dir) = File::open(dir) {
            dir.sync_all()?;
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileOutput {
    fn drop(&mut self) {
        let nothing_worth_keeping = self.chunks < 2 || self.interim.is_some();
        if nothing_worth_keeping && self.is_still_ours() {
            // Nobody is left to tell.
            let _ = fs::remove_file(self.standing_at());
        }
    }
}

/// Into memory: for tests and for sessions that stay in the process.
impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }
}
