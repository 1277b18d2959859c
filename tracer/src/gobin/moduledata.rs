//! The runtime's own description of the executable (`runtime.firstmoduledata`), found without symbols.
//!
//! Offsets: runtime/symtab.go `moduledata`; the first 192 bytes are the same from Go 1.19 to 1.27. It holds two
//! things the function table lacks: where code begins (the table's own `textStart` is 0 from Go 1.26 on) and where
//! inline trees are.

use std::borrow::Cow;

use super::bytes::u64_at;
use super::elf::Image;
use super::pclntab::{self, Header};
use super::reloc::Relocations;
use super::version::GoVersion;

mod at {
    pub const PC_HEADER: u64 = 0;
    pub const FUNCNAMETAB: u64 = 8;
    pub const FTAB: u64 = 128;
    pub const FTAB_LEN: u64 = 136;
    pub const MINPC: u64 = 160;
    pub const MAXPC: u64 = 168;
    pub const TEXT: u64 = 176;
    pub const ETEXT: u64 = 184;
}
/// Covers every field read here in every version.
const READ: u64 = 352;
/// Wrong candidates are few: the magic is eight bytes long.
const MAX_CANDIDATES: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct ModuleData {
    pub pclntab: u64,
    pub text: u64,
    /// What FUNCDATA offsets count from; absent where its place is not known for the version.
    pub gofunc: Option<u64>,
}

/// What was found, or which of the two was missing.
pub enum Missing {
    Pclntab,
    ModuleData,
}

/// Finds function table and module data: a table counts only when a module data points to it.
pub fn find(image: &Image<'_>, version: &GoVersion) -> Result<(ModuleData, Header), Missing> {
    let mut missing = Missing::Pclntab;
    for vaddr in candidates(image).take(MAX_CANDIDATES) {
        let Some(header) = image.bytes_from(vaddr).and_then(Header::parse) else { continue };
        if let Some(module) = pointing_to(image, vaddr, &header, version) {
            return Ok((module, header));
        }
        missing = Missing::ModuleData;
    }
    Err(missing)
}

fn candidates<'a>(image: &'a Image<'_>) -> impl Iterator<Item = u64> + 'a {
    let hints = [".gopclntab", ".data.rel.ro.gopclntab"].into_iter().filter_map(|s| image.section_address(s));
    let scanned = image.segments().iter().flat_map(move |s| {
        [pclntab::MAGIC_120, pclntab::MAGIC_118].into_iter().flat_map(move |magic| {
            let data = image.segment_bytes(s);
            // The needle is short-lived, so the positions are collected; bounded by `take`.
            let hits: Vec<u64> = memchr::memmem::find_iter(data, &magic)
                .map(|at| s.vaddr + at as u64)
                .filter(|vaddr| vaddr.is_multiple_of(4))
                .take(MAX_CANDIDATES)
                .collect();
            hits
        })
    });
    hints.chain(scanned)
}

fn pointing_to(image: &Image<'_>, pclntab: u64, header: &Header, version: &GoVersion) -> Option<ModuleData> {
    let needle = [pclntab.to_le_bytes(), pclntab.checked_add(header.funcname)?.to_le_bytes()].concat();
    let in_place = image.segments().iter().filter(|s| s.is_writable()).flat_map(|s| {
        memchr::memmem::find_iter(image.segment_bytes(s), &needle).map(|at| s.vaddr + at as u64)
    });
    for vaddr in in_place.filter(|a| a.is_multiple_of(8)).take(MAX_CANDIDATES) {
        if let Some(data) = image.bytes(vaddr, READ)
            && let Some(module) = check(image, data, pclntab, header, version)
        {
            return Some(module);
        }
    }
    if !image.is_pie() {
        return None;
    }
    // Some linkers leave relocated words zero in the file: then the relocations say what the words will be.
    let relocations = Relocations::of(image)?;
    for vaddr in relocations.places_of(pclntab).take(MAX_CANDIDATES) {
        if let Some(data) = image.bytes(vaddr, READ)
            && let data = relocations.apply(vaddr, Cow::Borrowed(data))
            && let Some(module) = check(image, &data, pclntab, header, version)
        {
            return Some(module);
        }
    }
    None
}

/// A chance hit is ruled out: two pointers, a length and the first and last function must agree with the table.
fn check(
    image: &Image<'_>,
    data: &[u8],
    pclntab: u64,
    h: &Header,
    version: &GoVersion,
) -> Option<ModuleData> {
    let word = |at| u64_at(data, at);
    let (text, etext) = (word(at::TEXT)?, word(at::ETEXT)?);
    let (minpc, maxpc) = (word(at::MINPC)?, word(at::MAXPC)?);
    let agrees = word(at::PC_HEADER)? == pclntab
        && word(at::FUNCNAMETAB)? == pclntab.checked_add(h.funcname)?
        && word(at::FTAB)? == pclntab.checked_add(h.pcln)?
        && word(at::FTAB_LEN)? == h.nfunc + 1
        && text <= minpc
        && minpc < maxpc
        && text < etext
        && image.is_executable(text)
        && image.is_executable(minpc)
        && image.is_executable(maxpc - 1);
    if !agrees {
        return None;
    }
    let gofunc = match gofunc_offset(version) {
        Some(at) => Some(word(at).filter(|&a| image.is_mapped(a))?),
        None => None,
    };
    Some(ModuleData { pclntab, text, gofunc })
}

/// Measured from DWARF in 1.19.8, 1.21.13 to 1.27.3; not moved inside any minor compared.
fn gofunc_offset(version: &GoVersion) -> Option<u64> {
    match (version.major, version.minor) {
        (1, 18 | 19) => Some(304),
        (1, 20..=26) => Some(320),
        (1, 27) => Some(344),
        _ => None,
    }
}
