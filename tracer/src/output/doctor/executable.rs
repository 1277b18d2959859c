//! What a file says of itself, without a process.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::Style;
use super::super::style::Ink;
use super::{Site, site};
use crate::gobin::BuildKind;

#[derive(Debug, Serialize)]
pub struct Executable {
    pub path: String,
    pub go_version: String,
    pub main_package: Option<String>,
    pub build_id: Option<String>,
    pub build: BuildKind,
    /// Entries of the function table.
    pub functions: usize,
    /// There are sites for births and deaths, and the layout is known.
    pub traceable: bool,
    pub layout: Option<String>,
    pub layout_unknown_because: Option<String>,
    pub globals: Vec<Global>,
    pub warnings: Vec<String>,
    pub sites: Vec<Site>,
}

/// A variable of the runtime, found by decoding the code that uses it.
#[derive(Debug, Serialize)]
pub struct Global {
    pub name: &'static str,
    /// As linked.
    pub address: Option<u64>,
    pub unknown_because: Option<String>,
}

/// `position independent, dynamically linked, stripped, cgo`
pub fn build(b: &BuildKind) -> String {
    let mut words = vec![
        if b.position_independent { "position independent" } else { "at a fixed address" }.to_owned(),
        if b.statically_linked { "statically linked" } else { "dynamically linked" }.to_owned(),
        if b.stripped { "stripped" } else { "with symbols" }.to_owned(),
    ];
    let mut say = |holds: bool, word: &str| words.extend(holds.then(|| word.to_owned()));
    say(b.debug_info, "with DWARF");
    say(!b.section_headers, "no section headers");
    say(b.cgo == Some(true), "cgo");
    say(b.race == Some(true), "race detector");
    say(b.trimpath == Some(true), "trimmed paths");
    words.extend(b.profile.as_ref().map(|p| format!("guided by the profile `{p}`")));
    words.join(", ")
}

pub fn text(e: &Executable, style: Style, out: &mut String) {
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{} {value}", style.paint(Ink::Strong, &format!("{name:<14}")));
    };
    line("executable", e.path.clone());
    let main = e.main_package.as_deref().unwrap_or("main package not recorded");
    line("Go", format!("{}, {main}, {} functions", e.go_version, e.functions));
    if let Some(id) = &e.build_id {
        line("build id", id.clone());
    }
    line("build", build(&e.build));
    let unknown = || e.layout_unknown_because.as_ref().map(|w| format!("not known: {w}"));
    line("layout", e.layout.clone().or_else(unknown).unwrap_or_default());
    for g in &e.globals {
        let place = match (g.address, &g.unknown_because) {
            (Some(at), _) => format!("{at:#x}"),
            (None, why) => format!("not found: {}", why.as_deref().unwrap_or_default()),
        };
        line("global", format!("{} {place}", g.name));
    }
    for w in &e.warnings {
        line("warning", w.clone());
    }
    for s in &e.sites {
        line(&format!("site {}", s.role), site(s, ""));
    }
    let verdict = if e.traceable {
        "births and deaths can be traced, if its process agrees: ask with its id"
    } else {
        "cannot be traced"
    };
    line("verdict", verdict.to_owned());
}
