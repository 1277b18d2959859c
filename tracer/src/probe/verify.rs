//! The last check before a probe is placed: are the bytes that will be probed the bytes that were decoded?

use super::site::{Refusal, Site};
use crate::gobin::GoBinary;
use crate::memory::ReadMemory;

/// Compares the whole function, as the file has it, with the process's memory. `file` are the function's bytes.
///
/// A byte `0xcc` where the file has another one is what a breakpoint looks like: a debugger's or another tracer's.
pub fn confirm(site: &Site, file: &[u8], memory: &dyn ReadMemory, load_bias: u64) -> Result<(), Refusal> {
    let mut live = vec![0; file.len()];
    memory
        .read(site.entry.wrapping_add(load_bias), &mut live)
        .map_err(|e| Refusal::Unreadable { function: site.function.clone(), why: e.to_string() })?;
    let Some(at) = file.iter().zip(&live).position(|(f, m)| f != m) else {
        return Ok(());
    };
    let hex = |b: &[u8]| {
        b[at..b.len().min(at + 4)].iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
    };
    Err(Refusal::BytesDiffer {
        function: site.function.clone(),
        at: at as u64,
        memory: match live[at] {
            0xcc => format!("{} (a breakpoint: another tracer or debugger is there)", hex(&live)),
            _ => hex(&live),
        },
        file: hex(file),
    })
}

/// Whether the file's notes, the build id among them, stand in the process's memory: the file is what runs. Nothing when it has
/// none or they cannot be read.
pub fn notes_are_same(binary: &GoBinary<'_>, memory: &dyn ReadMemory, load_bias: u64) -> Option<bool> {
    let mut seen = None;
    // A file has a few; a hostile one must not cost time.
    for (addr, file) in binary.notes().filter(|(_, n)| !n.is_empty() && n.len() <= 4096).take(16) {
        let mut live = vec![0; file.len()];
        memory.read(addr.wrapping_add(load_bias), &mut live).ok()?;
        seen = Some(seen.unwrap_or(true) && live == file);
    }
    seen
}
