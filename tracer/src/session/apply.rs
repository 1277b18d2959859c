//! How each event about a goroutine changes the session.

use tracer_common::wire::{self, birth_flag, coro_flag, loss};

use crate::event::{Note, ProbeSite, Waits, status};

use crate::analysis;

use super::Session;
use super::goroutine::{Activity, Born, Doing, Goroutine, NO_SITE};
use super::recent::Gone;
use super::sites::{NoStack, SiteKey};
use super::waits;

/// How many looks may miss a goroutine while they could not read some entries.
const UNREADABLE_PATIENCE: u8 = 5;

/// More entries than this, and more than one in a hundred, must be unreadable for a look to have a gap.
const MOTION: u64 = 10;

/// Whether what a look could not read is a loss. Goroutines that were in motion at that very moment count as
/// unreadable too: a handful in each look of a busy program is no gap, the next look finds them. A look that
/// could read nothing is one, however few there were.
fn is_gap(e: &wire::LookEdge) -> bool {
    let entries = e.read.saturating_add(e.unreadable);
    e.unreadable >= e.read && e.unreadable > 0 || e.unreadable > MOTION && e.unreadable > entries / 100
}

impl Session {
    pub(super) fn birth(&mut self, e: &wire::Birth) {
        self.births_traced = true;
        let (goid, t) = (e.h.goid, e.h.time_ns);
        if goid == 0 {
            // The kernel side counted the fault as a loss; without an identity nothing can be followed.
            self.counts.born += 1;
            self.counts.born_unidentified += 1;
            return;
        }
        let (gopc, start_pc) = (e.gopc, e.start_pc);
        let key = if e.stack != 0 {
            SiteKey::Stack { id: e.stack, start_pc }
        } else if e.h.flags & birth_flag::NO_CREATOR != 0 {
            SiteKey::GoStatement { gopc, start_pc, why: NoStack::NoCreator }
        } else {
            SiteKey::GoStatement { gopc, start_pc, why: NoStack::Unmatched }
        };
        let born = Born::Traced(t);
        match self.recent.get(goid) {
            Some((died_ns, Gone::DiedUnknown)) => {
                // Its death was applied before its birth: it came and went.
                self.counts.born += 1;
                self.counts.died_unattributed = self.counts.died_unattributed.saturating_sub(1);
                let site = self.site(key, e.gopc, e.start_pc, t);
                if let Some(site) = self.sites.get_mut(site) {
                    site.enter(born);
                    site.leave(born, died_ns);
                }
                self.recent.note(goid, died_ns, Gone::Died);
                return;
            }
            // It was found by a look and left before its birth came: it is counted already.
            Some(_) => return,
            None => {}
        }
        let Some(known) = self.goroutines.get(goid).map(|g| (g.site, g.born())) else {
            self.counts.born += 1;
            self.enter(goid, key, (e.gopc, e.start_pc), born, Doing::NotSeen, t);
            return;
        };
        // A look was faster than the birth. Now its exact birth and stack are known; it is counted once.
        match known.1 {
            Born::Traced(_) => return,
            Born::Before(_) => {
                self.counts.before = self.counts.before.saturating_sub(1);
                self.counts.born += 1;
            }
            Born::Found(_) => self.counts.found = self.counts.found.saturating_sub(1),
        }
        if let Some(old) = self.sites.get_mut(known.0) {
            old.undo_enter(known.1);
        }
        let site = self.site(key, e.gopc, e.start_pc, t);
        if let Some(site) = self.sites.get_mut(site) {
            site.enter(born);
        }
        if let Some(g) = self.goroutines.get_mut(goid) {
            g.site = site;
            g.set_born(born);
        }
    }

