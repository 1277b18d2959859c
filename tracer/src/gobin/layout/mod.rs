//! Where the fields of runtime structs are, for one exact Go version.
//!
//! The table (`table.json`, written by `cargo xtask offsets`, shown in docs/layouts.md) was measured, not derived. A
//! version that it does not hold is read from debug information, or refused by name.

mod dies;
#[cfg(test)]
mod dwarf_tests;
mod from_dwarf;
mod from_types;
mod offsets;
mod structs;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracer_common::config::GoLayout;

pub use from_dwarf::{Described, DwarfError, read as described};
pub use from_types::read as by_types;
pub use offsets::{Goroutines, ModuleOffsets, Offsets};
pub use structs::Unfit;
pub use table::{Measured, Table, Unknown};

use super::debug::{DebugError, DebugSections};
use super::elf::Image;
use super::version::GoVersion;

/// Why the layout of a version's runtime is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    #[error("`{version}` is older than Go 1.19, the oldest whose runtime was measured")]
    TooOld { version: String },
    #[error("`{version}` {why}, and debug information does not tell the runtime's layout: {dwarf}")]
    Unknown { version: String, why: Unknown, dwarf: DwarfError },
    #[error(
        "the runtime's layout was not measured in `{version}`, and its type descriptors contradict its neighbours'"
    )]
    Contradiction { version: String },
    #[error("the built-in layout table is damaged")]
    Table,
}

/// What is known about the runtime of one version.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub offsets: Offsets,
    /// One sentence: where these numbers come from.
    pub provenance: String,
    /// Measured for this very version, or read from the program itself.
    pub is_sure: bool,
}

/// From the table; for a version that it does not hold from debug information, which is only then asked for.
pub fn find<'d>(
    version: &GoVersion,
    debug: impl FnOnce() -> Result<DebugSections<'d>, DebugError>,
) -> Result<Runtime, LayoutError> {
    if !version.at_least(1, 19) {
        return Err(LayoutError::TooOld { version: version.raw.clone() });
    }
    match table::find(version)? {
        Ok(runtime) => Ok(runtime),
        Err(why) => {
            let described = debug().map_err(DwarfError::from).and_then(|debug| from_dwarf::read(&debug));
            by_dwarf(version, why, described)
        }
    }
}

/// [`find`], with debug information at hand.
pub fn from_debug(version: &GoVersion, debug: &DebugSections<'_>) -> Result<Runtime, LayoutError> {
    match table::find(version)? {
        Ok(runtime) => Ok(runtime),
        Err(why) => by_dwarf(version, why, from_dwarf::read(debug)),
    }
}

fn by_dwarf(
    version: &GoVersion,
    why: Unknown,
    described: Result<Described, DwarfError>,
) -> Result<Runtime, LayoutError> {
    match described {
        Ok(described) => Ok(Runtime {
            provenance: format!("read from debug information (DWARF), as `{}` {why}", version.raw),
            offsets: described.offsets,
            is_sure: true,
        }),
        Err(dwarf) => Err(LayoutError::Unknown { version: version.raw.clone(), why, dwarf }),
    }
}

impl Runtime {
    pub fn layout(&self) -> Layout {
        self.offsets.layout(self.provenance.clone())
    }

    /// Numbers that stand for another version than the one they were measured in are compared with the program's own
    /// type descriptors, which also tell what the table leaves open. Without descriptors all stays as it is.
    pub fn compare(
        &mut self,
        image: &Image<'_>,
        types: &Range<u64>,
        version: &GoVersion,
    ) -> Result<(), LayoutError> {
        if self.is_sure {
            return Ok(());
        }
        let Ok(own) = from_types::read(image, types) else { return Ok(()) };
        let offsets = self.offsets.agreeing(&own);
        self.offsets = offsets.ok_or_else(|| LayoutError::Contradiction { version: version.raw.clone() })?;
        self.provenance.push_str("; the program's own type descriptors agree");
        Ok(())
    }
}

/// The layout of the newest Go that was measured.
pub fn newest() -> Result<Layout, LayoutError> {
    let row = table::amd64()?
        .into_iter()
        .max_by_key(|row| (row.version.major, row.version.minor, row.version.patch));
    let row = row.ok_or(LayoutError::Table)?;
    find(&row.version, || Err(DebugError::None)).map(|runtime| runtime.layout())
}

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
    /// The timer of `time.Sleep`, a pointer; kept for the next sleep.
    pub g_timer: Option<u32>,
    /// From Go 1.23 on: until when `time.Sleep` sleeps.
    pub g_sleep_when: Option<u32>,
    /// From Go 1.24 on: a pointer, set in a bubble of `testing/synctest`, which has a clock of its own.
    pub g_bubble: Option<u32>,
    /// One byte that counts, modulo 256, how often the goroutine has left a processor (`casgstatus`). Coroutine switches and
    /// (from Go 1.26 on) system calls do not count.
    pub g_tracking_seq: Option<u32>,
    /// From Go 1.26 on `g.waiting` is set for semaphore waits (Mutex, WaitGroup, Cond) too, with the semaphore's
    /// address in `sudog.elem`; before, only for channels and select.
    pub semaphores_in_waiting: bool,
    /// `_Gdeadextra`, the status of an extra M's placeholder, from Go 1.26 on.
    pub status_dead_extra: Option<u32>,
    pub m_procid: u32,
    pub m_g0: u32,
    pub sudog: SudogLayout,
    pub hchan: HchanLayout,
    pub timer: Option<TimerLayout>,
    /// One sentence: where these numbers come from.
    pub provenance: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<u32>,
    pub elemtype: u32,
    pub recvq_first: u32,
    pub recvq_last: u32,
    pub sendq_first: u32,
    pub sendq_last: u32,
}

/// Times are of the runtime's `nanotime`, `CLOCK_MONOTONIC` on Linux, signed 64 bits (runtime/time.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerLayout {
    /// When it fires. From Go 1.23 on 0 while it is not to fire.
    pub when: u32,
    /// Before Go 1.23: until when `time.Sleep` sleeps, set before the goroutine parks (`when` only afterwards).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nextwhen: Option<u32>,
}
