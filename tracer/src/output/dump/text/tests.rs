use super::super::changes::Told;
use super::super::fixture::fixture;
use super::*;
use crate::dump::Goroutine;
use crate::dump::filter::keep;

fn drawn(dump: &Dump, options: &Options<'_>) -> String {
    let mut out = Vec::new();
    write(dump, &shown(dump), options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn groups_in_a_file() {
    insta::assert_snapshot!(drawn(&fixture(), &Options::default()));
}

#[test]
fn groups_on_a_terminal() {
    let style = Style { color: true, width: Some(100) };
    insta::assert_snapshot!(
        drawn(&fixture(), &Options { style, ..Options::default() }).replace('\u{1b}', "␛")
    );
}

#[test]
fn each_goroutine() {
    let text = drawn(&fixture(), &Options { all: true, ..Options::default() });
    for g in fixture().goroutines {
        assert!(text.contains(&format!("\ngoroutine {}  ", g.goid)), "{}", g.goid);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_moves_the_cursor() {
    let text = drawn(&fixture(), &Options { all: true, ..Options::default() });
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    assert!(text.contains("main.\\u{1b}[2Jevil;f") && text.contains("tenant=a\\u{7}b"));
}

#[test]
fn a_selection_and_what_changed() {
    let mut told = Told::default();
    let mut dump = fixture();
    let title = |dump: &Dump, g: &Goroutine| super::title(dump, g);
    told.next(&dump, &shown(&dump), |g| title(&dump, g));
    let sends = dump.goroutines[2].clone();
    dump.goroutines.extend((100..103).map(|goid| Goroutine { goid, ..sends.clone() }));
    let selection = Selection { filters: vec!["state=chan".into(), "age<2h".into()], of: 17 };
    keep(&mut dump, &["state=chan".parse().unwrap(), "age<2h".parse().unwrap()]);
    let changes = told.next(&dump, &shown(&dump), |g| title(&dump, g)).unwrap();
    let options = Options { selection: Some(&selection), changes: Some(&changes), ..Options::default() };
    insta::assert_snapshot!(drawn(&dump, &options));
    insta::assert_snapshot!("table", drawn(&dump, &Options { table: true, ..options }));
}

#[test]
fn more_groups_than_are_shown() {
    let mut dump = fixture();
    let g = dump.goroutines[2].clone();
    dump.goroutines = (0..30).map(|i| Goroutine { goid: i + 5, gopc: 0x9000 + i, ..g.clone() }).collect();
    let text = drawn(&dump, &Options::default());
    assert!(text.contains("\n20. ") && !text.contains("\n21. "));
    assert!(text.contains(
        "\n… and 10 more groups with 10 goroutines (`--filter` narrows, `--all` shows each goroutine)\n"
    ));
}

#[test]
fn an_empty_dump() {
    insta::assert_snapshot!(drawn(&Dump::default(), &Options::default()));
}
