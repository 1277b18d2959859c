//! A diff for people: the two moments, then a line for each site that changed, the largest growth first.

use std::time::{Duration, UNIX_EPOCH};

use super::super::page::Page;
use super::super::style::{Ink, Style};
use super::super::words;
use crate::analysis::Role;
use crate::diff::{Census, Change, Diff, Position, Row, Source};
use crate::session::snapshot::VerdictKind;

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub style: Style,
    /// What stayed and the runtime's own too.
    pub all: bool,
}

/// States of a site that are told; the others are summed up.
const STATES: usize = 3;

/// The whole diff.
pub fn text(diff: &Diff<'_>, options: &Options) -> String {
    let mut page = Page::new(options.style);
    head(&mut page, diff);
    let shown: Vec<&Row<'_>> = diff
        .rows
        .iter()
        .filter(|r| options.all || (!r.is_system() && r.change() != Change::Unchanged))
        .collect();
    if !shown.is_empty() {
        page.blank();
    }
    let column = |of: fn(&Row<'_>) -> String| shown.iter().map(|r| of(r).chars().count()).max().unwrap_or(0);
    let columns = (column(signed), column(counts));
    for row in &shown {
        site(&mut page, diff, row, columns);
    }
    page.blank();
    page.paragraph(&summary(diff, options.all));
    page.finish()
}

fn head(page: &mut Page, diff: &Diff<'_>) {
    page.field("before", &moment(page.style(), diff.before));
    let later = diff.elapsed_ns.map(|ns| format!(", {} later", words::duration(ns))).unwrap_or_default();
    page.field("after", &format!("{}{later}", moment(page.style(), diff.after)));
    let style = page.style();
    let warn = |page: &mut Page, text: &str| page.paragraph(&style.paint(Ink::Warning, text));
    for (name, census) in [("before", diff.before), ("after", diff.after)] {
        for text in incomplete(name, census) {
            warn(page, &text);
        }
    }
    for note in &diff.notes {
        warn(page, &format!("{} [{}]", words::clean(&note.text), words::clean(&note.code)));
    }
}

/// `api (pid 4242): 12 goroutines (+ 6 of the runtime's), dump at 2026-11-21T12:11:53Z`
fn moment(style: Style, census: &Census) -> String {
    let who = match (words::clean(&census.comm), census.pid) {
        (comm, 0) if comm.is_empty() => "a program".to_owned(),
        (comm, 0) => comm.into_owned(),
        (comm, pid) => format!("{comm} (pid {pid})"),
    };
    let runtime = match census.system() {
        0 => String::new(),
        n => format!(" (+ {n} of the runtime's)"),
    };
    let source = match census.source {
        Source::Dump => "dump",
        Source::Session => "end of a session",
    };
    let at = match census.at_unix_ns {
        Some(ns) => {
            format!(" at {}", humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(ns)))
        }
        None => ", time unknown".to_owned(),
    };
    let (who, own) = (style.paint(Ink::Strong, &who), words::count(census.own(), "goroutine"));
    format!("{who}: {own}{runtime}, {source}{at}")
}

/// What a census lacks: first what makes its counts wrong.
fn incomplete(name: &str, census: &Census) -> Vec<String> {
    let told = |counts: bool| {
        let gaps = census.gaps.iter().filter(|g| g.counts == counts);
        gaps.map(|g| format!("{} {}: {}", g.count, g.cause, g.meaning)).collect::<Vec<_>>().join("; ")
    };
    let mut lines = Vec::new();
    if census.uncertain() > 0 {
        lines.push(format!(
            "`{name}` is incomplete, it may be wrong by {}: a change of no more is no evidence ({})",
            words::count(census.uncertain(), "goroutine"),
            told(true)
        ));
    }
    let others = told(false);
    if !others.is_empty() {
        lines.push(format!("`{name}` counts some of which less is known ({others})"));
    }
    lines
}

fn signed(row: &Row<'_>) -> String {
    match row.growth() {
        0 => "0".to_owned(),
        n => format!("{n:+}"),
    }
}

fn counts(row: &Row<'_>) -> String {
    format!("({} → {})", row.was(), row.now())
}