    pub(super) fn death(&mut self, goid: u64, t: u64) {
        if let Some(mut g) = self.goroutines.remove(goid) {
            self.objects.leave(&mut g);
            self.counts.died += 1;
            if let Some(site) = self.sites.get_mut(g.site) {
                site.leave(g.born(), t);
            }
            self.recent.note(goid, t, Gone::Died);
            return;
        }
        match self.recent.get(goid) {
            Some((_, Gone::Vanished { site })) => {
                // A look missed it first; now it is known that it died.
                self.counts.vanished = self.counts.vanished.saturating_sub(1);
                self.counts.died += 1;
                if let Some(site) = self.sites.get_mut(site) {
                    site.vanished = site.vanished.saturating_sub(1);
                    site.died += 1;
                }
                self.recent.note(goid, t, Gone::Died);
            }
            // A goid is never used twice, so this is the same death again.
            Some((_, Gone::Died | Gone::DiedUnknown)) => {}
            None => {
                self.counts.died += 1;
                self.counts.died_unattributed += 1;
                if goid != 0 {
                    self.recent.note(goid, t, Gone::DiedUnknown);
                }
            }
        }
    }

    pub(super) fn park(&mut self, e: &wire::Park) {
        let reason = u32::try_from(e.reason).unwrap_or(u32::MAX);
        self.becomes(e.h.goid, Doing::Waiting(reason), e.h.time_ns);
    }

    pub(super) fn wake(&mut self, goid: u64, t: u64, doing: Doing) {
        self.becomes(goid, doing, t);
    }

    pub(super) fn coro_switch(&mut self, e: &wire::CoroSwitch) {
        let t = e.h.time_ns;
        if e.h.flags & coro_flag::EXIT != 0 {
            self.death(e.h.goid, t);
        } else if self.park_traced() {
            self.becomes(e.h.goid, Doing::Coroutine, t);
        }
        if self.park_traced() && e.h.flags & coro_flag::TO_UNKNOWN == 0 {
            self.becomes(e.to_goid, Doing::Running, t);
        }
    }

    /// An exact change of what a goroutine does. Of one that is not known nothing is kept.
    fn becomes(&mut self, goid: u64, doing: Doing, t: u64) {
        let Some(g) = self.goroutines.get_mut(goid) else { return };
        let was = g.activity();
        if !was.at_least && t < was.since_ns {
            return; // came too late: something newer is known
        }
        if matches!(was.doing, Doing::Waiting(_) | Doing::Coroutine)
            && !was.at_least
            && let Some(site) = self.sites.get_mut(g.site)
        {
            site.past_waits.record(t.saturating_sub(was.since_ns));
        }
        g.set_activity(Activity { doing, since_ns: t, at_least: false });
        g.alike_since_ns = t;
        g.set_doubted(false);
        self.objects.unblock(g);
    }

    /// What a look read. `new` when the looker had not known the goroutine before.
    pub(super) fn seen(&mut self, e: &wire::Seen, new: bool) {
        let (goid, t) = (e.h.goid, e.h.time_ns);
        if goid == 0 {
            return;
        }
        // The placeholder of an extra M has no `go` statement (proc.go, oneNewExtraM); main's goid is 1.
        let extra = e.gopc == 0 && goid != 1 && new;
        if !self.goroutines.contains(goid) && (extra || self.extras.contains_key(&goid)) {
            if self.extras.contains_key(&goid) || self.extras.len() < self.limits.goroutines {
                self.extras.insert(goid, !status::is_dead(e.status));
            } else {
                self.limit_reached();
            }
            return;
        }
        if status::is_dead(e.status) {
            self.vanish(goid, t);
            return;
        }
        let mut doing = Doing::from_look(e.status, e.reason);
        if let Doing::Waiting(i) = doing
            && self.wait_reasons.get(i as usize).is_some_and(|name| name == waits::COROUTINE)
        {
            doing = Doing::Coroutine;
        }
        if let Some(g) = self.goroutines.get_mut(goid) {
            g.set_looked_at();
            let was = g.activity();
            if was.doing == doing {
                if was.at_least && new {
                    g.set_since_ns(was.since_ns.min(t));
                    g.alike_since_ns = g.alike_since_ns.min(t);
                } else if was.at_least {
                    // Looks say so again only of one that has done something else in between.
                    g.set_since_ns(was.since_ns.max(t));
                    self.objects.unblock(g);
                }
            } else if was.doing == Doing::NotSeen || was.at_least || was.since_ns < t {
                // A wait that no probe told of, once nothing more comes of it, is a disagreement.
                let doubted =
                    !was.at_least && was.doing != Doing::NotSeen && matches!(doing, Doing::Waiting(_));
                g.set_doubted(doubted);
                g.set_activity(Activity { doing, since_ns: t, at_least: true });
                g.alike_since_ns = t;
                self.objects.unblock(g);
            }
            return;
        }
        // A state of one that is not known here is about one that left, or that is beyond the limit.
        if !new || self.recent.get(goid).is_some() {
            return;
        }
        // Before, if no look has seen them (nearly) all yet: the first one, or one that reads what the first could not. When births
        // are traced and none was lost, nobody is born unseen.
        let unwatched = self.unwatched_lately(t);
        let unseen_births = !self.births_traced || unwatched || self.births_lost() || self.looks.saw_all;
        let born = if self.watched_from_start() || (self.looks.saw_most && unseen_births) {
            Born::Found(t)
        } else {
            Born::Before(t)
        };
        match born {
            Born::Before(_) => self.counts.before += 1,
            _ => {
                self.counts.born += 1;
                self.counts.found += 1;
                self.counts.found_unwatched += u64::from(unwatched);
            }
        }
        let key = SiteKey::GoStatement { gopc: e.gopc, start_pc: e.start_pc, why: NoStack::NotTraced };
        self.enter(goid, key, (e.gopc, e.start_pc), born, doing, t);
    }

