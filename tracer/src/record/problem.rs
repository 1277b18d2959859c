//! What can be wrong with a session file, each thing by its name.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Reading cannot begin or cannot go on.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("cannot open `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read the session file")]
    Io { source: io::Error },
    #[error("the file is empty")]
    Empty,
    #[error("this is not a session file: it does not begin with the session magic")]
    NotASession,
    #[error("the file ends after {len} bytes, inside the session header")]
    TruncatedHeader { len: usize },
    #[error("the session has format version {found}, newer than {known}, the newest known here")]
    FutureVersion { found: u16, known: u16 },
    #[error("the session has format version {found}, which never existed")]
    NoSuchVersion { found: u16 },
    #[error("more than {problems} places of the session file are damaged")]
    TooDamaged { problems: u32 },
}

/// A damaged place in a session file. Reading goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{cause} (chunk {chunk}, byte {offset})")]
pub struct Problem {
    pub cause: Cause,
    /// Number of the chunk, from 0; where its own header is damaged, the number that was due.
    pub chunk: u32,
    /// Where in the file the damaged place begins, in bytes.
    pub offset: u64,
    pub lost: Lost,
}

/// What a problem cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that were written and cannot be read. `None`: not known, at least none can be ruled out.
    pub records: Option<u64>,
    /// Between which times they were, `CLOCK_BOOTTIME` nanoseconds; `None` where not known.
    pub from_ns: Option<u64>,
    pub to_ns: Option<u64>,
}

/// Parts of a file that a cause can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    FileHeader,
    ChunkHeader,
    /// A chunk's payload as it stands in the file.
    StoredPayload,
    /// A chunk's payload, unpacked.
    Payload,
    /// One record.
    Record,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FileHeader => "file header",
            Self::ChunkHeader => "chunk header",
            Self::StoredPayload => "packed payload",
            Self::Payload => "payload",
            Self::Record => "record",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// The file ends in the middle of a chunk: the recorder was killed, or the file was cut.
    #[error("the recording is cut off in the middle of a chunk")]
    Truncated,
    /// The file ends after a whole chunk but without the end mark: the recorder was killed, or still writes.
    #[error("the recording is cut off: it has no end mark")]
    NoEndMark,
    #[error("there is no chunk where one is due")]
    NoSyncMarker,
    #[error("the checksum of a {part} does not match")]
    ChecksumMismatch { part: Part },
    #[error("a {part} of {len} bytes is longer than the {limit} allowed")]
    AbsurdLength { part: Part, len: u64, limit: u64 },
    /// Bytes are missing: a chunk reaches into the next one.
    #[error("bytes are missing from a chunk")]
    BytesMissing,
    #[error("a chunk is packed in the unknown way {codec}")]
    BadCodec { codec: u8 },
    #[error("a chunk has the unknown kind {kind}")]
    UnknownChunk { kind: u8 },
    #[error("a payload cannot be unpacked")]
    BadCompression,
    #[error("a payload unpacks to another length ({stated} bytes) than its header says ({expected})")]
    LengthMismatch { stated: u64, expected: u64 },
    #[error("the records of a chunk do not fill it as its header says")]
    BadRecords,
    #[error("{chunks} chunks are missing")]
    ChunksMissing { chunks: u32 },
    #[error("a chunk stands out of its place and is left out")]
    OutOfPlace,
    #[error("there is something behind the end mark")]
    AfterEnd,
}

impl Cause {
    /// The file's end is missing. What came before is whole.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Truncated | Self::NoEndMark)
    }
}
