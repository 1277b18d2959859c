use std::time::Duration;

use clap::CommandFactory;

use super::common::{ColorChoice, FailOn, Show, Watch};
use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

const WATCH: Watch = Watch {
    duration: None,
    park: false,
    probes: true,
    look_every: Duration::from_secs(1),
    budget: Some(10_000_000),
    ring_bytes: 16 << 20,
    debug_dirs: Vec::new(),
};
const SHOW: Show = Show { json: false, all: false, color: ColorChoice::Auto, fail_on: None };

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    insta::assert_snapshot!("help", cli.render_long_help());
    for sub in cli.get_subcommands_mut() {
        let name = sub.get_name().to_owned();
        if name == "help" {
            continue;
        }
        let mut sub = sub.clone().term_width(100);
        insta::assert_snapshot!(format!("help_{name}"), sub.render_long_help());
        insta::assert_snapshot!(format!("short_help_{name}"), sub.render_help());
    }
}

#[test]
fn attach() {
    let Ok(Command::Attach(args)) = parse("gostray attach 42") else { panic!() };
    assert_eq!(attach::Request::from(args), attach::Request { pid: 42, watch: WATCH, show: SHOW });
    let line = "gostray attach 42 --duration 45s --park on --look-every 5s --ring-size 1M --budget 0.5% --json --all --color never \
                --fail-on leak --debug-dir / --debug-dir /usr";
    let Ok(Command::Attach(args)) = parse(line) else { panic!() };
    let watch = Watch {
        duration: Some(Duration::from_secs(45)),
        park: true,
        probes: true,
        look_every: Duration::from_secs(5),
        budget: Some(5_000_000),
        ring_bytes: 1 << 20,
        debug_dirs: vec!["/".into(), "/usr".into()],
    };
    let show = Show { json: true, all: true, color: ColorChoice::Never, fail_on: Some(FailOn::Leak) };
    assert_eq!(attach::Request::from(args), attach::Request { pid: 42, watch, show });
}

#[test]
fn dump_takes_a_pid_or_a_core() {
    use crate::cli::dump::{Request, Subject};
    let subject = |line: &str| match parse(line) {
        Ok(Command::Dump(args)) => Some(Request::from(args).subject),
        _ => None,
    };
    assert_eq!(subject("gostray dump 42"), Some(Subject::Process(42)));
    let core = Subject::Core { core: "c".into(), exe: None };
    assert_eq!(subject("gostray dump --core c"), Some(core));
    let both = Subject::Core { core: "c".into(), exe: Some("e".into()) };
    assert_eq!(subject("gostray dump --core c --exe e"), Some(both));
    for line in
        ["gostray dump", "gostray dump 42 --core c", "gostray dump 42 --exe e", "gostray dump --exe e"]
    {
        assert_eq!(subject(line), None, "{line}");
    }
}

#[test]
fn the_command_of_run_keeps_its_own_flags() {
    let Ok(Command::Run(args)) = parse("gostray run --json -- ./server --json -- -x") else { panic!() };
    let request = run::Request::from(args);
    assert_eq!(request.command, ["./server", "--json", "--", "-x"]);
    assert!(request.show.json);
}

#[test]
fn record_takes_a_pid_or_a_command() {
    let Ok(Command::Record(args)) = parse("gostray record 42 -o x --force") else { panic!() };
    let request = record::Request::from(args);
    assert_eq!(request.subject, crate::cli::live::Subject::Pid(42));
    assert!(request.force && request.output == std::path::Path::new("x"));
    let Ok(Command::Record(args)) = parse("gostray record -o x -- ./server -o y") else { panic!() };
    let request = record::Request::from(args);
    assert_eq!(
        request.subject,
        crate::cli::live::Subject::Command(vec!["./server".into(), "-o".into(), "y".into()])
    );
}

#[test]
fn report_has_a_format() {
    let Ok(Command::Report(args)) = parse("gostray report x --format json") else { panic!() };
    assert_eq!(
        report::Request::from(args),
        report::Request { file: "x".into(), show: Show { json: true, ..SHOW } }
    );
}

#[test]
fn diff_takes_two_moments() {
    let Ok(Command::Diff(args)) = parse("gostray diff a.json -") else { panic!() };
    let request =
        diff::Request { before: "a.json".into(), after: "-".into(), force: false, show: SHOW, fail_on: None };
    assert_eq!(diff::Request::from(args), request);
    let line = "gostray diff a b --json --all --color never --force --fail-on growth=10";
    let Ok(Command::Diff(args)) = parse(line) else { panic!() };
    let show = Show { json: true, all: true, color: ColorChoice::Never, fail_on: None };
    let request =
        diff::Request { before: "a".into(), after: "b".into(), force: true, show, fail_on: Some(10) };
    assert_eq!(diff::Request::from(args), request);
}

#[test]
fn what_makes_no_sense_is_refused_with_code_2() {
    let lines = [
        "gostray attach",
        "gostray attach 0",
        "gostray attach -5",
        "gostray attach self",
        "gostray attach 4294967296",
        "gostray attach 1 --duration 45",
        "gostray attach 1 --duration 0s",
        "gostray attach 1 --park maybe",
        "gostray attach 1 --look-every 10ms",
        "gostray attach 1 --ring-size 3M",
        "gostray attach 1 --fail-on healthy",
        "gostray run",
        "gostray run --",
        "gostray run ./server",
        "gostray record -o x",
        "gostray record 1",
        "gostray record 1 -o x -- ./server",
        "gostray replay",
        "gostray replay x --live --events",
        "gostray replay x --events --json",
        "gostray report x --format html",
        "gostray diff a",
        "gostray diff a b c",
        "gostray diff a b --fail-on leak",
        "gostray diff a b --fail-on growth=0",
        "gostray diff a b --fail-on growth=ten",
        "gostray frobnicate",
    ];
    for line in lines {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.use_stderr(), "{line}");
    }
}