    pub(super) fn waits(&mut self, goid: u64, waits: Waits) {
        let Some(g) = self.goroutines.get_mut(goid) else { return };
        g.labels = self.objects.label_number(waits.labels, &self.limits);
        self.objects.enter(g, waits.on);
    }

    /// A look no longer finds a goroutine.
    fn vanish(&mut self, goid: u64, t: u64) {
        let begin = self.looks.begin_ns.unwrap_or(t);
        match self.goroutines.get(goid) {
            // Born while the look was under way: the look saw the `g` before it was given to this goroutine.
            Some(g) if g.born().known_since_ns() > begin => return,
            Some(_) => {}
            None => return,
        }
        self.remove_vanished(goid, t);
    }

    fn remove_vanished(&mut self, goid: u64, t: u64) {
        let Some(mut g) = self.goroutines.remove(goid) else { return };
        self.objects.leave(&mut g);
        self.counts.vanished += 1;
        self.counts.vanished_unwatched += u64::from(self.unwatched_lately(t));
        let alive_ns = self.watch.told_until(self.looks.begun_before_ns.unwrap_or(0));
        if let Some(site) = self.sites.get_mut(g.site) {
            site.vanish(g.born(), alive_ns, t);
        }
        self.recent.note(goid, t, Gone::Vanished { site: g.site });
    }

    /// A look has ended. A goroutine that it found for the first time would have been mentioned; so one that was born
    /// before the look and that no look ever mentioned is gone, and its death was lost. Those mentioned once are
    /// mentioned again only when they change, so of them a look's silence says nothing.
    pub(super) fn look_ended(&mut self, e: &wire::LookEdge) {
        let begin = self.looks.begin_ns.take();
        self.looks.ended += 1;
        self.looks.last_end_ns = Some(e.h.time_ns);
        (self.looks.read, self.looks.unreadable) = (e.read, e.unreadable);
        // Nothing to read is a full look only where a program is held before its first goroutine.
        let saw_some =
            e.read > e.unreadable || (e.read == 0 && e.unreadable == 0 && self.watched_from_start());
        self.looks.saw_some |= saw_some;
        self.looks.saw_most |= saw_some && analysis::reads_enough(e.read, e.unreadable);
        self.looks.saw_all |= saw_some && e.unreadable == 0;
        if is_gap(e) {
            let from_ns = begin.unwrap_or(e.h.time_ns);
            self.losses.add(loss::LOOK_UNREADABLE.into(), e.unreadable, from_ns, e.h.time_ns);
        }
        let Some(begin) = begin else { return };
        let looked_at = self.goroutines.iter().filter(|g| g.looked_at()).count() as u64;
        if e.read < looked_at {
            return; // it cannot have seen them all
        }
        let patience = if e.unreadable == 0 { 0 } else { UNREADABLE_PATIENCE };
        let mut gone = Vec::new();
        for g in self.goroutines.iter_mut() {
            if g.doubted() && g.activity().since_ns < begin {
                g.set_doubted(false);
                self.looks.disagreed += 1;
            }
            if !g.looked_at() && g.born().known_since_ns() < begin {
                if g.missed >= patience {
                    gone.push(g.goid);
                }
                g.missed = g.missed.saturating_add(1);
            }
        }
        // The living have no order, the memory of those that left has one.
        gone.sort_unstable();
        for goid in gone {
            self.remove_vanished(goid, begin);
        }
    }

