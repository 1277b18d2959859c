//! What is worth saying while a session runs: the difference between what was told last and a new snapshot.
//!
//! Counts are compared with what was last *told*, not with the last snapshot, so that slow growth is told too.

use std::collections::{BTreeMap, HashMap};

use crate::session::Snapshot;
use crate::session::snapshot::{Move, Site, VerdictKind};

/// Live counts that differ by less are noise.
const SMALLEST_STEP: u64 = 10;
/// A site's live count is told at most this often (stream time): a saw-tooth must not flood a log.
const QUIET_NS: u64 = 5_000_000_000;

/// One thing that changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<'s> {
    /// A creation site is seen for the first time.
    Appeared { site: &'s Site },
    /// Its verdict is another one now. `first`: until now it was too new to be judged.
    Verdict { site: &'s Site, was: VerdictKind, first: bool },
    /// Its live count differs notably from what was told last.
    Live { site: &'s Site, was: u64 },
    /// More was lost.
    Loss { cause: &'static str, count: u64, total: u64, meaning: &'static str },
    /// It is watched more or less closely from now on.
    Level { moved: &'s Move },
}

/// What was told so far. Holds as many entries as the last snapshot has sites.
#[derive(Clone, Debug, Default)]
pub struct Told {
    sites: HashMap<String, Last>,
    losses: BTreeMap<&'static str, u64>,
    /// Changes of the level.
    moves: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    verdict: VerdictKind,
    live: u64,
    live_at_ns: u64,
    /// It has had no verdict yet but the one that it appeared with.
    first: bool,
    /// Which [`Told::next`] saw it, to forget those that are gone.
    fresh: bool,
}

impl Told {
    /// The changes since the last call, sites in the snapshot's order (worst first), then losses, then changes
    /// of the level. The runtime's own
    /// sites are left out.
    pub fn next<'s>(&mut self, snapshot: &'s Snapshot) -> Vec<Change<'s>> {
        let now = snapshot.watched_ns;
        let mut changes = Vec::new();
        for last in self.sites.values_mut() {
            last.fresh = false;
        }
        for site in snapshot.sites.iter().filter(|s| !s.system) {
            let told = Last {
                verdict: site.verdict.kind,
                live: site.live,
                live_at_ns: now,
                first: site.verdict.kind == VerdictKind::Unknown,
                fresh: true,
            };
            let Some(last) = self.sites.get_mut(&site.id) else {
                self.sites.insert(site.id.clone(), told);
                changes.push(Change::Appeared { site });
                continue;
            };
            last.fresh = true;
            if last.verdict != site.verdict.kind {
                changes.push(Change::Verdict { site, was: last.verdict, first: last.first });
                *last = Last { first: false, ..told };
            } else if now.saturating_sub(last.live_at_ns) >= QUIET_NS && notable(last, site.live) {
                changes.push(Change::Live { site, was: last.live });
                *last = Last { first: last.first, ..told };
            }
        }
        self.sites.retain(|_, last| last.fresh);
        self.losses(snapshot, &mut changes);
        self.moves(snapshot, &mut changes);
        changes
    }

    fn moves<'s>(&mut self, snapshot: &'s Snapshot, changes: &mut Vec<Change<'s>>) {
        let Some(watching) = &snapshot.watching else { return };
        let all = watching.moves_left_out + watching.moves.len() as u64;
        let new = usize::try_from(all.saturating_sub(self.moves)).unwrap_or(usize::MAX);
        let moves = &watching.moves[watching.moves.len().saturating_sub(new)..];
        changes.extend(moves.iter().map(|moved| Change::Level { moved }));
        self.moves = all;
    }

    fn losses(&mut self, snapshot: &Snapshot, changes: &mut Vec<Change<'_>>) {
        let mut totals: BTreeMap<&'static str, (u64, &'static str)> = BTreeMap::new();
        for loss in &snapshot.losses {
            let total = totals.entry(loss.cause).or_insert((0, loss.meaning));
            total.0 = total.0.saturating_add(loss.count);
        }
        for (cause, (total, meaning)) in totals {
            let told = self.losses.entry(cause).or_insert(0);
            if total > *told {
                changes.push(Change::Loss { cause, count: total - *told, total, meaning });
                *told = total;
            }
        }
    }
}

