//! A process's memory as a core file has it: the kernel's, `gcore`'s, what `systemd-coredump` kept (unpacked).
//!
//! Nothing in it is trusted, and much may be missing: a core is cut off where a limit or a full disk ended it, and what files
//! can bring back (code, constants) is left out from the start. What is not there is unmapped; only read-only parts of
//! the executable are taken from the executable instead ([`CoreMemory`]).
//!
//! 64 bits, little endian, amd64. Formats: `fs/binfmt_elf.c` (`elf_core_dump`, `fill_files_note`),
//! `include/uapi/linux/elfcore.h`.

/// The builder of the fuzzer's seeds.
#[cfg(test)]
#[path = "../../../fuzz/src/core_file.rs"]
mod core_file;
mod notes;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use object::Endianness::{self, Little};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use thiserror::Error;

use super::{MemoryError, ReadMemory};
use crate::gobin::{BuildIds, GoBinError, GoBinary, build_ids_in, check_machine};
use crate::target::{self, BiasError, FileId, Mapping};
pub use notes::{MappedFile, Notes, Registers, Thread};

/// Linux allows 65,530 mappings unless told otherwise.
const MAX_SEGMENTS: usize = 1 << 20;
const PAGE: u64 = 4096;
/// Neighbours may share a page of the file.
const SHARED: usize = PAGE as usize;

/// Why a file is not read as a core.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CoreError {
    #[error("not an ELF file")]
    NotElf,
    #[error("packed with {how}")]
    Packed { how: &'static str },
    #[error("an ELF file of another kind, {kind}")]
    NotCore { kind: String },
    #[error("the core of a process for `{machine}`, only amd64 is supported")]
    NotAmd64 { machine: String },
    #[error("damaged: {what}")]
    Damaged { what: &'static str },
}

/// Some memory.
#[derive(Clone, Copy, Debug)]
struct Segment<'d> {
    start: u64,
    /// First address behind it.
    end: u64,
    writable: bool,
    executable: bool,
    /// What the file holds of it, from `start` on.
    bytes: &'d [u8],
}

/// What a core that was cut off has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Bytes, of memory and notes.
    pub missing: u64,
    /// That it was to hold.
    pub of: u64,
}

/// A core file. Holds what its headers and notes say; the memory stays in the file. As [`ReadMemory`] it is what the core
/// itself holds.
#[derive(Debug)]
pub struct Core<'d> {
    /// In order of address, none overlapping another.
    segments: Vec<Segment<'d>>,
    pub notes: Notes,
    pub cut_off: Option<CutOff>,
}

impl<'d> Core<'d> {
    pub fn parse(data: &'d [u8]) -> Result<Self, CoreError> {
        check_kind(data)?;
        let damaged = |what| CoreError::Damaged { what };
        let header =
            FileHeader64::<Endianness>::parse(data).map_err(|_| damaged("its header is cut off or wrong"))?;
        let headers = header
            .program_headers(Little, data)
            .map_err(|_| damaged("its program headers are cut off or wrong"))?;
        if headers.len() > MAX_SEGMENTS {
            return Err(damaged("too many segments"));
        }
        let mut segments = Vec::new();
        let (mut missing, mut of) = (0u64, 0u64);
        for p in headers.iter().filter(|p| p.p_type(Little) == elf::PT_LOAD && p.p_memsz(Little) > 0) {
            let (start, len, memory) = (p.p_vaddr(Little), p.p_filesz(Little), p.p_memsz(Little));
            let end =
                start.checked_add(memory).ok_or(damaged("a segment beyond the end of all addresses"))?;
            if len > memory {
                return Err(damaged("a segment with more bytes than memory"));
            }
            let bytes = present(data, p.p_offset(Little), len);
            (missing, of) = (missing.saturating_add(len - bytes.len() as u64), of.saturating_add(len));
            let flags = p.p_flags(Little);
            segments.push(Segment {
                start,
                end,
                writable: flags.contains(elf::PF_W),
                executable: flags.contains(elf::PF_X),
                bytes,
            });
        }
        segments.sort_unstable_by_key(|s| s.start);
        if segments.is_sorted_by(|a, b| a.end <= b.start) {
            // What is read out of it is then never more than the file.
            let shown: usize = segments.iter().map(|s| s.bytes.len().saturating_sub(SHARED)).sum();
            if shown > data.len() {
                return Err(damaged("segments that show the same bytes several times"));
            }
        } else {
            return Err(damaged("two segments for one address"));
        }
        let mut notes = Notes::default();
        for p in headers.iter().filter(|p| p.p_type(Little) == elf::PT_NOTE) {
            let len = p.p_filesz(Little);
            let bytes = present(data, p.p_offset(Little), len);
            (missing, of) = (missing.saturating_add(len - bytes.len() as u64), of.saturating_add(len));
            notes.collect(bytes, p.p_align(Little));
        }
        let cut_off = (missing > 0).then_some(CutOff { missing, of });
        Ok(Self { segments, notes, cut_off })
    }

