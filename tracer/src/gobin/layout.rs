//! Where the fields of runtime structs are, for one exact Go version.
//!
//! The table (`layouts.json`) was measured, not derived; what it does not hold is refused by name. Field offsets of
//! `g`, `sudog` and `hchan` did not move inside any minor version of which two patch releases were compared (1.23 to
//! 1.27), those of `m` did (1.24), so a patch release between measured ones gets the former, and of `m` only what
//! both neighbours agree on.

use serde::Deserialize;
use thiserror::Error;
use tracer_common::config::{ABSENT, GoLayout};

use super::version::GoVersion;

/// Why the layout of a version's runtime is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    #[error("`{version}` is older than Go 1.19, the oldest whose runtime was measured")]
    TooOld { version: String },
    #[error("the runtime's layout in `{version}` was not measured")]
    NotMeasured { version: String },
    #[error(
        "`{version}` is a pre-release or development version, whose runtime may differ from every release"
    )]
    PreRelease { version: String },
    #[error(
        "`{version}` was built with the experiment `{experiment}`, which may change the runtime's layout"
    )]
    Experiment { version: String, experiment: String },
    #[error("the built-in layout table is damaged")]
    Table,
}

/// Experiments that only touch the language, the libraries or the collector's work, not `g`, `m`, `sudog`, `hchan`.
const HARMLESS_EXPERIMENTS: &[&str] = &[
    "aliastypeparams",
    "boringcrypto",
    "coverageredesign",
    "jsonv2",
    "loopvar",
    "noaliastypeparams",
    "nocoverageredesign",
    "nojsonv2",
    "nounified",
    "rangefunc",
    "strictfipsruntime",
    "systemcrypto",
    "unified",
];

