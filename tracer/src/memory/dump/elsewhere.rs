//! What goroutines wait on that they do not tell themselves before Go 1.26: semaphores and conditions. Asked after all stacks,
//! each between two reads of the g that show the same wait.

use std::collections::HashMap;

use super::super::MemoryError;
use super::super::g::{self, G};
use super::waits::{self, Found, Reason};
use super::{Reader, semaphores};
use crate::dump::{Goroutine, Side};
use crate::event::status;

impl Reader<'_, '_> {
    /// Two later reads show it parked as when its stack was read.
    pub(super) fn parked_still(&self, i: usize, before: &G, after: &G) -> bool {
        let was = &self.read.goroutines[i];
        let same = |g: &G| (g.goid, g.status(), Some(g.reason)) == (was.goid, status::WAITING, was.reason);
        same(before) && same(after) && (before.sp, before.pc) == (after.sp, after.pc)
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
            if let Some((bytes, g)) = self.one(self.read.goroutines[i].g)? {
                before.push((i, reason, g::sum(&bytes), (g.addr, g.sp, g.hi)));
            }
        }
        let any = before.iter().any(|(_, r, ..)| *r == Reason::Semaphore);
        let table = match self.source.semtable.filter(|_| any) {
            Some(semtable) => semaphores::waiters(memory, &layout.sudog, semtable)?,
            None => HashMap::new(),
        };
        let mut lists = semaphores::Lists::default();
        let mut found = Vec::new();
        for (i, reason, sum, at) in before {
            let addr = match reason {
                Reason::Cond => lists.cond_of(memory, &layout.sudog, at)?,
                _ => table.get(&at.0).copied(),
            };
            found.extend(addr.map(|addr| (i, reason, sum, addr)));
        }
        for (i, reason, before, addr) in found {
            let kind = match reason {
                Reason::Cond => waits::cond(memory, addr)?,
                _ => waits::semaphore(memory, addr)?,
            };
            let (Some(kind), Some((bytes, g))) = (kind, self.one(self.read.goroutines[i].g)?) else {
                continue;
            };
            if g::sum(&bytes) == before && self.parked_still(i, &g, &g) {
                let wait = self.object(Found { addr, kind, side: Side::Wait });
                self.read.goroutines[i].waits_on = vec![wait];
            }
        }
        Ok(())
    }
}
