//! `cargo xtask table`: docs/binaries.md, the table of what gostray was seen to do with real programs and with our own in
//! every build. The tests measure (`tests/tests/matrix.rs`, `real_programs.rs`), row by row; here rows become a page.

mod page;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::ebpf::Choice;
use crate::setup::{self, Scope};
use crate::{progress, test, workspace};

/// Names the file that measured rows are added to.
pub const ROWS_VAR: &str = "GOSTRAY_TABLE_ROWS";
/// Set: every real program, not only those that a test run has time for.
pub const ALL_VAR: &str = "GOSTRAY_TABLE_ALL";

/// One program in one build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub kind: Kind,
    pub name: String,
    /// As Go's own `go version FILE` has it.
    pub go: String,
    pub cells: BTreeMap<Column, Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A published program.
    Program,
    /// `tests/go/exact` in one way of building.
    Fixture,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Column {
    Recognised,
    SelfCheck,
    Sites,
    Counts,
    Depth,
    FirstProbe,
}

impl Column {
    pub const ALL: [Self; 6] =
        [Self::Recognised, Self::SelfCheck, Self::Sites, Self::Counts, Self::Depth, Self::FirstProbe];
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    Measured(String),
    /// Nothing was measured, and why.
    Hole(String),
}

impl Row {
    /// A row of holes, to be filled.
    pub fn new(kind: Kind, name: &str, go: &str) -> Self {
        Self { kind, name: name.to_owned(), go: go.to_owned(), cells: BTreeMap::new() }
    }

    pub fn measured(&mut self, column: Column, text: impl Into<String>) {
        self.cells.insert(column, Cell::Measured(text.into()));
    }

    /// Gives all cells that nothing is known of yet this reason.
    pub fn holes(&mut self, why: &str) {
        for column in Column::ALL {
            self.cells.entry(column).or_insert_with(|| Cell::Hole(why.to_owned()));
        }
    }

    pub fn hole(&mut self, column: Column, why: impl Into<String>) {
        self.cells.insert(column, Cell::Hole(why.into()));
    }

    /// Adds it to the file that `GOSTRAY_TABLE_ROWS` names, if it names one.
    pub fn publish(&self) -> Result<()> {
        let Some(path) = std::env::var_os(ROWS_VAR) else { return Ok(()) };
        let mut file = File::options().append(true).create(true).open(&path)?;
        writeln!(file, "{}", serde_json::to_string(self)?).context("cannot write a row")
    }
}

/// Measures everything and writes the page.
pub fn run() -> Result<()> {
    setup::run(Scope::Tests, Choice::Auto)?;
    let rows = rows_file()?;
    let _ = fs::remove_file(&rows);
    let vars = [(ROWS_VAR, rows.as_os_str()), (ALL_VAR, OsStr::new("1"))];
    let mut failed = Vec::new();
    for name in ["matrix", "real_programs"] {
        if let Err(e) = progress::part(name, || test::only(name, &vars)) {
            failed.push(format!("{name}: {e:#}"));
        }
    }
    let rows = read(&rows)?;
    let path = workspace::root().join("docs/binaries.md");
    fs::write(&path, page::of(&rows)).with_context(|| format!("cannot write `{}`", path.display()))?;
    progress::note(&format!("{} rows are in `{}`", rows.len(), path.display()));
    if !failed.is_empty() {
        bail!("not everything is as it should be:\n  - {}", failed.join("\n  - "));
    }
    Ok(())
}

fn rows_file() -> Result<PathBuf> {
    let dir = workspace::target_dir().join("table");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    Ok(dir.join("rows.jsonl"))
}

fn read(path: &std::path::Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).context("no row was measured")?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}
