//! The fuzzer's seeds, read and mutated on stable for a few seconds. Found crashes join them in `fuzz/seeds`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::hostile::{exercise, repair_checksums};
use super::*;
use crate::event::message::Frame;
use crate::event::{Note, ProbeSite, Symbol, WaitReasons};

fn seeds(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

fn all(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(seeds(target)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|f| std::fs::read(f).unwrap()).collect()
}

/// Changes a few bytes, cuts, doubles or moves a piece; what it does depends on `n` alone.
fn mutate(bytes: &mut Vec<u8>, n: u64) {
    for k in 0..1 + noise(n) % 4 {
        let r = noise(n.wrapping_mul(31).wrapping_add(k));
        if bytes.is_empty() {
            return;
        }
        let at = (r >> 8) as usize % bytes.len();
        let len = ((r >> 40) as usize % 80).min(bytes.len() - at);
        match r % 8 {
            0 => bytes[at] ^= 1 << (r >> 4 & 7),
            1 => bytes[at] = (r >> 32) as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][(r >> 32) as usize % 5],
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let piece = bytes[at..at + len].to_vec();
                let to = (r >> 20) as usize % bytes.len();
                bytes.splice(to..to, piece);
            }
            6 => bytes[at..at + len].fill(0xff),
            _ => bytes[at..at + len].reverse(),
        }
    }
}

#[test]
fn mutated_seeds_never_panic() {
    let (sessions, records) = (all("session_reader"), all("event_decode"));
    assert!(sessions.len() >= 4 && records.len() >= 12, "seeds are missing");
    let until = Instant::now() + Duration::from_secs(3);
    let mut n = 0;
    while Instant::now() < until {
        n += 1;
        let mut session = sessions[n as usize % sessions.len()].clone();
        mutate(&mut session, n);
        exercise(&session);
        repair_checksums(&mut session);
        exercise(&session);
        let mut record = records[n as usize % records.len()].clone();
        mutate(&mut record, n);
        if let Ok(event) = Event::decode(&record) {
            let mut again = Vec::new();
            event.encode(&mut again);
            assert!(Event::decode(&again).is_ok(), "{event:?}");
        }
    }
    println!("{n} mutations");
}

/// Makes `fuzz/seeds` anew.
#[test]
#[ignore = "writes the fuzzer's seeds: after a new format version or new kinds of events"]
fn write_fuzz_seeds() {
    // `--ignored` alone, as the root tests are run, must not change files of the repository.
    if std::env::var_os("GOSTRAY_WRITE_SEEDS").is_none() {
        return;
    }
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let dir = seeds(target);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), bytes).unwrap();
    };
    let every = one_of_each();
    let whole = file_of(&every);
    put("session_reader", "every-kind", &whole);
    put("session_reader", "killed", &whole[..whole.len() - 100]);
    put("session_reader", "empty", &file_of::<Vec<u8>>(&[]));
    let several = {
        let mut shared = SharedBytes::default();
        let mut writer = Writer::new(shared.clone()).unwrap();
        for record in stream(12) {
            writer.write(&record).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
        shared.take()
    };
    put("session_reader", "chunks", &several);
    put("session_reader", "columns", &file_of(&stream(1000)));
    let mut damaged = several;
    damaged[400] ^= 0xff;
    put("session_reader", "damaged", &damaged);
    for record in every {
        put("event_decode", &format!("kind-{:03}", record[30]), &record);
    }
}

/// A record of every kind.
fn one_of_each() -> Vec<Vec<u8>> {
    let h = |kind| Header { time_ns: START_NS, goid: 5, kind, ..Header::default() };
    let text = |t: &str| t.to_owned();
    let frame =
        Frame { function: text("main.leak"), file: text("/src/main.go"), line: 12, ..Frame::default() };
    let events = [
        Event::Target(
            h(kind::TARGET),
            Box::new(TargetInfo {
                pid: 4000,
                comm: text("shop"),
                go_version: text("go1.26.6"),
                ..TargetInfo::default()
            }),
        ),
        Event::Symbol(
            h(kind::SYMBOL),
            Box::new(Symbol { pc: 0x47_0000, frames: vec![frame], ..Symbol::default() }),
        ),
        Event::ProbeSite(
            h(kind::PROBE_SITE),
            Box::new(ProbeSite {
                role: text("create"),
                function: text("runtime.newproc1"),
                ..ProbeSite::default()
            }),
        ),
        Event::WaitReasons(h(kind::WAIT_REASONS), WaitReasons { names: vec![text(""), text("chan send")] }),
        Event::Note(h(kind::NOTE), Note { code: text("a"), text: text("b") }),
    ];
    let mut out: Vec<Vec<u8>> = events
        .iter()
        .map(|e| {
            let mut record = Vec::new();
            e.encode(&mut record);
            record
        })
        .collect();
    // Kinds of a fixed shape: the header, and as many zeros as their decoder asks for.
    for k in (1..64).filter(|&k| k != kind::STACK_DEF) {
        let mut record = bytes_of(&h(k)).to_vec();
        if let Err(tracer_common::decode::DecodeError::WrongLength { expected, .. }) =
            tracer_common::decode::decode(&record)
        {
            record.resize(expected, 0);
        }
        if tracer_common::decode::decode(&record).is_ok() {
            out.push(record);
        }
    }
    let mut stack = Vec::new();
    encode_stack(&h(kind::STACK_DEF), 77, &[0x47_0000, 0x47_1000], &mut |b| stack.extend_from_slice(b));
    out.push(stack);
    out
}
