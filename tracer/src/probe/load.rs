//! Loading the eBPF object and hanging its programs on sites. Dropping what comes out takes everything back.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use thiserror::Error;
use tracer_common::config::GoLayout;
use tracer_common::wire::{loss, total};

use super::site::Site;

/// The kernel side, built from `tracer-ebpf` by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf"));

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("this gostray was built without its kernel side (GOSTRAY_SKIP_EBPF)")]
    NoObject,
    #[error("the kernel does not take the eBPF object")]
    Object(#[source] Box<EbpfError>),
    #[error("the eBPF object has no `{name}`")]
    Missing { name: String },
    #[error("the kernel does not take the program `{program}`")]
    Program { program: String, source: Box<ProgramError> },
    #[error("the probe on `{function}` cannot be placed")]
    Attach { function: String, source: Box<ProgramError> },
    #[error("the map `{name}` cannot be used")]
    Map { name: String, source: MapError },
    #[error("gostray's own code is not mapped from a file, so a trap cannot be measured")]
    NoSelf,
}

/// What the programs need to know before the kernel verifies them.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the ring buffer, a power of two times the page size.
    pub ring_bytes: u32,
    /// Stacks that the kernel side remembers as delivered.
    pub stacks: u32,
    pub layout: GoLayout,
    /// The kernel side describes faults through aya-log.
    pub diagnostics: bool,
}

impl Options {
    /// 16 MiB hold a quarter of a million births, which is more than two CPUs make between two drains.
    pub const DEFAULT_RING: u32 = 16 << 20;
    pub const DEFAULT_STACKS: u32 = 65_536;
}

/// The object in the kernel, its programs not yet loaded.
pub struct Loaded {
    ebpf: Ebpf,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The reading end of the ring buffer.
pub type Events = RingBuf<MapData>;

/// A probe in place; dropping it removes it from the target.
pub type Placed = UProbeLink;

/// The kernel's answer to one program.
#[derive(Debug)]
pub struct Verified {
    pub name: String,
    /// How many instructions the verifier went through, of at most a million; kernels before 5.16 do not say.
    pub instructions: Result<Option<u32>, LoadError>,
}

impl Loaded {
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        if OBJECT.is_empty() {
            return Err(LoadError::NoObject);
        }
        raise_memlock_limit();
        // The kernel side's log levels: 0 is off (and verified away), 4 is debug.
        let level: u8 = if options.diagnostics { 4 } else { 0 };
        let layout = layout_bytes(&options.layout);
        let mut ebpf = EbpfLoader::new()
            // Nothing of the object is relocated against the kernel's types; reading them takes 30 ms.
            .btf(None)
            .override_global("LAYOUT", &layout[..], true)
            .override_global(aya_log::LEVEL, &level, false)
            .map_max_entries("EVENTS", options.ring_bytes)
            .map_max_entries("STACKS", options.stacks)
            .load(OBJECT)
            .map_err(|e| LoadError::Object(Box::new(e)))?;
        let logger = if options.diagnostics { EbpfLogger::init(&mut ebpf).ok() } else { None };
        Ok(Self { ebpf, logger })
    }

    /// Verifies the program in the kernel unless that was done before.
    fn program(&mut self, name: &str) -> Result<&mut UProbe, LoadError> {
        let missing = || LoadError::Missing { name: name.to_owned() };
        let program: &mut UProbe = self
            .ebpf
            .program_mut(name)
            .ok_or_else(missing)?
            .try_into()
            .map_err(|_: ProgramError| missing())?;
        if program.fd().is_err() {
            program
                .load()
                .map_err(|e| LoadError::Program { program: name.to_owned(), source: Box::new(e) })?;
        }
        Ok(program)
    }

    /// Has the kernel verify a site's program now, which takes its time, so that placing the probes takes next to none.
    pub fn ready(&mut self, site: &Site) -> Result<(), LoadError> {
        self.program(site.program).map(|_| ())
    }

