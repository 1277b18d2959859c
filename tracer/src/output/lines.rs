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
    let say = |ink: Ink, word: &str, text: &str| line(snapshot, style, ink, word, text);
    let go_root = go_root(snapshot);
    let place = |site: &Site| {
        let place = words::statement(site);
        // Go's own library needs no path of the machine that built it.
        go_root.and_then(|root| place.strip_prefix(root)).map(str::to_owned).unwrap_or(place)
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
                let verdict = match site.verdict.kind {
                    VerdictKind::Unknown => "not yet judged",
                    kind => words::verdict(kind),
                };
                say(Ink::Faint, "new", &format!("{}  {}, {verdict}", place(site), numbers(site)))
            }
            // What was new and turned out as most do is not worth a second line.
            Change::Verdict { site, first: true, .. } if site.verdict.kind == VerdictKind::Healthy => {
                continue;
            }
            Change::Verdict { site, was, .. } => say(
                Ink::Verdict(site.verdict.kind),
                words::verdict(site.verdict.kind),
                &format!(
                    "{}  {}, was {}: {}",
                    place(site),
                    numbers(site),
                    words::verdict(*was),
                    words::clean(&site.verdict.why)
                ),
            ),
            Change::Live { site, was } => say(
                Ink::Verdict(site.verdict.kind),
                words::verdict(site.verdict.kind),
                &format!("{}  {} (was {was})", place(site), numbers(site)),
            ),
            Change::Loss { cause, count, total, meaning } => {
                let total = if count == total { String::new() } else { format!(" ({total} in all)") };
                say(Ink::Warning, "loss", &format!("{count} × {cause}{total}: {meaning}"))
            }
            Change::Level { moved } => {
                let budget_ns = snapshot.watching.as_ref().and_then(|w| w.budget_ns);
                say(Ink::Warning, "watching", &words::moved(moved, budget_ns))
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

/// The line, without its newline, in the place of `count` lines that found no room.
pub fn left_out(snapshot: &Snapshot, count: u64, style: Style) -> String {
    let text = format!("… {} left out: the reader is slow", words::count(count, "line"));
    line(snapshot, style, Ink::Warning, "gap", &text)
}

fn line(snapshot: &Snapshot, style: Style, ink: Ink, word: &str, text: &str) -> String {
    let at = words::duration(snapshot.watched_ns);
    let gap = " ".repeat(8usize.saturating_sub(word.len()));
    format!("{at:>8}  {}{gap} {text}", style.paint(ink, word))
}

/// The directory of Go's library as the target's compiler knew it, with its last slash: where the runtime's files are.
fn go_root(snapshot: &Snapshot) -> Option<&str> {
    snapshot.sites.iter().filter(|s| s.system).find_map(|s| {
        let file = s.created_at.file.as_deref()?;
        let end = file.find("/src/runtime/")? + "/src/".len();
        s.created_at.function.starts_with("runtime.").then(|| &file[..end])
    })
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
        out.push(left_out(&s, 12, Style::PLAIN));
        insta::assert_snapshot!(out.join("\n"));
    }

    #[test]
    fn a_new_site_that_is_healthy_after_all_gets_one_line_and_others_two() {
        let mut s = healthy();
        s.sites = (0..2)
            .map(|n| site(&n.to_string(), VerdictKind::Unknown, frame("main.f", "/f.go", n), 1))
            .collect();
        let mut told = Told::default();
        let first = lines(&s, &told.next(&s), Style::PLAIN);
        assert!(first.len() == 2 && first[0].ends_with("/f.go:0  1 alive, not yet judged"), "{first:?}");
        s.sites[0].verdict.kind = VerdictKind::Healthy;
        s.sites[1].verdict.kind = VerdictKind::Suspect;
        let second = lines(&s, &told.next(&s), Style::PLAIN);
        assert!(second.len() == 1 && second[0].contains("suspect  /f.go:1"), "{second:?}");
    }

    #[test]
    fn the_main_goroutine_has_no_place_and_gos_own_library_no_path() {
        let mut s = fixture();
        s.sites.retain(|s| s.system || s.created_at.function.starts_with("net/http"));
        let mut main = site("m", VerdictKind::Healthy, frame("runtime.rt0_go.abi0", "<autogenerated>", 1), 1);
        main.start.function = "runtime.main".into();
        s.sites.push(main);
        let lines = lines(&s, &Told::default().next(&s), Style::PLAIN);
        assert!(lines[0].contains("new      net/http/server.go:3454  12 alive"), "{}", lines[0]);
        assert!(
            lines[1].contains("new      main goroutine (started by the runtime)  1 alive"),
            "{}",
            lines[1]
        );
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
