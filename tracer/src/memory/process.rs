//! A live process's memory, through `process_vm_readv(2)`: the target is neither stopped nor told.

use std::io;
use std::ops::Range;

use super::{Area, MemoryError, ReadMemory};

/// Memory of the process `pid`.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory {
    pid: libc::pid_t,
}

/// Areas with no more than that between them are read as one, up to [`MAX_RUN`] in all.
const NEAR: u64 = 2 << 10;
const MAX_RUN: u64 = 256 << 10;
/// `IOV_MAX`: more areas than that are refused by the kernel.
const MAX_AREAS: usize = 1024;

impl ProcessMemory {
    pub fn new(pid: u32) -> Self {
        Self { pid: pid as libc::pid_t }
    }

    /// Each area by itself, as many in one system call as the kernel takes.
    fn read_each_area(&self, areas: &[Area], into: &mut [u8], ok: &mut [bool]) -> Result<(), MemoryError> {
        let mut room = into;
        let mut areas = &areas[..areas.len().min(ok.len())];
        let mut ok = &mut ok[..areas.len()];
        while !areas.is_empty() {
            let some = &areas[..areas.len().min(MAX_AREAS)];
            let remote: Vec<_> = some.iter().map(|a| iovec(a.addr as *mut u8, a.len)).collect();
            let len = some.iter().map(|a| a.len).sum::<usize>();
            let Some(target) = room.get_mut(..len) else { break };
            let local = [iovec(target.as_mut_ptr(), len)];
            // The kernel stops at the first area that it cannot read and tells how far it came.
            let mut read = match self.readv(&local, &remote) {
                Ok(n) => n,
                Err(e) if e.raw_os_error() == Some(libc::EFAULT) => 0,
                Err(e) => return Err(error(e, some[0].addr, some[0].len)),
            };
            let whole = some
                .iter()
                .take_while(|a| {
                    let fits = a.len <= read;
                    read -= a.len * usize::from(fits);
                    fits
                })
                .count();
            ok[..whole].fill(true);
            let done = if whole < some.len() {
                ok[whole] = false;
                whole + 1
            } else {
                whole
            };
            let bytes = areas[..done].iter().map(|a| a.len).sum::<usize>();
            (areas, ok, room) = (&areas[done..], &mut ok[done..], &mut room[bytes..]);
        }
        Ok(())
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

fn iovec(base: *mut u8, len: usize) -> libc::iovec {
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
            .readv(&[iovec(buf.as_mut_ptr(), len)], &[iovec(addr as *mut u8, len)])
            .map_err(|e| error(e, addr, len))?;
        if n == len { Ok(()) } else { Err(MemoryError::Unmapped { addr, len }) }
    }

    /// Areas that are near each other are read as one: finding a page costs the kernel more than copying it, and the
    /// runtime's structs and small stacks lie side by side.
    fn read_areas(&self, areas: &[Area], into: &mut [u8], ok: &mut [bool]) -> Result<(), MemoryError> {
        let mut order: Vec<(Area, usize, usize)> = Vec::with_capacity(areas.len());
        let mut at = 0;
        for (i, area) in areas.iter().enumerate().take(ok.len()) {
            order.push((*area, i, at));
            at += area.len;
        }
        if at > into.len() {
            return self.read_each_area(areas, into, ok);
        }
        order.retain(|(area, i, _)| {
            ok[*i] = area.len == 0;
            area.len > 0
        });
        order.sort_unstable_by_key(|(area, ..)| area.addr);
        // The members of each run in `order`, and what it covers.
        let mut runs: Vec<(Range<usize>, Area)> = Vec::new();
        for (j, (area, ..)) in order.iter().enumerate() {
            let end = area.addr.saturating_add(area.len as u64);
            match runs.last_mut() {
                Some((members, run))
                    if area.addr <= run.addr.saturating_add(run.len as u64 + NEAR)
                        && end - run.addr <= MAX_RUN =>
                {
                    members.end = j + 1;
                    run.len = run.len.max((end - run.addr) as usize);
                }
                _ => runs.push((j..j + 1, *area)),
            }
        }
        let covered: Vec<Area> = runs.iter().map(|(_, run)| *run).collect();
        let mut room = vec![0; covered.iter().map(|a| a.len).sum()];
        let mut read = vec![false; covered.len()];
        self.read_each_area(&covered, &mut room, &mut read)?;
        let mut rest = &room[..];
        for ((members, run), read) in runs.into_iter().zip(read) {
            let (bytes, behind) = rest.split_at(run.len);
            rest = behind;
            for (area, i, to) in &order[members.clone()] {
                let target = &mut into[*to..*to + area.len];
                if read {
                    let from = (area.addr - run.addr) as usize;
                    target.copy_from_slice(&bytes[from..from + area.len]);
                    ok[*i] = true;
                } else if members.len() > 1 {
                    // Something between them may not be mapped.
                    self.read_each_area(&[*area], target, &mut ok[*i..=*i])?;
                }
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
    fn areas_of_different_sizes_fill_their_own_room() {
        let memory = ProcessMemory::new(std::process::id());
        let bytes: Vec<u8> = (0..=255).collect();
        let at = |i: usize| (&raw const bytes[i]) as u64;
        let lens = [3, 16, 1, 5, 0, 2];
        let addrs = [at(0), 1, at(7), 2, at(9), at(200)];
        let areas: Vec<Area> = addrs.iter().zip(lens).map(|(&addr, len)| Area { addr, len }).collect();
        let mut out = [0xee; 27];
        let mut ok = [false; 6];
        memory.read_areas(&areas, &mut out, &mut ok).unwrap();
        assert_eq!(ok, [true, false, true, false, true, true]);
        assert_eq!((&out[..3], out[19], &out[25..]), (&[0, 1, 2][..], 7, &[200, 201][..]));
        // More than the kernel takes at once.
        let many: Vec<Area> = (0..3000).map(|i| Area { addr: at(i % 200), len: 1 + i % 5 }).collect();
        let mut out = vec![0; many.iter().map(|a| a.len).sum()];
        let mut ok = vec![false; many.len()];
        memory.read_areas(&many, &mut out, &mut ok).unwrap();
        assert!(ok.iter().all(|ok| *ok));
        let mut rest = &out[..];
        for (i, area) in many.iter().enumerate() {
            let (own, behind) = rest.split_at(area.len);
            assert!(own.iter().enumerate().all(|(j, b)| usize::from(*b) == i % 200 + j), "{i}");
            rest = behind;
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_gone() {
        // pid_max is at most 2^22.
        let memory = ProcessMemory::new(1 << 30);
        assert!(matches!(memory.read_u64(4096), Err(MemoryError::Gone)));
    }
}
