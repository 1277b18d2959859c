//! A recording onto a real file system that runs full.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tracer::event::{Event, Note, header};
use tracer::failure::{Class, Failure};
use tracer::record::{Ending, Item, Reader, WriteError, Writer};

/// Runs `test` with an empty tmpfs of `bytes` bytes at its path. Only this thread sees the mount, and it goes with it.
fn with_small_disk(bytes: usize, test: fn(&Path)) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("a mount namespace: needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        test(dir.path());
        nix::mount::umount(dir.path()).unwrap();
    });
    thread.join().unwrap();
}

/// `tracer_common::wire::kind::NOTE`.
const NOTE: u8 = 68;

/// Records that do not pack well, ten milliseconds apart.
fn record(i: u64) -> Vec<u8> {
    let mut text = String::new();
    let mut r = i + 1;
    for _ in 0..12 {
        r = r.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{:x}", r >> 8);
    }
    let h = header(NOTE, 1_000_000_000 + i * 10_000_000);
    let mut out = Vec::new();
    Event::Note(h, Note { code: i.to_string(), text }).encode(&mut out);
    out
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_ends_the_recording_and_keeps_what_was_written() {
    with_small_disk(256 << 10, |dir| {
        let path = dir.join("s.gostray");
        let mut writer = Writer::create(&path, false).unwrap();
        let (failed, given) =
            (0..).find_map(|i| writer.write(&record(i)).err().map(|e| (e, i))).expect("the disk is small");
        let WriteError::DiskFull { source, .. } = &failed else { panic!("{failed}") };
        assert_eq!(source.raw_os_error(), Some(libc::ENOSPC));
        assert!(matches!(writer.write(&record(0)), Err(WriteError::Failed { .. })));
        drop(writer);
        let failure = Failure::from(failed);
        assert_eq!(failure.class(), Class::DiskFull);
        assert!(failure.to_string().contains("no space is left for"), "{failure}");

        let mut reader = Reader::open(&path).unwrap();
        let mut records = Vec::new();
        let mut problems = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Record(r) => records.push(r.to_vec()),
                Item::Problem(p) => problems.push(p),
            }
        }
        // The cut-off chunk leaves room for the last word.
        assert_eq!((reader.ending(), problems.len()), (Some(Ending::Finished), 0), "{problems:?}");
        let last = Event::decode(&records.pop().unwrap()).unwrap();
        assert!(matches!(last, Event::End(end) if end.reason == 4), "{last:?}");
        for (i, r) in records.iter().enumerate() {
            assert_eq!(r, &record(i as u64));
        }
        // All but the second that was being written, and the disk was really full.
        assert!(records.len() as u64 + 101 >= given, "{} of {given}", records.len());
        assert!(fs::metadata(&path).unwrap().len() > 200 << 10);
    });
}

#[test]
#[ignore = "needs root"]
fn on_a_disk_that_is_full_already_nothing_is_left_behind_and_nothing_replaced() {
    with_small_disk(64 << 10, |dir| {
        let old = dir.join("old.gostray");
        fs::write(&old, "precious").unwrap();
        let mut filler = File::create(dir.join("filler")).unwrap();
        while filler.write(&[0; 512]).is_ok() {}
        for (name, force) in [("new.gostray", false), ("old.gostray", true)] {
            let failed = Writer::create(&dir.join(name), force).and_then(|mut w| w.write(&record(0)));
            assert!(matches!(failed, Err(WriteError::DiskFull { .. })), "{failed:?}");
        }
        assert_eq!(fs::read(&old).unwrap(), b"precious");
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["filler", "old.gostray"]);
    });
}