/// Byte offsets; absent where the version has no such field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the kernel side is told.
    pub kernel: GoLayout,
    pub g_size: u32,
    /// `g.atomicstatus`, 32 bits; mask 0x1000 is the scan bit.
    pub g_status: u32,
    pub g_sched_sp: u32,
    pub g_sched_pc: u32,
    /// Set by the collector only, to the time its cycle began: "at least since".
    pub g_waitsince: u32,
    pub g_syscallsp: u32,
    pub g_syscallpc: u32,
    /// From Go 1.23 on.
    pub g_syscallbp: Option<u32>,
    /// First `sudog` of what the goroutine waits on; see `semaphores_in_waiting`.
    pub g_waiting: u32,
    pub g_labels: u32,
    pub g_lockedm: u32,
    pub g_parking_on_chan: u32,
    /// From Go 1.26 on `g.waiting` is set for semaphore waits (Mutex, WaitGroup, Cond) too, with the semaphore's
    /// address in `sudog.elem`; before, only for channels and select.
    pub semaphores_in_waiting: bool,
    /// `_Gdeadextra`, the status of an extra M's placeholder, from Go 1.26 on.
    pub status_dead_extra: Option<u32>,
    pub m_procid: u32,
    pub m_g0: u32,
    pub sudog: SudogLayout,
    pub hchan: HchanLayout,
    /// One sentence: where these numbers come from.
    pub provenance: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SudogLayout {
    pub size: u32,
    pub g: u32,
    pub next: u32,
    pub prev: u32,
    /// The word that is always valid (`elem`, or `elem.vu` from Go 1.26 on).
    pub elem: u32,
    pub ticket: u32,
    pub is_select: u32,
    pub success: u32,
    pub parent: u32,
    pub waitlink: u32,
    pub waittail: u32,
    /// The channel: the word that is always valid (`c`, or `c.vu` from Go 1.26 on).
    pub c: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HchanLayout {
    pub size: u32,
    pub qcount: u32,
    pub dataqsiz: u32,
    pub buf: u32,
    /// 16 bits.
    pub elemsize: u32,
    /// 32 bits.
    pub closed: u32,
    /// The timer that feeds this channel, from Go 1.23 on.
    pub timer: Option<u32>,
    pub elemtype: u32,
    pub recvq_first: u32,
    pub recvq_last: u32,
    pub sendq_first: u32,
    pub sendq_last: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "about")]
    _about: String,
    layouts: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    version: String,
    arch: String,
    status_dead_extra: Option<u32>,
    g: G,
    m: M,
    sudog: SudogLayout,
    hchan: HchanLayout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct G {
    size: u32,
    stack_lo: u32,
    stack_hi: u32,
    m: u32,
    sched_sp: u32,
    sched_pc: u32,
    sched_bp: u32,
    syscallsp: u32,
    syscallpc: u32,
    syscallbp: Option<u32>,
    status: u32,
    goid: u32,
    waitsince: u32,
    waitreason: u32,
    parking_on_chan: u32,
    coroexit: Option<u32>,
    coroarg: Option<u32>,
    lockedm: u32,
    parent_goid: Option<u32>,
    gopc: u32,
    startpc: u32,
    waiting: u32,
    labels: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct M {
    g0: u32,
    procid: u32,
    curg: u32,
    waitunlockf: u32,
    waitlock: u32,
}

fn rows() -> Result<Vec<(GoVersion, Row)>, LayoutError> {
    let table: Table = serde_json::from_str(include_str!("layouts.json")).map_err(|_| LayoutError::Table)?;
    let rows = table.layouts.into_iter().filter(|r| r.arch == "amd64");
    rows.map(|r| Ok((GoVersion::parse(&r.version).ok_or(LayoutError::Table)?, r))).collect()
}

/// The runtime's layout in this version, on amd64.
pub fn layout(version: &GoVersion) -> Result<Layout, LayoutError> {
    let name = || version.raw.clone();
    if !version.at_least(1, 19) {
        return Err(LayoutError::TooOld { version: name() });
    }
    if version.devel || version.pre_release.is_some() {
        return Err(LayoutError::PreRelease { version: name() });
    }
    if let Some(x) = version.experiments.iter().find(|x| !HARMLESS_EXPERIMENTS.contains(&x.as_str())) {
        return Err(LayoutError::Experiment { version: name(), experiment: x.clone() });
    }
    let mut minor = rows()?;
    minor.retain(|(v, _)| (v.major, v.minor) == (version.major, version.minor));
    minor.sort_by_key(|(v, _)| v.patch);
    let below = minor.iter().rev().find(|(v, _)| v.patch <= version.patch);
    let above = minor.iter().find(|(v, _)| v.patch >= version.patch);
    let vendor = match &version.vendor {
        Some(vendor) => format!("; the vendor's changes (`{vendor}`) are taken to leave the runtime alone"),
        None => String::new(),
    };
    let (row, m, mut provenance) = match (below, above) {
        (Some((at, row)), _) if at.patch == version.patch => {
            (row, Some(row.m), format!("measured in {} (DWARF)", version.release()))
        }
        (Some((_, a)), Some((_, b))) => {
            let m = (a.m == b.m).then_some(a.m);
            let same = if m.is_some() { "" } else { ", which differ in m.waitlock: not used" };
            (
                b,
                m,
                format!(
                    "{} not measured: taken from {} and {}{same}",
                    version.release(),
                    a.version,
                    b.version
                ),
            )
        }
        (Some((_, row)), None) | (None, Some((_, row))) => {
            let text = format!(
                "{} not measured: taken from {}, without m.waitlock, which may have moved",
                version.release(),
                row.version
            );
            (row, None, text)
        }
        (None, None) => return Err(LayoutError::NotMeasured { version: name() }),
    };
    provenance.push_str(&vendor);
    Ok(row.layout(m, version, provenance))
}

/// The layout of the newest Go that was measured.
pub fn newest() -> Result<Layout, LayoutError> {
    let newest = rows()?.into_iter().map(|(v, _)| v).max_by_key(|v| (v.major, v.minor, v.patch));
    layout(&newest.ok_or(LayoutError::Table)?)
}

impl Row {
    /// `m`: the fields that move between patch releases, when they are known.
    fn layout(&self, m: Option<M>, version: &GoVersion, provenance: String) -> Layout {
        let g = &self.g;
        Layout {
            kernel: GoLayout {
                g_stack_lo: g.stack_lo,
                g_stack_hi: g.stack_hi,
                g_m: g.m,
                g_sched_bp: g.sched_bp,
                g_goid: g.goid,
                g_parent_goid: g.parent_goid.unwrap_or(ABSENT),
                g_gopc: g.gopc,
                g_startpc: g.startpc,
                g_waitreason: g.waitreason,
                g_coroexit: g.coroexit.unwrap_or(ABSENT),
                g_coroarg: g.coroarg.unwrap_or(ABSENT),
                // Near the struct's start; the same in every patch release of a minor that was compared.
                m_curg: self.m.curg,
                m_waitunlockf: m.map_or(ABSENT, |m| m.waitunlockf),
                m_waitlock: m.map_or(ABSENT, |m| m.waitlock),
            },
            g_size: g.size,
            g_status: g.status,
            g_sched_sp: g.sched_sp,
            g_sched_pc: g.sched_pc,
            g_waitsince: g.waitsince,
            g_syscallsp: g.syscallsp,
            g_syscallpc: g.syscallpc,
            g_syscallbp: g.syscallbp,
            g_waiting: g.waiting,
            g_labels: g.labels,
            g_lockedm: g.lockedm,
            g_parking_on_chan: g.parking_on_chan,
            semaphores_in_waiting: version.at_least(1, 26),
            status_dead_extra: self.status_dead_extra,
            m_procid: self.m.procid,
            m_g0: self.m.g0,
            sudog: self.sudog,
            hchan: self.hchan,
            provenance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Result<Layout, LayoutError> {
        layout(&GoVersion::parse(version).unwrap())
    }

    #[test]
    fn every_row_is_reached_by_its_own_version() {
        let rows = rows().unwrap();
        assert!(rows.len() >= 13);
        for (version, row) in rows {
            let l = layout(&version).unwrap();
            assert_eq!(l.kernel.g_goid, row.g.goid, "{version}");
            assert_eq!(l.kernel.m_waitlock, row.m.waitlock, "{version}");
            assert!(l.provenance.starts_with("measured"), "{}", l.provenance);
        }
    }

    #[test]
    fn known_values() {
        let l = of("go1.19.8").unwrap();
        assert_eq!((l.kernel.g_goid, l.kernel.g_parent_goid, l.g_syscallbp), (152, ABSENT, None));
        assert_eq!((l.sudog.c, l.hchan.recvq_first, l.status_dead_extra), (80, 56, None));
        let l = of("go1.26.6").unwrap();
        assert_eq!((l.kernel.m_waitlock, l.kernel.m_curg, l.g_status), (768, 184, 144));
        assert_eq!((l.sudog.elem, l.sudog.c, l.status_dead_extra), (32, 96, Some(11)));
        assert!(l.semaphores_in_waiting && !of("go1.25.5").unwrap().semaphores_in_waiting);
    }

    #[test]
    fn another_patch_of_a_measured_minor() {
        // 1.25.0 and 1.25.5 agree.
        let l = of("go1.25.3").unwrap();
        assert_eq!((l.kernel.g_goid, l.kernel.m_waitlock), (152, 736));
        assert!(l.provenance.contains("not measured"), "{}", l.provenance);
        // 1.24.3 and 1.24.11 differ in m.
        let l = of("go1.24.7").unwrap();
        assert_eq!((l.kernel.g_goid, l.kernel.m_waitlock, l.kernel.m_waitunlockf), (160, ABSENT, ABSENT));
        assert_eq!(l.kernel.m_curg, 192);
        // Only one neighbour.
        for version in ["go1.22.3", "go1.27.9", "go1.24.1"] {
            let l = of(version).unwrap();
            assert_eq!(l.kernel.m_waitlock, ABSENT, "{version}");
            assert!(l.provenance.contains("without m.waitlock"), "{}", l.provenance);
        }
    }

    #[test]
    fn refused_by_name() {
        assert_eq!(of("go1.17.3"), Err(LayoutError::TooOld { version: "go1.17.3".into() }));
        assert_eq!(of("go1.20.14"), Err(LayoutError::NotMeasured { version: "go1.20.14".into() }));
        assert_eq!(of("go1.99.1"), Err(LayoutError::NotMeasured { version: "go1.99.1".into() }));
        assert_eq!(of("go1.27rc1"), Err(LayoutError::PreRelease { version: "go1.27rc1".into() }));
        assert!(matches!(of("devel go1.27-abcdef"), Err(LayoutError::PreRelease { .. })));
        let error = of("go1.24.3 X:staticlockranking").unwrap_err();
        assert!(error.to_string().contains("`staticlockranking`"), "{error}");
    }

    #[test]
    fn vendors_and_harmless_experiments_pass() {
        let l = of("go1.26.6 X:boringcrypto").unwrap();
        assert_eq!(l.kernel, of("go1.26.6").unwrap().kernel);
        assert!(of("go1.26.6-fips").unwrap().provenance.contains("-fips"));
    }
}
