//! Files that no gostray wrote: every checksum right, every claim wrong.

use proptest::prelude::*;

use super::format::{ChunkHeader, MAX_RAW, MAX_STORED, chunk_kind, codec};
use super::*;

fn chunk(mut header: ChunkHeader, payload: &[u8]) -> Vec<u8> {
    header.payload_crc = crc32c::crc32c(payload);
    [&header.encode()[..], payload].concat()
}

fn session(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format::file_header().to_vec();
    bytes.extend(chunks.iter().flatten());
    bytes
}

fn stored(payload: &[u8], records: u32) -> ChunkHeader {
    ChunkHeader {
        version: VERSION,
        kind: chunk_kind::RECORDS,
        codec: codec::STORED,
        seq: 0,
        first_record: 0,
        first_ns: 5,
        last_ns: 9,
        records,
        raw_len: payload.len() as u32,
        stored_len: payload.len() as u32,
        payload_crc: 0,
    }
}

/// The first problem of a session that consists of this chunk.
fn cause_of(header: ChunkHeader, payload: &[u8]) -> (Cause, Lost) {
    let reading = read_all(&session(&[chunk(header, payload)])).unwrap();
    let first = reading.problems.into_iter().next().unwrap();
    (first.cause, first.lost)
}

#[test]
fn what_is_not_a_session() {
    assert!(matches!(read_all(b""), Err(ReadError::Empty)));
    assert!(matches!(read_all(b"{\"schema\":1}"), Err(ReadError::NotASession)));
    assert!(matches!(read_all(b"\x89PNG\r\n\x1a\n0123456789"), Err(ReadError::NotASession)));
    assert!(matches!(read_all(b"\x89GS"), Err(ReadError::TruncatedHeader { len: 3 })));
    let missing = Reader::open(std::path::Path::new("/nonexistent/session"));
    assert!(matches!(missing, Err(ReadError::Open { .. })));
}

#[test]
fn a_future_version_is_refused_by_number() {
    let mut head = format::file_header();
    head[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let crc = crc32c::crc32c(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    let refused = read_all(&head);
    assert!(matches!(refused, Err(ReadError::FutureVersion { found, known }) if found == known + 1));

    head[8..10].copy_from_slice(&0u16.to_le_bytes());
    let crc = crc32c::crc32c(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(read_all(&head), Err(ReadError::NoSuchVersion { found: 0 })));

    // Also where only the chunk says it.
    let future = chunk(ChunkHeader { version: 77, ..stored(b"\x01a", 1) }, b"\x01a");
    let refused = read_all(&session(&[future]));
    assert!(matches!(refused, Err(ReadError::FutureVersion { found: 77, .. })));
}

#[test]
fn absurd_lengths_are_refused_before_memory_is_taken() {
    for len in [MAX_STORED + 1, u32::MAX] {
        let (cause, _) = cause_of(ChunkHeader { stored_len: len, ..stored(b"", 0) }, b"");
        assert!(matches!(cause, Cause::AbsurdLength { part: Part::StoredPayload, .. }), "{cause}");
    }
    for len in [MAX_RAW + 1, u32::MAX] {
        let (cause, _) = cause_of(ChunkHeader { raw_len: len, ..stored(b"", 0) }, b"");
        assert!(matches!(cause, Cause::AbsurdLength { part: Part::Payload, .. }), "{cause}");
    }
    // The largest that is allowed, promised and not delivered: read as far as it goes, not allocated in advance.
    let (cause, lost) =
        cause_of(ChunkHeader { stored_len: MAX_STORED, records: 12, ..stored(b"", 0) }, b"abc");
    assert_eq!((cause, lost.records), (Cause::Truncated, Some(12)));
}

#[test]
fn records_that_contradict_their_chunk() {
    // A record longer than what is left; fewer records than said; more bytes than records; an endless length.
    let cases: [(&[u8], u32, u64); 5] = [
        (b"\x05ab", 1, 1),
        (b"\x01a", 3, 2),
        (b"\x01a\x01b", 1, 0),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, 1),
        (b"", u32::MAX, u64::from(u32::MAX)),
    ];
    for (payload, records, lost) in cases {
        let (cause, l) = cause_of(stored(payload, records), payload);
        assert_eq!((cause, l.records), (Cause::BadRecords, Some(lost)), "{payload:?}");
        assert_eq!((l.from_ns, l.to_ns), (Some(5), Some(9)));
    }
}

#[test]
fn unknown_codec_and_kind_cost_their_chunk_only() {
    let good = chunk(ChunkHeader { seq: 1, first_record: 2, ..stored(b"\x01z", 1) }, b"\x01z");
    let payload = b"\x01a\x01b";
    for (header, cause) in [
        (ChunkHeader { codec: 9, ..stored(payload, 2) }, Cause::BadCodec { codec: 9 }),
        (ChunkHeader { kind: 9, ..stored(payload, 2) }, Cause::UnknownChunk { kind: 9 }),
        (ChunkHeader { codec: codec::ZSTD, ..stored(payload, 2) }, Cause::BadCompression),
    ] {
        let reading = read_all(&session(&[chunk(header, payload), good.clone()])).unwrap();
        assert_eq!(reading.problems[0].cause, cause);
        assert_eq!(reading.problems[0].lost.records, Some(2));
        assert_eq!(reading.records, [b"z".to_vec()]);
        assert_eq!(reading.problems.len(), 2, "the other one is the missing end mark");
    }
}

#[test]
fn a_decompression_bomb_gets_no_more_room_than_a_chunk() {
    let bomb = zstd::bulk::compress(&vec![0; 1 << 27], 3).unwrap();
    let header = |raw_len| ChunkHeader {
        codec: codec::ZSTD,
        raw_len,
        stored_len: bomb.len() as u32,
        ..stored(b"", 1)
    };
    let (cause, _) = cause_of(header(1000), &bomb);
    assert_eq!(cause, Cause::LengthMismatch { stated: 1 << 27, expected: 1000 });
    let (cause, _) = cause_of(header(1 << 27), &bomb);
    assert!(matches!(cause, Cause::AbsurdLength { .. }), "{cause}");

    // A frame that does not state its size, and one that lies about it.
    let mut silent = Vec::new();
    zstd::stream::copy_encode(&vec![0u8; 1 << 22][..], &mut silent, 3).unwrap();
    let quiet = ChunkHeader { codec: codec::ZSTD, stored_len: silent.len() as u32, ..stored(&[0; 1000], 1) };
    assert_eq!(cause_of(quiet, &silent).0, Cause::BadCompression);
    let mut liar = zstd::bulk::compress(&[7; 100_000], 3).unwrap();
    let size = liar.windows(4).position(|w| w == 100_000u32.to_le_bytes()).unwrap();
    liar[size..size + 4].copy_from_slice(&1000u32.to_le_bytes());
    let lying = ChunkHeader { codec: codec::ZSTD, stored_len: liar.len() as u32, ..stored(&[0; 1000], 1) };
    assert_eq!(cause_of(lying, &liar).0, Cause::BadCompression);
}

#[test]
fn two_frames_in_one_payload_are_refused() {
    let frame = zstd::bulk::compress(b"\x01a", 3).unwrap();
    let two = [&frame[..], &frame[..]].concat();
    let header =
        ChunkHeader { codec: codec::ZSTD, raw_len: 2, stored_len: two.len() as u32, ..stored(b"", 1) };
    assert_eq!(cause_of(header, &two).0, Cause::BadCompression);
}

#[test]
fn numbers_at_the_edge_do_not_overflow() {
    let edge = ChunkHeader { seq: u32::MAX, first_record: u64::MAX, ..stored(b"\x01a", 1) };
    let after = ChunkHeader { seq: u32::MAX, first_record: u64::MAX, ..stored(b"\x01b", 1) };
    let reading = read_all(&session(&[chunk(edge, b"\x01a"), chunk(after, b"\x01b")])).unwrap();
    assert_eq!(reading.problems[0].lost.records, Some(u64::MAX));
    assert!(reading.problems.len() <= 3);
}

#[test]
fn a_file_of_nothing_but_damage_is_given_up() {
    // Each header promises a payload that spans all following ones: read naively, that is quadratic.
    let header = ChunkHeader { stored_len: MAX_STORED, ..stored(b"", 0) }.encode();
    let bytes = [&format::file_header()[..], &header.repeat(100_000)].concat();
    let begun = std::time::Instant::now();
    assert!(matches!(read_all(&bytes), Err(ReadError::TooDamaged { .. })));
    assert!(begun.elapsed().as_secs() < 60, "took {:?}", begun.elapsed());
}

/// A reader that gives a byte or a few at a time, as a pipe may.
struct Trickle<'a>(&'a [u8], u64);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        let n = (noise(self.1) % 97 + 1) as usize;
        let n = n.min(buf.len()).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn a_pipe_reads_like_a_file() {
    let records = stream(5000);
    let bytes = file_of(&records);
    let mut reader = Reader::new(Trickle(&bytes, 0)).unwrap();
    let mut n = 0;
    while let Some(item) = reader.next_item().unwrap() {
        assert_eq!(item, Item::Record(&records[n]));
        n += 1;
    }
    assert_eq!(n, records.len());
}

