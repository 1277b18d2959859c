//! The live table, drawn from a snapshot and nothing else.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::super::words;
use super::view::ViewState;
use crate::session::Snapshot;
use crate::session::snapshot::{Site, VerdictKind};

const KEYS: &str = "q end and report   ↑↓ select   Enter stack   s sort   a runtime's own";

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, view: &ViewState) {
    let rows = view.rows(snapshot);
    let selected = view.selected(&rows);
    let area = frame.area();
    let detail = if view.open { area.height.saturating_sub(4) / 2 } else { 0 };
    let [head, table, stack, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(2),
        Constraint::Length(detail),
        Constraint::Length(1),
    ])
    .areas(area);
    header(frame, head, snapshot, view);
    sites(frame, table, &rows, selected, view);
    if let (true, Some(site)) = (view.open, rows.get(selected)) {
        details(frame, stack, site, view);
    }
    footer(frame, foot, view);
}

fn tint(view: &ViewState, color: Color) -> Style {
    if view.color { Style::new().fg(color) } else { Style::new() }
}

fn verdict_style(view: &ViewState, kind: VerdictKind) -> Style {
    match kind {
        VerdictKind::Leak => tint(view, Color::Red).add_modifier(Modifier::BOLD),
        VerdictKind::Suspect => tint(view, Color::Yellow).add_modifier(Modifier::BOLD),
        VerdictKind::Unknown => tint(view, Color::Magenta),
        VerdictKind::Healthy => tint(view, Color::Green),
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, view: &ViewState) {
    let (t, n) = (&snapshot.target, &snapshot.totals);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let first = Line::from(vec![
        Span::styled("gostray ", bold),
        Span::raw(format!(
            "{} pid {}  {}  {}",
            words::clean(&t.comm),
            t.pid,
            words::clean(&t.go_version),
            words::duration(snapshot.watched_ns)
        )),
    ]);
    let lost = snapshot.losses.iter().fold(0u64, |sum, l| sum.saturating_add(l.count));
    let lost = if lost == 0 {
        Span::raw("nothing lost")
    } else {
        Span::styled(format!("{lost} LOST"), tint(view, Color::Yellow).add_modifier(Modifier::BOLD))
    };
    let mut second = vec![Span::raw(format!("{} alive  {} born  {} died  ", n.live, n.born, n.died)), lost];
    second.extend(taken(snapshot).map(|text| Span::raw(format!("  {text}"))));
    if let Some(watching) = words::unwatched(snapshot) {
        let text =
            format!("  {}: watched {}", words::level(watching.level), words::percent(watching.share()));
        second.push(Span::styled(text, tint(view, Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    let second = Line::from(second);
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

/// What the probes take from the target, and what gostray uses itself.
fn taken(snapshot: &Snapshot) -> Option<String> {
    let cost = snapshot.cost.as_ref()?;
    let own = format!(
        "own {} {}",
        words::of_a_core(cost.own_cpu_ns, snapshot.watched_ns),
        words::megabytes(cost.own_bytes)
    );
    let taken = snapshot.watching.as_ref().map(|_| words::of_a_core(cost.target_ns, snapshot.watched_ns));
    Some(taken.map_or(own.clone(), |taken| format!("takes about {taken} of a core  {own}")))
}

fn sites(frame: &mut Frame<'_>, area: Rect, rows: &[&Site], selected: usize, view: &ViewState) {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let title = |text: &'static str| right(text.to_owned());
    let head = Row::new([
        Cell::from("VERDICT"),
        title("LIVE"),
        title("BORN"),
        title("DIED"),
        title("SLOPE"),
        title("OLDEST"),
        Cell::from("WAITS IN"),
        Cell::from("GO STATEMENT"),
    ])
    .style(Style::new().add_modifier(Modifier::UNDERLINED));
    let body = rows.iter().map(|s| {
        Row::new([
            Cell::from(words::verdict(s.verdict.kind)).style(verdict_style(view, s.verdict.kind)),
            right(s.live.to_string()),
            right(s.born.to_string()),
            right(s.died.to_string()),
            right(s.slope_per_s.map_or_else(|| "?".to_owned(), words::slope)),
            right(oldest(s)),
            Cell::from(
                s.waits.first().map_or_else(|| "?".to_owned(), |w| words::clean(&w.reason).into_owned()),
            ),
            Cell::from(statement(s)),
        ])
    });
    let widths = [
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(14),
        Constraint::Min(20),
    ];
    let table = Table::new(body, widths)
        .header(head)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected((!rows.is_empty()).then_some(selected));
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("no goroutine of the program's own yet"), area);
    } else {
        frame.render_stateful_widget(table, area, &mut state);
    }
}

/// `fanout.go:57  main.(*hub).publish`, or the function alone.
fn statement(site: &Site) -> String {
    if words::is_main(site) {
        return words::MAIN.to_owned();
    }
    let function = words::clean(&site.created_at.function);
    match words::short_source(&site.created_at) {
        Some(source) => format!("{source}  {function}"),
        None => function.into_owned(),
    }
}

/// `≥44.2s` where the true age is not known.
fn oldest(site: &Site) -> String {
    match site.oldest {
        Some(age) if age.at_least => format!("≥{}", words::duration(age.ns)),
        Some(age) => words::duration(age.ns),
        None if site.live == 0 => "-".to_owned(),
        None => "?".to_owned(),
    }
}

fn details(frame: &mut Frame<'_>, area: Rect, site: &Site, view: &ViewState) {
    let mut lines = vec![
        Line::from(vec![
            Span::styled(words::verdict(site.verdict.kind), verdict_style(view, site.verdict.kind)),
            Span::raw(format!(": {}", words::clean(&site.verdict.why))),
        ]),
        Line::from(format!("runs {}", words::function(&site.start))),
        Line::from("created by"),
    ];
    for f in &site.creation.frames {
        let inlined = if f.inlined { " (inlined)" } else { "" };
        let source = words::source(f).unwrap_or_default();
        lines.push(Line::from(vec![
            Span::raw(format!("  {}{inlined}  ", words::function(f))),
            Span::styled(source, tint(view, Color::Cyan)),
        ]));
    }
    if let Some(why) = &site.creation.incomplete_because {
        lines.push(Line::from(format!("  … {}", words::clean(why))));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::TOP)), area);
}

fn footer(frame: &mut Frame<'_>, area: Rect, view: &ViewState) {
    let text = format!("{KEYS}   sorted by {}", view.sort.name());
    frame.render_widget(Paragraph::new(text).style(Style::new().add_modifier(Modifier::DIM)), area);
}
