//! What is true of each scenario of `tests/go/zoo`: leak or not, and the `go` statement that a verdict must name.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use xtask::workspace;

/// One scenario, as `truth.json` says, with the line looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// For the zoo's `-scenario`.
    pub name: String,
    pub leak: bool,
    /// The function that the `go` statement is in, as Go writes it.
    pub function: String,
    /// Its file's absolute path, as it stands in the executable.
    pub file: PathBuf,
    /// The line of the `go` statement, from 1.
    pub line: u32,
    /// The start function of the goroutines.
    pub start: String,
    /// What they wait on, by any of the names that the Go releases have for it; empty when they wait on nothing for long.
    pub wait: Vec<String>,
    /// The same program mended, or broken.
    pub twin: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    leak: bool,
    function: String,
    file: String,
    marker: String,
    start: String,
    wait: Vec<String>,
    twin: Option<String>,
}

/// All scenarios.
pub fn zoo() -> Result<Vec<Truth>> {
    let dir = workspace::root().join("tests/go/zoo");
    let text = fs::read_to_string(dir.join("truth.json")).context("cannot read `truth.json`")?;
    let entries: Vec<Entry> = serde_json::from_str(&text).context("`truth.json` is not what it should be")?;
    entries
        .into_iter()
        .map(|e| {
            let file = dir.join(&e.file);
            let line = marked_line(&file, &e.function, &e.marker)?;
            let Entry { name, leak, function, start, wait, twin, .. } = e;
            Ok(Truth { name, leak, function, file, line, start, wait, twin })
        })
        .collect()
}

/// The line (from 1) in this file that ends with the comment `// MARKER`, within the function that Go calls `function`.
pub fn marked_line(file: &std::path::Path, function: &str, marker: &str) -> Result<u32> {
    let source = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    // `main.(*account).deposit` is declared by a line with `) deposit(`, `main.gather` by one with `func gather(`.
    let name = function.rsplit('.').next().unwrap_or(function);
    let head = if function.contains(").") { format!(") {name}(") } else { format!("func {name}(") };
    let comment = format!("// {marker}");
    let mut inside = false;
    for (i, line) in source.lines().enumerate() {
        if line.starts_with("func ") {
            inside = line.contains(&head);
        }
        if inside && line.trim_end().ends_with(&comment) {
            return Ok(u32::try_from(i)? + 1);
        }
    }
    anyhow::bail!("`{}` has no line marked `{comment}` in `{function}`", file.display())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_has_one_truth_and_its_marked_go_statement() {
        let truths = zoo().unwrap();
        let dir = workspace::root().join("tests/go/zoo");
        let mut registered = BTreeSet::new();
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "go") {
                let source = fs::read_to_string(&path).unwrap();
                registered.extend(
                    source
                        .split("register(\"")
                        .skip(1)
                        .filter_map(|s| s.split('"').next())
                        .map(str::to_owned),
                );
            }
        }
        let told: BTreeSet<String> = truths.iter().map(|t| t.name.clone()).collect();
        assert_eq!(told, registered);
        assert_eq!(truths.len(), told.len(), "a scenario is told twice");
        let places: BTreeSet<_> = truths.iter().map(|t| (&t.file, t.line)).collect();
        assert_eq!(places.len(), truths.len(), "two scenarios share a `go` statement");
        for truth in &truths {
            let source = fs::read_to_string(&truth.file).unwrap();
            let line = source.lines().nth(truth.line as usize - 1).unwrap().trim_start();
            assert!(line.starts_with("go "), "{}: {line}", truth.name);
        }
    }

    #[test]
    fn every_leak_has_a_mended_twin() {
        let truths = zoo().unwrap();
        for truth in truths.iter().filter(|t| t.leak) {
            let twin = truths.iter().find(|t| Some(&t.name) == truth.twin.as_ref());
            assert!(twin.is_some_and(|t| !t.leak && t.twin.as_ref() == Some(&truth.name)), "{}", truth.name);
        }
        assert!(truths.iter().filter(|t| t.leak).count() >= 6);
    }
}
