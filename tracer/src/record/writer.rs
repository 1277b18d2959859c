//! Records → session file.
//!
//! A chunk is closed when it is full, when its records span a second of the stream's time, at every tick, and
//! when [`Writer::flush`] is called. Each chunk is one write, so a killed recorder loses what stood in the open
//! chunk and, at worst, the chunk being written.
//!
//! Nothing is synced to the disk while recording: a sync may block for seconds, and the ring buffer would run over
//! meanwhile. What a write took survives the recorder's death; a power failure may take what the kernel has not yet
//! written back (about 30 s by default). [`Writer::finish`] syncs file and directory.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracer_common::decode::bytes_of;
use tracer_common::wire::{End, Header, end, kind};

use super::columns::Packer;
use super::create::{FileOutput, Output};
use super::format::{
    self, CHUNK_HEADER_LEN, CHUNK_TARGET, ChunkHeader, FLUSH_NS, MAX_RECORD, VERSION, chunk_kind, codec,
};

/// Fast enough for the ring's drain thread; a higher level gains little on these records.
const LEVEL: i32 = 3;
/// Columns cost some two hundred bytes whatever stands in them: below this both ways are tried.
const SMALL: usize = 32 << 10;

/// Why a recording cannot begin or go on.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("`{path}` exists already")]
    Exists { path: PathBuf },
    #[error("`{path}` is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("cannot create `{path}`")]
    Create { path: PathBuf, source: io::Error },
    #[error("no space is left for `{path}`; what was recorded until here is kept")]
    DiskFull { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`; what was recorded until here is kept")]
    Io { path: PathBuf, source: io::Error },
    #[error("a record of {len} bytes is longer than the {MAX_RECORD} allowed")]
    RecordTooLong { len: usize },
    #[error("the recording `{path}` has failed before")]
    Failed { path: PathBuf },
}

/// What a recording came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub bytes: u64,
    pub chunks: u32,
    pub records: u64,
    /// Bytes of all records, before packing.
    pub raw_bytes: u64,
}

/// Writes a session file. Dropped without [`Writer::finish`] it still writes what it holds, but no end mark: the
/// file then counts as cut off.
pub struct Writer<O: Output = FileOutput> {
    out: O,
    packer: Packer,
    /// The open chunk: records with their lengths.
    raw: Vec<u8>,
    records: u32,
    span: Option<(u64, u64)>,
    /// Latest time of all.
    last_ns: u64,
    /// A chunk as it goes out: header and payload.
    framed: Vec<u8>,
    seq: u32,
    /// Records in closed chunks.
    written: u64,
    raw_bytes: u64,
    /// The file's length up to its last whole chunk.
    good_len: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Failed,
    Finished,
}

impl Writer<FileOutput> {
    /// Creates the session file; see [`FileOutput::create`] for what `force` may replace.
    pub fn create(path: &Path, force: bool) -> Result<Self, WriteError> {
        Self::new(FileOutput::create(path, force)?)
    }
}

impl<O: Output> Writer<O> {
    /// Writes the file header.
    pub fn new(mut out: O) -> Result<Self, WriteError> {
        let header = format::file_header();
        out.put(&header).map_err(|e| failure(&out, e))?;
        let packer = Packer::new(LEVEL).map_err(|e| failure(&out, e))?;
        Ok(Self {
            out,
            packer,
            raw: Vec::with_capacity(CHUNK_TARGET),
            records: 0,
            span: None,
            last_ns: 0,
            framed: Vec::new(),
            seq: 0,
            written: 0,
            raw_bytes: 0,
            good_len: header.len() as u64,
            state: State::Open,
        })
    }

    /// Appends a record, as it stands on the wire. Closes the chunk when it is time.
    pub fn write(&mut self, record: &[u8]) -> Result<(), WriteError> {
        if self.state != State::Open {
            return Err(WriteError::Failed { path: self.out.path().to_path_buf() });
        }
        if record.len() > MAX_RECORD {
            return Err(WriteError::RecordTooLong { len: record.len() });
        }
        prost::encode_length_delimiter(record.len(), &mut self.raw)
            .map_err(|e| failure(&self.out, e.into()))?;
        self.raw.extend_from_slice(record);
        self.raw_bytes += record.len() as u64;
        self.records += 1;
        let (time_ns, kind) = time_and_kind(record).unzip();
        if let Some(time_ns) = time_ns {
            let (first, last) = self.span.unwrap_or((time_ns, time_ns));
            self.span = Some((first.min(time_ns), last.max(time_ns)));
            self.last_ns = self.last_ns.max(time_ns);
        }
        let spans = self.span.is_some_and(|(first, last)| last - first >= FLUSH_NS);
        // The first record, the target's, gets a chunk to itself: a session that has nothing else says whose it is.
        if self.raw.len() >= CHUNK_TARGET || spans || kind == Some(kind::TICK) || self.seq == 0 {
            self.flush()?;
        }
        Ok(())
    }

    /// Closes the open chunk and writes it out. To be called when the stream stands still for a second.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.state != State::Open {
            return Err(WriteError::Failed { path: self.out.path().to_path_buf() });
        }
        if self.records == 0 {
            return Ok(());
        }
        match self.put_chunk(chunk_kind::RECORDS) {
            Ok(()) => Ok(()),
            Err(e) => {
                self.state = State::Failed;
                let error = failure(&self.out, e);
                self.end_after_failure();
                Err(error)
            }
        }
    }

    /// Writes what is left and the end mark, and syncs.
    pub fn finish(mut self) -> Result<Summary, WriteError> {
        self.flush()?;
        self.state = State::Finished;
        self.put_chunk(chunk_kind::END)
            .and_then(|()| self.out.sync())
            .map_err(|e| failure(&self.out, e))
            .map(|()| self.summary())
    }

    /// What is in the file now.
    pub fn summary(&self) -> Summary {
        Summary { bytes: self.good_len, chunks: self.seq, records: self.written, raw_bytes: self.raw_bytes }
    }

    pub fn path(&self) -> &Path {
        self.out.path()
    }

    /// Frames and writes the open chunk. On failure the file is cut back to its last whole chunk.
    fn put_chunk(&mut self, chunk_kind: u8) -> io::Result<()> {
        self.framed.clear();
        self.framed.resize(CHUNK_HEADER_LEN, 0);
        let codec = self.pack()?;
        let payload = &self.framed[CHUNK_HEADER_LEN..];
        let (first_ns, last_ns) = self.span.unwrap_or((self.last_ns, self.last_ns));
        let header = ChunkHeader {
            version: VERSION,
            kind: chunk_kind,
            codec,
            seq: self.seq,
            first_record: self.written,
            first_ns,
            last_ns,
            records: self.records,
            // Both are far below `u32`: a chunk ends at its target plus one record.
            raw_len: self.raw.len() as u32,
            stored_len: payload.len() as u32,
            payload_crc: crc32c::crc32c(payload),
        };
        self.framed[..CHUNK_HEADER_LEN].copy_from_slice(&header.encode());
        if let Err(e) = self.out.put(&self.framed) {
            // If this fails too, the reader meets a half chunk and says so.
            let _ = self.out.cut(self.good_len);
            return Err(e);
        }
        self.good_len += self.framed.len() as u64;
        self.seq = self.seq.wrapping_add(1);
        self.written += u64::from(self.records);
        self.raw.clear();
        self.records = 0;
        self.span = None;
        Ok(())
    }

    /// Appends the open chunk's payload to `framed`, in the shortest way that is worth trying; gives the codec.
    fn pack(&mut self) -> io::Result<u8> {
        self.packer.columns(&self.raw, &mut self.framed)?;
        let mut best = (self.framed.len() - CHUNK_HEADER_LEN, codec::COLUMNS);
        if self.raw.len() < SMALL {
            let columns = self.framed.len();
            self.packer.plain(&self.raw, &mut self.framed)?;
            let plain = self.framed.len() - columns;
            if plain < best.0 {
                self.framed.drain(CHUNK_HEADER_LEN..columns);
                best = (plain, codec::ZSTD);
            } else {
                self.framed.truncate(columns);
            }
        }
        if self.raw.len() <= best.0 {
            self.framed.truncate(CHUNK_HEADER_LEN);
            self.framed.extend_from_slice(&self.raw);
            best.1 = codec::STORED;
        }
        Ok(best.1)
    }

    /// The half chunk was cut off, which mostly leaves room in the last block for a few bytes more: they say that
    /// the recording ended here because the disk failed. If not, the file simply counts as cut off.
    fn end_after_failure(&mut self) {
        if self.written == 0 {
            return;
        }
        let h = Header { time_ns: self.last_ns, kind: kind::END, ..Header::default() };
        let end = End { h, reason: end::OUTPUT_FAILED, code: 0 };
        let record = bytes_of(&end);
        self.raw.clear();
        self.span = Some((self.last_ns, self.last_ns));
        self.records = 1;
        if prost::encode_length_delimiter(record.len(), &mut self.raw).is_err() {
            return;
        }
        self.raw.extend_from_slice(record);
        if self.put_chunk(chunk_kind::RECORDS).is_ok() {
            let _ = self.put_chunk(chunk_kind::END);
        }
    }
}

impl<O: Output> Drop for Writer<O> {
    fn drop(&mut self) {
        if self.state == State::Open {
            // A failure has no one to go to; the file then ends one chunk earlier, without an end mark.
            let _ = self.flush();
        }
    }
}

/// Time and kind of a record, if it is long enough to have them.
fn time_and_kind(record: &[u8]) -> Option<(u64, u8)> {
    if record.len() < size_of::<Header>() {
        return None;
    }
    Some((u64::from_le_bytes(*record.first_chunk()?), record[core::mem::offset_of!(Header, kind)]))
}

fn failure<O: Output>(out: &O, source: io::Error) -> WriteError {
    let path = out.path().to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::DiskFull { path, source },
        _ => WriteError::Io { path, source },
    }
}