/// Reads to the end and decodes: must not panic, and must come to an end.
pub(super) fn exercise(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some(item)) = reader.next_item() {
        match item {
            Item::Record(record) => drop(Event::decode(record)),
            Item::Problem(problem) => drop(problem.to_string()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Mutated sessions whose checksums are made right again, so that the code behind them is reached.
    #[test]
    fn mutated_sessions_never_panic(
        n in 1u64..60,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        repair in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file_of(&stream(n));
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if repair {
            repair_checksums(&mut bytes);
        }
        exercise(&bytes);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        exercise(&bytes);
        exercise(&[&format::file_header()[..], &bytes].concat());
        let _ = Event::decode(&bytes);
    }

    /// Payloads of any bytes behind right checksums, and records of any bytes of every kind.
    #[test]
    fn any_payload_and_any_record(payload in prop::collection::vec(any::<u8>(), 0..600), kind: u8, n in 0u32..40) {
        exercise(&session(&[chunk(stored(&payload, n), &payload)]));
        let zstd = ChunkHeader { codec: codec::ZSTD, raw_len: 5000, ..stored(&payload, n) };
        exercise(&session(&[chunk(zstd, &payload)]));
        let columns = ChunkHeader { codec: codec::COLUMNS, raw_len: 5000, ..stored(&payload, n) };
        exercise(&session(&[chunk(columns, &payload)]));
        let mut record = payload;
        if record.len() > 30 {
            record[30] = kind;
        }
        let _ = Event::decode(&record);
    }
}

/// Gives every chunk that still has its marker a header and a payload whose checksums are right.
pub(super) fn repair_checksums(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(n) = bytes[at..].windows(8).position(|w| w == format::SYNC) {
        at += n;
        let Some(header) = bytes.get(at..at + format::CHUNK_HEADER_LEN) else { return };
        let stored = u32::from_le_bytes(*header[48..].first_chunk().unwrap()) as usize;
        let begin = at + format::CHUNK_HEADER_LEN;
        if let Some(payload) = begin.checked_add(stored).and_then(|end| bytes.get(begin..end)) {
            let crc = crc32c::crc32c(payload);
            bytes[at + 52..at + 56].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[at + 8..at + 60]);
        bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
        at += 8;
    }
}
