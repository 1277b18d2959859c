//! The documentation and the serializer must name the same fields, with the same types.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::changes::Told;
use super::super::fixture::{fixture, sampled};
use super::*;
use crate::session::snapshot::{Blocked, EndReason, Stack};

const DOC: &str = include_str!("../../../../docs/json.md");

/// What the documents really hold: path → types met.
type Fields = BTreeMap<String, Vec<&'static str>>;

fn collect(path: &str, value: &Value, fields: &mut Fields) {
    if !path.is_empty() {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = fields.entry(path.to_owned()).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, fields);
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    // Elements that are objects are described by their fields, others by `[]`.
                    Value::Object(map) => {
                        for (name, value) in map {
                            collect(&format!("{path}[].{name}"), value, fields);
                        }
                    }
                    other => collect(&format!("{path}[]"), other, fields),
                }
            }
        }
        _ => {}
    }
}

/// The rows `| `path` | type | … |` of one section of the documentation. A type `frame` stands for the fields of the
/// table under "Frame", `stack` and so on likewise.
fn documented(section: &str) -> BTreeMap<String, String> {
    let tables = tables();
    let mut fields = BTreeMap::new();
    let mut todo: Vec<(String, String)> = tables[section].clone();
    while let Some((path, kind)) = todo.pop() {
        let (base, null) = match kind.strip_suffix(" or null") {
            Some(base) => (base, " or null"),
            None => (kind.as_str(), ""),
        };
        let (shape, of) = match base.strip_prefix("array of ") {
            Some(of) => ("array", of),
            None => ("object", base),
        };
        let infix = if shape == "array" { "[]." } else { "." };
        if let Some(inner) = tables.get(of) {
            todo.extend(inner.iter().map(|(name, kind)| (format!("{path}{infix}{name}"), kind.clone())));
            fields.insert(path, format!("{shape}{null}"));
        } else if shape == "array" {
            todo.push((format!("{path}[]"), of.to_owned()));
            fields.insert(path, format!("array{null}"));
        } else {
            fields.insert(path, kind);
        }
    }
    fields
}

/// Section title → rows (field, type).
fn tables() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut section = String::new();
    // What follows is not of this serializer.
    for line in DOC.lines().take_while(|l| *l != "## gostray.doctor/1") {
        if let Some(title) = line.strip_prefix('#') {
            section = title.trim_start_matches('#').trim().trim_matches('`').to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split(" | ");
            let field = cells.next().unwrap().trim_end_matches('`').to_owned();
            let kind = cells.next().unwrap().trim().to_owned();
            let rows = tables.entry(section.clone()).or_default();
            assert!(rows.iter().all(|(f, _)| *f != field), "`{field}` is described twice in `{section}`");
            assert!(cells.next().is_some_and(|text| text.len() > 5), "`{field}` has no description");
            rows.push((field, kind));
        }
    }
    tables
}

/// Every field present: `documented` and `emitted` must agree in names and types.
fn compare(section: &str, emitted: &Fields) {
    let documented = documented(section);
    for (path, kinds) in emitted {
        let kind =
            documented.get(path).unwrap_or_else(|| panic!("`{path}` is emitted but not in docs/json.md"));
        for met in kinds {
            let fits = match *met {
                "null" => kind.ends_with(" or null"),
                "integer" => kind.starts_with("integer") || kind.starts_with("number"),
                met => kind.starts_with(met),
            };
            assert!(fits, "`{path}` was a {met}, documented as {kind}");
        }
    }
    for (path, kind) in &documented {
        let kinds = emitted
            .get(path)
            .unwrap_or_else(|| panic!("`{path}` is in docs/json.md but the full example does not emit it"));
        assert!(kinds.iter().any(|k| *k != "null"), "the full example never sets `{path}` ({kind})");
        if let Some(kind) = kind.strip_suffix(" or null") {
            assert!(kinds.contains(&"null"), "`{path}` ({kind}) is never null in the full examples");
        }
    }
}

#[test]
fn every_field_of_the_report_is_documented() {
    let mut full = fixture();
    // What a blocked stack may lack.
    let unknown = full.sites[2].created_at.clone();
    full.sites[1].waits[0].example = Some(Blocked {
        goid: 7,
        alike: 1,
        stacks: 1,
        stack: Stack { frames: vec![unknown], incomplete_because: None },
    });
    full.end = Some(EndReason::TargetExited { wait_status: Some(9) });
    let mut bare = fixture();
    bare.started_unix_ns = None;
    bare.end = Some(EndReason::TargetExited { wait_status: None });
    bare.totals.kernel_births = None;
    bare.totals.kernel_deaths = None;
    bare.sites[0].verdict.evidence[0].value = f64::NAN;
    bare.looks.disagreements = None;
    (bare.watching, bare.cost) = (None, None);
    let mut running = fixture();
    running.end = None;
    running.looks.disagreements =
        Some(crate::session::snapshot::Disagreements { waits_not_told: None, ..Default::default() });
    running.watching = Some(crate::session::snapshot::Watching::default());
    running.cost = Some(crate::session::snapshot::Cost::default());
    let sampled = sampled();
    let mut emitted = Fields::new();
    for snapshot in [&full, &bare, &running, &sampled] {
        let text = report(snapshot).unwrap();
        assert!(!text.contains('\n'));
        collect("", &serde_json::from_str(&text).unwrap(), &mut emitted);
    }
    compare("gostray.report/1", &emitted);
}

