//! What became of each group between two dumps of the same process.

use std::collections::HashMap;

use crate::dump::{Dump, Goroutine, Group, Pc, Status, Trace};

/// What is the same for a group in two dumps; its indices are not.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    gopc: u64,
    start_pc: u64,
    status: Status,
    reason: Option<u8>,
    /// Program counters, and whether they are the whole stack; none while it runs or moves.
    stack: Option<(Vec<Pc>, bool)>,
    moving: bool,
    locked: bool,
}

/// The groups of the dump before.
#[derive(Default)]
pub struct Told(Option<HashMap<Identity, Before>>);

struct Before {
    count: u64,
    head: String,
}

/// Against the dump before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// By index of the group: how many more; a group that was not there had none.
    pub groups: Vec<i64>,
    /// How many in all.
    pub total: i64,
    /// Groups that are no more: how many they were, and which. The largest first.
    pub gone: Vec<(u64, String)>,
}

impl Told {
    /// None the first time. `head` says in a few words which group it is.
    pub fn next(
        &mut self,
        dump: &Dump,
        groups: &[Group],
        head: impl Fn(&Goroutine) -> String,
    ) -> Option<Changes> {
        let mut before = self.0.take();
        let mut now: HashMap<Identity, Before> = HashMap::new();
        let mut changes = Changes::default();
        for group in groups {
            let first = group.first(dump);
            let identity = identity(dump, first);
            let count = group.members.len() as u64;
            let was = before.as_mut().and_then(|b| b.remove(&identity)).map_or(0, |b| b.count);
            changes.groups.push(count as i64 - was as i64);
            // Two groups may look alike where the model tells them apart by a stack's index.
            let entry = now.entry(identity).or_insert_with(|| Before { count: 0, head: head(first) });
            entry.count += count;
        }
        self.0 = Some(now);
        let gone = before?.into_values().map(|b| (b.count, b.head));
        changes.gone = gone.collect();
        changes.gone.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let lost: u64 = changes.gone.iter().map(|(count, _)| count).sum();
        changes.total = changes.groups.iter().sum::<i64>() - lost as i64;
        Some(changes)
    }
}

fn identity(dump: &Dump, g: &Goroutine) -> Identity {
    let whole = matches!(g.trace, Trace::Whole(_));
    Identity {
        gopc: g.gopc,
        start_pc: g.start_pc,
        status: g.status,
        reason: g.reason,
        stack: dump.stack(g).map(|s| (s.pcs.clone(), whole)),
        moving: g.trace == Trace::Moving,
        locked: g.locked,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::fixture;
    use super::*;
    use crate::dump::groups;

    #[test]
    fn more_fewer_new_and_gone() {
        let mut told = Told::default();
        let mut dump = fixture();
        let head = |g: &Goroutine| format!("of {}", g.goid);
        assert_eq!(told.next(&dump, &groups(&dump, |_| true), head), None);
        let same = told.next(&dump, &groups(&dump, |_| true), head).unwrap();
        assert_eq!((same.total, same.gone.len()), (0, 0));
        assert!(same.groups.iter().all(|n| *n == 0));

        // Two of the pool's end, two more send, and the stacks are numbered anew.
        dump.goroutines.retain(|g| g.goid != 20 && g.goid != 21 && g.goid != 10);
        let sends = dump.goroutines.iter().find(|g| g.goid == 11).unwrap().clone();
        dump.goroutines.extend((100..103).map(|goid| Goroutine { goid, ..sends.clone() }));
        let odd = dump.goroutines.iter().find(|g| g.goid == 33).unwrap().clone();
        dump.goroutines.push(Goroutine { goid: 200, status: Status::Runnable, ..odd });
        crate::dump::filter::keep(&mut dump, &["state!=zzz".parse().unwrap()]);
        let now = groups(&dump, |_| true);
        let changes = told.next(&dump, &now, head).unwrap();
        assert_eq!(changes.groups[0], 2, "the senders");
        let new = now.iter().position(|g| g.first(&dump).goid == 200).unwrap();
        assert_eq!(changes.groups[new], 1);
        assert_eq!(changes.gone, [(2, "of 20".to_owned())]);
        assert_eq!(changes.total, 1);
    }
}