/// An ill site is told at a quarter more or less, a healthy one when it doubles or halves.
fn notable(last: &Last, live: u64) -> bool {
    let step = last.live.abs_diff(live);
    let share = match last.verdict {
        VerdictKind::Leak | VerdictKind::Suspect => last.live / 4,
        VerdictKind::Unknown | VerdictKind::Healthy if live < last.live => last.live / 2,
        VerdictKind::Unknown | VerdictKind::Healthy => last.live,
    };
    step >= SMALLEST_STEP && step >= share
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{fixture, frame, healthy, site};
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn the_same_snapshot_twice_says_nothing_twice() {
        let mut s = fixture();
        let mut told = Told::default();
        let first = told.next(&s);
        assert_eq!(first.len(), 7, "5 sites of the program, one loss and a change of the level");
        assert!(matches!(first[0], Change::Appeared { site } if site.id == s.sites[0].id));
        assert!(matches!(first[5], Change::Loss { cause: "birth-ring-full", count: 3, total: 3, .. }));
        assert!(matches!(first[6], Change::Level { moved } if moved.why == "spent"));
        assert_eq!(told.next(&s), []);
        // However many are left out of the snapshot by then.
        let watching = s.watching.as_mut().unwrap();
        watching.moves_left_out = 5;
        watching.moves[0].why = "room";
        assert_eq!(told.next(&s).len(), 1, "the snapshot has one of the five");
    }

    #[test]
    fn slow_growth_is_told_in_the_end() {
        let mut s = healthy();
        s.sites = vec![site("x", VerdictKind::Leak, frame("main.f", "/f.go", 1), 100)];
        s.watched_ns = 0;
        let mut told = Told::default();
        told.next(&s);
        let mut at = Vec::new();
        for second in 1..=60 {
            s.watched_ns = second * S;
            s.sites[0].live += 1;
            for change in told.next(&s) {
                let Change::Live { site, was } = change else { panic!("{change:?}") };
                at.push((second, was, site.live));
            }
        }
        assert_eq!(at, [(25, 100, 125), (56, 125, 156)]);
    }

    #[test]
    fn a_saw_tooth_is_told_at_most_every_five_seconds() {
        let mut s = healthy();
        s.sites = vec![site("x", VerdictKind::Healthy, frame("main.f", "/f.go", 1), 0)];
        let mut told = Told::default();
        s.watched_ns = 0;
        told.next(&s);
        let lines: usize = (1..=150)
            .map(|tenth| {
                s.watched_ns = tenth * S / 10;
                s.sites[0].live = if tenth % 2 == 0 { 0 } else { 1000 };
                told.next(&s).len()
            })
            .sum();
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_verdict_is_told_at_once_and_losses_by_their_growth() {
        let mut s = fixture();
        let mut told = Told::default();
        told.next(&s);
        s.watched_ns += 1;
        s.sites[1].verdict.kind = VerdictKind::Leak;
        s.losses.push(s.losses[0].clone());
        let changes = told.next(&s);
        assert!(matches!(changes[0], Change::Verdict { was: VerdictKind::Suspect, .. }));
        assert!(matches!(changes[1], Change::Loss { count: 3, total: 6, .. }));
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn the_first_verdict_after_unknown_is_marked_as_such() {
        let mut s = healthy();
        s.sites = vec![site("x", VerdictKind::Unknown, frame("main.f", "/f.go", 1), 1)];
        let mut told = Told::default();
        told.next(&s);
        let mut marks = Vec::new();
        for kind in [VerdictKind::Healthy, VerdictKind::Unknown, VerdictKind::Healthy] {
            s.sites[0].verdict.kind = kind;
            for change in told.next(&s) {
                let Change::Verdict { first, .. } = change else { panic!("{change:?}") };
                marks.push(first);
            }
        }
        assert_eq!(marks, [true, false, false], "unknown for another reason is news, and so is its end");
    }

    #[test]
    fn sites_that_are_gone_are_forgotten() {
        let mut s = fixture();
        let mut told = Told::default();
        told.next(&s);
        s.sites.truncate(1);
        told.next(&s);
        assert_eq!(told.sites.len(), 1);
    }
}
