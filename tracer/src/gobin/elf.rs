//! The ELF file as the kernel sees it: what is mapped where. Section headers and symbols are hints only; a file
//! may have been stripped of both.

use std::fmt::Write as _;

use object::Endianness::{self, Little};
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};

use super::bytes;
use super::error::GoBinError;

/// One `PT_LOAD`: what the kernel maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// As linked; the load bias comes on top.
    pub vaddr: u64,
    pub file_offset: u64,
    /// Bytes that come from the file; what follows up to `memsz` is zero.
    pub filesz: u64,
    pub memsz: u64,
    /// `PF_X` 1, `PF_W` 2, `PF_R` 4.
    pub flags: u32,
}

impl Segment {
    pub fn is_executable(&self) -> bool {
        self.flags & elf::PF_X.0 != 0
    }

    pub fn is_writable(&self) -> bool {
        self.flags & elf::PF_W.0 != 0
    }

    pub fn contains(&self, vaddr: u64) -> bool {
        vaddr >= self.vaddr && vaddr - self.vaddr < self.memsz
    }
}

/// A hostile header may claim 65,535 of them; linkers write about a dozen.
const MAX_PROGRAM_HEADERS: usize = 256;
/// Go's external linking with `-ffunction-sections` C code stays far below.
const MAX_SECTIONS: usize = 4096;

#[derive(Debug)]
pub struct Image<'d> {
    data: &'d [u8],
    header: &'d FileHeader64<Endianness>,
    program_headers: &'d [ProgramHeader64<Endianness>],
    segments: Vec<Segment>,
}

impl<'d> Image<'d> {
    pub fn parse(data: &'d [u8]) -> Result<Self, GoBinError> {
        check_machine(data)?;
        let damaged = |what| GoBinError::DamagedElf { what };
        let header = FileHeader64::<Endianness>::parse(data).map_err(|_| damaged("its header"))?;
        let kind = header.e_type(Little);
        if kind != elf::ET_EXEC && kind != elf::ET_DYN {
            return Err(GoBinError::NotExecutable { kind: kind.0 });
        }
        let program_headers =
            header.program_headers(Little, data).map_err(|_| damaged("its program headers"))?;
        if program_headers.len() > MAX_PROGRAM_HEADERS {
            return Err(damaged("too many program headers"));
        }
        let mut segments = Vec::new();
        for p in program_headers.iter().filter(|p| p.p_type(Little) == elf::PT_LOAD) {
            let s = Segment {
                vaddr: p.p_vaddr(Little),
                file_offset: p.p_offset(Little),
                filesz: p.p_filesz(Little),
                memsz: p.p_memsz(Little),
                flags: p.p_flags(Little).0,
            };
            // What the kernel would refuse to map, or would map with other contents than we would read.
            let fits =
                s.vaddr.checked_add(s.memsz).is_some() && s.file_offset.checked_add(s.filesz).is_some();
            if !fits || s.filesz > s.memsz {
                return Err(damaged("a segment that cannot be mapped"));
            }
            segments.push(s);
        }
        if segments.is_empty() {
            return Err(damaged("no segment to map"));
        }
        Ok(Self { data, header, program_headers, segments })
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// A position independent executable (or a shared object).
    pub fn is_pie(&self) -> bool {
        self.header.e_type(Little) == elf::ET_DYN
    }

    fn segment_of(&self, vaddr: u64) -> Option<&Segment> {
        self.segments.iter().find(|s| s.contains(vaddr))
    }

    /// Where in the file the byte at `vaddr` comes from.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let s = self.segment_of(vaddr)?;
        let into = vaddr - s.vaddr;
        (into < s.filesz).then(|| s.file_offset + into)
    }

