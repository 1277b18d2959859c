//! Runtime structs as their type descriptors describe them. A Go program has them, stripped or not, for every type it
//! allocates on the heap: `runtime.g`, `m`, `sudog` and `hchan` are (`new(g)` in runtime/proc.go and its like).
//!
//! Format: internal/abi/type.go (`Type`, `StructType`, `StructField`, `Name`), before Go 1.21 runtime/type.go; the same
//! from Go 1.19 to 1.27. A type names itself by an offset from `moduledata.types`.

use std::ops::Range;

use super::offsets::Goroutines;
use super::structs::{Field, Struct, Unfit};
use crate::gobin::bytes::{self, u8_at, u64_at};
use crate::gobin::elf::Image;
use crate::gobin::limits::MAX_SEARCHED_AGAIN;

const TFLAG: u64 = 20;
const KIND: u64 = 23;
const STR: u64 = 40;
const FIELDS: u64 = 56;
const FIELDS_LEN: u64 = 64;
const STRUCT_TYPE: u64 = 80;
const STRUCT_FIELD: u64 = 24;
/// `abi.TFlagExtraStar`: the name has a `*` before it, which the pointer type shares.
const EXTRA_STAR: u8 = 2;
/// `abi.Struct` of `abi.Kind`, of which the upper three bits are flags.
const KIND_MASK: u8 = 31;
const KIND_STRUCT: u8 = 25;

/// In one struct; `runtime.m` has about 80.
const MAX_FIELDS: u64 = 512;
/// In all structs tried for one name, with the fields of fields.
const MAX_ALL_FIELDS: u64 = 16 << 10;
const MAX_NAME: u32 = 256;
const MAX_CANDIDATES: usize = 16;
const MAX_DEPTH: u32 = 3;

/// Reads the structs, `runtime.timer` only where there is one; `types` is from `moduledata.types` to `moduledata.etypes`, as linked.
pub fn read(image: &Image<'_>, types: &Range<u64>) -> Result<Goroutines, Unfit> {
    let mut left = MAX_SEARCHED_AGAIN;
    let mut of =
        |name| find(image, types, name, &mut left).ok_or_else(|| Unfit::Missing { what: String::from(name) });
    let (g, m, sudog, hchan) =
        (of("runtime.g")?, of("runtime.m")?, of("runtime.sudog")?, of("runtime.hchan")?);
    Goroutines::of(&g, &m, &sudog, &hchan, of("runtime.timer").ok().as_ref())
}

/// `left`: how many bytes may still be looked through.
fn find(image: &Image<'_>, types: &Range<u64>, name: &'static str, left: &mut usize) -> Option<Struct> {
    let len = types.end.checked_sub(types.start)?;
    let (types, range) = (types.start, image.bytes(types.start, len)?);
    let mut pass = || {
        *left = left.checked_sub(range.len())?;
        Some(())
    };
    let encoded = [&[name.len() as u8 + 1, b'*'], name.as_bytes()].concat();
    let mut fields_left = MAX_ALL_FIELDS;
    pass()?;
    for at in memchr::memmem::find_iter(range, &encoded).take(MAX_CANDIDATES) {
        // Flags come before the length.
        let Some(name_at) = u32::try_from(at).ok().and_then(|at| at.checked_sub(1)) else { continue };
        pass()?;
        let needle = name_at.to_le_bytes();
        let places = memchr::memmem::find_iter(range, &needle).filter_map(|at| (at as u64).checked_sub(STR));
        let structs = places.filter(|at| (types + at).is_multiple_of(8) && is_named_struct(range, *at));
        let mut sound = structs.take(MAX_CANDIDATES).filter_map(|at| {
            let size = u64_at(range, at)?;
            Some(Struct { name, size, fields: fields(image, types + at, size, MAX_DEPTH, &mut fields_left)? })
        });
        if let Some(found) = sound.next() {
            return Some(found);
        }
    }
    None
}

fn is_named_struct(range: &[u8], at: u64) -> bool {
    let is_struct = u8_at(range, at + KIND).is_some_and(|kind| kind & KIND_MASK == KIND_STRUCT);
    is_struct && u8_at(range, at + TFLAG).is_some_and(|flags| flags & EXTRA_STAR != 0)
}

/// Nothing unless every field is sound, so that a chance hit is not taken for a descriptor.
fn fields(image: &Image<'_>, at: u64, size: u64, depth: u32, left: &mut u64) -> Option<Vec<Field>> {
    let descriptor = image.bytes(at, STRUCT_TYPE)?;
    let (first, count) = (u64_at(descriptor, FIELDS)?, u64_at(descriptor, FIELDS_LEN)?);
    if count > MAX_FIELDS {
        return None;
    }
    *left = left.checked_sub(count)?;
    let table = image.bytes(first, count * STRUCT_FIELD)?;
    (0..count)
        .map(|i| {
            let word = |at| u64_at(table, i * STRUCT_FIELD + at);
            let (of, offset) = (word(8)?, word(16)?);
            let of_size = u64_at(image.bytes(of, STR + 8)?, 0)?;
            let inside = offset.checked_add(of_size).is_some_and(|end| end <= size);
            let is_struct = u8_at(image.bytes(of, STR)?, KIND)? & KIND_MASK == KIND_STRUCT;
            let inner = if is_struct && depth > 1 {
                fields(image, of, of_size, depth - 1, left)?
            } else {
                Vec::new()
            };
            let field = Field { name: name(image, word(0)?)?, offset, size: Some(of_size), fields: inner };
            inside.then_some(field)
        })
        .collect()
}

/// Flags, length, text.
fn name(image: &Image<'_>, at: u64) -> Option<String> {
    let (len, text) = bytes::uvarint(image.bytes_from(at)?.get(1..)?)?;
    let text = text.get(..usize::try_from(len).ok().filter(|_| len <= MAX_NAME)?)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}
