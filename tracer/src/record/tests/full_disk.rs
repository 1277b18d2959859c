//! A disk that is full. The same with a real small file system: crate `tests`, as root.

use std::io;
use std::path::Path;

use super::*;

/// Takes `room` bytes, in part where it must, as a file system does.
struct Small {
    bytes: SharedBytes,
    room: usize,
}

impl Output for Small {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let used = self.bytes.0.borrow().len();
        let fits = bytes.len().min(self.room - used);
        self.bytes.put(&bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.bytes.cut(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn path(&self) -> &Path {
        Path::new("small")
    }
}

#[test]
fn at_whatever_byte_the_disk_is_full_what_was_written_is_kept() {
    let records = stream(1200);
    let whole = file_of(&records).len();
    let mut ended_with_a_word = 0;
    let rooms: Vec<usize> = (20..whole).step_by(251).collect();
    for &room in &rooms {
        let mut bytes = SharedBytes::default();
        let mut writer = Writer::new(Small { bytes: bytes.clone(), room }).unwrap();
        let failed = records.iter().find_map(|r| writer.write(r).err());
        let Some(failed) = failed.or_else(|| writer.flush().err()) else {
            // Only the end mark did not fit.
            assert!(matches!(writer.finish(), Err(WriteError::DiskFull { .. })));
            let reading = read_all(&bytes.take()).unwrap();
            assert_eq!(reading.records, records);
            assert_eq!(reading.problems[0].cause, Cause::NoEndMark);
            continue;
        };
        assert!(matches!(failed, WriteError::DiskFull { .. }), "{failed}");
        assert!(failed.to_string().contains("`small`"));
        assert!(matches!(writer.write(b"more"), Err(WriteError::Failed { .. })));
        assert!(matches!(writer.flush(), Err(WriteError::Failed { .. })));
        let kept = writer.summary().records;
        drop(writer);

        let mut reading = read_all(&bytes.take()).unwrap();
        assert_eq!(reading.records.len() as u64, kept);
        if let Some(last) = reading.records.last()
            && let Ok(Event::End(end)) = Event::decode(last)
        {
            assert_eq!(end.reason, tracer_common::wire::end::OUTPUT_FAILED);
            reading.records.pop();
            ended_with_a_word += 1;
        }
        assert_eq!(reading.records, records[..reading.records.len()]);
        assert!(reading.problems.iter().all(|p| p.cause == Cause::NoEndMark), "{:?}", reading.problems);
    }
    assert!(ended_with_a_word > rooms.len() / 2, "{ended_with_a_word} of {}", rooms.len());
}

/// `/dev/full` takes nothing and cannot be cut: the writer must say so and leave it at that.
#[test]
fn dev_full() {
    struct Full(std::fs::File, usize);
    impl Output for Full {
        fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1 += 1;
            // The file header gets through, so that the first chunk meets the error.
            if self.1 == 1 { Ok(()) } else { io::Write::write_all(&mut self.0, bytes) }
        }
        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync_all()
        }
        fn path(&self) -> &Path {
            Path::new("/dev/full")
        }
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut writer = Writer::new(Full(full, 0)).unwrap();
    let failed = writer.write(b"record").unwrap_err();
    let WriteError::DiskFull { path, source } = failed else { panic!("{failed}") };
    assert_eq!(path, Path::new("/dev/full"));
    assert_eq!(source.raw_os_error(), Some(libc::ENOSPC));
}
