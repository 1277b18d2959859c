use super::super::fixture::{fixture, frame, healthy, sampled, site};
use super::*;
use crate::session::snapshot::EndReason;

fn plain(snapshot: &Snapshot) -> String {
    text(snapshot, &Options::default())
}

#[test]
fn plain_report() {
    insta::assert_snapshot!(plain(&fixture()));
}

#[test]
fn terminal_report_with_colours() {
    let style = Style { color: true, width: Some(90) };
    let report = text(&fixture(), &Options { style, ..Options::default() });
    insta::assert_snapshot!(report.replace('\u{1b}', "␛"));
}

#[test]
fn report_of_every_site() {
    insta::assert_snapshot!(text(&fixture(), &Options { all: true, ..Options::default() }));
}

#[test]
fn healthy_report() {
    insta::assert_snapshot!(plain(&healthy()));
}

#[test]
fn report_of_moments() {
    insta::assert_snapshot!(plain(&sampled()));
}

#[test]
fn the_first_line_names_the_leaking_statement() {
    let report = plain(&fixture());
    let first = report.lines().next().unwrap();
    assert!(first.starts_with("LEAK  the `go` statement at /src/api/fanout.go:57 in api-server (pid 4242)"));
    assert!(first.ends_with("812 alive, +6.80/s, most in `chan send`."), "{first}");
}

#[test]
fn two_call_chains_to_one_statement_are_one_statement() {
    let mut s = fixture();
    let mut twin = s.sites[0].clone();
    twin.id = "twin".into();
    twin.live = 8;
    twin.slope_per_s = Some(0.2);
    twin.waits.truncate(1);
    twin.waits[0].count = 8;
    s.sites.insert(1, twin);
    let report = plain(&s);
    assert!(report.lines().next().unwrap().contains("820 alive, +7.00/s, most in `chan send`"), "{report}");
    let mut other = s.sites[0].clone();
    other.created_at = frame("main.other", "/src/api/other.go", 9);
    s.sites.insert(1, other);
    let report = plain(&s);
    assert!(
        report
            .starts_with("LEAK  2 `go` statements in api-server (pid 4242) leak goroutines:\n  /src/api/fan")
    );
    assert_eq!(
        report.lines().nth(2).unwrap(),
        "  /src/api/other.go:9  812 alive, +6.80/s, most in `chan send`"
    );
}

#[test]
fn an_empty_session_says_so() {
    let mut s = healthy();
    s.sites.clear();
    s.end = None;
    s.target = Default::default();
    let report = plain(&s);
    assert!(
        report.starts_with("NO LEAK  no goroutine of the program's own was seen in the target"),
        "{report}"
    );
    assert!(report.contains("Ended: it still runs, or the recording was cut off."));
    assert!(report.contains("no end in the stream"));
}

#[test]
fn without_time_neither_clock_nor_duration_is_shown() {
    let mut a = fixture();
    let options = Options { show_time: false, ..Options::default() };
    let report = text(&a, &options);
    a.started_unix_ns = None;
    a.watched_ns += 1;
    assert_eq!(report, text(&a, &options));
    assert_ne!(plain(&a), plain(&fixture()));
}

#[test]
fn no_plain_line_carries_an_escape_whatever_the_names() {
    let mut s = fixture();
    let evil = "\u{1b}]0;x\u{7}\n\r";
    for t in [&mut s.target.comm, &mut s.target.exe, &mut s.target.go_version, &mut s.target.main_package] {
        t.push_str(evil);
    }
    for site in &mut s.sites {
        site.verdict.why.push_str(evil);
        site.verdict.missing.push(evil.into());
        for e in &mut site.verdict.evidence {
            e.text.push_str(evil);
        }
        for f in site.creation.frames.iter_mut().chain([&mut site.start, &mut site.created_at]) {
            f.function.push_str(evil);
            f.file = Some(evil.into());
            f.unknown_because = Some(evil.into());
        }
        site.creation.incomplete_because = Some(evil.into());
        for w in &mut site.waits {
            w.reason.push_str(evil);
        }
    }
    for p in &mut s.probes {
        p.function.push_str(evil);
        p.role.push_str(evil);
        p.instruction.push_str(evil);
        p.refused_because = Some(evil.into());
    }
    s.notes[0].text.push_str(evil);
    s.notes[0].code.push_str(evil);
    let report = text(&s, &Options { all: true, ..Options::default() });
    assert!(!report.contains(|c: char| c.is_control() && c != '\n'));
    let rows = |all: &str| all.lines().count();
    assert_eq!(
        rows(&report),
        rows(&text(&s, &Options { all: true, ..Options::default() }).replace(evil, ""))
    );
}

#[test]
fn every_end_has_its_sentence() {
    let mut s = healthy();
    let ends = [
        (EndReason::Asked, "by request"),
        (EndReason::TargetExited { wait_status: None }, "the target exited (its status is not known to us)"),
        (EndReason::TargetExited { wait_status: Some(2 << 8) }, "the target exited with status 2"),
        (EndReason::TargetExeced, "the target executed another program"),
        (EndReason::OutputFailed, "the recording could not be written any further"),
    ];
    for (end, sentence) in ends {
        s.end = Some(end);
        assert!(plain(&s).contains(&format!("Ended: {sentence}")), "{sentence}");
    }
}

#[test]
fn suspects_and_unknowns_lead_when_nothing_leaks() {
    let mut s = healthy();
    s.sites.insert(0, site("u", VerdictKind::Unknown, frame("main.u", "/u.go", 1), 2));
    assert!(
        plain(&s).starts_with("UNKNOWN  the `go` statement at /u.go:1 in api-server (pid 4242) cannot be")
    );
    s.sites.insert(0, site("s", VerdictKind::Suspect, frame("main.s", "/s.go", 1), 2));
    let report = plain(&s);
    assert!(report.starts_with("SUSPECT  the `go` statement at /s.go:1 in api-server (pid 4242) may leak"));
    assert_eq!(report.lines().nth(1).unwrap(), "Also: /u.go:1 cannot be judged.");
}

#[test]
fn many_suspects_and_unknowns_do_not_bury_the_leak() {
    let mut s = fixture();
    for n in 0..200 {
        let kind = if n % 2 == 0 { VerdictKind::Suspect } else { VerdictKind::Unknown };
        s.sites.push(site(&format!("x{n}"), kind, frame("main.x", "/x.go", n), 1));
    }
    s.sites.sort_by_key(|s| s.verdict.kind);
    let report = plain(&s);
    assert!(report.starts_with("LEAK  the `go` statement at /src/api/fanout.go:57"));
    assert!(report.lines().count() < 150, "{}", report.lines().count());
    assert!(report.contains("SUSPECT  96 sites with 96 goroutines alive"), "{report}");
    assert!(report.contains("UNKNOWN  101 sites with 105 goroutines alive"), "{report}");
    // Every leak is shown in full, however many there are.
    for site in &mut s.sites {
        site.verdict.kind = VerdictKind::Leak;
    }
    let report = plain(&s);
    assert_eq!(report.matches("created by").count(), s.sites.iter().filter(|s| !s.system).count());
    assert!(report.lines().nth(11).unwrap().starts_with("  … and "), "{report}");
}
