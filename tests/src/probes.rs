//! Where probes go in a program, and whether one is there: a breakpoint byte in its memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::gostray::gostray;

/// What the kernel puts in an instruction's place on amd64.
pub const BREAKPOINT: u8 = 0xcc;

/// An instruction that gostray would probe.
#[derive(Clone, Debug)]
pub struct Place {
    pub role: String,
    /// In the process's memory.
    pub addr: u64,
    /// The function's bytes in the file, of which the first stands at `entry` in memory.
    pub entry: u64,
    pub code: Vec<u8>,
}

/// The places in a running program with a symbol table, as `gostray doctor PID --json` has them. Nothing may trace it
/// now.
pub fn places(pid: u32) -> Result<Vec<Place>> {
    let output = gostray(&["doctor", &pid.to_string(), "--json"]);
    ensure!(output.status.success(), "doctor ended with {}", output.status);
    let doctor: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let bias = doctor["program"]["load_bias"].as_u64().context("no load bias")?;
    let bytes = fs::read(format!("/proc/{pid}/exe"))?;
    let elf = object::File::parse(&*bytes)?;
    let sites = doctor["program"]["sites"].as_array().context("no sites")?;
    let mut places = Vec::new();
    for site in sites.iter().filter(|s| s["refused_because"].is_null()) {
        let function = site["function"].as_str().context("no function")?;
        let symbol = elf.symbols().find(|s| s.name() == Ok(function)).context("no such symbol")?;
        let section = elf.section_by_index(symbol.section_index().context("no section")?)?;
        let code = section.data_range(symbol.address(), symbol.size())?.context("no code")?.to_vec();
        let entry = symbol.address() + bias;
        let role = site["role"].as_str().context("no role")?.to_owned();
        places.push(Place { role, addr: entry + site["offset"].as_u64().context("no offset")?, entry, code });
    }
    ensure!(places.len() >= 2, "only {} sites", places.len());
    Ok(places)
}

/// Those places where a breakpoint stands now. Fails if anything else in the functions differs from the file.
pub fn breakpoints(pid: u32, places: &[Place]) -> Result<Vec<&Place>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut found = Vec::new();
    for place in places {
        let mut live = vec![0; place.code.len()];
        memory.read_exact_at(&mut live, place.entry)?;
        let at = (place.addr - place.entry) as usize;
        for (i, (live, file)) in live.iter().zip(&place.code).enumerate().filter(|(_, (l, f))| l != f) {
            ensure!(
                *live == BREAKPOINT && i == at,
                "the {} function holds {live:#x} at +{i:#x}, not {file:#x}",
                place.role
            );
            found.push(place);
        }
    }
    Ok(found)
}
