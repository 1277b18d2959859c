//! `R_X86_64_RELATIVE` relocations of a position independent executable: which word will hold which address.

use std::borrow::Cow;

use object::elf;

use super::bytes::{self, u32_at, u64_at};
use super::elf::Image;

const RELA: u64 = 24;
/// x86-64 psABI, table of relocation types.
const R_X86_64_RELATIVE: u32 = 8;

pub struct Relocations<'d> {
    /// Elf64_Rela entries: offset, type and symbol, addend.
    table: &'d [u8],
}

impl<'d> Relocations<'d> {
    pub fn of(image: &Image<'d>) -> Option<Self> {
        let (mut at, mut size) = (None, None);
        for entry in image.dynamic()?.chunks_exact(16) {
            match u64_at(entry, 0)?.cast_signed() {
                t if t == elf::DT_RELA.0 => at = u64_at(entry, 8),
                t if t == elf::DT_RELASZ.0 => size = u64_at(entry, 8),
                t if t == elf::DT_NULL.0 => break,
                _ => {}
            }
        }
        Some(Self { table: image.bytes(at?, size?)? })
    }

    pub fn len(&self) -> usize {
        self.table.len() / RELA as usize
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'d> {
        let table = self.table;
        (0..table.len() as u64 / RELA).filter_map(move |i| {
            let r = bytes::slice(table, i * RELA, RELA)?;
            (u32_at(r, 8)? == R_X86_64_RELATIVE).then_some((u64_at(r, 0)?, u64_at(r, 16)?))
        })
    }

    /// Addresses of the words that will hold `address`.
    pub fn places_of(&self, address: u64) -> impl Iterator<Item = u64> + use<'d> {
        self.iter().filter(move |&(_, addend)| addend == address).map(|(place, _)| place)
    }

    /// The bytes at `vaddr` as they will be once relocated (before the load bias is added).
    pub fn apply<'a>(&self, vaddr: u64, data: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        let mut data = data;
        for (place, addend) in self.iter() {
            let Some(at) = place.checked_sub(vaddr).and_then(|at| usize::try_from(at).ok()) else { continue };
            if at.checked_add(8).is_some_and(|end| end <= data.len()) {
                data.to_mut()[at..at + 8].copy_from_slice(&addend.to_le_bytes());
            }
        }
        data
    }
}
