//! Which descriptor a goroutine in `IO wait` waits for.
//!
//! Go gives epoll the address of the descriptor's `runtime.pollDesc` (`runtime/netpoll_epoll.go`), packed with a counter from
//! Go 1.21 on (`runtime/tagptr_64bit.go`; how many bits it has differs). The kernel shows it in `/proc/PID/fdinfo`. A
//! `pollDesc` holds its descriptor's number and the g of who waits to read and to write, so it proves itself: where both are
//! found, it is the one.

use std::collections::{HashMap, HashSet};

use super::super::{MemoryError, ReadMemory};
use super::waits::{bytes, word};

/// What the process has open.
pub trait Descriptors {
    /// Descriptors that epoll watches, with what the program attached to each; or why they were not asked for.
    fn polled(&self) -> Result<Vec<(u32, u64)>, String>;
    /// What these descriptors are connected to, as far as it is known.
    fn peers(&self, fds: &[u32]) -> HashMap<u32, String>;
}

/// Of a `pollDesc`, up to both of its waiters in all versions (fd at 8, waiters before 64).
const POLL_DESC: u32 = 96;
/// How far the packed address is to be shifted right and then left: not packed; 19 bits of counter, address of multiples of
/// 8; 24 and 512.
const PACKINGS: [(u32, u32); 3] = [(0, 0), (19, 3), (24, 9)];

/// Who waits for which descriptor, of those in `gs` (addresses of g's): the descriptor and the address of its `pollDesc`.
pub fn waiters(
    memory: &dyn ReadMemory,
    polled: &[(u32, u64)],
    gs: &HashSet<u64>,
) -> Result<HashMap<u64, (u32, u64)>, MemoryError> {
    let mut found = HashMap::new();
    for &(fd, data) in polled {
        for (right, left) in PACKINGS {
            let at = ((data as i64) >> right << left) as u64;
            let Some(desc) = bytes(memory, at, POLL_DESC)? else { continue };
            let words: Vec<u64> = (0..POLL_DESC).step_by(8).map(|offset| word(&desc, offset)).collect();
            if words[..3].contains(&u64::from(fd)) {
                found.extend(words.iter().filter(|w| gs.contains(*w)).map(|g| (*g, (fd, at))));
                break;
            }
        }
    }
    Ok(found)
}
