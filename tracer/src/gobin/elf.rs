//! The ELF file as the kernel sees it: what is mapped where. Section headers and symbols are hints only; a file
//! may have been stripped of both.

use object::Endianness::{self, Little};
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::elf::{
    CompressionHeader as _, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym,
};
use object::read::{CompressedData, CompressionFormat};

use super::bytes::{self, c_str, is_c_str};
use super::error::GoBinError;
use super::limits::{MAX_PROGRAM_HEADERS, MAX_SEARCHED, MAX_SECTION_NAME, MAX_SECTIONS, MAX_SYMBOLS};

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

const PAGE: usize = 4096;

#[derive(Debug)]
pub struct Image<'d> {
    pub(super) data: &'d [u8],
    header: &'d FileHeader64<Endianness>,
    pub(super) program_headers: &'d [ProgramHeader64<Endianness>],
    segments: Vec<Segment>,
}

impl<'d> Image<'d> {
    pub fn parse(data: &'d [u8]) -> Result<Self, GoBinError> {
        check_machine(data)?;
        Self::of_any_machine(data)
    }

    /// [`Self::parse`], for what does not depend on the machine; 64 bits and little endian all the same.
    pub fn of_any_machine(data: &'d [u8]) -> Result<Self, GoBinError> {
        let damaged = |what| GoBinError::DamagedElf { what };
        let header = FileHeader64::<Endianness>::parse(data).map_err(|_| damaged("its header"))?;
        if !header.is_little_endian() {
            return Err(damaged("it is big endian"));
        }
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
        let image = Self { data, header, program_headers, segments };
        // Linkers let segments share a page at most. More would make every search through them as long as one likes.
        let shown: usize =
            image.segments.iter().map(|s| image.segment_bytes(s).len().saturating_sub(PAGE)).sum();
        if shown > data.len() {
            return Err(damaged("segments that show the same bytes several times"));
        }
        Ok(image)
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// A position independent executable (or a shared object).
    pub fn is_pie(&self) -> bool {
        self.header.e_type(Little) == elf::ET_DYN
    }

    pub fn entry(&self) -> u64 {
        self.header.e_entry(Little)
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

    /// Where `needle` stands in the segments that `choice` takes, in the order of segments. What lies behind
    /// [`MAX_SEARCHED`] bytes is left out, and [`Self::is_too_large`] says so.
    pub fn find<'a>(
        &'a self,
        needle: &[u8],
        choice: impl Fn(&Segment) -> bool + 'a,
    ) -> impl Iterator<Item = u64> + 'a {
        let finder = memchr::memmem::Finder::new(needle).into_owned();
        let mut left = MAX_SEARCHED;
        let chosen = self.segments.iter().filter(move |s| choice(s));
        chosen.flat_map(move |s| {
            let data = self.segment_bytes(s);
            let data = &data[..data.len().min(left)];
            left -= data.len();
            let finder = finder.clone();
            let mut from = 0;
            std::iter::from_fn(move || {
                let at = from + finder.find(&data[from..])?;
                from = at + 1;
                Some(s.vaddr + at as u64)
            })
        })
    }

    /// More than one search looks through.
    pub fn is_too_large(&self) -> bool {
        self.segments.iter().map(|s| self.segment_bytes(s).len()).sum::<usize>() > MAX_SEARCHED
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

    pub(super) fn sections(&self) -> Option<SectionTable<'d, FileHeader64<Endianness>>> {
        let sections = self.header.sections(Little, self.data).ok()?;
        (sections.len() <= MAX_SECTIONS).then_some(sections)
    }

    /// Sections and their names. A name that goes on too long is left out with its section: in a table of names without a
    /// NUL each would be read to the table's end.
    pub(super) fn named_sections(&self) -> impl Iterator<Item = (&'d [u8], &'d SectionHeader64<Endianness>)> {
        let found = || {
            let sections = self.sections()?;
            let strings = self.header.section_strings_index(Little, self.data).ok()?;
            Some((sections, sections.section(strings).ok()?.data(Little, self.data).ok()?))
        };
        found().into_iter().flat_map(|(sections, strings)| {
            sections
                .iter()
                .filter_map(move |s| Some((c_str(strings, s.sh_name(Little).into(), MAX_SECTION_NAME)?, s)))
        })
    }

