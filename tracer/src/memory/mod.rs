//! The target's memory, read from outside: no stop, no probe.

pub mod goroutines;
pub mod process;
pub mod selfcheck;

use thiserror::Error;

pub use process::ProcessMemory;

/// Bytes at addresses. Implemented by a live process, later by a core file; by byte arrays in tests.
pub trait ReadMemory {
    /// Fills `buf` from `addr`, wholly or not at all.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// Reads `into.len() / size` objects of `size` bytes, one for each address. `ok[i]` says whether the i-th was read.
    fn read_each(
        &self,
        addrs: &[u64],
        size: usize,
        into: &mut [u8],
        ok: &mut [bool],
    ) -> Result<(), MemoryError> {
        for ((addr, room), ok) in addrs.iter().zip(into.chunks_exact_mut(size)).zip(ok) {
            *ok = self.read(*addr, room).is_ok();
        }
        Ok(())
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
