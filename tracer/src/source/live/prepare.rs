//! Everything that can be known about a target before a probe is placed. `doctor` shows it, a session begins with it.

use thiserror::Error;

use crate::event::TargetInfo;
use crate::event::message::Limits;
use crate::gobin::{GoBinary, Layout, LayoutError};
use crate::memory::ReadMemory;
use crate::probe::{Plan, plan};
use crate::source::dump::Subject;
use crate::symbol::DebugSource;

/// A target, recognised.
pub struct Prepared<'d> {
    pub target: TargetInfo,
    pub binary: &'d GoBinary<'d>,
    pub layout: Layout,
    /// Runtime address of `runtime.allgs`; without it there are no looks.
    pub allgs: Option<u64>,
    /// Runtime address and length of the wait-reason table.
    pub wait_reasons: Option<(u64, u64)>,
    pub plan: Plan,
    pub load_bias: u64,
    /// What Go's own tables cannot answer is asked for there.
    pub debug: Option<&'d dyn DebugSource>,
    /// The process to read stacks and objects of; without it looks tell states alone.
    pub subject: Option<&'d Subject<'d>>,
    /// What a reader of the report should know: (code, one sentence).
    pub notes: Vec<(&'static str, String)>,
}

#[derive(Debug, Error)]
pub enum PrepareError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("without probes there is nothing to see: {because}")]
    NothingToWatchWith { because: String },
}

/// What the caller knows of the process and its own choices.
#[derive(Clone, Debug)]
pub struct About {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub command: String,
    pub started_boot_ns: u64,
    pub load_bias: u64,
    pub kernel: String,
    pub cpus: u32,
    pub from_start: bool,
    pub park: bool,
    /// No probes are wanted.
    pub looks_only: bool,
    pub limits: Limits,
}

/// Recognises the target. Reads only the executable's bytes.
pub fn prepare<'d>(about: About, binary: &'d GoBinary<'d>) -> Result<Prepared<'d>, PrepareError> {
    let layout = binary.layout()?;
    let globals = binary.globals();
    let mut notes = Vec::new();
    let allgs = match globals.allgs {
        Ok(at) => Some(at.wrapping_add(about.load_bias)),
        Err(reason) => {
            if about.looks_only {
                return Err(PrepareError::NothingToWatchWith { because: reason.to_string() });
            }
            notes.push((
                "no-looks",
                format!("goroutines born before the session stay unknown, and so do wait reasons without `--park on`: {reason}"),
            ));
            None
        }
    };
    let wait_reasons = match globals.wait_reasons {
        Ok(table) => Some((table.addr.wrapping_add(about.load_bias), table.len)),
        Err(reason) => {
            notes.push(("no-wait-reason-names", format!("wait reasons are shown as numbers: {reason}")));
            None
        }
    };
    if !about.looks_only && layout.kernel.m_waitlock == tracer_common::config::ABSENT {
        notes.push((
            "lock-layout-unknown",
            format!("the address of what a goroutine parks on is not read: it moves between patch releases, and {} was not measured", binary.version()),
        ));
    }
    let plan = if about.looks_only { Plan::default() } else { plan(binary, about.park) };
    let target = TargetInfo {
        pid: about.pid,
        comm: about.comm,
        exe: about.exe,
        go_version: binary.version().raw.clone(),
        build_id: binary.build_id().unwrap_or_default(),
        arch: "amd64".to_owned(),
        main_package: binary.main_package().unwrap_or_default().to_owned(),
        kernel: about.kernel,
        cpus: about.cpus,
        gostray_version: env!("CARGO_PKG_VERSION").to_owned(),
        anchor_boot_ns: super::boot_ns(),
        anchor_unix_ns: super::unix_ns(),
        from_start: about.from_start,
        park: about.park,
        load_bias: about.load_bias,
        limits: Some(about.limits),
        command: about.command,
        started_boot_ns: about.started_boot_ns,
        layout_provenance: layout.provenance.clone(),
        looks_only: about.looks_only,
    };
    Ok(Prepared {
        target,
        binary,
        layout,
        allgs,
        wait_reasons,
        plan,
        load_bias: about.load_bias,
        debug: None,
        subject: None,
        notes,
    })
}

/// A wait reason's name is at most that long in any release; a longer one means that this is no table of them.
const MAX_NAME: u64 = 64;

/// Reads the target's own wait-reason names. `None` while they are not there yet: in a position-independent program held
/// before its first instruction the table's pointers are not relocated.
pub fn read_wait_reasons(memory: &dyn ReadMemory, (addr, len): (u64, u64)) -> Option<Vec<String>> {
    let mut table = vec![0; len.min(256) as usize * 16];
    memory.read(addr, &mut table).ok()?;
    table
        .as_chunks::<16>()
        .0
        .iter()
        .map(|entry| {
            let (ptr, len) = entry.split_at(8);
            let ptr = u64::from_le_bytes(ptr.try_into().ok()?);
            let len = u64::from_le_bytes(len.try_into().ok()?);
            if len > MAX_NAME {
                return None;
            }
            let mut name = vec![0; len as usize];
            memory.read(ptr, &mut name).ok()?;
            String::from_utf8(name).ok().filter(|n| n.chars().all(|c| (' '..='~').contains(&c)))
        })
        .collect()
}
