//! Which process, and what the machine allows. Nothing here disturbs the process: no ptrace, no signals, only reads.

pub mod debug_file;
mod descriptors;
mod environment;
mod error;
mod maps;
mod proc;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

pub use environment::{Capabilities, Environment, KERNEL_FLOOR, KernelVersion};
pub use error::TargetError;
pub use maps::{BiasError, FileId, Mapping, Segment, load_bias, parse_maps};

use crate::gobin::GoBinary;
use proc::PidDir;

/// `AT_*` keys of the auxiliary vector (include/uapi/linux/auxvec.h).
pub mod auxv {
    /// Address of the program headers in memory.
    pub const PHDR: u64 = 3;
    /// Address of the program's entry in memory.
    pub const ENTRY: u64 = 9;
    /// Address of 16 random bytes on the first stack.
    pub const RANDOM: u64 = 25;
}

/// 64 MiB of maps are half a million mappings; Linux allows 65,530 unless told otherwise.
const MAPS_LIMIT: usize = 64 << 20;
/// When looking for what a process is called inside its namespace: no more processes than this.
const SCAN_LIMIT: usize = 65_536;

/// A process, held so that it cannot be mistaken for another one.
///
/// It was alive and in one and the same program while everything here was read.
#[derive(Debug)]
pub struct Target {
    pid: i32,
    pidfd: OwnedFd,
    dir: PidDir,
    /// `/proc/PID/mem`: bound to the address space, not to the process. Reads nothing any more after an exec.
    mem: File,
    exe: File,
    exe_path: PathBuf,
    exe_file: FileId,
    comm: String,
    ns_pids: Vec<i32>,
    start_ticks: u64,
    auxv: Vec<u8>,
}

/// What has become of the target since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incarnation {
    /// It still runs the same program, in the same address space.
    Same,
    /// It replaced itself, perhaps by the same file: every address that we knew is void.
    Execed,
    /// It has exited.
    Exited,
}

/// What stands now where the program was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    Same,
    /// Nothing.
    Deleted,
    /// Another file.
    Replaced,
    /// It may not be looked at.
    Unknown,
}

