//! The runtime as a program's own debug information describes it: structs, and the constants that everything else
//! here depends on.
//!
//! Go's linker puts all types into the compile unit of package runtime and each package's integer constants into that
//! package's (cmd/link/internal/ld/dwarf.go: `movetomodule`, `go:constinfo.`). Constants that the code here takes for
//! granted are compared, so that a version that changed one is refused rather than misread.

use std::collections::HashMap;

use thiserror::Error;

use super::dies::{Budget, Units};
use super::offsets::{Goroutines, ModuleOffsets, Offsets};
use super::structs::{Struct, Unfit};
use crate::gobin::debug::{DebugError, DebugSections};

/// Why debug information does not supply the layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DwarfError {
    #[error(transparent)]
    Sections(#[from] DebugError),
    #[error("it is damaged: {0}")]
    Damaged(#[from] gimli::Error),
    #[error("it has no compile unit of Go's package `runtime`")]
    NoRuntime,
    #[error("it takes more than {limit} steps to read: damaged or made to be slow")]
    TooMuchWork { limit: u64 },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the constant `{name}` is {found}, only {expected} is known")]
    Constant { name: &'static str, found: i64, expected: i64 },
}

/// What the debug information says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The compiler's version, for instance `go1.24.11`.
    pub version: String,
    pub offsets: Offsets,
}

const STRUCTS: [&str; 10] = [
    "runtime.g",
    "runtime.m",
    "runtime.sudog",
    "runtime.hchan",
    "runtime.timer",
    "runtime.moduledata",
    "runtime.pcHeader",
    "runtime.functab",
    "runtime._func",
    "runtime.inlinedCall",
];

/// Constants with the value that the code here takes for granted. Of several names the later ones are older Go's.
const KNOWN: [(&[&str], i64); 12] = [
    (&["runtime._Gidle"], 0),
    (&["runtime._Grunnable"], 1),
    (&["runtime._Grunning"], 2),
    (&["runtime._Gsyscall"], 3),
    (&["runtime._Gwaiting"], 4),
    (&["runtime._Gdead"], 6),
    (&["runtime._Gcopystack"], 8),
    (&["runtime._Gpreempted"], 9),
    (&["runtime._Gscan"], 0x1000),
    (&["internal/abi.PCDATA_InlTreeIndex", "runtime._PCDATA_InlTreeIndex"], 2),
    (&["internal/abi.FUNCDATA_InlTree", "runtime._FUNCDATA_InlTree"], 3),
    (&["internal/abi.FuncFlagTopFrame", "runtime.funcFlag_TOPFRAME"], 1),
];
const WRAPPER: [&str; 2] = ["internal/abi.FuncIDWrapper", "runtime.funcID_wrapper"];
/// Where the version has it (from Go 1.26 on).
const LEAKED: (&str, i64) = ("runtime._Gleaked", 10);
const DEAD_EXTRA: &str = "runtime._Gdeadextra";

/// Reads it. Costs a pass over the unit of package runtime, which holds every type of the program.
pub fn read(debug: &DebugSections<'_>) -> Result<Described, DwarfError> {
    let dwarf = debug.dwarf();
    let mut units = Units::find(&dwarf, &["runtime", "internal/abi"], Budget::new())?;
    let version = units.go_version().ok_or(DwarfError::NoRuntime)?;
    let is_wanted = |name: &str| {
        let known = KNOWN.iter().any(|(names, _)| names.contains(&name));
        known || WRAPPER.contains(&name) || name == LEAKED.0 || name == DEAD_EXTRA
    };
    let found = units.look(&STRUCTS, is_wanted)?;
    let structs: HashMap<&str, Struct> = found
        .structs
        .into_iter()
        .map(|at| Ok((at.name, units.structure(&at)?)))
        .collect::<Result<_, DwarfError>>()?;
    let get = |name: &'static str| structs.get(name).ok_or_else(|| Unfit::Missing { what: name.to_owned() });
    for (names, expected) in KNOWN {
        let name = names[0];
        match names.iter().find_map(|n| found.constants.get(*n)) {
            Some(&value) if value == expected => {}
            Some(&found) => return Err(DwarfError::Constant { name, found, expected }),
            None => return Err(Unfit::Missing { what: name.to_owned() }.into()),
        }
    }
    if let Some(&found) = found.constants.get(LEAKED.0).filter(|found| **found != LEAKED.1) {
        return Err(DwarfError::Constant { name: LEAKED.0, found, expected: LEAKED.1 });
    }
    let moduledata = tables(get("runtime.moduledata")?, get("runtime.pcHeader")?, get("runtime.functab")?)?;
    functions(get("runtime._func")?, get("runtime.inlinedCall")?)?;
    let wrapper = WRAPPER.iter().find_map(|n| found.constants.get(*n)).and_then(|&id| u8::try_from(id).ok());
    let (g, m) = (get("runtime.g")?, get("runtime.m")?);
    let (sudog, hchan) = (get("runtime.sudog")?, get("runtime.hchan")?);
    let goroutines = Goroutines::of(g, m, sudog, hchan, structs.get("runtime.timer"))?;
    let dead_extra = found.constants.get(DEAD_EXTRA).and_then(|&v| u32::try_from(v).ok());
    let offsets = Offsets {
        g: goroutines.g,
        m: goroutines.m,
        sudog: goroutines.sudog,
        hchan: goroutines.hchan,
        timer: goroutines.timer,
        moduledata,
        wrapper_id: wrapper.ok_or_else(|| Unfit::Missing { what: WRAPPER[0].to_owned() })?,
        status_dead_extra: dead_extra,
        semaphores_in_waiting: goroutines.semaphores_in_waiting,
    };
    Ok(Described { version, offsets })
}

/// That `moduledata` and `pclntab` read them as they are; gives what differs between versions.
fn tables(module: &Struct, header: &Struct, functab: &Struct) -> Result<ModuleOffsets, Unfit> {
    for (path, at) in [
        ("pcHeader", 0),
        ("funcnametab.array", 8),
        ("ftab.array", 128),
        ("ftab.len", 136),
        ("minpc", 160),
        ("maxpc", 168),
        ("text", 176),
        ("etext", 184),
    ] {
        expect(module, path, 8, at)?;
    }
    for (path, at) in [
        ("nfunc", 8),
        ("funcnameOffset", 32),
        ("cuOffset", 40),
        ("filetabOffset", 48),
        ("pctabOffset", 56),
        ("pclnOffset", 64),
    ] {
        expect(header, path, 8, at)?;
    }
    expect(functab, "entryoff", 4, 0)?;
    expect(functab, "funcoff", 4, 4)?;
    Ok(ModuleOffsets {
        gofunc: module.at("gofunc", 8)?,
        types: module.at("types", 8)?,
        etypes: module.at("etypes", 8)?,
    })
}

/// That `pclntab` and `inline` read them as they are, in one of their two forms.
fn functions(func: &Struct, call: &Struct) -> Result<(), Unfit> {
    for (path, at) in
        [("nameOff", 4), ("pcsp", 16), ("pcfile", 20), ("pcln", 24), ("npcdata", 28), ("cuOffset", 32)]
    {
        expect(func, path, 4, at)?;
    }
    // Go 1.18 and 1.19, then 1.20 on.
    let (tail, size, name, parent_pc, call_size) = match func.size {
        40 => (36, 40, "func_", 16, 20),
        44 => (40, 44, "nameOff", 8, 16),
        _ => return Err(Unfit::Form { what: func.name.to_owned() }),
    };
    expect(func, "funcID", 1, tail)?;
    expect(func, "flag", 1, tail + 1)?;
    expect(func, "nfuncdata", 1, size - 1)?;
    expect(call, name, 4, if call_size == 20 { 12 } else { 4 })?;
    expect(call, "parentPc", 4, parent_pc)?;
    if call.size != call_size {
        return Err(Unfit::Form { what: call.name.to_owned() });
    }
    Ok(())
}

fn expect(structure: &Struct, path: &str, size: u64, at: u32) -> Result<(), Unfit> {
    if structure.at(path, size)? == at {
        return Ok(());
    }
    Err(Unfit::Form { what: format!("{}.{path}", structure.name) })
}
