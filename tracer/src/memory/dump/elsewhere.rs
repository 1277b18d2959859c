//! What goroutines wait on that they do not tell themselves: descriptors, and before Go 1.26 semaphores and conditions. Asked
//! after all stacks, each between two reads of the g that show the wait in which the stack was read.

use std::collections::HashMap;

use super::super::MemoryError;
use super::super::g::G;
use super::waits::{self, Found, Reason};
use super::{Reader, network, semaphores};
use crate::dump::{Goroutine, ObjectKind, Side, Status};
use crate::event::status;

impl Reader<'_, '_> {
    /// Two later reads show it in the wait in which its stack was read ([`G::has_waited_since`] says what is not noticed).
    fn parked_still(&self, i: usize, before: &G, after: &G) -> bool {
        let was = &self.read.goroutines[i];
        let same = |g: &G| {
            (g.goid, g.status(), Some(g.reason)) == (was.goid, status::WAITING, was.reason)
                && was.wait_mark.is_some_and(|mark| g.has_waited_since(mark))
        };
        same(before) && same(after)
    }

    /// What those wait for that wait for the network.
    pub(super) fn find_descriptors(&mut self) -> Result<(), MemoryError> {
        let Some(descriptors) = self.source.descriptors else { return Ok(()) };
        let network = |g: &Goroutine| {
            let reason = g.reason.and_then(|r| self.source.reasons.get(usize::from(r)));
            g.status == Status::Waiting && reason == Some(&Reason::Network)
        };
        let waiting: Vec<usize> =
            self.read.goroutines.iter().enumerate().filter(|(_, g)| network(g)).map(|(i, _)| i).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut before = HashMap::new();
        for &i in &waiting {
            before.extend(self.one(self.read.goroutines[i].g)?.map(|(_, g)| (i, g)));
        }
        let gs = waiting.iter().map(|i| self.read.goroutines[*i].g).collect();
        let polled = match descriptors.polled() {
            Ok(polled) => polled,
            Err(why) => {
                self.read.descriptors_unknown = Some(why);
                return Ok(());
            }
        };
        let found = network::waiters(self.source.memory, &polled, &gs)?;
        let fds: Vec<u32> = found.values().map(|(fd, _)| *fd).collect();
        let peers = descriptors.peers(&fds);
        for i in waiting {
            let addr = self.read.goroutines[i].g;
            let (Some(before), Some((fd, at))) = (before.get(&i), found.get(&addr)) else { continue };
            if self.one(addr)?.is_some_and(|(_, after)| self.parked_still(i, before, &after)) {
                let kind = ObjectKind::Descriptor { fd: *fd, peer: peers.get(fd).cloned() };
                let wait = self.object(Found { addr: *at, kind, side: Side::Wait });
                self.read.goroutines[i].waits_on = vec![wait];
            }
        }
        Ok(())
    }

    /// Before Go 1.26 a goroutine does not tell which semaphore or condition it waits on: the runtime's table and its stack do.
    pub(super) fn find_semaphores(&mut self) -> Result<(), MemoryError> {
        let (memory, layout) = (self.source.memory, self.source.layout);
        let reason = |g: &Goroutine| {
            let reason = g.reason.and_then(|r| self.source.reasons.get(usize::from(r)));
            reason.copied().filter(|r| matches!(r, Reason::Semaphore | Reason::Cond))
        };
        let wanted: Vec<(usize, Reason)> =
            self.read.goroutines.iter().enumerate().filter_map(|(i, g)| Some((i, reason(g)?))).collect();
        // All g's before the table and the lists, and all after them: what these tell is of a time between.
        let mut before = Vec::with_capacity(wanted.len());
        for (i, reason) in wanted {
            before.extend(self.one(self.read.goroutines[i].g)?.map(|(_, g)| (i, reason, g)));
        }
        let any = before.iter().any(|(_, r, ..)| *r == Reason::Semaphore);
        let table = match self.source.semtable.filter(|_| any) {
            Some(semtable) => semaphores::waiters(memory, &layout.sudog, semtable)?,
            None => HashMap::new(),
        };
        let mut lists = semaphores::Lists::default();
        let mut found = Vec::new();
        for (i, reason, g) in before {
            let addr = match reason {
                Reason::Cond => lists.cond_of(memory, &layout.sudog, (g.addr, g.sp, g.hi))?,
                _ => table.get(&g.addr).copied(),
            };
            found.extend(addr.map(|addr| (i, reason, g, addr)));
        }
        for (i, reason, before, addr) in found {
            let kind = match reason {
                Reason::Cond => waits::cond(memory, addr)?,
                _ => waits::semaphore(memory, addr)?,
            };
            let (Some(kind), Some((_, after))) = (kind, self.one(self.read.goroutines[i].g)?) else {
                continue;
            };
            if self.parked_still(i, &before, &after) {
                let wait = self.object(Found { addr, kind, side: Side::Wait });
                self.read.goroutines[i].waits_on = vec![wait];
            }
        }
        Ok(())
    }
}