    /// `len` bytes at `vaddr`, when one segment's file part holds them all.
    pub fn bytes(&self, vaddr: u64, len: u64) -> Option<&'d [u8]> {
        let s = self.segment_of(vaddr)?;
        let into = vaddr - s.vaddr;
        if len > s.filesz.checked_sub(into)? {
            return None;
        }
        bytes::slice(self.data, s.file_offset + into, len)
    }

    /// What the file holds of a segment (less than it claims when the file is cut off).
    pub fn segment_bytes(&self, s: &Segment) -> &'d [u8] {
        let start = usize::try_from(s.file_offset).unwrap_or(usize::MAX).min(self.data.len());
        let end = usize::try_from(s.file_offset + s.filesz).unwrap_or(usize::MAX).min(self.data.len());
        &self.data[start..end]
    }

    /// All file-backed bytes from `vaddr` to the end of its segment.
    pub fn bytes_from(&self, vaddr: u64) -> Option<&'d [u8]> {
        let s = self.segment_of(vaddr)?;
        self.segment_bytes(s).get(usize::try_from(vaddr - s.vaddr).ok()?..)
    }

    pub fn is_executable(&self, vaddr: u64) -> bool {
        self.segment_of(vaddr).is_some_and(Segment::is_executable)
    }

    pub fn is_writable(&self, vaddr: u64) -> bool {
        self.segment_of(vaddr).is_some_and(Segment::is_writable)
    }

    pub fn is_mapped(&self, vaddr: u64) -> bool {
        self.segment_of(vaddr).is_some()
    }

    fn sections(&self) -> Option<SectionTable<'d, FileHeader64<Endianness>>> {
        let sections = self.header.sections(Little, self.data).ok()?;
        (sections.len() <= MAX_SECTIONS).then_some(sections)
    }

    /// Address of a section; a hint, to be checked like any other candidate.
    pub fn section_address(&self, name: &str) -> Option<u64> {
        let (_, section) = self.sections()?.section_by_name(Little, name.as_bytes())?;
        Some(section.sh_addr(Little))
    }

    /// Addresses of the named data symbols, in the order asked for. All absent when the file is stripped.
    pub fn data_symbols<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        let mut found = [None; N];
        let Some(sections) = self.sections() else { return found };
        let Ok(table) = sections.symbols(Little, self.data, elf::SHT_SYMTAB) else { return found };
        for symbol in table.iter() {
            let Ok(name) = symbol.name(Little, table.strings()) else { continue };
            if let Some(i) = names.iter().position(|n| n.as_bytes() == name) {
                found[i] = Some(symbol.st_value(Little));
            }
        }
        found
    }

    /// The dynamic section, which the loader reads: entries of 16 bytes.
    pub fn dynamic(&self) -> Option<&'d [u8]> {
        let p = self.program_headers.iter().find(|p| p.p_type(Little) == elf::PT_DYNAMIC)?;
        self.bytes(p.p_vaddr(Little), p.p_filesz(Little))
    }

    /// GNU build id in hex, else Go's own build id as it stands.
    pub fn build_id(&self) -> Option<String> {
        let mut go = None;
        for p in self.program_headers.iter().filter(|p| p.p_type(Little) == elf::PT_NOTE) {
            let Ok(Some(mut notes)) = p.notes(Little, self.data) else { continue };
            while let Ok(Some(note)) = notes.next() {
                let desc = note.desc();
                // A real one has 8 to 83 bytes; a hostile one must not fill the report.
                if desc.is_empty() || desc.len() > 256 {
                    continue;
                }
                if note.name() == b"GNU" && note.n_type(Little) == elf::NT_GNU_BUILD_ID {
                    return Some(hex(desc));
                }
                // cmd/internal/buildid: note "Go", type 4.
                if note.name() == b"Go" && note.n_type(Little).0 == 4 {
                    go = std::str::from_utf8(desc).ok().map(str::to_owned);
                }
            }
        }
        go
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Looks at the identification before anything of 64 bits is assumed, so that an arm or i386 file is named.
fn check_machine(data: &[u8]) -> Result<(), GoBinError> {
    let Some(ident) = data.get(..20).filter(|d| d.starts_with(b"\x7fELF")) else {
        return Err(GoBinError::NotElf);
    };
    let little = ident[5] == elf::ELFDATA2LSB.0;
    let machine = [ident[18], ident[19]];
    let machine = if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    let long = ident[4] == elf::ELFCLASS64.0;
    if long && little && machine == elf::EM_X86_64.0 {
        return Ok(());
    }
    let name = match elf::Machine(machine) {
        elf::EM_386 => "386",
        elf::EM_ARM => "arm",
        elf::EM_AARCH64 => "arm64",
        elf::EM_RISCV => "riscv64",
        elf::EM_PPC64 => "ppc64",
        elf::EM_S390 => "s390x",
        elf::EM_MIPS => "mips",
        elf::EM_LOONGARCH => "loong64",
        elf::EM_X86_64 => "x32 (amd64 with 32-bit pointers)",
        _ => return Err(GoBinError::NotAmd64 { machine: format!("ELF machine {machine}") }),
    };
    Err(GoBinError::NotAmd64 { machine: name.to_owned() })
}
