//! What a core says of the process besides its memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use object::Endianness::{self, Little};
use object::elf::{self, FileHeader64};
use object::read::elf::NoteIterator;

use crate::target::auxv;

/// A thread has up to ten; a hostile file must not cost time.
const MAX_NOTES: usize = 1 << 20;
/// `pid_max` is at most that.
const MAX_THREADS: usize = 1 << 22;
/// Linux allows 65,530 mappings unless told otherwise.
const MAX_FILES: usize = 1 << 17;
const MAX_PATH: usize = 4096;
/// The vector has some twenty entries.
const MAX_AUXV: usize = 256;

/// Where a thread stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// As whoever wrote the core saw it: the kernel inside the process's PID namespace, gdb in its own.
    pub tid: u32,
    pub registers: Registers,
}

/// Part of a file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Into the file, bytes.
    pub offset: u64,
    /// The kernel adds ` (deleted)` to a file without a name.
    pub path: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// 0 where it is not told.
    pub pid: u32,
    pub comm: String,
    pub threads: Vec<Thread>,
    /// In order of address.
    pub files: Vec<MappedFile>,
    /// Address of the executable's entry in memory.
    pub entry: Option<u64>,
    /// Address of the executable's program headers in memory.
    pub program_headers: Option<u64>,
}

impl Notes {
    /// Adds what these notes say, up to where they are cut off or make no sense.
    pub(super) fn collect(&mut self, data: &[u8], align: u64) {
        let Ok(mut notes) = NoteIterator::<FileHeader64<Endianness>>::new(Little, align, data) else {
            return;
        };
        for _ in 0..MAX_NOTES {
            let Ok(Some(note)) = notes.next() else { return };
            if note.name() != b"CORE" {
                continue;
            }
            let desc = note.desc();
            match note.n_type(Little) {
                elf::NT_PRPSINFO => self.process(desc),
                elf::NT_PRSTATUS if self.threads.len() < MAX_THREADS => self.threads.extend(thread(desc)),
                elf::NT_FILE if self.files.is_empty() => self.files = files(desc).unwrap_or_default(),
                elf::NT_AUXV => self.auxv(desc),
                _ => {}
            }
        }
    }

    /// `struct elf_prpsinfo`
    fn process(&mut self, desc: &[u8]) {
        const PID: usize = 24;
        const NAME: usize = 40;
        const NAME_LEN: usize = 16;
        let Some(name) = desc.get(NAME..NAME + NAME_LEN) else { return };
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        self.comm = String::from_utf8_lossy(name).into_owned();
        self.pid = word32(desc, PID).unwrap_or(0);
    }

    fn auxv(&mut self, desc: &[u8]) {
        for pair in desc.as_chunks::<16>().0.iter().take(MAX_AUXV) {
            let (Some(key), value) = (word(pair, 0), word(pair, 8)) else { return };
            match key {
                0 => return,
                auxv::ENTRY => self.entry = value,
                auxv::PHDR => self.program_headers = value,
                _ => {}
            }
        }
    }
}

/// `struct elf_prstatus`; its registers are `struct user_regs_struct`.
fn thread(desc: &[u8]) -> Option<Thread> {
    const PID: usize = 32;
    const REGISTERS: usize = 112;
    const RIP: usize = REGISTERS + 16 * 8;
    const RSP: usize = REGISTERS + 19 * 8;
    let registers = Registers { pc: word(desc, RIP)?, sp: word(desc, RSP)? };
    Some(Thread { tid: word32(desc, PID)?, registers })
}

/// A count, the unit of offsets, then start, end and offset of each, then their paths.
fn files(desc: &[u8]) -> Option<Vec<MappedFile>> {
    const HEAD: usize = 16;
    const ENTRY: usize = 24;
    let (count, unit) = (usize::try_from(word(desc, 0)?).ok()?, word(desc, 8)?);
    let rest = desc.get(HEAD..)?;
    let (entries, paths) = rest.split_at_checked(count.checked_mul(ENTRY)?)?;
    if count > MAX_FILES {
        return None;
    }
    let paths = paths.split(|b| *b == 0);
    let file = |(entry, path): (&[u8], &[u8])| {
        let (start, end) = (word(entry, 0)?, word(entry, 8)?);
        let offset = word(entry, 16)?.checked_mul(unit)?;
        let path = PathBuf::from(OsStr::from_bytes(path));
        (start < end).then_some(MappedFile { start, end, offset, path })
    };
    let known = entries.chunks_exact(ENTRY).zip(paths).filter(|(_, p)| !p.is_empty() && p.len() <= MAX_PATH);
    let mut files: Vec<_> = known.filter_map(file).collect();
    files.sort_by_key(|f| f.start);
    Some(files)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
