//! Records → columns.

use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;
use tracer_common::wire::{Birth, Header, Park, kind};

use super::bits::{BitWriter, length};
use super::model::{Fields, Model, Way};
use super::{KINDS, column};

type Map<K> = HashMap<K, u32, RandomState>;

/// Packs one chunk after another; what it needs for that is kept.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    model: Model,
    out: Columns,
    frame: Vec<u8>,
}

#[derive(Default)]
struct Columns {
    bytes: [Vec<u8>; column::COUNT],
    bits: BitWriter,
    slots: Map<u64>,
    goids: Map<u64>,
    sites: Map<[u64; 3]>,
    waits: Map<[u64; 3]>,
}

impl Packer {
    pub fn new(level: i32) -> io::Result<Self> {
        let zstd = zstd::bulk::Compressor::new(level)?;
        Ok(Self { zstd, model: Model::default(), out: Columns::default(), frame: Vec::new() })
    }

    /// One zstd frame.
    pub fn plain(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let at = out.len();
        out.resize(at + zstd::zstd_safe::compress_bound(raw.len()), 0);
        let len = self.zstd.compress_to_buffer(raw, &mut out[at..])?;
        out.truncate(at + len);
        Ok(())
    }

    /// Appends the columns of these records, each behind its length.
    pub fn columns(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.model.clear();
        self.out.clear();
        let mut rest = raw;
        while !rest.is_empty() {
            let len = prost::decode_length_delimiter(&mut rest)?;
            let (record, behind) = rest.split_at_checked(len).ok_or(io::ErrorKind::InvalidInput)?;
            rest = behind;
            self.record(record)?;
        }
        let bits = &mut self.out.bits;
        bits.finish_into(&mut self.out.bytes[column::BITS]);
        for (i, column) in self.out.bytes.iter().enumerate() {
            self.frame.resize(zstd::zstd_safe::compress_bound(column.len()), 0);
            // Bits are noise, and read where they are.
            let as_it_is = i == column::BITS || column.is_empty();
            let packed =
                if as_it_is { usize::MAX } else { self.zstd.compress_to_buffer(column, &mut self.frame)? };
            let stored = if packed < column.len() { &self.frame[..packed] } else { &column[..] };
            prost::encode_length_delimiter(column.len(), out)?;
            prost::encode_length_delimiter(stored.len(), out)?;
            out.extend_from_slice(stored);
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        let Some(mut fields) = taken_apart(record) else {
            let raw = &mut self.out.bytes[column::RAW];
            prost::encode_length_delimiter(record.len(), raw)?;
            raw.extend_from_slice(record);
            self.out.bytes[column::KIND].push(0);
            return Ok(());
        };
        let flags = record[core::mem::offset_of!(Header, flags)];
        self.out.bytes[column::KIND].push(flags << 3 | fields.kind);
        // Packing contradicts nothing: it says what it is told.
        self.model.event(&mut self.out, &mut fields).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

/// The fields of a record that has no others; flags fit beside the kind.
fn taken_apart(record: &[u8]) -> Option<Fields> {
    let word =
        |at: usize| record.get(at..at + 8).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b));
    let (place, flags) = (word(24)?, *record.get(31)?);
    let kind = record[30];
    let fixed = match kind {
        kind::BIRTH => size_of::<Birth>(),
        kind::PARK => size_of::<Park>(),
        kind::DEATH | kind::READY | kind::RUN => size_of::<Header>(),
        _ => return None,
    };
    if record.len() != fixed || flags >= 32 {
        return None;
    }
    let mut fields = Fields {
        kind,
        time_ns: word(0)?,
        goid: word(8)?,
        g: word(16)?,
        tid: place as u32,
        cpu: (place >> 32) as u16,
        ..Fields::default()
    };
    match kind {
        kind::BIRTH => {
            fields.parent = word(32)?;
            fields.words = [word(40)?, word(48)?, word(56)?];
        }
        kind::PARK => fields.words = [word(32)?, word(40)?, word(48)?],
        _ => {}
    }
    Some(fields)
}

const _: () = assert!((kind::RUN as usize) < KINDS && KINDS <= 8);

impl Columns {
    fn clear(&mut self) {
        self.bytes.iter_mut().for_each(Vec::clear);
        self.slots.clear();
        self.goids.clear();
        self.sites.clear();
        self.waits.clear();
    }
}

impl Way for Columns {
    fn byte(&mut self, column: usize, value: u8) -> u8 {
        self.bytes[column].push(value);
        value
    }

    fn number(&mut self, column: usize, value: u64) -> u64 {
        let bits = length(value);
        self.bytes[column].push(bits);
        if bits > 1 {
            let below = u32::from(bits - 1);
            self.bits.put(value & ((1 << below) - 1), below);
        }
        value
    }

    fn word(&mut self, value: u64) -> u64 {
        self.bytes[column::WORDS].extend_from_slice(&value.to_le_bytes());
        value
    }

    fn slot_of_g(&self, g: u64) -> Option<u32> {
        self.slots.get(&g).copied()
    }

    fn slot_of_goid(&self, goid: u64) -> Option<u32> {
        self.goids.get(&goid).copied()
    }

    fn site_of(&self, words: &[u64; 3]) -> Option<u32> {
        self.sites.get(words).copied()
    }

    fn wait_of(&self, words: &[u64; 3]) -> Option<u32> {
        self.waits.get(words).copied()
    }

    fn new_slot(&mut self, g: u64, slot: u32) {
        self.slots.insert(g, slot);
    }

    fn new_goid(&mut self, goid: u64, slot: u32) {
        self.goids.insert(goid, slot);
    }

    fn new_site(&mut self, words: &[u64; 3], site: u32) {
        self.sites.insert(*words, site);
    }

    fn new_wait(&mut self, words: &[u64; 3], wait: u32) {
        self.waits.insert(*words, wait);
    }
}
