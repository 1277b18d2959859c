use tracer_common::decode::bytes_of;
use tracer_common::wire::{Birth, Death, end};

use super::*;
use crate::event::TargetInfo;
use crate::record::{Output, Writer};

const T0: u64 = 5_000_000_000;

fn target() -> Event {
    Event::Target(header(kind::TARGET, T0), Box::new(TargetInfo { pid: 7, ..TargetInfo::default() }))
}

/// A target, `n` births a millisecond apart, a good end.
fn events(n: u64) -> Vec<Event> {
    let birth = |i: u64| {
        let h = Header { time_ns: T0 + i * 1_000_000, goid: i, kind: kind::BIRTH, ..Header::default() };
        Event::Birth(Birth { h, gopc: 0x40_1000 + i, ..Birth::default() })
    };
    let h = header(kind::END, T0 + n * 1_000_000);
    let last = Event::End(tracer_common::wire::End { h, reason: end::ASKED, code: 0 });
    [target()].into_iter().chain((1..n).map(birth)).chain([last]).collect()
}

/// A file under the name of a temporary directory, because the writer keeps what it was given.
fn file(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut writer = Writer::create(&path, false).unwrap();
    write(&mut writer);
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

fn put(writer: &mut Writer<impl Output>, event: &Event) {
    let mut record = Vec::new();
    event.encode(&mut record);
    writer.write(&record).unwrap();
}

fn session(events: &[Event], flush_every: usize) -> Vec<u8> {
    file(|writer| {
        for (i, event) in events.iter().enumerate() {
            put(writer, event);
            if i % flush_every == 0 {
                writer.flush().unwrap();
            }
        }
    })
}

fn replay(bytes: Vec<u8>) -> Replay {
    Replay::from_input(Box::new(Cursor::new(bytes))).unwrap()
}

fn all(bytes: Vec<u8>) -> Vec<Event> {
    replay(bytes).collect::<Result<_, _>>().unwrap()
}

fn notes(events: &[Event]) -> Vec<&Note> {
    events.iter().filter_map(|e| if let Event::Note(_, note) = e { Some(note) } else { None }).collect()
}

fn losses(events: &[Event]) -> Vec<&Loss> {
    events.iter().filter_map(|e| if let Event::Loss(loss) = e { Some(loss) } else { None }).collect()
}

#[test]
fn what_was_recorded_is_replayed() {
    let expected = events(500);
    let mut replay = replay(session(&expected, 60));
    let mut got = Vec::new();
    while let Some(event) = replay.next_event().unwrap() {
        assert_eq!(replay.ending(), None);
        got.push(event);
    }
    assert_eq!(got, expected);
    assert_eq!((replay.ending(), replay.problems()), (Some(Ending::Finished), 0));
}

#[test]
fn from_a_file_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.gostray");
    std::fs::write(&path, session(&events(9), 3)).unwrap();
    let got: Vec<Event> = Replay::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(got, events(9));
    let missing = Replay::open(&dir.path().join("none")).err().unwrap();
    assert_eq!(missing.class(), Class::CannotRead);
}

#[test]
fn a_cut_off_recording_replays_and_says_so() {
    let expected = events(500);
    let bytes = session(&expected, 60);
    for len in [bytes.len() - 1, bytes.len() - 64, bytes.len() / 2, 300] {
        let mut replay = replay(bytes[..len].to_vec());
        let mut got: Vec<Event> = replay.by_ref().collect::<Result<_, _>>().unwrap();
        assert_eq!(replay.ending(), Some(Ending::CutOff));
        let Some(Event::Note(_, note)) = got.pop() else { panic!("no note at the end") };
        assert_eq!(note.code, note::CUT_OFF);
        assert!(note.text.starts_with("the recording is cut off"), "{}", note.text);
        got.retain(|e| !matches!(e, Event::Loss(_)));
        assert_eq!(got, expected[..got.len()]);
    }
}