#[test]
fn every_field_of_the_live_lines_is_documented() {
    let mut s = fixture();
    let mut told = Told::default();
    let mut emitted: BTreeMap<&str, Fields> = BTreeMap::new();
    for round in 0..3 {
        for change in told.next(&s) {
            let section = match change {
                Change::Loss { .. } => "A loss",
                Change::Level { .. } => "A change of the level",
                _ => "A change of a creation site",
            };
            let value = serde_json::from_str(&live(&s, &change).unwrap()).unwrap();
            collect("", &value, emitted.entry(section).or_default());
        }
        s.watched_ns += 10_000_000_000;
        s.sites[0].live *= 2;
        if round == 0 {
            s.sites[1].verdict.kind = VerdictKind::Leak;
        }
    }
    let value = serde_json::from_str(&left_out(&s, 12).unwrap()).unwrap();
    collect("", &value, emitted.entry("Lines left out").or_default());
    assert_eq!(emitted.len(), 4);
    for (section, emitted) in emitted {
        compare(section, &emitted);
    }
}

#[test]
fn full_example() {
    let text = report(&fixture()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn live_example() {
    let mut s = fixture();
    let mut told = Told::default();
    let mut out: Vec<String> = told.next(&s).iter().map(|c| live(&s, c).unwrap()).collect();
    s.watched_ns += 10_000_000_000;
    s.sites[0].live *= 2;
    out.extend(told.next(&s).iter().map(|c| live(&s, c).unwrap()));
    out.push(left_out(&s, 12).unwrap());
    insta::assert_snapshot!(out.join("\n"));
}

#[test]
fn every_field_of_a_dump_is_documented() {
    use crate::dump::Dump;
    use crate::output::dump::{fixture, json};
    let selection = json::Selection { filters: vec!["state=select".into()], of: 57 };
    let mut deep = fixture::fixture();
    deep.goroutines[8].trace =
        crate::dump::Trace::None { because: crate::dump::Broken::TooDeep { limit: 1_000_000 } };
    for starts in deep.places.0.values_mut().filter_map(|p| p.starts.as_mut()) {
        *starts =
            crate::event::message::Frame { full_name: "main.run[go.shape.int]".into(), ..Default::default() };
    }
    let mut of_core = Dump::default();
    of_core.about.source = crate::dump::Origin::Core { path: "core.42".into() };
    let dumps =
        [(fixture::fixture(), Some(&selection)), (deep, None), (Dump::default(), None), (of_core, None)];
    let mut emitted = Fields::new();
    for (dump, selection) in dumps {
        let mut out = Vec::new();
        json::write(&dump, selection, &mut out).unwrap();
        let mut value: Value = serde_json::from_slice(&out).unwrap();
        // Their fields are the program's own.
        for set in value["labels"].as_array_mut().unwrap() {
            assert!(set.as_object().unwrap().values().all(Value::is_string));
            *set = "string map".into();
        }
        collect("", &value, &mut emitted);
    }
    compare("gostray.dump/1", &emitted);
}

#[test]
fn every_field_of_a_diff_is_documented() {
    use crate::diff::{Census, Position, Site, diff};
    use crate::output::diff::{fixture, json};
    let (before, after) = fixture::fixture();
    // As little as the table of positions allows.
    let site = Site { waits_at: Some(Position::default()), ..fixture::unnamed(2) };
    let bare = Census { sites: vec![site], ..Census::default() };
    let filtered = Census { filters: vec!["state=chan".into()], ..after.clone() };
    let mut emitted = Fields::new();
    for (before, after) in [(&before, &after), (&bare, &bare), (&filtered, &before), (&before, &filtered)] {
        let text = json::json(&diff(before, after)).unwrap();
        assert!(!text.contains('\n'));
        collect("", &serde_json::from_str(&text).unwrap(), &mut emitted);
    }
    compare("gostray.diff/1", &emitted);
}

#[test]
fn diff_example() {
    use crate::output::diff::{fixture, json};
    let (before, after) = fixture::fixture();
    let text = json::json(&crate::diff::diff(&before, &after)).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}
