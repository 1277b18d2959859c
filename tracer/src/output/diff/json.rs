//! A diff as one JSON document, `gostray.diff/1`. Every field is described in `docs/json.md`; a test holds the two together.

use serde::Serialize;

use crate::analysis::Role;
use crate::diff::{Census, Change, Diff, Gap, Position, Row, Site, Source};
use crate::session::snapshot::Note;

/// Adding a field does not raise it; removing or changing one does.
pub const SCHEMA: &str = "gostray.diff/1";

/// The whole diff as one line, without its newline; what stayed and the runtime's own too.
pub fn json(diff: &Diff<'_>) -> serde_json::Result<String> {
    serde_json::to_string(&Document {
        schema: SCHEMA,
        before: moment(diff.before),
        after: moment(diff.after),
        elapsed_ns: diff.elapsed_ns,
        notes: &diff.notes,
        sites: diff.rows.iter().map(|row| site(diff, row)).collect(),
    })
}

#[derive(Serialize)]
struct Document<'d> {
    schema: &'static str,
    before: Moment<'d>,
    after: Moment<'d>,
    elapsed_ns: Option<u64>,
    notes: &'d [Note],
    sites: Vec<Changed<'d>>,
}

#[derive(Serialize)]
struct Moment<'d> {
    source: &'static str,
    pid: Option<u32>,
    comm: Option<&'d str>,
    exe: Option<&'d str>,
    go_version: Option<&'d str>,
    build_id: Option<&'d str>,
    main_package: Option<&'d str>,
    at_unix_ns: Option<u64>,
    filters: &'d [String],
    goroutines: u64,
    system: u64,
    uncertain: u64,
    gaps: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    cause: &'static str,
    count: u64,
    counts: bool,
    meaning: &'static str,
}

#[derive(Serialize)]
struct Changed<'d> {
    change: Change,
    created_at: Place<'d>,
    started: Option<&'d str>,
    main: bool,
    system: bool,
    before: u64,
    after: u64,
    growth: i64,
    per_hour: Option<f64>,
    moved_from_line: Option<u32>,
    ambiguous: bool,
    within_gaps: bool,
    states_before: Vec<State<'d>>,
    states_after: Vec<State<'d>>,
    waits_at: Option<Place<'d>>,
}

#[derive(Serialize)]
struct Place<'d> {
    function: Option<&'d str>,
    file: Option<&'d str>,
    line: Option<u32>,
}

#[derive(Serialize)]
struct State<'d> {
    state: &'d str,
    count: u64,
}

fn moment(of: &Census) -> Moment<'_> {
    Moment {
        source: match of.source {
            Source::Dump => "dump",
            Source::Session => "session",
        },
        pid: (of.pid != 0).then_some(of.pid),
        comm: known(&of.comm),
        exe: known(&of.exe),
        go_version: known(&of.go_version),
        build_id: known(&of.build_id),
        main_package: known(&of.main_package),
        at_unix_ns: of.at_unix_ns,
        filters: &of.filters,
        goroutines: of.own(),
        system: of.system(),
        uncertain: of.uncertain(),
        gaps: of.gaps.iter().map(missing).collect(),
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn missing(gap: &Gap) -> Missing {
    let Gap { cause, count, counts, meaning } = *gap;
    Missing { cause, count, counts, meaning }
}

fn site<'d>(diff: &Diff<'_>, row: &Row<'d>) -> Changed<'d> {
    let site = row.site();
    let states = |of: Option<&'d Site>| {
        let states = of.map_or(&[][..], |s| &s.states);
        states.iter().map(|(state, count)| State { state, count: *count }).collect()
    };
    let place = |at: &'d Position| Place {
        function: at.function.as_deref(),
        file: at.file.as_deref(),
        line: at.line,
    };
    let nowhere = Place { function: None, file: None, line: None };
    Changed {
        change: row.change(),
        created_at: site.map_or(nowhere, |s| place(&s.created)),
        started: site.and_then(|s| s.started.as_deref()),
        main: site.is_some_and(|s| s.role == Role::Main),
        system: row.is_system(),
        before: row.was(),
        after: row.now(),
        growth: row.growth(),
        per_hour: diff.per_hour(row.growth()),
        moved_from_line: row.moved_from(),
        ambiguous: row.ambiguous,
        within_gaps: row.within_gaps,
        states_before: states(row.before),
        states_after: states(row.after),
        waits_at: site.and_then(|s| s.waits_at.as_ref()).map(place),
    }
}
