//! Debug information written by hand: a sound one, and such as is made to be slow.

use std::time::{Duration, Instant};

use gimli::SectionId;

use super::*;

#[derive(Debug)]
struct Fake {
    sections: DebugSections<'static>,
    symbols: CodeSymbols<'static>,
    meter: Meter,
}

impl DebugSource for Fake {
    fn sections(&self) -> Result<&DebugSections<'_>, DebugError> {
        Ok(&self.sections)
    }

    fn symbols(&self) -> &CodeSymbols<'_> {
        &self.symbols
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

const LOW: u64 = 0x1000;
const SIZE: u64 = 0x100;

/// 1: unit (name, low, high, lines). 2: function (name, low, high), with children. 3: inlined call without any attribute,
/// with children. 4: function (ranges), no children. 5: inlined call (origin, low, high, line), no children.
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0x10, 0x17, 0, 0, //
    2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0, //
    3, 0x1d, 1, 0, 0, //
    4, 0x2e, 0, 0x55, 0x17, 0, 0, //
    5, 0x1d, 0, 0x31, 0x13, 0x11, 0x01, 0x12, 0x07, 0x58, 0x0b, 0x59, 0x0b, 0, 0, //
    0,
];
/// Of the first function, from the unit's begin.
const FUNCTION_AT: u32 = 11 + 1 + 4 + 8 + 8 + 4;

fn entry(code: u8, name: &[u8]) -> Vec<u8> {
    [&[code], name, &[0], &LOW.to_le_bytes()[..], &SIZE.to_le_bytes()].concat()
}

/// A unit with one function and in it these entries.
fn unit(inside: &[u8]) -> Vec<u8> {
    let mut body = [&4u16.to_le_bytes()[..], &[0; 4], &[8]].concat();
    body.extend(entry(1, b"a.c"));
    body.extend([0; 4]);
    body.extend(entry(2, b"outer"));
    body.extend(inside);
    body.extend([0, 0]);
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

/// A line table of version 4 with one file, line 1 at `LOW`, then this program.
fn lines(program: &[u8]) -> Vec<u8> {
    let mut header = vec![1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    header.extend(b"\0a.c\0\0\0\0\0");
    let mut body = 4u16.to_le_bytes().to_vec();
    body.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    body.extend(header);
    body.extend([0, 9, 2]);
    body.extend(LOW.to_le_bytes());
    body.push(1);
    body.extend(program);
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

/// Line 6 from the 16th byte on, and the end.
const PROGRAM: &[u8] = &[3, 5, 2, 16, 1, 2, 0xf0, 1, 0, 1, 1];

fn fake(info: Vec<u8>, line: Vec<u8>, ranges: Vec<u8>) -> Fake {
    let sections = DebugSections::of(|id| match id {
        SectionId::DebugInfo => info.clone(),
        SectionId::DebugAbbrev => ABBREVIATIONS.to_vec(),
        SectionId::DebugLine => line.clone(),
        SectionId::DebugRanges => ranges.clone(),
        _ => Vec::new(),
    });
    Fake { sections, symbols: CodeSymbols::default(), meter: Meter::default() }
}

/// An inlined call of the function itself, in bytes 16 to 32, from line 3.
fn inlined() -> Vec<u8> {
    let mut bytes = vec![5];
    bytes.extend(FUNCTION_AT.to_le_bytes());
    bytes.extend((LOW + 16).to_le_bytes());
    bytes.extend(16u64.to_le_bytes());
    bytes.extend([1, 3]);
    bytes
}

fn too_much(source: &Fake) {
    let start = Instant::now();
    let mut lookup = Lookup::new(source);
    assert_eq!(lookup.frames(LOW + 20), Err(Reason::TooMuchDebug));
    // Unoptimized, with other tests beside it: far from exact, but a loop without a bound takes minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn functions_lines_and_inlined_calls() {
    let source = fake(unit(&inlined()), lines(PROGRAM), Vec::new());
    let mut lookup = Lookup::new(&source);
    let frames = lookup.frames(LOW + 20).unwrap();
    let shown: Vec<_> =
        frames.iter().map(|f| (f.function.as_str(), f.file.as_str(), f.line, f.inlined)).collect();
    assert_eq!(shown, [("outer", "a.c", 6, true), ("outer", "a.c", 3, false)]);
    let frames = lookup.frames(LOW).unwrap();
    assert_eq!((frames.len(), frames[0].line), (1, 1));
    assert_eq!(lookup.frames(LOW + SIZE), Ok(Vec::new()), "behind the function");
}

#[test]
fn what_is_cut_off_has_a_reason() {
    let whole = unit(&inlined());
    for len in 1..whole.len() {
        let source = fake(whole[..len].to_vec(), lines(PROGRAM), Vec::new());
        match Lookup::new(&source).frames(LOW + 20) {
            Err(Reason::DamagedDebug { .. }) | Ok(_) => {}
            other => panic!("cut at {len}: {other:?}"),
        }
    }
}

#[test]
fn deep_nesting_does_not_take_our_stack() {
    let source = fake(unit(&vec![3; 1 << 20]), lines(PROGRAM), Vec::new());
    too_much(&source);
    assert_eq!(source.meter.exceeded(), None, "the next look-up begins anew");
}

#[test]
fn many_small_entries_do_not_take_our_memory() {
    let source = fake(unit(&[3, 0].repeat(16 << 20)), lines(PROGRAM), Vec::new());
    too_much(&source);
}

#[test]
fn long_line_tables_do_not_take_our_memory() {
    let source = fake(unit(&[]), lines(&vec![0x20; 32 << 20]), Vec::new());
    too_much(&source);
}

#[test]
fn one_list_asked_for_many_times_does_not_take_our_time() {
    let list: Vec<u8> =
        (0..100_000u64).flat_map(|i| [i * 2 + 1, i * 2 + 2]).flat_map(u64::to_le_bytes).collect();
    // The first function ends; then siblings, each with the whole list.
    let inside = [&[0u8][..], &[4, 0, 0, 0, 0].repeat(100_000)].concat();
    too_much(&fake(unit(&inside), lines(PROGRAM), list));
}

/// Each look-up that asks too much is paid for; a file of them is given up.
#[test]
fn rounds_have_an_end() {
    let source = fake(unit(&[3, 0].repeat(1 << 12)), lines(PROGRAM), Vec::new());
    let mut lookup = Lookup { budget: 10_000, ..Lookup::new(&source) };
    for _ in 0..2 * MAX_ROUNDS {
        assert_eq!(lookup.frames(LOW + 20), Err(Reason::TooMuchDebug));
    }
    assert_eq!(lookup.rounds, MAX_ROUNDS);
    // With room enough the same file is read.
    assert!(Lookup::new(&source).frames(LOW + 20).is_ok());
}

/// What was read before may be thrown away once the memory is full, and is read again.
#[test]
fn a_full_meter_makes_room() {
    let source = fake(unit(&inlined()), lines(PROGRAM), Vec::new());
    let mut lookup = Lookup { budget: 20_000, ..Lookup::new(&source) };
    for i in 0..100 {
        assert_eq!(lookup.frames(LOW + 20).map(|f| f.len()), Ok(2), "{i}");
    }
    assert!((2..MAX_ROUNDS).contains(&lookup.rounds), "{}", lookup.rounds);
}
