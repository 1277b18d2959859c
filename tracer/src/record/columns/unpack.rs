//! Columns → records.

use std::borrow::Cow;

use tracer_common::decode::bytes_of;
use tracer_common::wire::{Birth, Header, Park, kind};

use super::super::format::{MAX_RAW, MAX_RECORD};
use super::super::problem::Cause;
use super::bits::BitReader;
use super::column;
use super::model::{Fields, Model, Way};

/// Appends to `out` the records that a payload holds, each behind its length: `expected` bytes, which were found
/// acceptable. No more is allocated for the records, and no more than a few times [`MAX_RAW`] for columns and guesses.
pub fn unpack(
    zstd: &mut zstd::bulk::Decompressor<'static>,
    payload: &[u8],
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), Cause> {
    let mut columns = Columns::read(zstd, payload)?;
    let mut model = Model::default();
    model.clear();
    out.reserve(expected);
    let kinds = std::mem::take(&mut columns.bytes[column::KIND]);
    for &tag in kinds.rest() {
        let (kind, flags) = (tag & 7, tag >> 3);
        if kind == 0 {
            let record =
                columns.bytes[column::RAW].record().filter(|_| flags == 0).ok_or(Cause::BadRecords)?;
            append(out, record, expected)?;
            continue;
        }
        let mut e = Fields { kind, ..Fields::default() };
        if !matches!(kind, kind::BIRTH | kind::DEATH | kind::PARK | kind::READY | kind::RUN) {
            return Err(Cause::BadRecords);
        }
        model.event(&mut columns, &mut e).map_err(|_| Cause::BadRecords)?;
        if columns.short || columns.bits.overrun() {
            return Err(Cause::BadRecords);
        }
        let h = Header { time_ns: e.time_ns, goid: e.goid, g: e.g, tid: e.tid, cpu: e.cpu, kind, flags };
        let [a, b, c] = e.words;
        match kind {
            kind::BIRTH => {
                let birth = Birth { h, parent_goid: e.parent, gopc: a, start_pc: b, stack: c };
                append(out, bytes_of(&birth), expected)?;
            }
            kind::PARK => append(out, bytes_of(&Park { h, lock: a, unlockf: b, reason: c }), expected)?,
            _ => append(out, bytes_of(&h), expected)?,
        }
    }
    if out.len() != expected {
        return Err(Cause::LengthMismatch { stated: out.len() as u64, expected: expected as u64 });
    }
    let all = columns.bytes.iter().all(|c| c.rest().is_empty()) && columns.bits.is_used_up();
    if all { Ok(()) } else { Err(Cause::BadRecords) }
}

fn append(out: &mut Vec<u8>, record: &[u8], expected: usize) -> Result<(), Cause> {
    prost::encode_length_delimiter(record.len(), out).map_err(|_| Cause::BadRecords)?;
    out.extend_from_slice(record);
    if out.len() > expected {
        return Err(Cause::LengthMismatch { stated: out.len() as u64, expected: expected as u64 });
    }
    Ok(())
}

/// A column and how far it is read.
#[derive(Default)]
struct Column<'a> {
    bytes: Cow<'a, [u8]>,
    at: usize,
}

impl Column<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn record(&mut self) -> Option<&[u8]> {
        let mut rest = self.bytes.get(self.at..)?;
        let len = prost::decode_length_delimiter(&mut rest).ok()?;
        if len > MAX_RECORD || len > rest.len() {
            return None;
        }
        self.at = self.bytes.len() - rest.len() + len;
        Some(&self.bytes[self.at - len..self.at])
    }
}

struct Columns<'a> {
    bytes: [Column<'a>; column::COUNT],
    bits: BitReader<'a>,
    /// Something was read behind a column's end.
    short: bool,
}

impl<'a> Columns<'a> {
    fn read(zstd: &mut zstd::bulk::Decompressor<'static>, payload: &'a [u8]) -> Result<Self, Cause> {
        let mut rest = payload;
        let mut bytes: [Column<'a>; column::COUNT] = std::array::from_fn(|_| Column::default());
        let mut room = MAX_RAW as usize;
        let mut bits: &[u8] = &[];
        for (i, column) in bytes.iter_mut().enumerate() {
            let mut length = || prost::decode_length_delimiter(&mut rest).map_err(|_| Cause::BadRecords);
            let (len, stored) = (length()?, length()?);
            room = room.checked_sub(len).ok_or(Cause::BadRecords)?;
            let (stored, behind) = rest.split_at_checked(stored).ok_or(Cause::BadRecords)?;
            rest = behind;
            column.bytes = if stored.len() == len {
                stored.into()
            } else {
                let mut whole = vec![0; len];
                match zstd.decompress_to_buffer(stored, &mut whole[..]) {
                    Ok(n) if n == len => whole.into(),
                    _ => return Err(Cause::BadCompression),
                }
            };
            if i == column::BITS {
                // Bits do not pack; they are read where they are.
                let Cow::Borrowed(plain) = std::mem::take(&mut column.bytes) else {
                    return Err(Cause::BadCompression);
                };
                bits = plain;
            }
        }
        if !rest.is_empty() {
            return Err(Cause::BadRecords);
        }
        Ok(Self { bytes, bits: BitReader::new(bits), short: false })
    }
}

impl Way for Columns<'_> {
    fn byte(&mut self, column: usize, _: u8) -> u8 {
        let column = &mut self.bytes[column];
        match column.bytes.get(column.at) {
            Some(byte) => {
                column.at += 1;
                *byte
            }
            None => {
                self.short = true;
                0
            }
        }
    }

    fn number(&mut self, column: usize, _: u64) -> u64 {
        match self.byte(column, 0) {
            bits @ 0..=1 => bits.into(),
            bits @ 2..=64 => {
                let below = u32::from(bits - 1);
                1 << below | self.bits.take(below)
            }
            _ => {
                self.short = true;
                0
            }
        }
    }

    fn word(&mut self, _: u64) -> u64 {
        let column = &mut self.bytes[column::WORDS];
        match column.bytes.get(column.at..).and_then(|rest| rest.first_chunk()) {
            Some(word) => {
                column.at += 8;
                u64::from_le_bytes(*word)
            }
            None => {
                self.short = true;
                0
            }
        }
    }

    fn slot_of_g(&self, _: u64) -> Option<u32> {
        None
    }

    fn slot_of_goid(&self, _: u64) -> Option<u32> {
        None
    }

    fn site_of(&self, _: &[u64; 3]) -> Option<u32> {
        None
    }

    fn wait_of(&self, _: &[u64; 3]) -> Option<u32> {
        None
    }

    fn new_slot(&mut self, _: u64, _: u32) {}

    fn new_goid(&mut self, _: u64, _: u32) {}

    fn new_site(&mut self, _: &[u64; 3], _: u32) {}

    fn new_wait(&mut self, _: &[u64; 3], _: u32) {}
}
