//! The bytes of a session file: header, chunk header, limits, and the table of versions.
//!
//! Everything is little-endian. `docs/session-format.md` describes the same for readers of other languages; a
//! test holds the two against each other.

use super::problem::{Cause, Part};

/// First bytes of every session file. Not text (first byte), and a transfer that rewrites line ends destroys it
/// visibly.
pub const MAGIC: [u8; 8] = *b"\x89GSR\r\n\x1a\n";

/// First bytes of every chunk: where a reader finds its feet again after damage.
pub const SYNC: [u8; 8] = *b"\xf5\x00CHNK\xa3\xc9";

/// A format that was written once and stays readable for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: u16,
    /// First gostray that wrote it.
    pub since: &'static str,
    /// What it brought.
    pub what: &'static str,
}

/// Every version there was. Append-only. New event kinds and new protobuf fields need no new version (a reader
/// counts and skips what it does not know); a change of what stands in a header or a payload does.
pub const VERSIONS: &[Version] = &[
    Version {
        number: 1,
        since: "0.1.0",
        what: "chunks of length-prefixed wire records, stored or zstd, with a CRC-32C each for header and payload",
    },
    Version {
        number: 2,
        since: "0.1.0",
        what: "chunks whose records stand in columns; up to 1000000 bytes of records",
    },
];

/// The version that this gostray writes, and the newest one it reads.
pub const VERSION: u16 = VERSIONS[VERSIONS.len() - 1].number;

/// The longest record. The longest one known is a target's table of wait reasons, under 4 KiB.
pub const MAX_RECORD: usize = 1 << 20;
/// A chunk is closed when its records reach this many bytes. What one event tells of the next is forgotten with each chunk.
pub const CHUNK_TARGET: usize = 1_000_000;
/// The longest payload, unpacked. A reader allocates no more than this.
pub const MAX_RAW: u32 = 2 << 20;
/// The longest payload in the file.
pub const MAX_STORED: u32 = MAX_RAW + (64 << 10);
/// A chunk is closed when its records span this much of the stream's time.
pub const FLUSH_NS: u64 = 1_000_000_000;

pub const FILE_HEADER_LEN: usize = 16;
pub const CHUNK_HEADER_LEN: usize = 64;

// A chunk below its target takes one more record, of up to five bytes of length and `MAX_RECORD`.
const _: () = assert!(CHUNK_TARGET + MAX_RECORD + 5 <= MAX_RAW as usize);

/// What a chunk holds. Append-only.
pub mod chunk_kind {
    /// Wire records.
    pub const RECORDS: u8 = 1;
    /// Nothing: the recording was finished in order.
    pub const END: u8 = 2;
}

/// How a payload is packed. Append-only.
pub mod codec {
    /// As it is.
    pub const STORED: u8 = 0;
    /// One zstd frame that states its content's size.
    pub const ZSTD: u8 = 1;
    /// As columns (`record/columns`), from version 2 on.
    pub const COLUMNS: u8 = 2;
}

/// The file's first bytes.
pub fn file_header() -> [u8; FILE_HEADER_LEN] {
    let mut out = [0; FILE_HEADER_LEN];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&out[..12]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The version in a file header. `None`: the header is damaged (the magic was checked by the caller).
pub fn file_version(header: &[u8; FILE_HEADER_LEN]) -> Option<u16> {
    let (fields, crc) = header.split_at(12);
    (crc32c::crc32c(fields) == u32_at(crc, 0)).then(|| u16_at(fields, 8))
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The file's version, again: the file's first bytes may be damaged.
    pub version: u16,
    /// One of [`chunk_kind`].
    pub kind: u8,
    /// One of [`codec`].
    pub codec: u8,
    /// Number of this chunk, from 0.
    pub seq: u32,
    /// How many records stand in all chunks before this one: what a lost chunk held can be counted.
    pub first_record: u64,
    /// Earliest and latest time of its records, `CLOCK_BOOTTIME` nanoseconds; both 0 when none has a time.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Records in this chunk.
    pub records: u32,
    /// Bytes of the payload, unpacked and as it stands in the file.
    pub raw_len: u32,
    pub stored_len: u32,
    /// CRC-32C of the payload as it stands in the file.
    pub payload_crc: u32,
}

impl ChunkHeader {
    pub fn encode(&self) -> [u8; CHUNK_HEADER_LEN] {
        let mut out = [0; CHUNK_HEADER_LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&SYNC);
        put(&self.version.to_le_bytes());
        put(&[self.kind, self.codec]);
        put(&self.seq.to_le_bytes());
        put(&self.first_record.to_le_bytes());
        put(&self.first_ns.to_le_bytes());
        put(&self.last_ns.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&self.raw_len.to_le_bytes());
        put(&self.stored_len.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        // Four bytes are kept free, 0.
        let crc = crc32c::crc32c(&out[8..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Checks marker and checksum, not yet whether the values make sense ([`ChunkHeader::check`]).
    pub fn decode(b: &[u8; CHUNK_HEADER_LEN]) -> Result<Self, Cause> {
        if b[..8] != SYNC {
            return Err(Cause::NoSyncMarker);
        }
        if crc32c::crc32c(&b[8..60]) != u32_at(b, 60) {
            return Err(Cause::ChecksumMismatch { part: Part::ChunkHeader });
        }
        Ok(Self {
            version: u16_at(b, 8),
            kind: b[10],
            codec: b[11],
            seq: u32_at(b, 12),
            first_record: u64_at(b, 16),
            first_ns: u64_at(b, 24),
            last_ns: u64_at(b, 32),
            records: u32_at(b, 40),
            raw_len: u32_at(b, 44),
            stored_len: u32_at(b, 48),
            payload_crc: u32_at(b, 52),
        })
    }

    /// Refuses lengths that no writer writes, before anything is allocated for them.
    pub fn check(&self) -> Result<(), Cause> {
        let absurd = |part, len: u32, limit: u32| {
            if len > limit {
                return Err(Cause::AbsurdLength { part, len: len.into(), limit: limit.into() });
            }
            Ok(())
        };
        absurd(Part::StoredPayload, self.stored_len, MAX_STORED)?;
        absurd(Part::Payload, self.raw_len, MAX_RAW)
    }
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    let mut v = [0; 2];
    v.copy_from_slice(&b[at..at + 2]);
    u16::from_le_bytes(v)
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    let mut v = [0; 4];
    v.copy_from_slice(&b[at..at + 4]);
    u32::from_le_bytes(v)
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    let mut v = [0; 8];
    v.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(v)
}
