//! Numbers and names as readers see them. One place, so that every output says the same thing in the same way.

use std::borrow::Cow;

use crate::analysis::Role;
use crate::session::Snapshot;
use crate::session::snapshot::{Age, Evidence, Frame, Move, Percentiles, Site, VerdictKind, Wait, Watching};

/// Text that came from the target (function names, `comm`, paths) made fit for a terminal: control characters and
/// those that reverse the reading direction are shown as escapes, so that a hostile name cannot draw over the report.
pub fn clean(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// As [`clean`], for text of several lines.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n')
}

fn escape(text: &str, allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    let harmful = |c: char| {
        !allowed(c) && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Nanoseconds as Go writes durations, but with three digits: `850ns`, `1.20ms`, `12.4s`, `3m20s`, `2h05m`. Without
/// spaces, so that no line breaks inside one.
pub fn duration(ns: u64) -> String {
    const S: u64 = 1_000_000_000;
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => three_digits(ns as f64 / 1e3, "µs"),
        1_000_000..S => three_digits(ns as f64 / 1e6, "ms"),
        _ if ns < 60 * S => three_digits(ns as f64 / 1e9, "s"),
        _ if ns < 3600 * S => format!("{}m{:02}s", ns / (60 * S), ns / S % 60),
        _ if ns < 86_400 * S => format!("{}h{:02}m", ns / (3600 * S), ns / (60 * S) % 60),
        _ => format!("{}d{:02}h", ns / (86_400 * S), ns / (3600 * S) % 24),
    }
}

/// Three digits, cut and not rounded, so that `999.9ms` does not become `1000ms`.
fn three_digits(value: f64, unit: &str) -> String {
    if value < 10.0 {
        format!("{:.2}{unit}", (value * 100.0).floor() / 100.0)
    } else if value < 100.0 {
        format!("{:.1}{unit}", (value * 10.0).floor() / 10.0)
    } else {
        format!("{:.0}{unit}", value.floor())
    }
}

/// `12.4s`, or `at least 12.4s`.
pub fn age(age: Age) -> String {
    if age.at_least { format!("at least {}", duration(age.ns)) } else { duration(age.ns) }
}

/// Goroutines per second with a sign, per minute or hour where that reads better: `+6.80/s`, `-3.00/h`, `flat`.
pub fn slope(per_s: f64) -> String {
    let (value, unit) = match per_s.abs() {
        s if !s.is_finite() => return "unknown".to_owned(),
        s if s * 3600.0 < 0.05 => return "flat".to_owned(),
        s if s >= 0.1 => (per_s, "s"),
        s if s * 60.0 >= 0.1 => (per_s * 60.0, "min"),
        _ => (per_s * 3600.0, "h"),
    };
    format!("{value:+.2}/{unit}")
}

/// As [`slope`]; without enough points it is `unknown`.
pub fn maybe_slope(per_s: Option<f64>) -> String {
    per_s.map_or_else(|| "unknown".to_owned(), slope)
}

/// `p50 1.00s, p90 …, p99 …, p99.9 …, max …`; `at_least` marks times whose beginning nobody saw.
pub fn percentiles(p: &Percentiles, at_least: bool) -> String {
    let lead = if at_least { "at least: " } else { "" };
    format!(
        "{lead}p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        duration(p.p50),
        duration(p.p90),
        duration(p.p99),
        duration(p.p999),
        duration(p.max)
    )
}

/// What the budget is for.
pub const TEN_SECONDS_NS: u64 = 10_000_000_000;

/// Three digits, and never 100 for what is less: `0.43%`, `2.10%`, `100%`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p >= 100.0 => format!("{p:.0}%"),
        p if p >= 10.0 => format!("{:.1}%", (p * 10.0).floor() / 10.0),
        p => format!("{:.2}%", (p * 100.0).floor() / 100.0),
    }
}

/// How much of one core so much processor time in so much time is.
pub fn of_a_core(ns: u64, in_ns: u64) -> String {
    percent(ns as f64 / in_ns.max(1) as f64)
}

/// `46.9 MB`
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What a level of watching is, for a reader.
pub fn level(name: &str) -> &'static str {
    match name {
        "waits" => "births, deaths and waits",
        "lives" => "births and deaths",
        "windows" => "births and deaths for moments, looks in between",
        "looks" => "looks alone",
        _ => "unknown",
    }
}

/// `births and deaths, no longer waits: …`
pub fn moved(m: &Move, budget_ns: Option<u64>) -> String {
    let load = of_a_core(m.load_ns, TEN_SECONDS_NS);
    let budget = budget_ns.map_or(String::new(), |ns| format!(" of {}", of_a_core(ns, TEN_SECONDS_NS)));
    let why = match m.why {
        "spent" => format!("the budget would not be enough: {load}{budget} of a core spent in ten seconds"),
        "room" => format!("there is room again: {load}{budget} of a core spent in ten seconds"),
        "no-window" => "not even a moment fits into the budget".to_owned(),
        "failed" => "the probes could not be placed again".to_owned(),
        _ => "unknown".to_owned(),
    };
    format!("{} (was: {}): {why}", level(m.to), level(m.from))
}

/// How was watched, where births and deaths were not all the time.
pub fn unwatched(snapshot: &Snapshot) -> Option<&Watching> {
    snapshot.watching.as_ref().filter(|w| w.unwatched_ns > 0)
}

/// `1 goroutine`, `2 goroutines`.
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// The function as Go writes it, with the reason when there is none.
pub fn function(frame: &Frame) -> String {
    match &frame.unknown_because {
        Some(why) => format!("{} (unknown: {})", clean(&frame.function), clean(why)),
        None => clean(&frame.function).into_owned(),
    }
}