    /// Has the kernel verify every program of the object, those that no site needs too, in the order of their names.
    pub fn verify_all(&mut self) -> Vec<Verified> {
        let mut names: Vec<String> = self.ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
            .into_iter()
            .map(|name| {
                let instructions = self
                    .program(&name)
                    .map(|program| program.info().ok().and_then(|info| info.verified_instruction_count()));
                Verified { name, instructions }
            })
            .collect()
    }

    /// Places a probe in the address space of `pid`. `exe` must name the very inode that the process has mapped.
    pub fn attach(&mut self, site: &Site, exe: &Path, pid: u32) -> Result<Placed, LoadError> {
        self.attach_at(site.program, &site.function, site.file_offset, exe, pid)
    }

    fn attach_at(
        &mut self,
        program: &str,
        function: &str,
        offset: u64,
        exe: &Path,
        pid: u32,
    ) -> Result<Placed, LoadError> {
        let failed = |e| LoadError::Attach { function: function.to_owned(), source: Box::new(e) };
        // With a pid the kernel compares address spaces: all threads of this process, no other process of the file
        // (`kernel/trace/trace_uprobe.c`, uprobe_perf_filter). A pid of 0 would mean ourselves.
        let scope = NonZeroU32::new(pid).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let program = self.program(program)?;
        let id = program.attach(UProbeAttachLocation::AbsoluteOffset(offset), exe, scope).map_err(failed)?;
        program.take_link(id).map_err(failed)
    }

    /// Places a probe on an address of gostray itself.
    pub(super) fn attach_to_self(&mut self, program: &str, addr: u64) -> Result<Placed, LoadError> {
        let (exe, offset) = own_code(addr).ok_or(LoadError::NoSelf)?;
        self.attach_at(program, "gostray itself", offset, &exe, std::process::id())
    }

    /// The ring buffer's reading end; once.
    pub fn take_events(&mut self) -> Result<Events, LoadError> {
        let map =
            self.ebpf.take_map("EVENTS").ok_or_else(|| LoadError::Missing { name: "EVENTS".to_owned() })?;
        RingBuf::try_from(map).map_err(|source| LoadError::Map { name: "EVENTS".to_owned(), source })
    }

    /// Events met since the load, delivered or not.
    pub fn totals(&self) -> Result<[u64; total::COUNT], LoadError> {
        let wrong = |source| LoadError::Map { name: "TOTALS".to_owned(), source };
        let map = self.ebpf.map("TOTALS").ok_or_else(|| LoadError::Missing { name: "TOTALS".to_owned() })?;
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(wrong)?;
        let mut counts = [0; total::COUNT];
        for (i, count) in counts.iter_mut().enumerate() {
            *count = map.get(&(i as u32), 0).map_err(wrong)?.iter().sum();
        }
        Ok(counts)
    }

    /// Drops since the load, by cause.
    pub fn drops(&self) -> Result<[u64; loss::KERNEL_COUNT], LoadError> {
        let wrong = |source| LoadError::Map { name: "DROPS".to_owned(), source };
        let map = self.ebpf.map("DROPS").ok_or_else(|| LoadError::Missing { name: "DROPS".to_owned() })?;
        let map: Array<_, u64> = Array::try_from(map).map_err(wrong)?;
        let mut counts = [0; loss::KERNEL_COUNT];
        for (i, count) in counts.iter_mut().enumerate() {
            *count = map.get(&(i as u32), 0).map_err(wrong)?;
        }
        Ok(counts)
    }

    /// Hands what the kernel side has to say to the log.
    pub fn flush_diagnostics(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

/// Kernels before 5.11 account eBPF memory against `RLIMIT_MEMLOCK`. Where we may not raise it, the load itself says
/// whether it mattered.
fn raise_memlock_limit() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

fn layout_bytes(layout: &GoLayout) -> [u8; size_of::<GoLayout>()] {
    // SAFETY: `GoLayout` is `repr(C)` and consists of u32s only, so it has no padding.
    unsafe { std::mem::transmute(*layout) }
}

/// File and offset behind an address of ours.
fn own_code(addr: u64) -> Option<(PathBuf, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        let _permissions = words.next()?;
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        (from..to).contains(&addr).then(|| (PathBuf::from("/proc/self/exe"), addr - from + offset))
    })
}
