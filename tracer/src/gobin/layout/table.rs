//! The measured versions, and what follows from them for the others.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::offsets::Offsets;
use super::{LayoutError, Runtime};
use crate::gobin::version::GoVersion;

/// `table.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub about: String,
    pub measured: Vec<Measured>,
    /// For each minor the experiments (`GOEXPERIMENT`) with which the same toolchain gave the same numbers on amd64.
    pub harmless_experiments: BTreeMap<String, Vec<String>>,
    /// Each different set of numbers once.
    pub layouts: Vec<Offsets>,
}

/// One version on one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// As in `go1.24.11`.
    pub version: String,
    /// Go's name for it.
    pub arch: String,
    /// What was measured.
    pub source: String,
    /// Index in [`Table::layouts`].
    pub layout: usize,
}

/// Why the table does not answer for a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    NotMeasured,
    PreRelease,
    Experiment(String),
    /// It lies between two measured versions that differ.
    Between(String, String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMeasured => f.write_str("was not measured"),
            Self::PreRelease => f.write_str("is a pre-release or development version, which is not measured"),
            Self::Experiment(name) => {
                write!(f, "has the experiment `{name}`, which was not measured to be harmless")
            }
            Self::Between(a, b) => write!(f, "lies between {a} and {b}, which differ"),
        }
    }
}

/// A measured version on amd64.
pub struct Row {
    pub version: GoVersion,
    pub offsets: Offsets,
    pub source: String,
}

fn table() -> Result<Table, LayoutError> {
    serde_json::from_str(include_str!("table.json")).map_err(|_| LayoutError::Table)
}

/// What was measured on amd64.
pub fn amd64() -> Result<Vec<Row>, LayoutError> {
    let table = table()?;
    let rows = table.measured.iter().filter(|m| m.arch == "amd64");
    rows.map(|m| {
        Some(Row {
            version: GoVersion::parse(&m.version)?,
            offsets: table.layouts.get(m.layout)?.clone(),
            source: m.source.clone(),
        })
    })
    .collect::<Option<_>>()
    .ok_or(LayoutError::Table)
}

/// The numbers for a version, with the measured ones around it when it was not measured itself.
pub fn find(version: &GoVersion) -> Result<Result<Runtime, Unknown>, LayoutError> {
    if version.devel || version.pre_release.is_some() {
        return Ok(Err(Unknown::PreRelease));
    }
    let minor = format!("{}.{}", version.major, version.minor);
    let harmless = table()?.harmless_experiments.remove(&minor).unwrap_or_default();
    if let Some(x) = version.experiments.iter().find(|x| !harmless.contains(x)) {
        return Ok(Err(Unknown::Experiment(x.clone())));
    }
    let mut rows = amd64()?;
    rows.retain(|r| (r.version.major, r.version.minor) == (version.major, version.minor));
    rows.sort_by_key(|r| r.version.patch);
    let below = rows.iter().rev().find(|r| r.version.patch <= version.patch);
    let above = rows.iter().find(|r| r.version.patch >= version.patch);
    let exact = rows.iter().any(|r| r.version.patch == version.patch);
    let (offsets, mut provenance) = match (below, above) {
        (Some(row), _) if exact => {
            (row.offsets.clone(), format!("measured in {} ({})", version.release(), row.source))
        }
        (Some(a), Some(b)) => {
            let (a_name, b_name) = (a.version.release(), b.version.release());
            let between = format!("{} lies between {a_name} and {b_name}", version.release());
            if a.offsets == b.offsets {
                (a.offsets.clone(), format!("{between}, which were measured and agree"))
            } else if a.offsets.without_lock() == b.offsets.without_lock() {
                (a.offsets.without_lock(), format!("{between}, which differ in m.waitlock only"))
            } else {
                return Ok(Err(Unknown::Between(a_name, b_name)));
            }
        }
        (Some(row), None) | (None, Some(row)) => {
            let than = if below.is_some() { "newer" } else { "older" };
            let text = format!(
                "{} is {than} than what was measured: taken from {}, but for m.waitlock, which may have moved",
                version.release(),
                row.version.release()
            );
            (row.offsets.without_lock(), text)
        }
        (None, None) => return Ok(Err(Unknown::NotMeasured)),
    };
    if let Some(vendor) = &version.vendor {
        provenance
            .push_str(&format!("; the vendor's changes (`{vendor}`) are taken to leave the runtime alone"));
    }
    if !version.experiments.is_empty() {
        provenance.push_str(&format!(
            "; {} leaves the layout as it is, measured in Go {minor}",
            version.experiments.join(", ")
        ));
    }
    let is_sure = exact && version.vendor.is_none();
    Ok(Ok(Runtime { offsets, provenance, is_sure }))
}