/// `file:line`, as much of it as is known.
pub fn source(frame: &Frame) -> Option<String> {
    let file = clean(frame.file.as_deref()?);
    Some(match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => format!("{file} (line unknown)"),
    })
}

/// Where a `go` statement stands: `file:line`, else its function with the reason.
pub fn place(frame: &Frame) -> String {
    source(frame).unwrap_or_else(|| match &frame.unknown_because {
        Some(_) => function(frame),
        None => format!("{} (file unknown)", clean(&frame.function)),
    })
}

/// Where a site's goroutines come from: the [`place`] of their `go` statement. The main goroutine has none.
pub fn statement(site: &Site) -> String {
    if is_main(site) { MAIN.to_owned() } else { place(&site.created_at) }
}

/// The main goroutine is made by the runtime's start code in assembly (`runtime.rt0_go`, asm_amd64.s), which says nothing
/// to a reader.
pub fn is_main(site: &Site) -> bool {
    Role::of(&site.start.function) == Role::Main
}

pub const MAIN: &str = "main goroutine (started by the runtime)";

/// The last path element with its line, for tables: `fanout.go:57`.
pub fn short_source(frame: &Frame) -> Option<String> {
    let file = frame.file.as_deref()?;
    let name = clean(file.rsplit('/').next().unwrap_or(file));
    Some(frame.line.map_or_else(|| name.clone().into_owned(), |line| format!("{name}:{line}")))
}

/// What a session says of goroutines that no look has come by: honest in a table of waits, noise in a headline.
const NOT_YET_SEEN: &str = "<not yet seen>";

/// The waits that something is known of.
pub fn known_waits(waits: &[Wait]) -> impl Iterator<Item = &Wait> {
    waits.iter().filter(|w| w.reason != NOT_YET_SEEN)
}

/// One number of a verdict in its unit.
pub fn evidence_value(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value >= 0.0 && value.is_finite() => duration(value as u64),
        "goroutines" if value.fract() == 0.0 => format!("{value:.0}"),
        "fraction" => format!("{value:.3}"),
        "goroutines/s" => format!("{value:+.3}/s"),
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0} {unit}"),
        _ => format!("{value:.3} {unit}"),
    }
}

/// `+6.800/s (threshold +5.000/s): the live count grows [growth.slope_per_s]`.
pub fn evidence(e: &Evidence) -> String {
    let threshold =
        e.threshold.map(|t| format!(" (threshold {})", evidence_value(t, e.unit))).unwrap_or_default();
    format!("{}{threshold}: {} [{}]", evidence_value(e.value, e.unit), clean(&e.text), e.name)
}

pub fn verdict(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Leak => "leak",
        VerdictKind::Suspect => "suspect",
        VerdictKind::Unknown => "unknown",
        VerdictKind::Healthy => "healthy",
    }
}

/// Live counts as eight heights between 0 and their maximum. At most `width` points: the newest ones.
pub fn spark(trend: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = &trend[trend.len().saturating_sub(width)..];
    let max = u128::from(points.iter().copied().max().unwrap_or(0).max(1));
    points.iter().map(|&v| BARS[(u128::from(v) * 7 / max) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_never_round_up_a_unit() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (999_999, "999µs"),
            (1_200_000, "1.20ms"),
            (999_999_999, "999ms"),
            (12_449_000_000, "12.4s"),
            (59_999_999_999, "59.9s"),
            (200_000_000_000, "3m20s"),
            (7_500_000_000_000, "2h05m"),
            (180_000_000_000_000, "2d02h"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
        }
        assert_eq!(duration(u64::MAX), "213503d23h");
    }

    #[test]
    fn shares_are_cut_and_not_rounded() {
        assert_eq!(percent(0.0043), "0.43%");
        assert_eq!(
            (percent(0.9999), percent(1.0), percent(2.5)),
            ("99.9%".into(), "100%".into(), "250%".into())
        );
        assert_eq!(
            (of_a_core(1, 0), of_a_core(100_000_000, TEN_SECONDS_NS)),
            ("100%".into(), "1.00%".into())
        );
        assert_eq!(megabytes(46_870_000), "46.9 MB");
    }

    #[test]
    fn slopes_choose_their_unit() {
        assert_eq!(slope(6.8), "+6.80/s");
        assert_eq!(slope(-0.05), "-3.00/min");
        assert_eq!(slope(1.0 / 3600.0), "+1.00/h");
        assert_eq!(slope(0.000_001), "flat");
        assert_eq!(slope(f64::NAN), "unknown");
        assert_eq!(maybe_slope(None), "unknown");
    }

    #[test]
    fn hostile_names_cannot_move_the_cursor() {
        assert_eq!(clean("main.\u{1b}[2Jf"), "main.\\u{1b}[2Jf");
        assert_eq!(clean("a\u{202e}b\n"), "a\\u{202e}b\\u{a}");
        assert!(matches!(clean("main.föö·1"), Cow::Borrowed(_)));
    }

    #[test]
    fn sparks_scale_to_the_maximum_and_keep_the_newest() {
        assert_eq!(spark(&[0, 4, 7], 10), "▁▅█");
        assert_eq!(spark(&[9, 0, 0, u64::MAX], 2), "▁█");
        assert_eq!(spark(&[], 5), "");
        assert_eq!(spark(&[0, 0], 5), "▁▁");
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let mut frame = Frame { function: "main.f".into(), ..Frame::default() };
        assert_eq!(place(&frame), "main.f (file unknown)");
        frame.function = "0x4711".into();
        frame.unknown_because = Some("no function covers it".into());
        assert_eq!(place(&frame), "0x4711 (unknown: no function covers it)");
        frame.file = Some("/a/b.go".into());
        assert_eq!(source(&frame).as_deref(), Some("/a/b.go (line unknown)"));
    }
}
