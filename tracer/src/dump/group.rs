//! Goroutines that were created at the same `go` statement and stand at the same place, together.

use std::collections::HashMap;

use super::{Dump, Goroutine, Since, Status, Trace};

/// What its goroutines have in common, and how they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Indices into [`Dump::goroutines`], in order of goid. Never empty.
    pub members: Vec<u32>,
    /// The longest known wait.
    pub longest: Since,
    /// The shortest known wait.
    pub shortest: Since,
}

impl Group {
    /// The one with the lowest goid; it speaks for all of them.
    pub fn first<'d>(&self, dump: &'d Dump) -> &'d Goroutine {
        &dump.goroutines[self.members[0] as usize]
    }
}

/// What is the same in a group.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    gopc: u64,
    start_pc: u64,
    status: Status,
    reason: Option<u8>,
    /// Stack, and whether it is whole; none while it runs or moves.
    stack: Option<(u32, bool)>,
    moving: bool,
    locked: bool,
}

/// Largest group first; equal ones by their first goid.
pub fn groups(dump: &Dump, which: impl Fn(&Goroutine) -> bool) -> Vec<Group> {
    let mut by_key: HashMap<Key, Group> = HashMap::new();
    for (i, g) in dump.goroutines.iter().enumerate().filter(|(_, g)| which(g)) {
        let key = Key {
            gopc: g.gopc,
            start_pc: g.start_pc,
            status: g.status,
            reason: g.reason,
            stack: g.trace.stack().map(|stack| (stack, matches!(g.trace, Trace::Whole(_)))),
            moving: g.trace == Trace::Moving,
            locked: g.locked,
        };
        let group = by_key.entry(key).or_insert_with(|| Group {
            members: Vec::new(),
            longest: Since::Unknown,
            shortest: Since::Unknown,
        });
        group.members.push(i as u32);
        if g.since.ns() > group.longest.ns() {
            group.longest = g.since;
        }
        if let Some(ns) = g.since.ns()
            && group.shortest.ns().is_none_or(|least| ns < least)
        {
            group.shortest = g.since;
        }
    }
    let mut groups: Vec<Group> = by_key.into_values().collect();
    groups.sort_unstable_by_key(|g| (std::cmp::Reverse(g.members.len()), g.members[0]));
    groups
}
