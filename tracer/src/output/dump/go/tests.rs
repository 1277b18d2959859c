use super::super::fixture::fixture;
use super::*;

#[test]
fn all_sorts() {
    let mut out = Vec::new();
    write(&fixture(), |_| true, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn texts_are_quoted_as_go_does() {
    assert_eq!(quoted("/a b"), "\"/a b\"");
    assert_eq!(quoted("\"\\\n\t\u{1}é\u{1f600}\u{7f}"), "\"\\\"\\\\\\n\\t\\x01\\u00e9\\U0001f600\\u007f\"");
}
