use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

fn parse(line: &str) -> Request {
    match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Dump(args) => args.into(),
        _ => panic!("{line}"),
    }
}

#[test]
fn flags() {
    let plain = Request {
        subject: Subject::Process(42),
        format: Format::Text,
        all: false,
        filters: vec![],
        watch: None,
        output: None,
        force: false,
        color: ColorChoice::Auto,
        debug_dirs: vec![],
    };
    assert_eq!(parse("gostray dump 42"), plain);
    let line = "gostray dump 42 --format json --all --filter state=select --filter age>5m --watch 5s -o x --force \
                --color never --debug-dir /";
    let full = Request {
        format: Format::Json,
        all: true,
        filters: vec!["state=select".parse().unwrap(), "age>5m".parse().unwrap()],
        watch: Some(Duration::from_secs(5)),
        output: Some("x".into()),
        force: true,
        color: ColorChoice::Never,
        debug_dirs: vec!["/".into()],
        ..plain
    };
    assert_eq!(parse(line), full);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "gostray dump",
        "gostray dump 0",
        "gostray dump 42 --format svg",
        "gostray dump 42 --filter status=x",
        "gostray dump 42 --watch 10ms",
        "gostray dump 42 --force",
    ] {
        let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    let refused = |line: &str, terminal| parse(line).check(terminal).is_err();
    assert!(refused("gostray dump 42 --format pprof --watch 5s -o x", false));
    assert!(refused("gostray dump 42 --format folded --watch 5s", false));
    assert!(refused("gostray dump 42 --format pprof", true));
    assert!(!refused("gostray dump 42 --format pprof", false));
    assert!(!refused("gostray dump 42 --format pprof -o x", true));
    assert!(!refused("gostray dump 42 --format json --watch 5s", true));
}

#[test]
fn a_bad_filter_is_explained() {
    let error = Cli::try_parse_from(["gostray", "dump", "42", "--filter", "age=5m"]).unwrap_err();
    assert!(error.to_string().contains("`age` is compared by `<` or `>`, not by `=`"), "{error}");
}