impl Target {
    /// Finds the process and takes hold of it. `pid` is an id in our own PID namespace.
    pub fn open(pid: i32) -> Result<Self, TargetError> {
        let raw = match Pid::from_raw(pid.max(0)) {
            Some(raw) => raw,
            None => return Err(TargetError::NoSuchProcess { pid, nested: false }),
        };
        if !environment::own_proc() {
            return Err(TargetError::ForeignProc { pid });
        }
        let dir = match PidDir::open(pid) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing(pid)),
            Err(source) => return Err(TargetError::Read { path: format!("/proc/{pid}"), source }),
        };
        let status = dir.status()?;
        let comm = status.name;
        if status.tgid != pid {
            return Err(TargetError::ThreadId { tid: pid, pid: status.tgid, comm });
        }
        let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Err(TargetError::Exited { pid }),
            Err(e) => return Err(TargetError::Read { path: format!("pidfd of {pid}"), source: e.into() }),
        };
        // If the directory still answers, the number still belonged to its process when the pidfd was opened.
        let stat = dir.stat()?;
        if stat.is_kernel_thread() {
            return Err(TargetError::KernelThread { pid, comm });
        }
        if stat.is_zombie() {
            return Err(TargetError::Zombie { pid, comm });
        }
        // The address space first: if it is still there at the end, nothing in between was of another program.
        let mem = dir.file("mem")?;
        let auxv = loaded_auxv(&dir)?;
        let exe_path = dir.link("exe")?;
        let exe = dir.file("exe")?;
        let meta = exe.metadata().map_err(|e| dir.failed("exe", e))?;
        let exe_file = file_id(&meta);
        let target = Self {
            pid,
            pidfd,
            dir,
            mem,
            exe,
            exe_path,
            exe_file,
            comm,
            ns_pids: status.ns_pids,
            start_ticks: stat.start_ticks,
            auxv,
        };
        match target.incarnation()? {
            Incarnation::Same => Ok(target),
            Incarnation::Execed => Err(TargetError::Execed { pid }),
            Incarnation::Exited => Err(TargetError::Exited { pid }),
        }
    }

    /// In our own PID namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable once the process has exited. For polling.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// `/proc/PID/comm`
    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// What `/proc/PID/exe` points to, as the process sees it: a path in its mount namespace, with ` (deleted)` behind
    /// it when the file has no name any more. For showing; the file itself is [`Target::exe`].
    pub fn exe_path(&self) -> &Path {
        &self.exe_path
    }

    /// The program's file: the one that the kernel has mapped, also if it was deleted or replaced since.
    pub fn exe(&self) -> &File {
        &self.exe
    }

    /// A path that leads to the very same file from our mount namespace, for who needs a path (`perf_event_open`).
    /// Only as long as the target lives and runs this program.
    pub fn exe_proc_path(&self) -> PathBuf {
        PathBuf::from(self.dir.path("exe"))
    }

    /// Whether the file that runs still is the one of its name, in the process's own root. The one that runs is read in any
    /// case.
    pub fn on_disk(&self) -> OnDisk {
        /// fs/d_path.c, `path_with_deleted`
        const DELETED: &[u8] = b" (deleted)";
        let shown = self.exe_path.as_os_str().as_bytes();
        let name = shown.strip_suffix(DELETED).unwrap_or(shown);
        let Some(inside) = name.strip_prefix(b"/") else { return OnDisk::Unknown };
        // As we see the name, and as a process in another mount namespace does: the kernel shows either.
        let roots = [PathBuf::from("/"), PathBuf::from(self.dir.path("root"))];
        let mut state = OnDisk::Deleted;
        for root in roots {
            match std::fs::metadata(root.join(std::ffi::OsStr::from_bytes(inside))) {
                Ok(meta) if file_id(&meta) == self.exe_file => return OnDisk::Same,
                Ok(_) => state = OnDisk::Replaced,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) if state == OnDisk::Deleted => state = OnDisk::Unknown,
                Err(_) => {}
            }
        }
        state
    }

    pub fn exe_file(&self) -> FileId {
        self.exe_file
    }

    /// Its ids from our PID namespace inwards; more than one when it lives in a namespace below ours.
    pub fn ns_pids(&self) -> &[i32] {
        &self.ns_pids
    }

    /// When the process started, nanoseconds on `CLOCK_BOOTTIME`, in steps of a clock tick (10 ms). An exec
    /// does not change it. (In a time namespace `/proc` adds the namespace's offset, the kernel's probes do not.)
    pub fn started_boot_ns(&self) -> u64 {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        self.start_ticks.saturating_mul(tick)
    }

    /// An entry of its auxiliary vector, one of [`auxv`].
    pub fn auxv(&self, key: u64) -> Option<u64> {
        proc::auxv_value(&self.auxv, key)
    }

    /// The first word of its command line. The rest may hold secrets and is not read.
    pub fn command(&self) -> Result<String, TargetError> {
        let mut word = [0; 4096];
        let n = self.dir.file("cmdline")?.read_at(&mut word, 0).map_err(|e| self.dir.failed("cmdline", e))?;
        let word = word[..n].split(|&b| b == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(word).into_owned())
    }

    /// Whether it is still what it was.
    ///
    /// The descriptor of `/proc/PID/mem` holds the address space that the process had at [`Target::open`]. When the
    /// process leaves that by an exec, reads give 0 bytes from then on (fs/proc/base.c, `mem_rw`: `mmget_not_zero`). That
    /// holds for a re-exec of the same file, too, and needs no comparing of random bytes (which Go 1.22 and later overwrite
    /// when they start). It is late only while another process shares the address space (a `vfork` in flight).
    pub fn incarnation(&self) -> Result<Incarnation, TargetError> {
        if self.has_exited()? {
            return Ok(Incarnation::Exited);
        }
        let at = self.auxv(auxv::RANDOM).unwrap_or(0);
        match self.mem.read_at(&mut [0], at) {
            Ok(0) => {
                // An exiting process gives its memory away before it is a zombie.
                let gone = self.has_exited()? || matches!(self.dir.stat(), Ok(stat) if stat.is_zombie());
                let exiting = gone || matches!(self.dir.link("exe"), Err(TargetError::Exited { .. }));
                Ok(if exiting { Incarnation::Exited } else { Incarnation::Execed })
            }
            // An address that is not mapped (EIO) is an answer of a living address space as well.
            Ok(_) => Ok(Incarnation::Same),
            Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(Incarnation::Same),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(Incarnation::Exited),
            Err(e) => Err(self.dir.failed("mem", e)),
        }
    }

    /// What holds it, one sentence each: a stop, another tracer, the kernel. Nothing of that keeps its memory from being read.
    pub fn held(&self) -> Vec<String> {
        let mut held = Vec::new();
        let threads = self.dir.threads().unwrap_or_default();
        let of = |n: usize, is: &str, are: &str| match n {
            1 => format!("1 of the process's {} threads {is}", threads.len()),
            _ => format!("{n} of the process's {} threads {are}", threads.len()),
        };
        // A debugger may stop some threads and let the others go on.
        match threads.iter().filter(|(_, stat)| stat.is_stopped()).count() {
            0 => {}
            n if n == threads.len() => held.push("the process is stopped: nothing in it moves".to_owned()),
            n => held.push(of(n, "is stopped", "are stopped")),
        }
        match self.uninterruptible(&threads) {
            0 => {}
            n => held.push(of(
                n,
                "waits in the kernel, where no signal reaches it",
                "wait in the kernel, where no signal reaches them",
            )),
        }
        if let Some(tracer) = self.dir.status().ok().map(|s| s.tracer).filter(|t| *t != 0) {
            // It is a thread's number; people know the process's.
            let who = PidDir::open(tracer).ok().and_then(|dir| dir.status().ok());
            let who = who.map_or(tracer.to_string(), |s| format!("{} ({})", s.tgid, s.name));
            held.push(format!("process {who} traces it, a debugger perhaps"));
        }
        held
    }

    /// Threads that no signal reaches, now and a moment later: whoever reads a file is in that state for a moment.
    fn uninterruptible(&self, threads: &[(i32, proc::Stat)]) -> usize {
        let now: Vec<i32> =
            threads.iter().filter(|(_, stat)| stat.is_uninterruptible()).map(|(tid, _)| *tid).collect();
        if now.is_empty() {
            return 0;
        }
        std::thread::sleep(Duration::from_millis(20));
        let later = self.dir.threads().unwrap_or_default();
        later.iter().filter(|(tid, stat)| stat.is_uninterruptible() && now.contains(tid)).count()
    }

    /// The root directory that the process sees; for paths as it knows them.
    pub fn root(&self) -> Result<OwnedFd, TargetError> {
        self.dir.directory("root")
    }

    /// What is mapped now.
    pub fn maps(&self) -> Result<Vec<Mapping>, TargetError> {
        let text = self.dir.read("maps", MAPS_LIMIT)?;
        parse_maps(&text).ok_or_else(|| TargetError::Malformed { path: self.dir.path("maps") })
    }

    /// How far the program was moved when it was loaded: see [`load_bias`].
    pub fn exe_load_bias(&self, mappings: &[Mapping], segments: &[Segment]) -> Result<u64, BiasError> {
        load_bias(mappings, self.exe_file, &self.exe_path, segments)
    }

    fn has_exited(&self) -> Result<bool, TargetError> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match rustix::event::poll(&mut fds, Some(&now)) {
                Ok(n) => return Ok(n > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    return Err(TargetError::Read {
                        path: format!("pidfd of {}", self.pid),
                        source: e.into(),
                    });
                }
            }
        }
    }
}

