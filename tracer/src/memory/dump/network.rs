//! Which descriptor a goroutine in `IO wait` waits for.
//!
//! It is parked in `runtime.netpollblock`, which `runtime.poll_runtime_pollWait` has called (`runtime/netpoll.go`, Go 1.19 to
//! 1.27). The former goes on with the address of the word of a `runtime.pollDesc` that holds the waiting g, the latter with that of the
//! `pollDesc`; so both are on the stack near its inner end. Two words that lie so far apart, of which the one leads to the
//! goroutine's own g, prove themselves. Nothing is asked of the kernel for that: it would hold up the program's network poller
//! while it answers.

use std::collections::{HashMap, HashSet};

use super::super::g::G;
use super::super::{Area, MemoryError};
use super::waits::{Found, Reason, word};
use super::{BATCH, Reader};
use crate::dump::{Goroutine, ObjectKind, Side, Status};

/// What the process has open.
pub trait Descriptors {
    /// What these descriptors are connected to, as far as it is known.
    fn peers(&self, fds: &[u32]) -> HashMap<u32, String>;
}

/// Of a stack, its inner end, in which both functions have their frames; also without optimisation.
const INNER: u64 = 1 << 10;
/// Of a `pollDesc`, up to both words with waiting g's.
const POLL_DESC: u32 = 48;
/// Where the descriptor's number is in it.
const FD: u32 = 8;
/// Where waiting g's are: who waits to read and to write, up to Go 1.20 and later.
const WAITERS: [u64; 3] = [24, 32, 40];

/// A goroutine, by index, its g as it was read before, and what it waited for.
struct Polled {
    goroutine: usize,
    before: G,
    fd: u32,
    desc: u64,
}

impl Reader<'_, '_> {
    /// What those wait for that wait for the network.
    pub(super) fn find_descriptors(&mut self) -> Result<(), MemoryError> {
        let network = |g: &Goroutine| {
            let reason = g.reason.and_then(|r| self.source.reasons.get(usize::from(r)));
            g.status == Status::Waiting && reason == Some(&Reason::Network)
        };
        let waiting: Vec<usize> =
            self.read.goroutines.iter().enumerate().filter(|(_, g)| network(g)).map(|(i, _)| i).collect();
        let mut found = Vec::new();
        for batch in waiting.chunks(BATCH) {
            self.polled(batch, &mut found)?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let fds: HashSet<u32> = found.iter().map(|p| p.fd).collect();
        let fds: Vec<u32> = fds.into_iter().collect();
        let peers = self.source.descriptors.map_or_else(HashMap::new, |d| d.peers(&fds));
        for batch in found.chunks(BATCH) {
            let goroutines: Vec<usize> = batch.iter().map(|p| p.goroutine).collect();
            for (p, now) in batch.iter().zip(self.now(&goroutines)?) {
                // A descriptor that is closed wakes who waits for it, so what was asked of it was true.
                if now.is_some_and(|after| self.parked_still(p.goroutine, &p.before, &after)) {
                    let kind = ObjectKind::Descriptor { fd: p.fd, peer: peers.get(&p.fd).cloned() };
                    let wait = self.object(Found { addr: p.desc, kind, side: Side::Wait });
                    self.read.goroutines[p.goroutine].waits_on = vec![wait];
                }
            }
        }
        Ok(())
    }

    /// The g's of these goroutines as they are now.
    fn now(&self, goroutines: &[usize]) -> Result<Vec<Option<G>>, MemoryError> {
        let addrs: Vec<u64> = goroutines.iter().map(|i| self.read.goroutines[*i].g).collect();
        let (mut bytes, mut ok) = (vec![0; addrs.len() * self.size], vec![false; addrs.len()]);
        self.source.memory.read_each(&addrs, self.size, &mut bytes, &mut ok)?;
        let each = addrs.iter().zip(bytes.chunks_exact(self.size)).zip(ok);
        Ok(each.map(|((addr, bytes), ok)| ok.then(|| G::parse(*addr, bytes, self.source.layout))).collect())
    }

    /// Looks through the stacks of these goroutines.
    fn polled(&self, goroutines: &[usize], found: &mut Vec<Polled>) -> Result<(), MemoryError> {
        let memory = self.source.memory;
        let now = self.now(goroutines)?;
        let inner = |g: &G| match g.lo <= g.sp && g.sp < g.hi && g.sp.is_multiple_of(8) {
            true => Area { addr: g.sp, len: INNER.min(g.hi - g.sp) as usize },
            false => Area::NOTHING,
        };
        let areas: Vec<Area> = now.iter().map(|g| g.as_ref().map_or(Area::NOTHING, inner)).collect();
        let mut stacks = vec![0; areas.iter().map(|a| a.len).sum()];
        let mut ok = vec![false; areas.len()];
        memory.read_areas(&areas, &mut stacks, &mut ok)?;
        // Of each: the `pollDesc`, and where in it the g should be.
        let mut pairs: Vec<(usize, u64, u64)> = Vec::new();
        let mut rest = &stacks[..];
        for (n, area) in areas.iter().enumerate() {
            let (stack, behind) = rest.split_at(area.len);
            rest = behind;
            let Some(g) = now[n].filter(|_| ok[n]) else { continue };
            let words = stack.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
            // The descriptor is not on the stack itself.
            let addrs: Vec<u64> = words
                .filter(|w| {
                    w.is_multiple_of(8) && (1 << 16..1 << 47).contains(w) && !(g.lo..g.hi).contains(w)
                })
                .collect();
            let mut of_this: Vec<(usize, u64, u64)> = Vec::new();
            for desc in &addrs {
                let waiter = |offset: &u64| addrs.contains(&(desc + offset));
                of_this.extend(WAITERS.iter().filter(|o| waiter(o)).map(|offset| (n, *desc, *offset)));
            }
            of_this.sort_unstable();
            of_this.dedup();
            pairs.append(&mut of_this);
        }
        let areas: Vec<Area> =
            pairs.iter().map(|(_, desc, _)| Area { addr: *desc, len: POLL_DESC as usize }).collect();
        let mut descs = vec![0; areas.len() * POLL_DESC as usize];
        let mut ok = vec![false; areas.len()];
        memory.read_areas(&areas, &mut descs, &mut ok)?;
        let mut proven: HashMap<usize, Vec<(u32, u64)>> = HashMap::new();
        for (((n, desc, offset), bytes), ok) in
            pairs.iter().zip(descs.chunks_exact(POLL_DESC as usize)).zip(ok)
        {
            let own = self.read.goroutines[goroutines[*n]].g;
            let fd = u32::try_from(word(bytes, FD)).ok().filter(|fd| i32::try_from(*fd).is_ok());
            if let Some(fd) = fd
                && ok
                && word(bytes, *offset as u32) == own
            {
                proven.entry(*n).or_default().push((fd, *desc));
            }
        }
        for (n, which) in proven {
            // Of several, nothing says which.
            if let ([(fd, desc)], Some(before)) = (&which[..], now[n]) {
                found.push(Polled { goroutine: goroutines[n], before, fd: *fd, desc: *desc });
            }
        }
        Ok(())
    }
}