    /// The segment that `addr` is in.
    fn segment(&self, addr: u64) -> Option<&Segment<'d>> {
        let behind = self.segments.partition_point(|s| s.start <= addr);
        self.segments[..behind].last().filter(|s| addr < s.end)
    }

    /// What the core holds from `addr` on, to the end of a segment.
    fn bytes(&self, addr: u64) -> Option<&'d [u8]> {
        let segment = self.segment(addr)?;
        let rest = segment.bytes.get(usize::try_from(addr - segment.start).ok()?..)?;
        (!rest.is_empty()).then_some(rest)
    }

    /// How many addresses from `addr` on may be filled in from the executable: up to the next segment; none in memory that
    /// could be written.
    fn room(&self, addr: u64) -> u64 {
        match self.segment(addr) {
            Some(segment) if segment.writable => 0,
            Some(segment) => segment.end - addr,
            None => {
                let next = self.segments.partition_point(|s| s.start <= addr);
                self.segments.get(next).map_or(u64::MAX, |s| s.start) - addr
            }
        }
    }

    /// The file that is mapped at `addr`.
    fn file_at(&self, addr: u64) -> Option<&MappedFile> {
        let behind = self.notes.files.partition_point(|f| f.start <= addr);
        self.notes.files[..behind].last().filter(|f| addr < f.end)
    }

    fn executable_file(&self) -> Option<&MappedFile> {
        // The loader's path, should the note of the entry be missing, is never the first: mappings are in order of address,
        // and the executable has the lowest.
        let entry = self.notes.entry.or(self.notes.program_headers);
        entry.and_then(|entry| self.file_at(entry)).or_else(|| self.notes.files.first())
    }

    /// Where the executable was, as the process had it.
    pub fn executable(&self) -> Option<PathBuf> {
        self.executable_file().map(|f| f.path.clone())
    }

    /// `addr` is in code of a file that is not the executable's.
    pub fn is_foreign_code(&self, addr: u64) -> bool {
        let own = self.executable_file().map(|f| &f.path);
        self.segment(addr).is_some_and(|s| s.executable)
            && self.file_at(addr).is_some_and(|f| Some(&f.path) != own)
    }

    /// How far the executable was moved when it was loaded. By where its file is mapped, else by where it was entered.
    pub fn load_bias(&self, binary: &GoBinary<'_>) -> Result<u64, BiasError> {
        let by_entry = self.notes.entry.map(|entry| entry.wrapping_sub(binary.entry()));
        match (self.bias_by_mappings(binary), by_entry) {
            (Ok(bias), Some(entry)) if bias != entry => Err(BiasError::NoFit),
            (Ok(bias), _) | (Err(BiasError::NotMapped), Some(bias)) => Ok(bias),
            // gdb writes its notes last, where they are the first to be cut off.
            (Err(BiasError::NotMapped), None) if !binary.is_pie() => Ok(0),
            (Err(e), _) => Err(e),
        }
        .and_then(|bias| {
            let fits = bias.is_multiple_of(PAGE) && (bias == 0 || binary.is_pie());
            if fits { Ok(bias) } else { Err(BiasError::NoFit) }
        })
    }

    fn bias_by_mappings(&self, binary: &GoBinary<'_>) -> Result<u64, BiasError> {
        let path = &self.executable_file().ok_or(BiasError::NotMapped)?.path;
        let own = FileId { inode: 1, ..FileId::default() };
        let mappings: Vec<Mapping> = self
            .notes
            .files
            .iter()
            .filter(|f| f.path == *path)
            .map(|f| {
                let segment = self.segment(f.start);
                Mapping {
                    start: f.start,
                    end: f.end,
                    readable: true,
                    writable: segment.is_some_and(|s| s.writable),
                    executable: segment.is_some_and(|s| s.executable),
                    offset: f.offset,
                    file: own,
                    path: Some(f.path.clone()),
                }
            })
            .collect();
        target::load_bias(&mappings, own, path, &target::segments(binary))
    }

    /// The build ids in the executable's first page, which a core holds where the program has not been told otherwise
    /// (`coredump_filter`).
    pub fn build_ids(&self) -> BuildIds {
        let first = self.executable_file().and_then(|own| {
            self.notes.files.iter().find(|f| f.path == own.path && f.offset == 0).map(|f| f.start)
        });
        let first = first.or(self.notes.program_headers.map(|at| at & !(PAGE - 1)));
        first.and_then(|at| self.bytes(at)).map(build_ids_in).unwrap_or_default()
    }
}

