//! Cells of docs/binaries.md that our own programs and others have in common.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::golang;
use xtask::table::{Column, Row};

use crate::first::{Doctor, Watched};
use crate::gostray::Report;

/// The Go version of an executable, by Go's own `go version FILE`.
pub fn go_version(executable: &Path) -> Result<String> {
    let mut go = Command::new(golang::find(golang::DEFAULT)?);
    go.env("GOTOOLCHAIN", "local").arg("version").arg(executable).stdin(Stdio::null());
    let output = go.output()?;
    let says = String::from_utf8_lossy(&output.stdout);
    let version = says.trim().rsplit_once(": ").map(|(_, version)| version.to_owned());
    version.with_context(|| format!("`go version` says: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// What doctor knows; fails where it names another Go than Go does, or would not trace.
pub fn recognised(row: &mut Row, doctor: &Doctor) -> Result<()> {
    ensure!(doctor.go_version() == row.go, "doctor says {}, Go says {}", doctor.go_version(), row.go);
    row.measured(Column::Recognised, "yes");
    self_check(row, doctor)?;
    let sites = doctor.sites();
    let classes = |wanted: &str| sites.iter().filter(|s| s.2.is_none() && s.1 == wanted).count();
    let (emulated, stepped) = (classes("emulated"), classes("stepped"));
    let refused: Vec<&str> = sites.iter().filter(|s| s.2.is_some()).map(|s| s.0).collect();
    let mut text = format!("{emulated} emulated");
    if stepped > 0 {
        let roles: Vec<&str> = sites.iter().filter(|s| s.1 == "stepped").map(|s| s.0).collect();
        text += &format!(", {stepped} stepped ({})", roles.join(", "));
    }
    if !refused.is_empty() {
        text += &format!(", refused: {}", refused.join(", "));
    }
    row.measured(Column::Sites, text);
    ensure!(emulated + stepped + refused.len() == sites.len(), "a site without a cost class: {sites:?}");
    ensure!(doctor.program["traceable"] == true, "it is not traceable: {:#}", doctor.program);
    Ok(())
}

/// What of the layout was held against the live process.
fn self_check(row: &mut Row, doctor: &Doctor) -> Result<()> {
    if let Some(why) = doctor.program["self_check_failed_because"].as_str() {
        row.hole(Column::SelfCheck, why);
        bail!("the self-check failed: {why}");
    }
    let check = &doctor.program["self_check"];
    let count =
        |name: &str| check[name].as_array().map(Vec::len).with_context(|| format!("no `{name}` in {check}"));
    let (held, unproven) = (count("held")?, count("unproven")?);
    ensure!(held > 0, "the self-check found nothing: {check}");
    row.measured(Column::SelfCheck, format!("{held} held, {unproven} unproven"));
    Ok(())
}

pub fn first_probe(row: &mut Row, watched: &Watched<'_>) {
    row.measured(Column::FirstProbe, format!("{} ms", watched.time.as_millis()));
}

/// Creation stacks of the sites at which something was born under the probes.
pub fn depth(row: &mut Row, report: &Report) {
    let born: Vec<_> =
        report.sites().into_iter().filter(|s| s.count("born") > 0 && !s.chain().is_empty()).collect();
    let mut depths: Vec<usize> = born.iter().map(|s| s.chain().len()).collect();
    depths.sort_unstable();
    let Some(most) = depths.last() else {
        row.hole(Column::Depth, "no goroutine was born while it was watched");
        return;
    };
    let whole = born.iter().filter(|s| s.incomplete_because().is_none()).count();
    let mut text = format!("{} / {most} of {}", depths[depths.len() / 2], depths.len());
    if whole < depths.len() {
        text += &format!(", {} not whole", depths.len() - whole);
    }
    row.measured(Column::Depth, text);
}