fn site(page: &mut Page, diff: &Diff<'_>, row: &Row<'_>, (sign, count): (usize, usize)) {
    let Some(site) = row.site() else { return };
    let style = page.style();
    let ink = match row.growth() {
        _ if row.is_system() || row.within_gaps => Ink::Faint,
        1.. => Ink::Verdict(VerdictKind::Leak),
        0 => Ink::Faint,
        _ => Ink::Verdict(VerdictKind::Healthy),
    };
    let word = match row.change() {
        Change::Appeared => "  new",
        Change::Vanished => "  gone",
        Change::Grew | Change::Shrank | Change::Unchanged => "",
    };
    let place = place(style, &site.created, site.role);
    let states = states(&site.states);
    page.raw(&format!(
        "{}  {:<count$}  {place}{word}  {states}",
        style.paint(ink, &format!("{:>sign$}", signed(row))),
        counts(row),
    ));
    let mut more = Vec::new();
    if let Some(started) = site.started.as_deref().filter(|_| site.role != Role::Main) {
        more.push(format!("runs {}", words::clean(started)));
    }
    if let Some(at) = &site.waits_at {
        more.push(format!("waits in {}", position(style, at)));
    }
    if let Some(rate) = diff.per_hour(row.growth()).filter(|_| row.growth() != 0) {
        more.push(per_hour(rate));
    }
    if site.role == Role::System {
        more.push("the runtime's own".to_owned());
    }
    if row.moved {
        let from = row.moved_from().map_or_else(|| "another line".to_owned(), |line| format!("line {line}"));
        more.push(format!("moved from {from}"));
    }
    let indent = " ".repeat(sign + 2);
    if !more.is_empty() {
        page.raw(&format!("{indent}{}", more.join(" · ")));
    }
    let warn = |page: &mut Page, text: &str| {
        page.raw(&format!("{indent}{}", style.paint(Ink::Warning, text)));
    };
    if row.ambiguous {
        warn(
            page,
            "other build: several `go` statements like this one are at other lines, which is which is not known",
        );
    }
    if row.within_gaps {
        warn(page, "no evidence: not more than what may be missing");
    }
}

fn place(style: Style, created: &Position, role: Role) -> String {
    match role {
        Role::Main => words::MAIN.to_owned(),
        _ if created.function.is_none() => "(`go` statements of unknown functions, together)".to_owned(),
        _ => position(style, created),
    }
}

/// `main.f  /src/main.go:33`
fn position(style: Style, at: &Position) -> String {
    let function = words::clean(at.function.as_deref().unwrap_or("an unknown function")).into_owned();
    let source = match (&at.file, at.line) {
        (Some(file), Some(line)) => format!("{}:{line}", words::clean(file)),
        (Some(file), None) => format!("{} (line unknown)", words::clean(file)),
        (None, _) => "(file unknown)".to_owned(),
    };
    format!("{function}  {}", style.paint(Ink::Place, &source))
}

/// `120 chan send, 3 select`; without a number when all do the same.
fn states(states: &[(String, u64)]) -> String {
    if let [(only, _)] = states {
        return words::clean(only).into_owned();
    }
    let mut parts: Vec<String> =
        states.iter().take(STATES).map(|(state, n)| format!("{n} {}", words::clean(state))).collect();
    if states.len() > STATES {
        let rest = states[STATES..].iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        parts.push(format!("{rest} in others"));
    }
    parts.join(", ")
}

/// `+120/h`, `-0.50/h`
fn per_hour(rate: f64) -> String {
    if rate.abs() >= 10.0 { format!("{rate:+.0}/h") } else { format!("{rate:+.2}/h") }
}

fn summary(diff: &Diff<'_>, all: bool) -> String {
    let of =
        |change: Change| diff.rows.iter().filter(|r| (all || !r.is_system()) && r.change() == change).count();
    let each = [
        (Change::Grew, "grew"),
        (Change::Appeared, "appeared"),
        (Change::Vanished, "vanished"),
        (Change::Shrank, "shrank"),
        (Change::Unchanged, "unchanged"),
    ];
    let told: Vec<String> = each.into_iter().map(|(change, word)| format!("{} {word}", of(change))).collect();
    let total = (diff.after.own() as i64).saturating_sub(diff.before.own() as i64);
    format!("creation sites: {}; goroutines in all: {total:+}", told.join(", "))
}

#[cfg(test)]
mod tests;
