//! The runtime's own description of the executable (`runtime.firstmoduledata`), found without symbols.
//!
//! Offsets: runtime/symtab.go `moduledata`; the first 192 bytes are the same from Go 1.19 to 1.27. It holds two
//! things the function table lacks: where code begins (the table's own `textStart` is 0 from Go 1.26 on) and where
//! inline trees are.

use std::borrow::Cow;
use std::ops::Range;

use super::bytes::u64_at;
use super::elf::{Image, Segment};
use super::layout::ModuleOffsets;
use super::limits::{MAX_RELOCATIONS, MAX_SEARCHED, MAX_SEARCHED_AGAIN};
use super::pclntab::{self, Header};
use super::reloc::Relocations;

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
/// Up to `etext`; `gofunc` comes later.
const READ: u64 = 192;
/// Wrong candidates are few: the magic is eight bytes long.
const MAX_CANDIDATES: usize = 32;

#[derive(Clone, Debug)]
pub struct ModuleData {
    /// Where it is, as linked.
    pub at: u64,
    pub pclntab: u64,
    pub text: u64,
    /// What FUNCDATA offsets count from; absent where its place is not known for the version.
    pub gofunc: Option<u64>,
    /// Where type descriptors are; absent likewise.
    pub types: Option<Range<u64>>,
}

/// What was found, or which of the two was missing.
pub enum Missing {
    Pclntab,
    ModuleData,
}

/// Finds function table and module data: a table counts only when a module data points to it. `more` is where other
/// fields are, when that is known.
pub fn find(image: &Image<'_>, more: Option<ModuleOffsets>) -> Result<(ModuleData, Header), Missing> {
    let mut missing = Missing::Pclntab;
    let mut left = Left { bytes: MAX_SEARCHED_AGAIN, relocations: MAX_RELOCATIONS };
    for vaddr in candidates(image).take(MAX_CANDIDATES) {
        let Some(header) = image.bytes_from(vaddr).and_then(Header::parse) else { continue };
        if let Some(module) = pointing_to(image, vaddr, &header, more, &mut left) {
            return Ok((module, header));
        }
        missing = Missing::ModuleData;
    }
    Err(missing)
}

/// The two magics differ in their first byte: one search finds both.
fn candidates<'a>(image: &'a Image<'_>) -> impl Iterator<Item = u64> + 'a {
    let hints = [".gopclntab", ".data.rel.ro.gopclntab"].into_iter().filter_map(|s| image.section_address(s));
    let ends = &pclntab::MAGIC_120[1..];
    let data = image.find(ends, |s| !s.is_executable());
    // Some linkers put everything that is only read beside the code.
    let code = image.find(ends, Segment::is_executable);
    let whole = |at: &u64| {
        at.is_multiple_of(4)
            && image.bytes(*at, 8).is_some_and(|m| m == pclntab::MAGIC_120 || m == pclntab::MAGIC_118)
    };
    hints.chain(data.chain(code).filter_map(|at| at.checked_sub(1)).filter(whole))
}

/// How far one file is searched for what points to its function table, over all candidates.
struct Left {
    bytes: usize,
    relocations: usize,
}

fn pointing_to(
    image: &Image<'_>,
    pclntab: u64,
    header: &Header,
    more: Option<ModuleOffsets>,
    left: &mut Left,
) -> Option<ModuleData> {
    let read = more.map_or(READ, |at| READ.max(u64::from(at.gofunc.max(at.types).max(at.etypes)) + 8));
    let needle = [pclntab.to_le_bytes(), pclntab.checked_add(header.funcname)?.to_le_bytes()].concat();
    let writable: usize =
        image.segments().iter().filter(|s| s.is_writable()).map(|s| image.segment_bytes(s).len()).sum();
    left.bytes = left.bytes.checked_sub(writable.min(MAX_SEARCHED))?;
    let in_place = image.find(&needle, Segment::is_writable);
    for vaddr in in_place.filter(|a| a.is_multiple_of(8)).take(MAX_CANDIDATES) {
        if let Some(data) = image.bytes(vaddr, read)
            && let Some(module) = check(image, (vaddr, data), pclntab, header, more)
        {
            return Some(module);
        }
    }
    if !image.is_pie() {
        return None;
    }
    // Some linkers leave relocated words zero in the file: then the relocations say what the words will be.
    let relocations = Relocations::of(image)?;
    let mut pass = || {
        left.relocations = left.relocations.checked_sub(relocations.len())?;
        Some(())
    };
    pass()?;
    for vaddr in relocations.places_of(pclntab).take(MAX_CANDIDATES) {
        if let Some(data) = image.bytes(vaddr, read) {
            pass()?;
            let data = relocations.apply(vaddr, Cow::Borrowed(data));
            if let Some(module) = check(image, (vaddr, &data), pclntab, header, more) {
                return Some(module);
            }
        }
    }
    None
}

/// A chance hit is ruled out: two pointers, a length and the first and last function must agree with the table.
fn check(
    image: &Image<'_>,
    (at, data): (u64, &[u8]),
    pclntab: u64,
    h: &Header,
    more: Option<ModuleOffsets>,
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
    let (mut gofunc, mut types) = (None, None);
    if let Some(more) = more {
        gofunc = Some(word(u64::from(more.gofunc)).filter(|&a| image.is_mapped(a))?);
        types = Some(word(u64::from(more.types))?..word(u64::from(more.etypes))?);
    }
    Some(ModuleData { at, pclntab, text, gofunc, types })
}
