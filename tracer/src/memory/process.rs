//! A live process's memory, through `process_vm_readv(2)`: the target is neither stopped nor told.

use std::io;

use super::{MemoryError, ReadMemory};

/// Memory of the process `pid`.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory {
    pid: libc::pid_t,
}

/// `IOV_MAX`: more areas than that are refused by the kernel.
const MAX_AREAS: usize = 1024;

impl ProcessMemory {
    pub fn new(pid: u32) -> Self {
        Self { pid: pid as libc::pid_t }
    }

    fn readv(&self, local: &[libc::iovec], remote: &[libc::iovec]) -> io::Result<usize> {
        // SAFETY: the local areas are exclusive borrows of the callers, alive during the call; remote addresses are
        // checked by the kernel.
        let n = unsafe {
            libc::process_vm_readv(
                self.pid,
                local.as_ptr(),
                local.len() as libc::c_ulong,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    }
}

fn area(base: *mut u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast(), iov_len: len }
}

fn error(e: io::Error, addr: u64, len: usize) -> MemoryError {
    match e.raw_os_error() {
        Some(libc::ESRCH) => MemoryError::Gone,
        Some(libc::EPERM) => MemoryError::Forbidden,
        Some(libc::EFAULT) => MemoryError::Unmapped { addr, len },
        _ => MemoryError::Other { addr, len, source: e },
    }
}

impl ReadMemory for ProcessMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if buf.is_empty() {
            return Ok(());
        }
        let len = buf.len();
        let n = self
            .readv(&[area(buf.as_mut_ptr(), len)], &[area(addr as *mut u8, len)])
            .map_err(|e| error(e, addr, len))?;
        if n == len { Ok(()) } else { Err(MemoryError::Unmapped { addr, len }) }
    }

    fn read_each(
        &self,
        addrs: &[u64],
        size: usize,
        into: &mut [u8],
        ok: &mut [bool],
    ) -> Result<(), MemoryError> {
        let count = addrs.len().min(into.len() / size.max(1)).min(ok.len());
        let mut at = 0;
        while at < count {
            let some = (count - at).min(MAX_AREAS);
            let remote: Vec<_> = addrs[at..at + some].iter().map(|a| area(*a as *mut u8, size)).collect();
            let room = &mut into[at * size..(at + some) * size];
            let local = [area(room.as_mut_ptr(), room.len())];
            // The kernel stops at the first area that it cannot read and tells how far it came.
            let done = match self.readv(&local, &remote) {
                Ok(n) => n / size,
                Err(e) if e.raw_os_error() == Some(libc::EFAULT) => 0,
                Err(e) => return Err(error(e, addrs[at], size)),
            };
            ok[at..at + done].fill(true);
            if done < some {
                ok[at + done] = false;
                at += done + 1;
            } else {
                at += some;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_process_and_goes_on_after_a_hole() {
        let memory = ProcessMemory::new(std::process::id());
        let words = [1u64, 2, 3];
        let addr = |i: usize| (&raw const words[i]) as u64;
        let mut out = [0; 32];
        let mut ok = [false; 4];
        memory.read_each(&[addr(0), 0, addr(1), addr(2)], 8, &mut out, &mut ok).unwrap();
        assert_eq!(ok, [true, false, true, true]);
        assert_eq!(out[..8], 1u64.to_le_bytes());
        assert_eq!(out[16..24], 2u64.to_le_bytes());
        assert_eq!(out[24..], 3u64.to_le_bytes());
        assert!(matches!(memory.read_u64(8), Err(MemoryError::Unmapped { addr: 8, len: 8 })));
    }

    #[test]
    fn a_process_that_is_not_there_is_gone() {
        // pid_max is at most 2^22.
        let memory = ProcessMemory::new(1 << 30);
        assert!(matches!(memory.read_u64(4096), Err(MemoryError::Gone)));
    }
}
