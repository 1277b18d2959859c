//! Session file → records. Streaming, in bounded memory, and never silent about what is missing.
//!
//! After damage the reader looks for the next chunk whose header is whole. Records are numbered by the chunk
//! headers, so what a gap cost is mostly known exactly.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::format::{self, CHUNK_HEADER_LEN, ChunkHeader, FILE_HEADER_LEN, SYNC, VERSION, chunk_kind};
use super::input::Window;
use super::problem::{Cause, Lost, Part, Problem, ReadError};
use super::unpack::unpack;

/// A file with more damaged places than this is given up: it would cost more time than it could be worth.
const MAX_PROBLEMS: u32 = 4096;

/// What the file holds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A wire record, as it was written.
    Record(&'a [u8]),
    /// Something is missing here.
    Problem(Problem),
}

/// How the file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end mark.
    Finished,
    /// Without: the recorder was killed, is still at work, or the file was cut.
    CutOff,
}

/// Reads a session file.
pub struct Reader<R> {
    window: Window<R>,
    unpack: zstd::bulk::Decompressor<'static>,
    version: u16,
    /// The current chunk's payload, unpacked, how far it is read, and where the chunk stands.
    chunk: Vec<u8>,
    at: usize,
    left: u32,
    here: Place,
    span: (Option<u64>, Option<u64>),
    /// What the next chunk's header should say.
    next_seq: u32,
    next_record: u64,
    /// Latest time of the last whole chunk.
    last_ns: Option<u64>,
    /// A problem that waits to be told.
    told: u32,
    pending: Option<Problem>,
    ending: Option<Ending>,
    over: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    chunk: u32,
    offset: u64,
}

enum Step {
    /// A chunk with records is ready.
    Chunk,
    Problem(Problem),
    End,
}

impl Reader<Box<dyn Read + Send>> {
    /// Opens a file, or the standard input when `path` is `-`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(open(path)?)
    }
}

