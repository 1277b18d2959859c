//! Plain lines for a pipe or a log, one a change: `   12.4s  leak     /src/fanout.go:57  …`.

use super::changes::Change;
use super::style::{Ink, Style};
use super::words;
use crate::session::Snapshot;
use crate::session::snapshot::{Site, VerdictKind};

/// When more sites than this appear at once (attach to a large program), the rest is summed up in one line.
const APPEAR_AT_ONCE: usize = 20;

/// The lines of one round of changes, without their newlines. `snapshot` is the one that the changes come from.
pub fn lines(snapshot: &Snapshot, changes: &[Change<'_>], style: Style) -> Vec<String> {
    let at = format!("{:>8}", words::duration(snapshot.watched_ns));
    let say = |ink: Ink, word: &str, text: &str| {
        let gap = " ".repeat(8usize.saturating_sub(word.len()));
        format!("{at}  {}{gap} {text}", style.paint(ink, word))
    };
    let mut lines = Vec::new();
    let mut appeared = 0;
    let mut unsaid = 0u64;
    for change in changes {
        lines.push(match change {
            Change::Appeared { site } => {
                appeared += 1;
                let calm = matches!(site.verdict.kind, VerdictKind::Healthy | VerdictKind::Unknown);
                if appeared > APPEAR_AT_ONCE && calm {
                    unsaid += 1;
                    continue;
                }
                let verdict = words::verdict(site.verdict.kind);
                say(
                    Ink::Faint,
                    "new",
                    &format!("{}  {}, {verdict}", words::place(&site.created_at), numbers(site)),
                )
            }
            Change::Verdict { site, was } => say(
                Ink::Verdict(site.verdict.kind),
                words::verdict(site.verdict.kind),
                &format!(
                    "{}  {}, was {}: {}",
                    words::place(&site.created_at),
                    numbers(site),
                    words::verdict(*was),
                    words::clean(&site.verdict.why)
                ),
            ),
            Change::Live { site, was } => say(
                Ink::Verdict(site.verdict.kind),
                words::verdict(site.verdict.kind),
                &format!("{}  {} (was {was})", words::place(&site.created_at), numbers(site)),
            ),
            Change::Loss { cause, count, total, meaning } => {
                let total = if count == total { String::new() } else { format!(" ({total} in all)") };
                say(Ink::Warning, "loss", &format!("{count} × {cause}{total}: {meaning}"))
            }
        });
    }
    if unsaid > 0 {
        lines.push(say(
            Ink::Faint,
            "new",
            &format!("{} more, healthy or not yet judged", words::count(unsaid, "site")),
        ));
    }
    lines
}

/// `812 alive, +6.80/s, oldest 44.2s, in chan send`
fn numbers(site: &Site) -> String {
    let mut text = format!("{} alive", site.live);
    if let Some(slope) = site.slope_per_s {
        text.push_str(&format!(", {}", words::slope(slope)));
    }
    if let Some(age) = site.oldest {
        text.push_str(&format!(", oldest {}", words::age(age)));
    }
    if let Some(wait) = words::known_waits(&site.waits).next() {
        text.push_str(&format!(", in `{}`", words::clean(&wait.reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::changes::Told;
    use super::super::fixture::{fixture, frame, healthy, site};
    use super::*;

    #[test]
    fn a_session_in_lines() {
        let mut s = fixture();
        let mut told = Told::default();
        let mut out = lines(&s, &told.next(&s), Style::PLAIN);
        s.watched_ns += 10_000_000_000;
        s.sites[0].live = 1100;
        s.sites[1].verdict.kind = VerdictKind::Leak;
        s.losses.push(s.losses[0].clone());
        out.extend(lines(&s, &told.next(&s), Style::PLAIN));
        assert_eq!(lines(&s, &told.next(&s), Style::PLAIN), Vec::<String>::new());
        insta::assert_snapshot!(out.join("\n"));
    }

    #[test]
    fn a_large_program_does_not_flood_but_hides_no_leak() {
        let mut s = healthy();
        s.sites = (0..100)
            .map(|n| site(&n.to_string(), VerdictKind::Healthy, frame("main.f", "/f.go", n), 1))
            .collect();
        s.sites[90].verdict.kind = VerdictKind::Leak;
        let lines = lines(&s, &Told::default().next(&s), Style::PLAIN);
        assert_eq!(lines.len(), 22);
        assert!(lines[20].contains("/f.go:90  1 alive, leak"), "{}", lines[20]);
        assert!(lines[21].ends_with("79 sites more, healthy or not yet judged"), "{}", lines[21]);
    }
}