    fn enter(&mut self, goid: u64, key: SiteKey, pcs: (u64, u64), born: Born, doing: Doing, t: u64) {
        if self.goroutines.len() >= self.limits.goroutines {
            self.limit_reached();
            return;
        }
        let site = self.site(key, pcs.0, pcs.1, t);
        if let Some(site) = self.sites.get_mut(site) {
            site.enter(born);
        }
        let activity = Activity { doing, since_ns: t, at_least: true };
        let mut g = Goroutine::new(goid, site, born, activity);
        if !matches!(born, Born::Traced(_)) {
            g.set_looked_at();
        }
        self.goroutines.insert(g);
    }

    fn site(&mut self, key: SiteKey, gopc: u64, start_pc: u64, t: u64) -> u32 {
        let mut limited = false;
        let site = self.sites.find(key, (gopc, start_pc), t, &self.limits, &mut limited);
        if limited {
            self.limit_reached();
        }
        debug_assert!(site == NO_SITE || self.sites.list().len() > site as usize);
        site
    }

    pub(super) fn probe(&mut self, probe: ProbeSite) {
        let texts =
            [&probe.role, &probe.function, &probe.instruction, &probe.cost_class, &probe.refused_because];
        if texts.iter().map(|t| t.len()).sum::<usize>() > self.limits.note_bytes {
            self.limit_reached();
            return;
        }
        self.births_traced |= probe.role == "create" && probe.refused_because.is_empty();
        let same = |p: &&mut ProbeSite| {
            (&p.role, &p.function, p.offset) == (&probe.role, &probe.function, probe.offset)
        };
        if let Some(known) = self.probes.iter_mut().find(same) {
            *known = probe;
        } else if self.probes.len() < self.limits.notes {
            self.probes.push(probe);
        } else {
            self.limit_reached();
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        if self.notes.contains(&note) {
            return;
        }
        let bytes = note.code.len() + note.text.len();
        if self.notes.len() < self.limits.notes && bytes <= self.limits.note_bytes {
            self.notes.push(note);
        } else {
            self.limit_reached();
        }
    }

    fn watched_from_start(&self) -> bool {
        self.target.as_ref().is_some_and(|t| t.from_start)
    }

    pub(super) fn park_traced(&self) -> bool {
        self.target.as_ref().is_some_and(|t| t.park) && self.watch.waits_stand()
    }

    pub(super) fn level(&mut self, e: wire::Level) {
        if self.watch.level(e) {
            // From now on only looks tell what they do, and of one that does the same still they say nothing.
            self.goroutines
                .iter_mut()
                .for_each(|g| g.set_activity(Activity { at_least: true, ..g.activity() }));
        }
    }

    /// Since the look before began births and deaths were not watched all the time: what a look finds now and nothing told is
    /// no surprise.
    fn unwatched_lately(&self, now_ns: u64) -> bool {
        let since = self.looks.begun_before_ns.unwrap_or(0);
        self.watch.unwatched_since(since, now_ns) > 0
    }

    fn births_lost(&self) -> bool {
        self.losses.total(loss::BIRTH_RING_FULL) > 0
            || self.losses.total(loss::READ_FAULT) > 0
            || self.losses.total(loss::UNDECODABLE) > 0
    }
}
