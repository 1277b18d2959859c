//! The file's debug information (DWARF), where it has any: sections as gimli wants them, decompressed.
//!
//! Sections stay where they are in the mapped file unless they are compressed; what decompressing may cost is bounded.

use std::borrow::Cow;
use std::convert::Infallible;

use gimli::{DwarfSections, EndianSlice, LittleEndian, SectionId};
use object::read::{CompressedData, CompressionFormat};
use thiserror::Error;

use super::elf::Image;

/// What all compressed sections of one file may decompress to. A hostile header claims anything.
const MAX_DECOMPRESSED: u64 = 160 << 20;

/// Why there is no debug information to use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DebugError {
    #[error("no debug information (DWARF) in the file")]
    None,
    #[error("the debug information decompresses to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the section `{section}` is damaged")]
    Damaged { section: &'static str },
    #[error("the debug file cannot be read: {because}")]
    Unreadable { because: String },
}

/// The debug sections of one file.
#[derive(Debug)]
pub struct DebugSections<'d>(DwarfSections<(SectionId, Cow<'d, [u8]>)>);

impl<'d> DebugSections<'d> {
    /// Of an ELF file for any machine of 64 bits.
    pub fn of_file(data: &'d [u8]) -> Result<Self, DebugError> {
        Self::load(&Image::of_any_machine(data).map_err(|_| DebugError::None)?)
    }

    pub(super) fn load(image: &Image<'d>) -> Result<Self, DebugError> {
        if image.debug_section(SectionId::DebugInfo).is_none() {
            return Err(DebugError::None);
        }
        let mut left = MAX_DECOMPRESSED;
        let sections = DwarfSections::load(|id| {
            let data = image.debug_section(id).filter(|_| is_read(id));
            Ok((id, data.map_or(Ok(Cow::default()), |data| inflate(data, id, &mut left))?))
        })?;
        Ok(Self(sections))
    }

    /// Sections made by hand.
    #[cfg(test)]
    pub fn of(mut section: impl FnMut(SectionId) -> Vec<u8>) -> Self {
        let Ok(sections) = DwarfSections::load(|id| Ok::<_, Infallible>((id, Cow::Owned(section(id)))));
        Self(sections)
    }

    pub fn dwarf(&self) -> gimli::Dwarf<EndianSlice<'_, LittleEndian>> {
        self.dwarf_of(|_, section| EndianSlice::new(section, LittleEndian))
    }

    /// [`Self::dwarf`] over readers of one's own.
    pub fn dwarf_of<'a, R>(&'a self, reader: impl Fn(SectionId, &'a [u8]) -> R) -> gimli::Dwarf<R> {
        self.0.borrow(|(id, section)| reader(*id, section))
    }
}

/// Code, lines and types are read; where variables lie, macros and name indexes are not, and stay compressed.
pub(super) fn is_read(id: SectionId) -> bool {
    !matches!(
        id,
        SectionId::DebugLoc
            | SectionId::DebugLocLists
            | SectionId::DebugMacinfo
            | SectionId::DebugMacro
            | SectionId::DebugNames
    )
}

/// The sections that [`DebugSections`] reads.
pub(super) fn sections_read() -> Vec<SectionId> {
    let mut ids = Vec::new();
    let Ok(_) = DwarfSections::load(|id| -> Result<(), Infallible> {
        ids.push(id);
        Ok(())
    });
    ids.retain(|id| is_read(*id));
    ids
}

fn inflate<'d>(data: CompressedData<'d>, id: SectionId, left: &mut u64) -> Result<Cow<'d, [u8]>, DebugError> {
    if data.format != CompressionFormat::None {
        *left = left
            .checked_sub(data.uncompressed_size)
            .ok_or(DebugError::TooLarge { limit: MAX_DECOMPRESSED })?;
    }
    data.decompress().map_err(|_| DebugError::Damaged { section: id.name() })
}
