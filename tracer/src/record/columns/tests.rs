use proptest::prelude::*;
use tracer_common::decode::bytes_of;
use tracer_common::wire::{Birth, Header, Park, kind};

use super::super::tests::{noise, stream};
use super::*;
use crate::event_gen::any_event;
use crate::record::Cause;

fn raw_of<R: AsRef<[u8]>>(records: &[R]) -> Vec<u8> {
    let mut raw = Vec::new();
    for record in records {
        prost::encode_length_delimiter(record.as_ref().len(), &mut raw).unwrap();
        raw.extend_from_slice(record.as_ref());
    }
    raw
}

fn packed(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Packer::new(3).unwrap().columns(raw, &mut out).unwrap();
    out
}

fn unpacked(payload: &[u8], expected: usize) -> Result<Vec<u8>, Cause> {
    let (mut zstd, mut out) = (zstd::bulk::Decompressor::new().unwrap(), Vec::new());
    unpack(&mut zstd, payload, expected, &mut out).map(|()| out)
}

/// Few goroutines on few threads, so that guesses hold.
fn busy(n: u64) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for i in 0..n {
        let r = noise(i);
        let kind = [kind::BIRTH, kind::DEATH, kind::PARK, kind::READY, kind::RUN, kind::CORO_SWITCH]
            [(r % 6) as usize];
        let (goid, g) = (20 + i / 6 - (r >> 8) % 3, 0xc000_0000_1000 + (r >> 20) % 6 * 0x1c0);
        let tid = 4000 + (r >> 30) as u32 % 300 % (1 + (i / 40) as u32);
        let flags = if r >> 60 == 0 { (r >> 50) as u8 } else { 0 };
        let h = Header {
            time_ns: 5_000 + i * 900 - r % 800,
            goid,
            g,
            tid,
            cpu: (r >> 44) as u16 % 3,
            kind,
            flags,
        };
        let words = [0x47_0000 + (r >> 12) % 4, (r >> 16) % 2, (r >> 24) % 400];
        out.push(match kind {
            kind::BIRTH => bytes_of(&Birth {
                h,
                parent_goid: goid.saturating_sub((r >> 33) % 9),
                gopc: words[0],
                start_pc: words[1],
                stack: words[2],
            })
            .to_vec(),
            kind::PARK => bytes_of(&Park { h, lock: words[2], unlockf: words[1], reason: words[0] }).to_vec(),
            _ => bytes_of(&h).to_vec(),
        });
    }
    out
}

#[test]
fn many_events_come_back_byte_for_byte() {
    for records in [stream(5000), busy(12_000), vec![], vec![vec![]], vec![vec![7; 40_000]; 3]] {
        let raw = raw_of(&records);
        assert!(unpacked(&packed(&raw), raw.len()).unwrap() == raw);
    }
}

#[test]
fn more_is_not_unpacked_than_was_announced() {
    let raw = raw_of(&busy(2000));
    let payload = packed(&raw);
    for expected in [0, raw.len() - 1, raw.len() + 1] {
        assert!(matches!(unpacked(&payload, expected), Err(Cause::LengthMismatch { .. })));
    }
    let longer = [&payload[..], &[0]].concat();
    assert_eq!(unpacked(&longer, raw.len()), Err(Cause::BadRecords));
    // Columns that would take more room together than all records may.
    let mut bomb = Vec::new();
    let zeros = zstd::bulk::compress(&vec![0; 1 << 21], 3).unwrap();
    for _ in 0..COLUMNS {
        prost::encode_length_delimiter(1 << 21, &mut bomb).unwrap();
        prost::encode_length_delimiter(zeros.len(), &mut bomb).unwrap();
        bomb.extend_from_slice(&zeros);
    }
    assert_eq!(unpacked(&bomb, 1 << 20), Err(Cause::BadRecords));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_records_come_back(
        events in prop::collection::vec(any_event(), 0..60),
        odd in prop::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(),
    ) {
        let mut records: Vec<Vec<u8>> = events.iter().map(|e| { let mut r = Vec::new(); e.encode(&mut r); r }).collect();
        records.insert(at.index(records.len() + 1), odd);
        let raw = raw_of(&records);
        prop_assert_eq!(unpacked(&packed(&raw), raw.len()).unwrap(), raw);
    }

    #[test]
    fn damaged_columns_never_panic(
        n in 1u64..80,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        longer in 0usize..40,
    ) {
        let raw = raw_of(&busy(n));
        let mut payload = packed(&raw);
        for (at, value) in edits {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        if let Ok(out) = unpacked(&payload, raw.len() + longer) {
            prop_assert_eq!(out.len(), raw.len() + longer);
        }
    }
}
