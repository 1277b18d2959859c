//! The recorder is killed, hundreds of times, at random moments.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const DIR: &str = "GOSTRAY_TEST_KILL_DIR";
const SEED: &str = "GOSTRAY_TEST_KILL_SEED";
const ROUNDS: u64 = 300;

/// The recorder: writes the endless stream and notes after each record that it was handed over. Stream time runs
/// many times faster than the clock, so that each life spans many seconds of it.
#[test]
#[ignore = "the child of a_killed_recorder_loses_at_most_a_second"]
fn recorder() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let dir = Path::new(&dir);
    let progress =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(dir.join("n")).unwrap();
    let mut writer = Writer::create(&dir.join("session"), true).unwrap();
    let mut record = Vec::new();
    for i in 0.. {
        mix(i, &mut record);
        writer.write(&record).unwrap();
        progress.write_all_at(&(i + 1).to_le_bytes(), 0).unwrap();
        if noise(seed ^ i).is_multiple_of(64) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_killed_recorder_loses_at_most_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    let (mut mid_chunk, mut most_lost, mut longest, mut expected) = (0, 0, 0, Vec::new());
    for round in 0..ROUNDS {
        let _ = std::fs::remove_file(dir.path().join("n"));
        let mut child = Command::new(&me)
            .args(["record::tests::kill::recorder", "--exact", "--ignored", "--quiet"])
            .env(DIR, dir.path())
            .env(SEED, round.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Let it begin, then some: from the first microseconds on to some ten milliseconds.
        let begun = std::time::Instant::now();
        let progress = || std::fs::read(dir.path().join("n")).ok().and_then(|b| b.first_chunk().copied());
        while progress().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the recorder does not begin");
            std::thread::sleep(Duration::from_micros(50));
        }
        std::thread::sleep(Duration::from_micros(noise(round) % 25_000));
        child.kill().unwrap();
        assert!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()) == Some(9));

        let handed_over = u64::from_le_bytes(progress().unwrap());
        let reading = read_all(&std::fs::read(dir.path().join("session")).unwrap()).unwrap();
        let n = reading.records.len() as u64;
        while (expected.len() as u64) < n {
            let mut record = Vec::new();
            mix(expected.len() as u64, &mut record);
            expected.push(record);
        }
        assert_eq!(reading.records, expected[..n as usize], "round {round}: not a prefix");
        assert!(!reading.finished);
        assert_eq!(reading.problems.len(), 1, "round {round}: {:?}", reading.problems);
        assert!(reading.problems[0].cause.is_cut_off(), "round {round}: {:?}", reading.problems);
        mid_chunk += u64::from(reading.problems[0].cause == Cause::Truncated);

        // `n` may be one more than what was noted: killed between the write and the note.
        let lost_ns = handed_over.saturating_sub(n) * STEP_NS;
        assert!(lost_ns <= format::FLUSH_NS, "round {round}: lost {lost_ns} ns of the stream");
        most_lost = most_lost.max(lost_ns);
        longest = longest.max(n * STEP_NS);
    }
    println!(
        "{ROUNDS} kills: {mid_chunk} in the middle of a chunk; longest {} s, most lost {} ms of stream time",
        longest / 1_000_000_000,
        most_lost / 1_000_000
    );
    assert!(longest > 3 * format::FLUSH_NS, "the recorders lived too short to prove anything");
    assert!(most_lost > 0, "no kill met an open chunk");
}
