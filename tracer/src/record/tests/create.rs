//! How the file comes into the world.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn record_to(path: &std::path::Path, force: bool) -> Result<Summary, WriteError> {
    let mut writer = Writer::create(path, force)?;
    for record in stream(20) {
        writer.write(&record)?;
    }
    writer.finish()
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, force) in [("a", false), ("a", true), ("b", true)] {
        let path = dir.path().join(name);
        record_to(&path, force).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert_eq!(names(dir.path()), ["a", "b"]);
}

#[test]
fn an_existing_file_stays_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(record_to(&path, false), Err(WriteError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    // Who has the old file open keeps it; the new one is another file.
    let old = fs::metadata(&path).unwrap().ino();
    let hard = dir.path().join("hard");
    fs::hard_link(&path, &hard).unwrap();
    record_to(&path, true).unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), old);
    assert_eq!(fs::read(&hard).unwrap(), b"precious");
    assert_eq!(read_all(&fs::read(&path).unwrap()).unwrap().records, stream(20));
    assert_eq!(names(dir.path()), ["hard", "s"]);
}

#[test]
fn a_link_is_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, path) = (dir.path().join("theirs"), dir.path().join("s"));
    fs::write(&theirs, "precious").unwrap();
    symlink(&theirs, &path).unwrap();
    assert!(matches!(record_to(&path, false), Err(WriteError::Exists { .. })));
    record_to(&path, true).unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());

    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(record_to(&dangling, false), Err(WriteError::Exists { .. })));
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn devices_pipes_and_directories_are_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [dir.path(), &pipe, std::path::Path::new("/dev/null")] {
        for force in [false, true] {
            assert!(matches!(record_to(path, force), Err(WriteError::NotAFile { .. })), "{path:?}");
        }
    }
}

#[test]
fn what_cannot_be_created_is_named() {
    let missing = std::path::Path::new("/nonexistent/dir/s");
    let refused = record_to(missing, false).unwrap_err();
    assert!(matches!(refused, WriteError::Create { .. }));
    assert_eq!(refused.to_string(), "cannot create `/nonexistent/dir/s`");
}

#[test]
fn a_recording_that_never_began_leaves_nothing_and_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    fs::write(&old, "precious").unwrap();
    let (a, b) = (Writer::create(&new, false).unwrap(), Writer::create(&old, true).unwrap());
    assert_eq!(fs::read(&old).unwrap(), b"precious");
    drop((a, b));
    assert_eq!(names(dir.path()), ["old"]);
    assert_eq!(fs::read(&old).unwrap(), b"precious");
}

#[test]
fn somebody_elses_file_in_our_place_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let writer = Writer::create(&path, false).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
}