/// A file, or the standard input when `path` is `-`.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, ReadError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(ReadError::Open { path: path.to_path_buf(), source }),
    }
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut window = Window::new(input);
        let io = |source| ReadError::Io { source };
        let len = window.fill(FILE_HEADER_LEN).map_err(io)?;
        let head = window.data();
        if len == 0 {
            return Err(ReadError::Empty);
        }
        let magic = &head[..len.min(format::MAGIC.len())];
        if magic != &format::MAGIC[..magic.len()] {
            return Err(ReadError::NotASession);
        }
        let Some(head) = head.first_chunk::<FILE_HEADER_LEN>() else {
            return Err(ReadError::TruncatedHeader { len });
        };
        let version = format::file_version(head);
        let mut pending = None;
        match version {
            Some(found) => known(found)?,
            // Each chunk says its version too, so this does not stop us.
            None => {
                pending = Some(Problem {
                    cause: Cause::ChecksumMismatch { part: Part::FileHeader },
                    chunk: 0,
                    offset: 0,
                    lost: Lost { records: Some(0), ..Lost::default() },
                });
            }
        }
        window.consume(FILE_HEADER_LEN);
        Ok(Self {
            window,
            unpack: zstd::bulk::Decompressor::new().map_err(io)?,
            version: version.unwrap_or(VERSION),
            chunk: Vec::new(),
            at: 0,
            left: 0,
            here: Place::default(),
            span: (None, None),
            next_seq: 0,
            next_record: 0,
            last_ns: None,
            told: 0,
            pending,
            ending: None,
            over: false,
        })
    }

    /// The file's format version.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How the file ended; `None` until [`Reader::next_item`] gave `None`.
    pub fn ending(&self) -> Option<Ending> {
        if self.over { self.ending.or(Some(Ending::CutOff)) } else { None }
    }

    /// The next record or problem; `None` at the end. After an error there is nothing more to come.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        loop {
            if let Some(problem) = self.pending.take() {
                self.told += 1;
                if self.told > MAX_PROBLEMS {
                    self.over = true;
                    return Err(ReadError::TooDamaged { problems: MAX_PROBLEMS });
                }
                return Ok(Some(Item::Problem(problem)));
            }
            if self.left > 0 {
                match self.take_record() {
                    Some(range) => return Ok(Some(Item::Record(&self.chunk[range]))),
                    None => self.pending = Some(self.bad_records()),
                }
                continue;
            }
            if self.at < self.chunk.len() {
                self.pending = Some(self.bad_records());
                continue;
            }
            if self.over {
                return Ok(None);
            }
            match self.advance() {
                Ok(Step::Chunk) => {}
                Ok(Step::Problem(problem)) => self.pending = Some(problem),
                Ok(Step::End) => self.over = true,
                Err(e) => {
                    self.over = true;
                    return Err(e);
                }
            }
        }
    }

    /// Where the next record of the chunk stands. `None`: the chunk contradicts itself.
    fn take_record(&mut self) -> Option<Range<usize>> {
        let mut rest = self.chunk.get(self.at..)?;
        let before = rest.len();
        let len = prost::decode_length_delimiter(&mut rest).ok()?;
        if len > format::MAX_RECORD || len > rest.len() {
            return None;
        }
        let begin = self.at + (before - rest.len());
        self.at = begin + len;
        self.left -= 1;
        Some(begin..begin + len)
    }

    /// Gives up the rest of the current chunk.
    fn bad_records(&mut self) -> Problem {
        let lost = Lost { records: Some(self.left.into()), from_ns: self.span.0, to_ns: self.span.1 };
        self.left = 0;
        self.chunk.clear();
        self.at = 0;
        Problem { cause: Cause::BadRecords, chunk: self.here.chunk, offset: self.here.offset, lost }
    }

    fn fill(&mut self, n: usize) -> Result<usize, ReadError> {
        self.window.fill(n).map_err(|source| ReadError::Io { source })
    }

    /// The next chunk, or what stands in its place.
    fn advance(&mut self) -> Result<Step, ReadError> {
        self.chunk.clear();
        self.at = 0;
        let offset = self.window.offset();
        self.here = Place { chunk: self.next_seq, offset };
        let available = self.fill(CHUNK_HEADER_LEN)?;
        if available == 0 {
            if self.ending.is_some() {
                return Ok(Step::End);
            }
            self.ending = Some(Ending::CutOff);
            // How much was not yet written when the recorder died, nobody can say.
            let lost = Lost { records: None, from_ns: self.last_ns, to_ns: None };
            return Ok(Step::Problem(self.problem(Cause::NoEndMark, lost)));
        }
        if self.ending == Some(Ending::Finished) {
            self.over = true;
            return Ok(Step::Problem(self.problem(Cause::AfterEnd, Lost::default())));
        }
        let header = match self.window.data().first_chunk::<CHUNK_HEADER_LEN>() {
            Some(bytes) => ChunkHeader::decode(bytes),
            None if self.window.data().starts_with(&SYNC[..available.min(SYNC.len())]) => {
                return self.truncated(None);
            }
            None => Err(Cause::NoSyncMarker),
        };
        let header = match header {
            Ok(header) => header,
            Err(cause) => return self.damaged_header(cause),
        };
        known(header.version)?;
        if let Err(cause) = header.check() {
            return self.damaged_header(cause);
        }
        if header.seq < self.next_seq || header.first_record < self.next_record {
            self.window.consume(CHUNK_HEADER_LEN);
            self.resync()?;
            return Ok(Step::Problem(self.problem(Cause::OutOfPlace, Lost::default())));
        }
        if header.seq > self.next_seq || header.first_record > self.next_record {
            let chunks = header.seq - self.next_seq;
            let lost = Lost {
                records: Some(header.first_record - self.next_record),
                from_ns: self.last_ns,
                to_ns: time(header.first_ns),
            };
            let problem = self.problem(Cause::ChunksMissing { chunks }, lost);
            self.next_seq = header.seq;
            self.next_record = header.first_record;
            return Ok(Step::Problem(problem));
        }
        self.payload(&header)
    }

    /// Takes the payload of a chunk whose header is good and due here.
    fn payload(&mut self, header: &ChunkHeader) -> Result<Step, ReadError> {
        let stored = header.stored_len as usize;
        let whole = CHUNK_HEADER_LEN + stored;
        if self.fill(whole)? < whole {
            return self.truncated(Some(header));
        }
        let payload = &self.window.data()[CHUNK_HEADER_LEN..whole];
        let checked = if crc32c::crc32c(payload) == header.payload_crc {
            unpack(&mut self.unpack, header, payload, &mut self.chunk)
        } else {
            Err(Cause::ChecksumMismatch { part: Part::StoredPayload })
        };
        self.next_seq = header.seq.saturating_add(1);
        self.next_record = header.first_record.saturating_add(header.records.into());
        match checked {
            Ok(()) => {}
            Err(cause) => {
                self.chunk.clear();
                // Only a wrong checksum casts doubt on where the chunk ends: bytes may be missing from it.
                if matches!(cause, Cause::ChecksumMismatch { .. }) {
                    self.window.consume(CHUNK_HEADER_LEN);
                    self.resync()?;
                } else {
                    self.window.consume(whole);
                }
                let problem = self.problem(cause, lost_with(header));
                self.last_ns = time(header.last_ns).or(self.last_ns);
                return Ok(Step::Problem(problem));
            }
        }
        self.window.consume(whole);
        self.last_ns = time(header.last_ns).or(self.last_ns);
        match header.kind {
            chunk_kind::RECORDS => {
                self.left = header.records;
                self.span = (time(header.first_ns), time(header.last_ns));
                Ok(Step::Chunk)
            }
            chunk_kind::END => {
                self.chunk.clear();
                self.ending = Some(Ending::Finished);
                Ok(Step::Chunk)
            }
            kind => {
                self.chunk.clear();
                Ok(Step::Problem(self.problem(Cause::UnknownChunk { kind }, lost_with(header))))
            }
        }
    }

    /// The file ends inside a chunk. Unless another chunk stands in what is left: then bytes are missing from this.
    fn truncated(&mut self, header: Option<&ChunkHeader>) -> Result<Step, ReadError> {
        let lost = header.map_or(Lost { records: None, from_ns: self.last_ns, to_ns: None }, lost_with);
        if let Some(header) = header {
            self.next_seq = header.seq.saturating_add(1);
            self.next_record = header.first_record.saturating_add(header.records.into());
        }
        self.window.consume(1);
        if self.resync()? {
            return Ok(Step::Problem(self.problem(Cause::BytesMissing, lost)));
        }
        self.ending = Some(Ending::CutOff);
        Ok(Step::Problem(self.problem(Cause::Truncated, lost)))
    }

    /// The header cannot be trusted: the next good one says what is lost.
    fn damaged_header(&mut self, cause: Cause) -> Result<Step, ReadError> {
        let mut lost = Lost { records: None, from_ns: self.last_ns, to_ns: None };
        self.window.consume(1);
        if self.resync()?
            && let Some(next) = self.peek_header()
            && next.seq >= self.next_seq
            && let Some(records) = next.first_record.checked_sub(self.next_record)
        {
            lost.records = Some(records);
            lost.to_ns = time(next.first_ns);
            self.next_seq = next.seq;
            self.next_record = next.first_record;
        }
        Ok(Step::Problem(self.problem(cause, lost)))
    }

    /// Steps to the next whole chunk header; false when there is none up to the end.
    fn resync(&mut self) -> Result<bool, ReadError> {
        loop {
            let available = self.fill(CHUNK_HEADER_LEN)?;
            if available < CHUNK_HEADER_LEN {
                self.window.consume(available);
                return Ok(false);
            }
            let data = self.window.data();
            match data.windows(SYNC.len()).position(|w| w == SYNC) {
                Some(0) => {
                    if self.peek_header().is_some() {
                        return Ok(true);
                    }
                    self.window.consume(1);
                }
                Some(n) => self.window.consume(n),
                // A marker may begin in the last bytes.
                None => self.window.consume(available - (SYNC.len() - 1)),
            }
        }
    }

    fn peek_header(&self) -> Option<ChunkHeader> {
        let header = ChunkHeader::decode(self.window.data().first_chunk()?).ok()?;
        header.check().ok().map(|()| header)
    }

    fn problem(&self, cause: Cause, lost: Lost) -> Problem {
        Problem { cause, chunk: self.here.chunk, offset: self.here.offset, lost }
    }
}

fn known(found: u16) -> Result<(), ReadError> {
    if found > VERSION {
        return Err(ReadError::FutureVersion { found, known: VERSION });
    }
    if !format::VERSIONS.iter().any(|v| v.number == found) {
        return Err(ReadError::NoSuchVersion { found });
    }
    Ok(())
}

/// Boot time 0 stands for "none".
fn time(ns: u64) -> Option<u64> {
    (ns != 0).then_some(ns)
}

fn lost_with(header: &ChunkHeader) -> Lost {
    Lost { records: Some(header.records.into()), from_ns: time(header.first_ns), to_ns: time(header.last_ns) }
}
