//! The target's memory, read from outside: no stop, no probe.

mod allgs;
pub mod core;
pub mod dump;
pub mod g;
pub mod goroutines;
pub mod process;
pub mod selfcheck;
pub mod walk;

use thiserror::Error;

pub use process::ProcessMemory;

/// Some bytes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub addr: u64,
    pub len: usize,
}

impl Area {
    /// Holds the place of one that is not to be read.
    pub const NOTHING: Self = Self { addr: 0, len: 0 };
}

/// Bytes at addresses. Implemented by a live process, by a core file, by byte arrays in tests.
pub trait ReadMemory {
    /// Fills `buf` from `addr`, wholly or not at all.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// Reads areas of memory one behind the other into `into`, which is as long as all of them; `ok[i]` says whether the i-th
    /// was read.
    fn read_areas(&self, areas: &[Area], into: &mut [u8], ok: &mut [bool]) -> Result<(), MemoryError> {
        let mut rest = into;
        for (area, ok) in areas.iter().zip(ok) {
            let Some((room, behind)) = rest.split_at_mut_checked(area.len) else { break };
            *ok = match self.read(area.addr, room) {
                Ok(()) => true,
                Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => return Err(e),
                Err(_) => false,
            };
            rest = behind;
        }
        Ok(())
    }

    /// Reads `into.len() / size` objects of `size` bytes, one for each address. `ok[i]` says whether the i-th was read.
    fn read_each(
        &self,
        addrs: &[u64],
        size: usize,
        into: &mut [u8],
        ok: &mut [bool],
    ) -> Result<(), MemoryError> {
        let areas: Vec<Area> = addrs.iter().map(|&addr| Area { addr, len: size }).collect();
        self.read_areas(&areas, into, ok)
    }

    fn read_u64(&self, addr: u64) -> Result<u64, MemoryError> {
        let mut b = [0; 8];
        self.read(addr, &mut b)?;
        Ok(u64::from_le_bytes(b))
    }
}

#[derive(Debug, Error)]
pub enum MemoryError {
    #[error("the process is gone")]
    Gone,
    #[error("not allowed to read the process's memory")]
    Forbidden,
    #[error("address {addr:#x} ({len} bytes) is not mapped")]
    Unmapped { addr: u64, len: usize },
    #[error("cannot read {len} bytes at {addr:#x}")]
    Other { addr: u64, len: usize, source: std::io::Error },
}
