//! What was watched when, and what that cost.

use std::collections::VecDeque;

use tracer_common::wire::{self, level_flag, total};

use super::snapshot;
use crate::govern::WINDOW_NS;

/// Changes of the level, and times without probes, that are remembered one by one.
const REMEMBERED: usize = 128;
/// Costs are told once a second; more of them within ten seconds are not needed.
const COSTS: usize = 16;

/// Ticks are not exact: two that are ten seconds apart are, give or take this.
const GRACE_NS: u64 = 100_000_000;

/// Names of the levels, in the order of their numbers.
pub const LEVELS: [&str; 4] = ["waits", "lives", "windows", "looks"];
/// Names of the reasons, in the order of their numbers.
pub const WHYS: [&str; 7] =
    ["start", "spent", "room", "window-opens", "window-closes", "no-window", "failed"];

/// Everything that the stream told of it. A stream that tells nothing is of a session that watched all it could.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    cost: Option<wire::Cost>,
    /// Times and costs to the target of the last ten seconds.
    costs: VecDeque<(u64, u64)>,
    most_ns: u64,
    most_bytes: u64,
    level: Option<wire::Level>,
    since_ns: u64,
    moves: VecDeque<wire::Level>,
    moves_left_out: u64,
    windows: u64,
    lives: Unwatched,
    waits: Unwatched,
}

/// When something was not watched.
#[derive(Clone, Debug, Default)]
struct Unwatched {
    /// Since then it is not.
    since_ns: Option<u64>,
    /// Before.
    sum_ns: u64,
    times: VecDeque<(u64, u64)>,
}

impl Unwatched {
    fn change(&mut self, now_ns: u64, watched: bool) {
        match (watched, self.since_ns) {
            (false, None) => self.since_ns = Some(now_ns),
            (true, Some(since)) => {
                self.since_ns = None;
                let to = now_ns.max(since);
                self.sum_ns = self.sum_ns.saturating_add(to - since);
                if self.times.len() >= REMEMBERED {
                    self.times.pop_front();
                }
                self.times.push_back((since, to));
            }
            _ => {}
        }
    }

    /// How much of the time from `from_ns` to `now_ns`. Of times long past too little.
    fn within(&self, from_ns: u64, now_ns: u64) -> u64 {
        let open = self.since_ns.map(|since| (since, now_ns));
        let part = |(a, b): (u64, u64)| b.min(now_ns).saturating_sub(a.max(from_ns));
        self.times.iter().copied().chain(open).map(part).fold(0, u64::saturating_add)
    }

    /// The begin of the first time after `from_ns`, or `from_ns` where that lies within one or nothing comes after it.
    fn first_since(&self, from_ns: u64) -> u64 {
        let begins = self.times.iter().filter(|(_, to)| *to > from_ns).map(|(from, _)| *from);
        begins.chain(self.since_ns).next().map_or(from_ns, |begin| begin.max(from_ns))
    }

    fn sum(&self, now_ns: u64) -> u64 {
        self.sum_ns.saturating_add(self.since_ns.map_or(0, |since| now_ns.saturating_sub(since)))
    }
}

impl Watch {
    pub fn cost(&mut self, e: wire::Cost) {
        let now = e.h.time_ns;
        self.costs.push_back((now, e.target_ns));
        // The last one before the window begins is where it begins.
        while self.costs.len() > COSTS
            || self.costs.get(1).is_some_and(|(t, _)| t.saturating_add(WINDOW_NS - GRACE_NS) <= now)
        {
            self.costs.pop_front();
        }
        // Before the first was told, nothing was taken yet.
        let whole = self.costs.front().is_some_and(|(t, _)| t.saturating_add(WINDOW_NS * 9 / 10) <= now);
        let before = if whole { self.costs.front().map_or(0, |(_, ns)| *ns) } else { 0 };
        self.most_ns = self.most_ns.max(e.target_ns.saturating_sub(before));
        self.most_bytes = self.most_bytes.max(e.own_bytes);
        self.cost = Some(e);
    }

    /// True when waits were watched until now and are no longer.
    pub fn level(&mut self, e: wire::Level) -> bool {
        let now = e.h.time_ns;
        let (had_lives, had_waits) = (self.level.is_some() && self.lives_stand(), self.waits_stand());
        if self.level.is_none() {
            self.since_ns = now;
        }
        self.lives.change(now, e.h.flags & level_flag::LIVES != 0);
        self.waits.change(now, e.h.flags & level_flag::WAITS != 0);
        let opens = e.to == wire::level::WINDOWS && self.lives_stand() && !had_lives;
        self.windows = self.windows.saturating_add(opens.into());
        if e.from != e.to {
            if self.moves.len() >= REMEMBERED {
                self.moves.pop_front();
                self.moves_left_out += 1;
            }
            self.moves.push_back(e);
        }
        self.level = Some(e);
        had_waits && !self.waits_stand()
    }

    /// Births and deaths are watched, as far as the stream says.
    pub fn lives_stand(&self) -> bool {
        self.lives.since_ns.is_none()
    }

    /// Waits are watched, if they were ever to be.
    pub fn waits_stand(&self) -> bool {
        self.waits.since_ns.is_none()
    }

    /// For how long since `from_ns` births and deaths were not watched.
    pub fn unwatched_since(&self, from_ns: u64, now_ns: u64) -> u64 {
        self.lives.within(from_ns, now_ns)
    }

