//! Any bytes as a session file: must end, must not panic, and what replay makes of it must agree with itself.
//!
//! Checksums stop a fuzzer at the first gate. So the input is read twice: as it is, and with every checksum made right.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tracer::event::Event;
use tracer::record::format::{self, CHUNK_HEADER_LEN, FILE_HEADER_LEN, SYNC};
use tracer::record::{Item, Reader};
use tracer::source::replay::Replay;

fuzz_target!(|data: &[u8]| {
    read(data);
    read(&repaired(data));
});

fn read(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let (mut records, mut problems) = (0u64, 0u64);
    while let Ok(Some(item)) = reader.next_item() {
        match item {
            Item::Record(record) => {
                records += 1;
                let _ = Event::decode(record);
            }
            Item::Problem(problem) => {
                problems += 1;
                assert!(!problem.to_string().is_empty());
            }
        }
    }
    // Nothing is dropped without a word: a file without an end mark, at least, is a problem.
    assert!(reader.ending().is_some());
    assert!(records > 0 || problems > 0 || data.len() >= FILE_HEADER_LEN + CHUNK_HEADER_LEN);

    if let Ok(replay) = Replay::from_input(Box::new(Cursor::new(data.to_vec()))) {
        let events = replay.map_while(Result::ok).count() as u64;
        assert!(events >= problems.min(1));
    }
}

fn repaired(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    if out.len() < FILE_HEADER_LEN {
        return out;
    }
    out[..FILE_HEADER_LEN].copy_from_slice(&format::file_header());
    let mut at = FILE_HEADER_LEN;
    while let Some(n) = out[at..].windows(SYNC.len()).position(|w| w == SYNC) {
        at += n;
        let Some(header) = out.get_mut(at..at + CHUNK_HEADER_LEN) else { break };
        // The version is no secret to look for.
        header[8..10].copy_from_slice(&format::VERSION.to_le_bytes());
        let stored = u32::from_le_bytes([header[48], header[49], header[50], header[51]]) as usize;
        let payload = at + CHUNK_HEADER_LEN;
        if let Some(payload) = out.get(payload..payload.saturating_add(stored)) {
            let crc = crc32c::crc32c(payload);
            out[at + 52..at + 56].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[at + 8..at + 60]);
        out[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
        at += SYNC.len();
    }
    out
}
