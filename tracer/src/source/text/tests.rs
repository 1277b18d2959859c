use proptest::prelude::*;

use super::*;
use crate::event_gen::any_event;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_event_survives_the_round_trip(event in any_event()) {
        let line = print(&event);
        prop_assert!(!line.contains('\n'), "{line}");
        let back = parse(&line).map_err(|e| TestCaseError::fail(format!("{e}: {line}")))?;
        prop_assert_eq!(back, vec![event]);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[@0-9a-z=\"\\\\ #,.\n]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn damaged_lines_do_not_panic(event in any_event(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut line: Vec<char> = print(&event).chars().collect();
        let at = at.index(line.len());
        line[at] = with;
        let _ = parse(&line.into_iter().collect::<String>());
    }
}

#[test]
fn a_hand_written_scenario_reads_well() {
    let text = "
        # a leak of five a second
        @0s target pid=7 go=go1.26.6 from-start
        @0s stack stack=1 frames=0x10,0x20   # defined before it is used
        @0s symbol pc=0x10 frame=main.leak file=main.go line=12
        repeat 3 every 200ms @1.5s birth goid=10 gopc=0x10 stack=1
        @2s loss cause=birth-ring-full count=3
        @3s end reason=duration
    ";
    let events = parse(text).unwrap();
    assert_eq!(events.len(), 8);
    let births: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Birth(b) => Some((b.h.time_ns, b.h.goid, b.stack)),
            _ => None,
        })
        .collect();
    assert_eq!(births, [(1_500_000_000, 10, 1), (1_700_000_000, 11, 1), (1_900_000_000, 12, 1)]);
}

#[test]
fn errors_name_the_line_and_the_reason() {
    for (text, want) in [
        (
            "\n\nbirth",
            "line 3: `birth` is not a time: `@` and a number with `s`, `ms`, `us` or `ns`, as in `@1.5s`",
        ),
        ("@1s", "line 1: there is no event after the time"),
        ("@1s brith", "line 1: `brith` is no event"),
        ("@1s death goid=x", "line 1: `x` is not a value of `goid`"),
        ("@1s death cpu=65536", "line 1: `65536` is not a value of `cpu`"),
        ("@1s death size=3", "line 1: `size` is not a field of `death`"),
        ("@1s death goid=3 goid=4", "line 1: the field `goid` is there twice"),
        ("@1s note text=\"open", "line 1: the text after `text` does not end with a quote"),
        ("@1s symbol pc=1 line=3", "line 1: `line` belongs to a `frame`, and none comes before it"),
        (
            "@0.0000000001s tick",
            "line 1: `@0.0000000001s` is not a time: `@` and a number with `s`, `ms`, `us` or `ns`, as in `@1.5s`",
        ),
        (
            "repeat 2 every 9000000000s @18000000000s tick",
            "line 1: a number leaves its range while it is repeated",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), want);
    }
    assert!(matches!(
        parse("repeat 1000001 every 1s @1s tick"),
        Err(TextError::Line { line: 1, reason: Reason::Repeat })
    ));
    let many = format!("@1s stack frames={}", ["1"; 65].join(","));
    assert!(matches!(parse(&many), Err(TextError::Line { reason: Reason::TooManyFrames, .. })));
}

#[test]
fn an_endless_line_is_refused_in_bounded_memory() {
    let endless = io::BufReader::new(io::Read::chain(&b"@1s tick\n"[..], io::repeat(b'x')));
    let mut reader = Reader::new(endless);
    assert!(matches!(reader.next(), Some(Ok(Event::Tick(_)))));
    assert!(matches!(reader.next(), Some(Err(TextError::Line { line: 2, reason: Reason::TooLong }))));
    assert!(reader.next().is_none());
    assert!(reader.buffer.capacity() <= 4 * MAX_LINE);
    let bad = Reader::new(&b"\xff\xfe\n"[..]).next();
    assert!(matches!(bad, Some(Err(TextError::Line { line: 1, reason: Reason::NotUtf8 }))));
}
