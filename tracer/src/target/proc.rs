//! `/proc/PID`, read through a descriptor of its directory: once the process is gone every read fails, even if
//! another process has got the number meanwhile.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::error::TargetError;

/// `PF_KTHREAD` (include/linux/sched.h), in field 9 of `/proc/PID/stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Go ends a program that wants more than 10,000 threads.
const THREADS_LIMIT: usize = 10_000;

/// A process's directory under `/proc`.
#[derive(Debug)]
pub(super) struct PidDir {
    dir: OwnedFd,
    pid: i32,
}

/// What we use of `/proc/PID/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub name: String,
    pub tgid: i32,
    /// Who traces it, 0 when nobody does.
    pub tracer: i32,
    /// Process ids, from the namespace of the `/proc` mount inwards. Empty on kernels without the line.
    pub ns_pids: Vec<i32>,
    /// Effective capabilities.
    pub cap_eff: Option<u64>,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
}

/// What we use of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub state: u8,
    pub flags: u64,
    /// Field 22, clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// By a signal, or by who traces it.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// In the kernel, where no signal reaches it.
    pub fn is_uninterruptible(&self) -> bool {
        self.state == b'D'
    }

    /// Dead, waiting for its parent or not even that.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl PidDir {
    /// `Err` of kind `NotFound` where there is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        Self::open_at(&format!("/proc/{pid}"), pid)
    }

    /// Ourselves. Also right in a `/proc` of a namespace above ours, which knows us by another number.
    pub fn open_self() -> io::Result<Self> {
        Self::open_at("/proc/self", std::process::id() as i32)
    }

    fn open_at(path: &str, pid: i32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { dir: rustix::fs::open(path, flags, Mode::empty())?, pid })
    }

    pub fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    /// Opens one of its files for reading.
    pub fn file(&self, name: &str) -> Result<File, TargetError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(e) => Err(self.failed(name, e.into())),
        }
    }

    /// One of its directories, to resolve paths in.
    pub fn directory(&self, name: &str) -> Result<OwnedFd, TargetError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty()).map_err(|e| self.failed(name, e.into()))
    }

    /// All of a small file.
    pub fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, TargetError> {
        let mut bytes = Vec::new();
        self.file(name)?.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| self.failed(name, e))?;
        if bytes.len() > limit {
            return Err(TargetError::TooLong { path: self.path(name), limit });
        }
        Ok(bytes)
    }

    /// Where one of its links points to.
    pub fn link(&self, name: &str) -> Result<PathBuf, TargetError> {
        match rustix::fs::readlinkat(&self.dir, name, Vec::new()) {
            Ok(target) => Ok(PathBuf::from(OsString::from_vec(target.into_bytes()))),
            Err(e) => Err(self.failed(name, e.into())),
        }
    }

    pub fn status(&self) -> Result<Status, TargetError> {
        let bytes = self.read("status", 64 << 10)?;
        parse_status(&bytes).ok_or_else(|| TargetError::Malformed { path: self.path("status") })
    }

    pub fn stat(&self) -> Result<Stat, TargetError> {
        let bytes = self.read("stat", 64 << 10)?;
        parse_stat(&bytes).ok_or_else(|| TargetError::Malformed { path: self.path("stat") })
    }

    /// What each of its threads is about, the first [`THREADS_LIMIT`] of them. Those that end meanwhile are left out.
    pub fn threads(&self) -> Result<Vec<(i32, Stat)>, TargetError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.dir, "task", flags, Mode::empty());
        let entries = dir.and_then(rustix::fs::Dir::new).map_err(|e| self.failed("task", e.into()))?;
        let ids = entries.filter_map(|e| e.ok()?.file_name().to_str().ok()?.parse::<i32>().ok());
        let stat = |tid: i32| {
            let bytes = self.read(&format!("task/{tid}/stat"), 64 << 10).ok()?;
            Some((tid, parse_stat(&bytes)?))
        };
        Ok(ids.take(THREADS_LIMIT).filter_map(stat).collect())
    }

    /// What an error on one of its files means.
    pub fn failed(&self, name: &str, source: io::Error) -> TargetError {
        match source.raw_os_error() {
            // The directory outlives its process and is empty then.
            Some(libc::ESRCH | libc::ENOENT) => TargetError::Exited { pid: self.pid },
            Some(libc::EACCES | libc::EPERM) => TargetError::NotPermitted { path: self.path(name), source },
            _ => TargetError::Read { path: self.path(name), source },
        }
    }
}

