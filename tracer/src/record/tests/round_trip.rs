use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..200),
        flushes in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut shared = SharedBytes::default();
        let mut writer = Writer::new(shared.clone()).unwrap();
        let flushes: Vec<usize> =
            if records.is_empty() { vec![] } else { flushes.iter().map(|f| f.index(records.len())).collect() };
        for (i, record) in records.iter().enumerate() {
            writer.write(record).unwrap();
            if flushes.contains(&i) {
                writer.flush().unwrap();
            }
        }
        let summary = writer.finish().unwrap();
        let bytes = shared.take();
        prop_assert_eq!(summary.bytes, bytes.len() as u64);
        prop_assert_eq!(summary.records, records.len() as u64);
        prop_assert_eq!(read_all(&bytes).unwrap(), Reading { records, problems: vec![], finished: true });
    }
}

#[test]
fn many_chunks_and_records_beyond_a_chunk() {
    let mut records = stream(20_000);
    let long: Vec<u8> = (0..MAX_RECORD as u64).map(|i| noise(i) as u8).collect();
    records.insert(7, long.clone());
    records.push(long);
    assert_eq!(read_all(&file_of(&records)).unwrap(), Reading { records, problems: vec![], finished: true });
}

#[test]
fn a_record_that_is_too_long_is_refused_and_harms_nothing() {
    let mut shared = SharedBytes::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    writer.write(b"before").unwrap();
    let refused = writer.write(&vec![0; MAX_RECORD + 1]);
    assert!(matches!(refused, Err(WriteError::RecordTooLong { len }) if len == MAX_RECORD + 1));
    writer.write(b"after").unwrap();
    writer.finish().unwrap();
    assert_eq!(read_all(&shared.take()).unwrap().records, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn nothing_stays_open_longer_than_a_second_of_the_stream() {
    let mut shared = SharedBytes::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    for (i, record) in stream(3000).iter().enumerate() {
        writer.write(record).unwrap();
        let unflushed = i as u64 + 1 - writer.summary().records;
        assert!(unflushed * STEP_NS <= format::FLUSH_NS + STEP_NS, "{unflushed} records open after {i}");
    }
    // The target alone is in the file from the first moment on.
    let bytes = shared.take();
    let first = read_all(&bytes[..bytes.len().min(400)]).unwrap();
    assert_eq!(first.records, stream(1));
}

#[test]
fn dropped_without_finish_it_is_whole_but_cut_off() {
    let mut shared = SharedBytes::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    let records = stream(100);
    for record in &records {
        writer.write(record).unwrap();
    }
    drop(writer);
    let reading = read_all(&shared.take()).unwrap();
    assert_eq!(reading.records, records);
    assert!(!reading.finished);
    assert_eq!(reading.problems.len(), 1);
    assert_eq!(reading.problems[0].cause, Cause::NoEndMark);
}

/// Written by gostray 0.1.0. Stays readable for ever; a new version adds a file, it does not change this one.
#[test]
fn version_1_stays_readable() {
    let reading = read_all(include_bytes!("../fixtures/v1.session")).unwrap();
    assert_eq!(reading, Reading { records: stream(1000), problems: vec![], finished: true });
}

/// The first one with columns.
#[test]
fn version_2_stays_readable() {
    let reading = read_all(include_bytes!("../fixtures/v2.session")).unwrap();
    assert_eq!(reading, Reading { records: stream(1000), problems: vec![], finished: true });
}

#[test]
fn every_version_has_a_fixture() {
    for (i, version) in VERSIONS.iter().enumerate() {
        assert_eq!(usize::from(version.number), i + 1, "the table is only appended to");
        let name = format!("src/record/fixtures/v{}.session", version.number);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.version(), version.number);
    }
}

/// Makes the fixture of the current version where there is none yet.
#[test]
#[ignore = "writes a fixture: once, after a new version was added"]
fn write_fixture() {
    let name = format!("src/record/fixtures/v{VERSION}.session");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut writer = match Writer::create(&path, false) {
        Ok(writer) => writer,
        Err(WriteError::Exists { .. }) => return,
        Err(e) => panic!("{e}"),
    };
    for record in stream(1000) {
        writer.write(&record).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_tee_gives_each_sink_the_same() {
    let (mut a, mut b) = (SharedBytes::default(), SharedBytes::default());
    {
        let mut tee = Tee(Writer::new(a.clone()).unwrap(), Some(Writer::new(b.clone()).unwrap()));
        for record in stream(50) {
            tee.record(&record).unwrap();
        }
        let mut none: Option<Writer> = None;
        none.record(b"nowhere").unwrap();
    }
    let (a, b) = (a.take(), b.take());
    assert_eq!(a, b);
    assert_eq!(read_all(&a).unwrap().records, stream(50));
}
