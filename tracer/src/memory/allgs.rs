//! `runtime.allgs`: the addresses of all g structs.
//!
//! It only grows. When it is reallocated the writer stores the pointer before the length (go-runtime:
//! `runtime/proc.go` allgadd, Go 1.19 to 1.27), so the length is read first and the pointer after it; the pointer is read
//! again at the end and must not have changed.

use super::{MemoryError, ReadMemory};

/// More goroutines than that are not walked: a hostile length must not cost memory. 100 million need 27 GB in Go.
pub const MAX_GOROUTINES: u64 = 100_000_000;
/// Pointers read by one system call.
pub const CHUNK: u64 = 64 << 10;
/// How often it is read when it is reallocated meanwhile: it doubles, so that one more time nearly always does.
pub const TRIES: u8 = 4;

/// What reading `allgs` came to.
pub enum AllGs {
    /// The address of each g.
    Read(Vec<u64>),
    /// It was reallocated each time: nothing read from it is sure.
    Moved { len: u64 },
}

/// What is in the slice whose header is at `header`. `room` is kept from call to call.
pub fn addresses(memory: &dyn ReadMemory, header: u64, room: &mut Vec<u8>) -> Result<AllGs, MemoryError> {
    let mut last = 0;
    for _ in 0..TRIES {
        let len = memory.read_u64(header.wrapping_add(8))?;
        let array = memory.read_u64(header)?;
        let cap = memory.read_u64(header.wrapping_add(16))?;
        // Read in this order the capacity is that of this array or of a larger one.
        if len > cap || len > MAX_GOROUTINES {
            return Err(MemoryError::Unmapped { addr: header, len: 24 });
        }
        let mut addrs: Vec<u64> = Vec::new();
        // Memory is taken as it is confirmed, not for what a length says.
        while (addrs.len() as u64) < len {
            let some = (len - addrs.len() as u64).min(CHUNK) as usize;
            room.resize(some * 8, 0);
            memory.read(array.wrapping_add(addrs.len() as u64 * 8), room)?;
            addrs.extend(room.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)));
        }
        // The old array may have been used again while it was read.
        if memory.read_u64(header)? == array {
            return Ok(AllGs::Read(addrs));
        }
        last = len;
    }
    Ok(AllGs::Moved { len: last })
}
