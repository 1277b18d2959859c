//! What the session file must withstand.

mod create;
mod damage;
mod document;
mod full_disk;
mod hostile;
mod kill;
mod round_trip;
mod seeds;
mod size;

use tracer_common::decode::{bytes_of, encode_stack};
use tracer_common::wire::{Birth, Death, Header, Park, Seen, kind};

use super::*;
use crate::event::{Event, TargetInfo, header};

/// First time of [`mix`], and the mean distance of its events.
const START_NS: u64 = 1_000_000_000_000;
const STEP_NS: u64 = 2_500_000;

/// A number that depends on `i` and looks random (splitmix64).
pub(super) fn noise(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Record number `i` of an endless stream: the target, then births, deaths, parks, looks, stacks, a tick a second.
fn mix(i: u64, out: &mut Vec<u8>) {
    out.clear();
    let r = noise(i);
    let time_ns = START_NS + i * STEP_NS + r % STEP_NS;
    let h = |kind| Header {
        time_ns,
        goid: 18 + i / 3,
        g: 0xc000_0000_0000 + (r >> 40) % 4096 * 456,
        tid: 4000 + (r % 6) as u32,
        cpu: (r % 8) as u16,
        kind,
        flags: 0,
    };
    let pc = |n: u64| 0x47_0000 + noise(n % 50) % 0x20_0000;
    match i {
        0 => {
            let target = TargetInfo { pid: 4000, comm: "shop".into(), ..TargetInfo::default() };
            Event::Target(header(kind::TARGET, START_NS), Box::new(target)).encode(out);
        }
        _ if i.is_multiple_of(400) => out.extend_from_slice(bytes_of(&h(kind::TICK))),
        _ if i.is_multiple_of(97) => {
            let frames: Vec<u64> = (0..8 + r % 20).map(|n| pc(i + n)).collect();
            encode_stack(&h(kind::STACK_DEF), noise(i % 50), &frames, &mut |b| out.extend_from_slice(b));
        }
        _ => match r % 8 {
            0..3 => out.extend_from_slice(bytes_of(&Birth {
                h: h(kind::BIRTH),
                parent_goid: 7 + r % 5,
                gopc: pc(r % 12),
                start_pc: pc(50 + r % 12),
                stack: noise(r % 50),
            })),
            3..6 => out.extend_from_slice(bytes_of(&Death { h: h(kind::DEATH) })),
            6 => out.extend_from_slice(bytes_of(&Park {
                h: h(kind::PARK),
                lock: 0xc000_0010_0000 + r % 64 * 96,
                unlockf: 0x40_5000,
                reason: r % 20,
            })),
            _ => out.extend_from_slice(bytes_of(&Seen {
                h: h(kind::SEEN),
                gopc: pc(r % 12),
                status: 4,
                reason: 14,
                ..Seen::default()
            })),
        },
    }
}

/// The first `n` records of [`mix`].
pub(super) fn stream(n: u64) -> Vec<Vec<u8>> {
    let mut record = Vec::new();
    (0..n)
        .map(|i| {
            mix(i, &mut record);
            record.clone()
        })
        .collect()
}

/// A finished session file with these records.
fn file_of<R: AsRef<[u8]>>(records: &[R]) -> Vec<u8> {
    let mut shared = SharedBytes::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    for record in records {
        writer.write(record.as_ref()).unwrap();
    }
    writer.finish().unwrap();
    shared.take()
}

/// Memory that outlives the writer.
#[derive(Clone, Default)]
struct SharedBytes(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl SharedBytes {
    fn take(&mut self) -> Vec<u8> {
        self.0.take()
    }
}

impl Output for SharedBytes {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.borrow_mut().put(bytes)
    }
    fn cut(&mut self, len: u64) -> std::io::Result<()> {
        self.0.borrow_mut().cut(len)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn path(&self) -> &std::path::Path {
        std::path::Path::new("memory")
    }
}

/// All that a reader has to say about a file.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    records: Vec<Vec<u8>>,
    problems: Vec<Problem>,
    finished: bool,
}

fn read_all(bytes: &[u8]) -> Result<Reading, ReadError> {
    let mut reader = Reader::new(bytes)?;
    let mut reading = Reading::default();
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Record(record) => reading.records.push(record.to_vec()),
            Item::Problem(problem) => reading.problems.push(problem),
        }
    }
    reading.finished = reader.ending() == Some(Ending::Finished);
    Ok(reading)
}

/// Records that the problems say are lost; `None` if one of them does not know.
fn known_losses(problems: &[Problem]) -> Option<u64> {
    problems.iter().map(|p| p.lost.records).sum()
}
