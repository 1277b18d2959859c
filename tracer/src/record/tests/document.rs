//! `docs/session-format.md` is for those who read the file without us: it has to say what the code does.

use super::format::{
    CHUNK_HEADER_LEN, CHUNK_TARGET, ChunkHeader, FILE_HEADER_LEN, MAGIC, MAX_RAW, MAX_STORED, SYNC,
};
use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/session-format.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn numbers_agree() {
    let mut expected = vec![
        format!("magic `{}`", hex(&MAGIC)),
        format!("sync marker `{}`", hex(&SYNC)),
        format!("File header: {FILE_HEADER_LEN} bytes"),
        format!("Chunk header: {CHUNK_HEADER_LEN} bytes"),
        format!("unpacked; at most {MAX_RAW} |"),
        format!("as it stands here; at most {MAX_STORED} |"),
        format!("at most {MAX_RECORD} bytes"),
        format!("reach {CHUNK_TARGET} bytes"),
        "| 1 | records |".into(),
        "| 2 | end mark".into(),
        "| 0 | the payload as it is |".into(),
        "| 1 | one zstd frame".into(),
        "| 2 | columns".into(),
        format!("{} columns", super::columns::COLUMNS),
    ];
    expected.extend(VERSIONS.iter().map(|v| format!("| {} | {} | {} |", v.number, v.since, v.what)));
    for text in expected {
        assert!(DOCUMENT.contains(&text), "the document does not say `{text}`");
    }
}

/// Each field stands where the document's table says.
#[test]
fn the_chunk_headers_fields_stand_where_the_document_says() {
    let header = ChunkHeader {
        version: 0x0101,
        kind: 0x02,
        codec: 0x03,
        seq: 0x0404_0404,
        first_record: 0x0505_0505_0505_0505,
        first_ns: 0x0606_0606_0606_0606,
        last_ns: 0x0707_0707_0707_0707,
        records: 0x0808_0808,
        raw_len: 0x0909_0909,
        stored_len: 0x0a0a_0a0a,
        payload_crc: 0x0b0b_0b0b,
    };
    let bytes = header.encode();
    let table = DOCUMENT.split("### Chunk header").nth(1).unwrap();
    let rows: Vec<(usize, usize)> = table
        .lines()
        .skip_while(|l| !l.starts_with("|---"))
        .skip(1)
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            let mut cells = l.split('|').skip(1).take(2).map(|c| c.trim().parse().unwrap());
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect::<Vec<_>>();
    assert_eq!(rows.len(), 14);
    let mut at = 0;
    for (n, &(begin, len)) in rows.iter().enumerate() {
        assert_eq!(begin, at, "row {n}");
        at += len;
        match n {
            0 => assert_eq!(bytes[..len], SYNC),
            12 => assert_eq!(bytes[begin..at], [0; 4]),
            13 => assert_eq!(bytes[begin..at], crc32c::crc32c(&bytes[8..60]).to_le_bytes()),
            _ => assert!(bytes[begin..at].iter().all(|&b| usize::from(b) == n), "row {n}"),
        }
    }
    assert_eq!(at, CHUNK_HEADER_LEN);
}
