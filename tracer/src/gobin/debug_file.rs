//! A separate debug file, as `objcopy --only-keep-debug` writes it: an ELF file whose code is elsewhere.

use std::ops::Range;

use object::Endianness::Little;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::GoBinary;
use super::debug::{DebugError, DebugSections, sections_read};
use super::elf::Image;
use super::error::GoBinError;
use super::identity::{self, BuildIds, Mismatch, Proof};
use super::limits::MAX_SECTIONS;
use super::symtab::CodeSymbols;

/// What is read of a debug file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// What tells to which executable it belongs.
    Identity,
    /// Also debug sections and symbol table.
    All,
}

/// A debug file. Needs only those of the file's bytes that [`DebugImage::wanted`] names; the others may be zero.
#[derive(Debug)]
pub struct DebugImage<'d>(Image<'d>);

impl<'d> DebugImage<'d> {
    pub fn parse(data: &'d [u8]) -> Result<Self, GoBinError> {
        Ok(Self(Image::parse(data)?))
    }

    /// Which bytes of the file must be there. What is known grows with what is there: to be asked again, with those read,
    /// until nothing new comes. `data` is as long as the file.
    pub fn wanted(data: &'d [u8], parts: Parts) -> Vec<Range<u64>> {
        let header_size = size_of::<FileHeader64<object::Endianness>>() as u64;
        let mut wanted = Vec::new();
        wanted.push(0..header_size);
        let Ok(header) = FileHeader64::<object::Endianness>::parse(data) else { return wanted };
        let entries =
            |at: u64, size: u16, count: u16| at..at.saturating_add(u64::from(size) * u64::from(count));
        wanted.push(entries(header.e_phoff(Little), header.e_phentsize(Little), header.e_phnum(Little)));
        wanted.push(entries(header.e_shoff(Little), header.e_shentsize(Little), header.e_shnum(Little)));
        let Ok(sections) = header.sections(Little, data) else { return wanted };
        // With more of them none is read (see `Image::sections`).
        if sections.len() > MAX_SECTIONS {
            return wanted;
        }
        let names = header.shstrndx(Little, data).unwrap_or_default();
        for (i, section) in sections.enumerate() {
            let name = sections.section_name(Little, section).unwrap_or_default();
            let kind = section.sh_type(Little);
            let wants = kind == elf::SHT_NOTE || i.0 as u32 == names || parts == Parts::All && is_debug(name);
            if wants && kind != elf::SHT_NOBITS {
                let at = section.sh_offset(Little);
                wanted.push(at..at.saturating_add(section.sh_size(Little)));
            }
        }
        wanted
    }

    pub fn build_ids(&self) -> BuildIds {
        identity::build_ids(&self.0)
    }

    /// What proves that it belongs to the executable, or why it is not to be used. `crc`: what the executable's
    /// `.gnu_debuglink` asks for and what the file has, where it was found by that.
    pub fn belongs_to(&self, executable: &GoBinary<'_>, crc: Option<(u32, u32)>) -> Result<Proof, Mismatch> {
        let proof = identity::belongs(&executable.image, &self.0, crc)?;
        let has = |name: &str| self.0.section(name).is_some_and(|s| s.sh_size(Little) > 0);
        if [".debug_info", ".zdebug_info", ".symtab"].into_iter().any(has) {
            Ok(proof)
        } else {
            Err(Mismatch::Nothing)
        }
    }

    pub fn sections(&self) -> Result<DebugSections<'d>, DebugError> {
        DebugSections::load(&self.0)
    }

    pub fn code_symbols(&self) -> CodeSymbols<'d> {
        CodeSymbols::load(&self.0)
    }
}

fn is_debug(name: &[u8]) -> bool {
    let debug = |id: gimli::SectionId| {
        let plain = id.name().as_bytes();
        name == plain || name.strip_prefix(b".z").is_some_and(|rest| plain.get(1..) == Some(rest))
    };
    name == b".symtab" || name == b".strtab" || sections_read().into_iter().any(debug)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65,279 sections, each a note of its own, but for the names.
    #[test]
    fn a_table_of_sections_that_no_file_has_is_not_followed() {
        let count = 0xfeff_u16;
        let mut file = vec![0; 64 + 64 * usize::from(count)];
        file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
        file[20] = 1;
        file[40] = 64;
        file[52] = 64;
        file[58] = 64;
        file[62] = 1;
        for (i, section) in file[64..].chunks_exact_mut(64).enumerate() {
            section[4] = if i == 1 { 3 } else { 7 };
            section[24..32].copy_from_slice(&(i as u64).to_le_bytes());
            section[32] = 1;
        }
        let few = |n: u16| {
            let mut file = file.clone();
            file[60..62].copy_from_slice(&n.to_le_bytes());
            DebugImage::wanted(&file, Parts::Identity).len()
        };
        assert_eq!((few(2), few(100), few(count)), (5, 103, 3));
    }
}