    /// From `from_ns` on, until when a death would have been told.
    pub fn told_until(&self, from_ns: u64) -> u64 {
        self.lives.first_since(from_ns)
    }

    /// For how long they were not, in all.
    pub fn unwatched(&self, now_ns: u64) -> u64 {
        self.lives.sum(now_ns)
    }

    /// For how long they were.
    pub fn watched(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns).saturating_sub(self.unwatched(now_ns))
    }

    /// The part of the time in which they were.
    pub fn share(&self, now_ns: u64) -> f64 {
        let all = now_ns.saturating_sub(self.since_ns);
        if self.level.is_none() || all == 0 { 1.0 } else { self.watched(now_ns) as f64 / all as f64 }
    }

    pub fn cost_view(&self) -> Option<snapshot::Cost> {
        let e = self.cost.as_ref()?;
        let price = |sort: usize| Some(e.prices[sort]).filter(|ns| *ns > 0);
        Some(snapshot::Cost {
            target_ns: e.target_ns,
            target_most_ns: self.most_ns,
            own_cpu_ns: e.own_cpu_ns,
            own_bytes: e.own_bytes,
            own_most_bytes: self.most_bytes,
            delivered: e.delivered,
            prices: snapshot::Prices {
                birth: price(total::BIRTHS),
                death: price(total::DEATHS),
                park: price(total::PARKS),
                ready: price(total::READIES),
                run: price(total::RUNS),
                coro_switch: price(total::CORO_SWITCHES),
                walk: price(total::WALKS),
                stack: price(total::STACKS),
            },
        })
    }

    pub fn view(&self, now_ns: u64, first_ns: u64) -> Option<snapshot::Watching> {
        let e = self.level.as_ref()?;
        let moves = self.moves.iter().map(|m| snapshot::Move {
            at_ns: m.h.time_ns.saturating_sub(first_ns),
            from: name(&LEVELS, m.from),
            to: name(&LEVELS, m.to),
            why: name(&WHYS, m.why),
            load_ns: m.load_ns,
        });
        let has_waits =
            e.h.flags & level_flag::WAITS != 0 || self.moves.iter().any(|m| m.from == wire::level::WAITS);
        Some(snapshot::Watching {
            budget_ns: Some(e.budget_ns).filter(|ns| *ns > 0),
            level: name(&LEVELS, e.to),
            watched_ns: self.watched(now_ns),
            unwatched_ns: self.unwatched(now_ns),
            waits_unwatched_ns: has_waits.then(|| self.waits.sum(now_ns)),
            windows: self.windows,
            moves: moves.collect(),
            moves_left_out: self.moves_left_out,
        })
    }
}

fn name(names: &[&'static str], number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|i| names.get(i)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use tracer_common::wire::{kind, level, level_why};

    use super::*;
    use crate::event::header;

    const S: u64 = 1_000_000_000;

    fn level(at_s: u64, to: u64, flags: u8, why: u64) -> wire::Level {
        let h = wire::Header { flags, ..header(kind::LEVEL, at_s * S) };
        wire::Level { h, from: level::LIVES, to, why, load_ns: 9, budget_ns: 100 }
    }

    #[test]
    fn times_without_probes_add_up() {
        let mut watch = Watch::default();
        assert!(watch.lives_stand() && watch.waits_stand());
        watch.level(level(100, level::LIVES, 1, level_why::START));
        for (at, flags) in [(110, 0), (120, 1), (121, 0), (130, 1), (150, 0)] {
            watch.level(level(at, level::WINDOWS, flags, level_why::WINDOW_OPENS));
        }
        assert_eq!((watch.unwatched(160 * S), watch.watched(160 * S)), (29 * S, 31 * S));
        assert_eq!(watch.unwatched_since(125 * S, 160 * S), 15 * S);
        assert_eq!(watch.unwatched_since(131 * S, 149 * S), 0);
        for (from, until) in [(105, 110), (112, 112), (120, 121), (135, 150), (155, 155)] {
            assert_eq!(watch.told_until(from * S), until * S);
        }
        let view = watch.view(160 * S, 90 * S).unwrap();
        assert_eq!((view.level, view.budget_ns, view.windows), ("windows", Some(100), 2));
        assert_eq!(view.moves.len(), 5);
        assert_eq!(
            (view.moves[0].at_ns, view.moves[0].from, view.moves[0].why),
            (20 * S, "lives", "window-opens")
        );
        assert_eq!(view.waits_unwatched_ns, None, "there were none to watch");
    }

    #[test]
    fn the_most_of_ten_seconds_is_found_and_memory_is_bounded() {
        let mut watch = Watch::default();
        let cost =
            |at: u64, ns| wire::Cost { h: header(kind::COST, at), target_ns: ns, ..wire::Cost::default() };
        // 5 ms a second, and 200 ms once.
        for s in 1..=60 {
            watch.cost(cost(s * S, s * 5_000_000 + if s > 30 { 200_000_000 } else { 0 }));
        }
        assert_eq!(watch.cost_view().unwrap().target_most_ns, 250_000_000);
        for i in 0..100_000 {
            watch.cost(cost(60 * S + i, i));
            watch.level(level(60 + i, i % 4, (i % 2) as u8, i));
        }
        assert!(watch.costs.len() <= COSTS && watch.moves.len() <= REMEMBERED);
        assert!(watch.lives.times.len() <= REMEMBERED);
    }
}