    pub(super) fn section(&self, name: &str) -> Option<&'d SectionHeader64<Endianness>> {
        self.named_sections().find(|s| s.0 == name.as_bytes()).map(|s| s.1)
    }

    /// Address of a section; a hint, to be checked like any other candidate.
    pub fn section_address(&self, name: &str) -> Option<u64> {
        Some(self.section(name)?.sh_addr(Little))
    }

    /// A debug section as it stands in the file, `.debug_…` or the older compressed `.zdebug_…`.
    pub fn debug_section(&self, id: gimli::SectionId) -> Option<CompressedData<'d>> {
        if let Some(section) = self.section(id.name()) {
            let Some((header, offset, size)) = section.compression(Little, self.data).ok()? else {
                return Some(CompressedData::none(section.data(Little, self.data).ok()?));
            };
            let format = match header.ch_type(Little) {
                elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
                elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
                _ => CompressionFormat::Unknown,
            };
            let data = bytes::slice(self.data, offset, size)?;
            return Some(CompressedData { format, data, uncompressed_size: header.ch_size(Little) });
        }
        // Go up to 1.18 and old linkers: "ZLIB", then the size, big endian.
        let section = self.section(&format!(".z{}", &id.name()[1..]))?;
        let (head, data) = section.data(Little, self.data).ok()?.split_at_checked(12)?;
        let size = head.strip_prefix(b"ZLIB")?;
        let uncompressed_size = u64::from_be_bytes(size.try_into().ok()?);
        Some(CompressedData { format: CompressionFormat::Zlib, data, uncompressed_size })
    }

    /// Addresses of the named data symbols, in the order asked for. All absent when the file is stripped, or when its
    /// table is too long to be one.
    pub fn data_symbols<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        let mut found = [None; N];
        let Some((symbols, strings)) = self.symbols(elf::SHT_SYMTAB) else { return found };
        // A part of the table could hold the half of what must agree.
        if symbols.len() > MAX_SYMBOLS {
            return found;
        }
        for symbol in symbols {
            let at = symbol.st_name(Little);
            if let Some(i) = names.iter().position(|name| is_c_str(strings, at, name)) {
                found[i] = Some(symbol.st_value(Little));
            }
        }
        found
    }

    /// A symbol table and its names.
    pub(super) fn symbols(&self, kind: elf::SectionType) -> Option<(&'d [Sym64<Endianness>], &'d [u8])> {
        let sections = self.sections()?;
        let table = sections.symbols(Little, self.data, kind).ok()?;
        let strings = sections.section(table.string_section()).ok()?.data(Little, self.data).ok()?;
        Some((table.symbols(), strings))
    }

    /// The dynamic section, which the loader reads: entries of 16 bytes.
    pub fn dynamic(&self) -> Option<&'d [u8]> {
        let p = self.program_headers.iter().find(|p| p.p_type(Little) == elf::PT_DYNAMIC)?;
        self.bytes(p.p_vaddr(Little), p.p_filesz(Little))
    }

    /// Something else than the kernel loads it: it is dynamically linked.
    pub fn has_interpreter(&self) -> bool {
        self.program_headers.iter().any(|p| p.p_type(Little) == elf::PT_INTERP)
    }

    pub fn has_section_headers(&self) -> bool {
        self.sections().is_some_and(|s| !s.is_empty())
    }

    /// A symbol table that is not only the loader's.
    pub fn has_symbols(&self) -> bool {
        self.section(".symtab").is_some()
    }

    /// Where the notes stand in memory, and what they are.
    pub fn notes(&self) -> impl Iterator<Item = (u64, &'d [u8])> + '_ {
        let notes = self.program_headers.iter().filter(|p| p.p_type(Little) == elf::PT_NOTE);
        notes.filter_map(|p| Some((p.p_vaddr(Little), self.bytes(p.p_vaddr(Little), p.p_filesz(Little))?)))
    }
}

/// Looks at the identification before anything of 64 bits is assumed, so that an arm or i386 file is named.
pub(crate) fn check_machine(data: &[u8]) -> Result<(), GoBinError> {
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