#[test]
fn a_damaged_chunk_is_a_loss_in_its_place() {
    let expected = events(500);
    let mut bytes = session(&expected, 60);
    // Somewhere in the middle: the payload of a chunk of 60 births.
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    let got = all(bytes);
    let [loss] = losses(&got)[..] else { panic!("{:?}", losses(&got)) };
    let kept = got.iter().filter(|e| !matches!(e, Event::Loss(_) | Event::Note(..))).count();
    assert_eq!(loss.count, (expected.len() - kept) as u64);
    assert_eq!((loss.count, loss.cause), (60, u64::from(tracer_common::wire::loss::UNDECODABLE)));
    assert_eq!(loss.h.time_ns - loss.from_ns, 59_000_000);
    // In its place: between the events before and after.
    let place = got.iter().position(|e| matches!(e, Event::Loss(_))).unwrap();
    assert!(got[place - 1].time_ns() < loss.from_ns);
    assert!(got[place + 2].time_ns() > loss.h.time_ns);
    let [note] = notes(&got)[..] else { panic!() };
    assert_eq!(note.code, note::DAMAGED);
    assert!(note.text.ends_with("; 60 events are lost"), "{}", note.text);
    assert!(matches!(got.last(), Some(Event::End(_))));
}

#[test]
fn records_that_do_not_decode_are_counted_where_they_stand() {
    let h = |kind, i: u64| Header { time_ns: T0 + i, kind, ..Header::default() };
    let bytes = file(|writer| {
        put(writer, &target());
        // Damaged: a death with a byte too many, a message that is none, less than a header.
        writer.write(&[bytes_of(&Death { h: h(kind::DEATH, 1) }), b"x"].concat()).unwrap();
        writer.write(&[bytes_of(&h(kind::NOTE, 2)), b"\xff\xff"].concat()).unwrap();
        writer.write(b"short").unwrap();
        // From the future: kinds that do not exist yet.
        writer.write(bytes_of(&h(200, 4))).unwrap();
        writer.write(bytes_of(&h(31, 5))).unwrap();
        put(writer, &Event::Death(Death { h: h(kind::DEATH, 6) }));
    });
    let got = all(bytes);
    let at: Vec<_> = losses(&got).iter().map(|l| (l.count, l.h.time_ns - T0)).collect();
    assert_eq!(at, [(1, 1), (1, 2), (1, 0)], "the last one has no time of its own");
    let [note] = notes(&got)[..] else { panic!("{:?}", notes(&got)) };
    assert_eq!(note.code, note::UNKNOWN_EVENTS);
    assert!(note.text.starts_with("2 events"), "{}", note.text);
    assert!(matches!(got[got.len() - 2], Event::Death(_)));
}

#[test]
fn a_recording_without_its_beginning_says_so() {
    let expected = events(200);
    let mut bytes = session(&expected, 50);
    bytes[16 + 70] ^= 1;
    let got = all(bytes);
    let codes: Vec<_> = notes(&got).iter().map(|n| n.code.as_str()).collect();
    assert_eq!(codes, [note::DAMAGED, note::NO_TARGET]);
    assert_eq!(losses(&got)[0].count, 1);
    assert!(matches!(got.last(), Some(Event::End(_))));
}

#[test]
fn much_damage_gives_few_notes_and_all_losses() {
    let expected = events(3000);
    let bytes = session(&expected, 20);
    let sync = record::format::SYNC;
    let chunks: Vec<usize> = (0..bytes.len() - 8).filter(|&i| bytes[i..i + 8] == sync).collect();
    let mut damaged = bytes;
    for &at in &chunks[1..100] {
        damaged[at + record::format::CHUNK_HEADER_LEN + 3] ^= 0x55;
    }
    let got = all(damaged);
    assert_eq!(losses(&got).iter().map(|l| l.count).sum::<u64>(), 99 * 20);
    assert_eq!(notes(&got).len() as u64, MAX_NOTES);
}

#[test]
fn what_is_no_session_is_refused_with_its_class() {
    let open = |bytes: &'static [u8]| Replay::from_input(Box::new(bytes)).err().unwrap();
    assert_eq!(open(b"just text").class(), Class::NotASession);
    assert_eq!(open(b"").class(), Class::DamagedSession);
    assert_eq!(open(b"\x7fELF").class(), Class::NotASession);
}

#[test]
fn the_text_twin_is_known_by_its_first_byte() {
    let open = |bytes: Vec<u8>| Replay::from_input(Box::new(Cursor::new(bytes)));
    let text: String = events(3).iter().map(|e| text::print(e) + "\n").collect();
    let got: Vec<Event> = open(text.into_bytes()).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(got, events(3));
    let mut refused = open(b"# a comment\nnonsense\n".to_vec()).unwrap();
    assert_eq!(refused.next_event().err().unwrap().class(), Class::DamagedSession);
    assert_eq!(open(session(&events(5), 2)).unwrap().count(), events(5).len());
    assert_eq!(open(b"\x7fELF".to_vec()).err().unwrap().class(), Class::NotASession);
}