pub(super) fn parse_status(bytes: &[u8]) -> Option<Status> {
    let mut status = Status { tgid: -1, ..Status::default() };
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "Name" => status.name = value.into(),
            "Tgid" => status.tgid = value.parse().ok()?,
            "TracerPid" => status.tracer = value.parse().ok()?,
            "NSpid" => {
                status.ns_pids = value.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            }
            "CapEff" => status.cap_eff = Some(u64::from_str_radix(value, 16).ok()?),
            "Seccomp" => status.seccomp = Some(value.parse().ok()?),
            _ => {}
        }
    }
    (status.tgid >= 0).then_some(status)
}

/// The command's name stands in parentheses and may hold blanks, parentheses and line ends: fields are counted
/// from the last closing one.
pub(super) fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&bytes[end + 1..]).ok()?;
    // The first one is field 3.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        flags: fields.get(9 - 3)?.parse().ok()?,
        start_ticks: fields.get(22 - 3)?.parse().ok()?,
    })
}

/// The value of an entry of `/proc/PID/auxv`, for instance `AT_RANDOM`. 64-bit processes only.
pub(super) fn auxv_value(auxv: &[u8], key: u64) -> Option<u64> {
    let word = |b: &[u8; 8]| u64::from_le_bytes(*b);
    auxv.as_chunks::<16>().0.iter().find_map(|entry| {
        let (k, v) = (entry.first_chunk()?, entry.last_chunk()?);
        (word(k) == key).then(|| word(v))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_an_evil_name() {
        let line = b"42 (a) R (b\n) ) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 252352 3133440 362";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', flags: 4_194_560, start_ticks: 252_352 }));
        assert_eq!(parse_stat(b"42 (a) S 1"), None);
        assert_eq!(parse_stat(b"no parenthesis"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn kinds_of_process() {
        let kthreadd =
            parse_stat(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 2 0 0 20 0 1 0 1 0 0").unwrap();
        assert!(kthreadd.is_kernel_thread() && !kthreadd.is_zombie());
        let zombie = parse_stat(b"9 (sh) Z 0 0 0 0 -1 4227084 0 0 0 0 0 2 0 0 20 0 1 0 1 0 0").unwrap();
        assert!(!zombie.is_kernel_thread() && zombie.is_zombie());
    }

    #[test]
    fn status_lines() {
        let text =
            b"Name:\tshop\nTgid:\t77\nPid:\t78\nNSpid:\t78\t12\t1\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n";
        let status = parse_status(text).unwrap();
        assert_eq!((status.name.as_str(), status.tgid), ("shop", 77));
        assert_eq!(status.ns_pids, [78, 12, 1]);
        assert_eq!((status.cap_eff, status.seccomp), (Some(0x1ff_ffff_ffff), Some(2)));
        assert_eq!(parse_status(b"Name:\tx\n"), None);
        assert_eq!(parse_status(b"Tgid:\tx\n"), None);
    }

    #[test]
    fn auxiliary_vector() {
        let mut auxv = Vec::new();
        for word in [3u64, 0x40_0040, 25, 0x7ffc_0000_0009, 0, 0] {
            auxv.extend_from_slice(&word.to_le_bytes());
        }
        assert_eq!(auxv_value(&auxv, 25), Some(0x7ffc_0000_0009));
        assert_eq!(auxv_value(&auxv, 9), None);
        assert_eq!(auxv_value(&auxv[..20], 25), None);
        assert_eq!(auxv_value(b"", 3), None);
    }
}