/// What of an executable is mapped.
pub fn segments(binary: &GoBinary<'_>) -> Vec<Segment> {
    let segment = |s: &crate::gobin::Segment| Segment {
        vaddr: s.vaddr,
        offset: s.file_offset,
        file_size: s.filesz,
        executable: s.is_executable(),
    };
    binary.segments().iter().map(segment).collect()
}

fn file_id(meta: &std::fs::Metadata) -> FileId {
    FileId {
        dev_major: rustix::fs::major(meta.dev()),
        dev_minor: rustix::fs::minor(meta.dev()),
        inode: meta.ino(),
    }
}

/// The auxiliary vector of a program that is all loaded.
///
/// An exec takes up the new, empty address space first, maps the file, and fills in the auxiliary vector at last
/// (fs/binfmt_elf.c, `load_elf_binary`, `create_elf_tables`): once it is there, so are the mappings. That takes well
/// under a millisecond; a program that has no 64-bit vector at all is let through.
fn loaded_auxv(dir: &PidDir) -> Result<Vec<u8>, TargetError> {
    let mut tries = 0;
    loop {
        let bytes = dir.read("auxv", 16 << 10)?;
        if proc::auxv_value(&bytes, auxv::ENTRY).is_some() || tries == 100 {
            return Ok(bytes);
        }
        tries += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Why there is no such process: perhaps the number is what a process calls itself in a namespace below ours.
fn missing(pid: i32) -> TargetError {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).take(SCAN_LIMIT).find_map(
        |here| {
            let status = PidDir::open(here).ok()?.status().ok()?;
            (status.ns_pids.len() > 1 && status.ns_pids.last() == Some(&pid)).then_some((here, status.name))
        },
    );
    match here {
        Some((here, comm)) => TargetError::InnerPid { pid, here, comm },
        None => TargetError::NoSuchProcess { pid, nested: environment::in_nested_pid_namespace() },
    }
}

#[cfg(test)]
mod tests;
