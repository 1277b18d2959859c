//! The pprof labels of a goroutine: `g.labels`.
//!
//! It points to a `runtime/pprof.labelMap`, which is never changed once a goroutine has it. From Go 1.24 on that is a list
//! of pairs of strings (`runtime/pprof/label.go`), before it is a `map[string]string` (`runtime/map.go`: `hmap`, `bmap`;
//! the same in Go 1.19 to 1.23).

use std::collections::BTreeMap;

use super::super::{MemoryError, ReadMemory};
use super::waits::{bytes, word};

/// More labels than that are not read.
const MAX_LABELS: u64 = 1024;
/// A text is cut there.
const MAX_TEXT: u64 = 4096;
/// `2^B` buckets of eight.
const MAX_B: u32 = 8;
const BUCKET: u32 = 272;
const KEYS: u32 = 8;
const VALUES: u32 = 136;
const OVERFLOW: u32 = 264;
/// A bucket's eight marks below this are free or moved elsewhere.
const MIN_TOP_HASH: u8 = 5;

/// Which form `labelMap` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Up to Go 1.23.
    Map,
    /// From Go 1.24 on.
    List,
}

pub type Labels = BTreeMap<String, String>;

/// The labels at `at`; nothing where the memory does not hold any.
pub fn read(memory: &dyn ReadMemory, form: Form, at: u64) -> Result<Option<Labels>, MemoryError> {
    match form {
        Form::List => list(memory, at),
        Form::Map => map(memory, at),
    }
}

fn list(memory: &dyn ReadMemory, at: u64) -> Result<Option<Labels>, MemoryError> {
    let Some(header) = bytes(memory, at, 24)? else { return Ok(None) };
    let (array, len) = (word(&header, 0), word(&header, 8));
    if len > MAX_LABELS || len > word(&header, 16) {
        return Ok(None);
    }
    let Some(pairs) = bytes(memory, array, len as u32 * 32)? else { return Ok(None) };
    let mut labels = Labels::new();
    for i in 0..len as u32 {
        let (Some(key), Some(value)) =
            (string(memory, &pairs, i * 32)?, string(memory, &pairs, i * 32 + 16)?)
        else {
            return Ok(None);
        };
        labels.insert(key, value);
    }
    Ok(Some(labels))
}

fn map(memory: &dyn ReadMemory, at: u64) -> Result<Option<Labels>, MemoryError> {
    let Some(pointer) = bytes(memory, at, 8)? else { return Ok(None) };
    let hmap = word(&pointer, 0);
    let mut labels = Labels::new();
    if hmap == 0 {
        return Ok(Some(labels));
    }
    let Some(header) = bytes(memory, hmap, 48)? else { return Ok(None) };
    let (count, b) = (word(&header, 0), u32::from(header[9]));
    if count > MAX_LABELS || b > MAX_B {
        return Ok(None);
    }
    // A map that has begun to grow has some of its entries in the old buckets still.
    let (buckets, old) = (word(&header, 16), word(&header, 24));
    for (array, n) in [(buckets, 1 << b), (old, 1 << b.saturating_sub(1))] {
        for i in 0..n {
            let mut bucket = if array == 0 { 0 } else { array.wrapping_add(i * u64::from(BUCKET)) };
            let mut chained = 0;
            while bucket != 0 && chained < MAX_LABELS {
                chained += 1;
                let Some(entries) = bytes(memory, bucket, BUCKET)? else { return Ok(None) };
                for slot in (0..8).filter(|slot| entries[*slot] >= MIN_TOP_HASH) {
                    let at = slot as u32 * 16;
                    let (Some(key), Some(value)) =
                        (string(memory, &entries, KEYS + at)?, string(memory, &entries, VALUES + at)?)
                    else {
                        return Ok(None);
                    };
                    labels.insert(key, value);
                }
                bucket = word(&entries, OVERFLOW);
            }
        }
    }
    Ok((labels.len() as u64 == count).then_some(labels))
}

/// The text of the string header at `offset`.
fn string(memory: &dyn ReadMemory, header: &[u8], offset: u32) -> Result<Option<String>, MemoryError> {
    let (at, len) = (word(header, offset), word(header, offset + 8));
    let Some(text) = bytes(memory, at, len.min(MAX_TEXT) as u32)? else { return Ok(None) };
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if len > MAX_TEXT {
        text.push('…');
    }
    Ok(Some(text))
}
