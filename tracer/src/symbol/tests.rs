use super::*;
use crate::gobin::testkit::{self, Spec};

const BIAS: u64 = 0x7f12_3456_0000;

fn functions(s: &Symbol) -> Vec<&str> {
    s.frames.iter().map(|f| f.function.as_str()).collect()
}

#[test]
fn the_load_bias_is_taken_off() {
    let data = testkit::build(&Spec::go126().pie());
    let binary = GoBinary::parse(&data).unwrap();
    let id = binary.build_id();
    let mut s = Symbolizer::new(&binary, BIAS, id);
    assert!(s.build_id().unwrap().starts_with("a0a1"));
    let main = BIAS + testkit::TEXT;
    let symbol = s.symbol(main + 8, true);
    assert_eq!((symbol.pc, symbol.exact), (main + 8, true));
    assert_eq!(functions(&symbol), ["main.inner", "main.main"]);
    assert_eq!(s.symbol(main + 8, true), symbol, "the cache gives the same answer");
    // The same pc as a return address is another question.
    assert_eq!(functions(&s.symbol(main + 8, false)), ["main.main"]);
}

#[test]
fn generic_names_as_go_prints_them() {
    let data = testkit::build(&Spec::go126());
    let mut s = Symbolizer::new(GoBinary::parse(&data).unwrap(), 0, None);
    let symbol = s.symbol(Spec::go126().base() + testkit::TEXT + 13, true);
    assert_eq!(functions(&symbol), ["main.innermost[...]", "main.inner", "main.main"]);
    let full: Vec<&str> = symbol.frames.iter().map(|f| f.full_name.as_str()).collect();
    assert_eq!(full, [testkit::INNERMOST, "", ""], "the whole name stays known");
}

#[test]
fn unknown_addresses_say_why() {
    let data = testkit::build(&Spec::go126().pie());
    let mut s = Symbolizer::new(std::sync::Arc::new(GoBinary::parse(&data).unwrap()), BIAS, None);
    for pc in [0, 1, BIAS - 1, BIAS + 0x10_0000, u64::MAX] {
        let symbol = s.symbol(pc, true);
        assert!(symbol.frames.is_empty(), "{pc:#x}");
        assert!(symbol.unknown_because.starts_with("outside the executable"), "{}", symbol.unknown_because);
    }
    let stub = s.symbol(BIAS + testkit::TEXT + 0x300, true);
    assert!(stub.unknown_because.contains("not Go code"), "{}", stub.unknown_because);
}

#[test]
fn a_symbol_weighs_at_least_its_texts() {
    let frame = Frame {
        function: "f".repeat(100),
        full_name: "n".repeat(20),
        file: "x".repeat(3),
        ..Frame::default()
    };
    let symbol = Symbol { frames: vec![frame.clone(); 5], starts: Some(frame), ..Symbol::default() };
    assert!(bytes(&symbol) >= 6 * 123, "{}", bytes(&symbol));
}
