//! Flipped bits, cuts, lost and moved bytes.

use super::*;

/// A small session of several chunks, and where each begins.
fn small() -> (Vec<Vec<u8>>, Vec<u8>, Vec<usize>) {
    let records = stream(30);
    let mut shared = SharedBytes::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    let mut chunks = vec![format::FILE_HEADER_LEN];
    for (i, record) in records.iter().enumerate() {
        writer.write(record).unwrap();
        if i % 8 == 7 {
            writer.flush().unwrap();
        }
        if chunks.last() != Some(&(writer.summary().bytes as usize)) {
            chunks.push(writer.summary().bytes as usize);
        }
    }
    writer.finish().unwrap();
    let bytes = shared.take();
    chunks.push(bytes.len() - format::CHUNK_HEADER_LEN);
    chunks.dedup();
    (records, bytes, chunks)
}

/// `part` holds records of `whole`, in their order.
fn is_subsequence(part: &[Vec<u8>], whole: &[Vec<u8>]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|p| rest.any(|w| w == p))
}

#[test]
fn every_flipped_bit_is_noticed_and_counted() {
    let (records, bytes, _) = small();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let reading = match read_all(&damaged) {
                Ok(reading) => reading,
                // Only the magic is fatal.
                Err(ReadError::NotASession) if at < 8 => continue,
                Err(e) => panic!("byte {at} bit {bit}: {e}"),
            };
            assert!(!reading.problems.is_empty(), "byte {at} bit {bit} went unnoticed");
            assert!(is_subsequence(&reading.records, &records), "byte {at} bit {bit} gave foreign records");
            let lost = (records.len() - reading.records.len()) as u64;
            match known_losses(&reading.problems) {
                Some(known) => assert_eq!(known, lost, "byte {at} bit {bit}: {:?}", reading.problems),
                // The end mark itself is damaged: what stood there, nobody knows.
                None => assert!(at >= bytes.len() - format::CHUNK_HEADER_LEN && lost == 0),
            }
            assert!(lost <= 8, "byte {at} bit {bit} cost more than its chunk");
        }
    }
}

#[test]
fn every_truncation_gives_what_came_before() {
    let (records, bytes, chunks) = small();
    for len in 0..bytes.len() {
        let reading = match read_all(&bytes[..len]) {
            Ok(reading) => reading,
            Err(ReadError::Empty) if len == 0 => continue,
            Err(ReadError::TruncatedHeader { len: l }) if len < format::FILE_HEADER_LEN && l == len => {
                continue;
            }
            Err(e) => panic!("{len} bytes: {e}"),
        };
        assert_eq!(reading.records, records[..reading.records.len()], "{len} bytes: not a prefix");
        assert!(!reading.finished);
        assert_eq!(reading.problems.len(), 1, "{len} bytes: {:?}", reading.problems);
        let expected = if chunks.contains(&len) { Cause::NoEndMark } else { Cause::Truncated };
        assert_eq!(reading.problems[0].cause, expected, "{len} bytes");
        // Whole chunks before the cut are all there.
        let whole = chunks.iter().rposition(|&begin| begin <= len).unwrap();
        assert_eq!(reading.records.len(), [0, 1, 8, 16, 24, 30][whole.min(5)], "{len} bytes");
    }
}

#[test]
fn cut_out_bytes_cost_only_the_chunks_they_touch() {
    let (records, bytes, chunks) = small();
    for begin in (format::FILE_HEADER_LEN..bytes.len()).step_by(7) {
        for len in [1, 5, 63, 64, 65, 200] {
            let end = (begin + len).min(bytes.len());
            let mut damaged = bytes.clone();
            damaged.drain(begin..end);
            let reading = read_all(&damaged).unwrap();
            let what = format!("{begin}..{end}: {:?}", reading.problems);
            assert!(!reading.problems.is_empty(), "{what}");
            assert!(is_subsequence(&reading.records, &records), "{what}");
            let touched = chunks.iter().zip(chunks.iter().skip(1)).filter(|(a, b)| **a < end && begin < **b);
            let lost = records.len() - reading.records.len();
            assert!(lost <= touched.count() * 8, "{what}");
            if let Some(known) = known_losses(&reading.problems) {
                assert_eq!(known, lost as u64, "{what}");
            }
        }
    }
}

#[test]
fn garbage_between_chunks_costs_nothing() {
    let (records, bytes, chunks) = small();
    for &at in &chunks {
        let mut damaged = bytes.clone();
        let garbage: Vec<u8> = (0..300).map(|i| noise(i) as u8).collect();
        damaged.splice(at..at, garbage);
        let reading = read_all(&damaged).unwrap();
        assert_eq!(reading.records, records);
        assert_eq!(reading.problems.len(), 1);
        assert_eq!(reading.problems[0].cause, Cause::NoSyncMarker);
        assert_eq!(reading.problems[0].offset, at as u64);
        assert!(reading.finished);
    }
}

#[test]
fn chunks_that_are_gone_doubled_or_swapped_are_named() {
    let (records, bytes, chunks) = small();
    let (a, b, c) = (chunks[1], chunks[2], chunks[3]);

    let gone = [&bytes[..a], &bytes[b..]].concat();
    let reading = read_all(&gone).unwrap();
    assert_eq!(reading.problems.len(), 1);
    assert_eq!(reading.problems[0].cause, Cause::ChunksMissing { chunks: 1 });
    assert_eq!(reading.problems[0].lost.records, Some((records.len() - reading.records.len()) as u64));

    let doubled = [&bytes[..b], &bytes[a..]].concat();
    let reading = read_all(&doubled).unwrap();
    assert_eq!(reading.records, records);
    assert_eq!(reading.problems.iter().map(|p| &p.cause).collect::<Vec<_>>(), [&Cause::OutOfPlace]);

    let swapped = [&bytes[..a], &bytes[b..c], &bytes[a..b], &bytes[c..]].concat();
    let reading = read_all(&swapped).unwrap();
    assert!(is_subsequence(&reading.records, &records));
    assert!(reading.problems.iter().any(|p| p.cause == Cause::OutOfPlace), "{:?}", reading.problems);

    let appended = [&bytes[..], b"more"].concat();
    let reading = read_all(&appended).unwrap();
    assert_eq!(reading.records, records);
    assert_eq!(reading.problems.iter().map(|p| &p.cause).collect::<Vec<_>>(), [&Cause::AfterEnd]);
}

#[test]
fn a_damaged_file_header_does_not_hide_the_session() {
    let (records, mut bytes, _) = small();
    bytes[9] = 0xff;
    let reading = read_all(&bytes).unwrap();
    assert_eq!(reading.records, records);
    assert_eq!(reading.problems[0].cause, Cause::ChecksumMismatch { part: Part::FileHeader });
}