/// What a file that may be cut off has of `len` bytes at `offset`.
fn present(data: &[u8], offset: u64, len: u64) -> &[u8] {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
    &data[within(offset)..within(offset.saturating_add(len))]
}

fn check_kind(data: &[u8]) -> Result<(), CoreError> {
    const PACKED: [(&[u8], &str); 5] = [
        (b"\x28\xb5\x2f\xfd", "zstd (`unzstd`)"),
        (b"\x1f\x8b", "gzip (`gunzip`)"),
        (b"\xfd7zXZ", "xz (`unxz`)"),
        (b"\x04\x22\x4d\x18", "lz4 (`unlz4`)"),
        (b"BZh", "bzip2 (`bunzip2`)"),
    ];
    if let Some((_, how)) = PACKED.iter().find(|(magic, _)| data.starts_with(magic)) {
        return Err(CoreError::Packed { how });
    }
    check_machine(data).map_err(|e| match e {
        GoBinError::NotAmd64 { machine } => CoreError::NotAmd64 { machine },
        _ => CoreError::NotElf,
    })?;
    // The machine was there, and this is before it.
    let kind = elf::FileType(data.get(16..18).map_or(0, |k| u16::from_le_bytes([k[0], k[1]])));
    let name = match kind {
        elf::ET_CORE => return Ok(()),
        elf::ET_EXEC => "an executable".to_owned(),
        elf::ET_DYN => "an executable or a shared library".to_owned(),
        elf::ET_REL => "an object file".to_owned(),
        elf::FileType(other) => format!("type {other}"),
    };
    Err(CoreError::NotCore { kind: name })
}

impl ReadMemory for Core<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        read_pieces(addr, buf, |at| self.bytes(at))
    }
}

/// A core and, where it left them out, the read-only parts of its executable.
pub struct CoreMemory<'c, 'd> {
    core: &'c Core<'d>,
    /// Where they are in memory, and what they are.
    fill: Vec<(u64, &'d [u8])>,
}

impl<'c, 'd> CoreMemory<'c, 'd> {
    pub fn new(core: &'c Core<'d>, binary: &GoBinary<'d>, load_bias: u64) -> Self {
        let read_only = binary.segments().iter().filter(|s| !s.is_writable());
        let fill = read_only.filter_map(|s| {
            let bytes = binary.bytes(s.vaddr, usize::try_from(s.filesz).ok()?)?;
            Some((s.vaddr.wrapping_add(load_bias), bytes))
        });
        Self { core, fill: fill.collect() }
    }

    fn filled(&self, addr: u64) -> Option<&'d [u8]> {
        let rest = self.fill.iter().find_map(|(at, bytes)| {
            let rest = bytes.get(usize::try_from(addr.checked_sub(*at)?).ok()?..)?;
            (!rest.is_empty()).then_some(rest)
        })?;
        let room = usize::try_from(self.core.room(addr)).unwrap_or(usize::MAX);
        (room > 0).then(|| &rest[..rest.len().min(room)])
    }
}

impl ReadMemory for CoreMemory<'_, '_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        read_pieces(addr, buf, |at| self.core.bytes(at).or_else(|| self.filled(at)))
    }
}

/// Reads what may lie in several pieces; each is as long as it goes on.
fn read_pieces<'d>(
    addr: u64,
    buf: &mut [u8],
    piece: impl Fn(u64) -> Option<&'d [u8]>,
) -> Result<(), MemoryError> {
    let unmapped = MemoryError::Unmapped { addr, len: buf.len() };
    let mut done = 0;
    while done < buf.len() {
        let at = addr.checked_add(done as u64);
        let Some(bytes) = at.and_then(&piece).filter(|b| !b.is_empty()) else { return Err(unmapped) };
        let n = bytes.len().min(buf.len() - done);
        buf[done..done + n].copy_from_slice(&bytes[..n]);
        done += n;
    }
    Ok(())
}
