use super::super::fixture::{census, fixture, site, system};
use super::*;
use crate::diff::diff;

#[test]
fn all_sorts() {
    let (before, after) = fixture();
    insta::assert_snapshot!(text(&diff(&before, &after), &Options::default()));
}

#[test]
fn all_shows_what_stayed_and_the_runtimes_own() {
    let (before, after) = fixture();
    let all = text(&diff(&before, &after), &Options { all: true, ..Options::default() });
    let few = text(&diff(&before, &after), &Options::default());
    for word in ["main.pool  /src/api/main.go:70", "runtime.gcBgMarkStartWorkers", words::MAIN] {
        assert!(all.contains(word) && !few.contains(word), "{word}\n{all}");
    }
}

#[test]
fn no_change_is_said() {
    let same = census(vec![site("main.pool", 1, 3), system(2)]);
    let shown = text(&diff(&same, &same), &Options::default());
    assert!(shown.ends_with(
        "\n\ncreation sites: 0 grew, 0 appeared, 0 vanished, 0 shrank, 1 unchanged; goroutines in all: +0\n"
    ));
    assert_eq!(
        shown.matches("api (pid 4242): 3 goroutines (+ 2 of the runtime's), dump at 2026-").count(),
        2
    );
}

#[test]
fn colours_and_hostile_names() {
    let (before, after) = fixture();
    let diff = diff(&before, &after);
    assert!(!text(&diff, &Options::default()).contains('\u{1b}'));
    let colored = text(&diff, &Options { style: Style { color: true, width: None }, ..Options::default() });
    assert!(colored.contains("\u{1b}[") && !colored.contains("\u{1b}[2J"));
}
