//! Decides, a few hundred times a second at most.

use fastrand::Rng;
use tracer_common::wire::{level_why as why, total};

use super::spent::{Spent, WINDOW_NS};
use super::{Level, Move, Prices, Standing};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Checks come so often, at least and at most.
const CHECK_LEAST_NS: u64 = 2 * MS;
const CHECK_MOST_NS: u64 = 10 * MS;
/// As much of the budget is used; the rest is for what was not foreseen.
const USED: f64 = 0.9;
/// A window may take this part of the budget, and lasts so long at most.
const WINDOW_PART: f64 = 0.6;
const WINDOW_MOST_NS: u64 = SECOND;
/// Shorter ones are not worth placing the probes.
const WINDOW_LEAST_NS: u64 = 20 * MS;
/// Between two windows, at least; and up to so much more, by chance, lest windows fall in with what the program does.
const PAUSE_NS: u64 = SECOND;
const CHANCE_NS: u64 = SECOND;
/// The next level up must be expected to need no more than this part of the budget.
const ROOM_PART: f64 = 0.6;
/// Whole windows that say so, before births and deaths are watched all the time again.
const CALM_WINDOWS: u32 = 3;
/// Until a level up is tried again: the first time, and in the end. Each failure doubles it.
const PATIENCE_NS: u64 = 10 * SECOND;
const PATIENCE_MOST_NS: u64 = 600 * SECOND;
/// A level up that lasted so long has not failed.
const LASTED_NS: u64 = 60 * SECOND;
/// Until it is known how long probes take to go: that much of a second at full rate.
const TAIL_S: f64 = 0.1;
/// And that many times what was learnt is expected.
const TAIL_MARGIN: f64 = 1.25;
/// So long after a change it is not trusted that little happens.
const NEW_NS: u64 = 100 * MS;

type Counts = [u64; total::COUNT];

/// Keeps what the target loses within a budget.
#[derive(Debug)]
pub struct Governor {
    prices: Prices,
    /// For [`WINDOW_NS`]; nothing: whatever it costs.
    budget_ns: Option<u64>,
    /// The closest level there is.
    top: Level,
    level: Level,
    standing: Standing,
    spent: Spent,
    last: (u64, Counts),
    /// Nanoseconds spent a second, of late and at its highest of late; and of that, what waits take.
    rate: f64,
    waits_rate: f64,
    traps_rate: f64,
    /// What is spent from the decision to take probes away until they are gone, in seconds at the rate of then.
    tail_s: f64,
    /// A move is being carried out since then: the time, the cost and the rates.
    moving: Option<(u64, u64, f64, f64)>,
    cost_ns: u64,
    /// Of it, what nobody counted.
    uncounted_ns: u64,
    changed_ns: u64,
    /// When the level was taken.
    since_ns: u64,
    /// When the level above is tried again, and how long it takes the next time.
    try_at_ns: u64,
    patience_ns: u64,
    window: Window,
    chance: Rng,
}

/// Windows at [`Level::Windows`].
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    open_at_ns: u64,
    opened_ns: u64,
    cost_at_open_ns: u64,
    /// What the last one spent a second.
    rate: f64,
    calm: u32,
}

impl Governor {
    /// `budget_ns_per_s`: what the target may lose of each second, nanoseconds. `seed`: for when windows are. Begins at `top`
    /// with all its probes standing.
    pub fn new(prices: Prices, budget_ns_per_s: Option<u64>, top: Level, seed: u64, now_ns: u64) -> Self {
        let standing = Standing { lives: top < Level::Looks, waits: top == Level::Waits };
        Self {
            prices,
            budget_ns: budget_ns_per_s.map(|ns| ns.saturating_mul(WINDOW_NS / SECOND)),
            top,
            level: top,
            standing,
            spent: Spent::default(),
            last: (now_ns, [0; total::COUNT]),
            rate: 0.0,
            waits_rate: 0.0,
            traps_rate: 0.0,
            tail_s: TAIL_S,
            moving: None,
            cost_ns: 0,
            uncounted_ns: 0,
            changed_ns: now_ns,
            since_ns: now_ns,
            try_at_ns: 0,
            patience_ns: PATIENCE_NS,
            window: Window::default(),
            chance: Rng::with_seed(seed),
        }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub fn prices(&self) -> Prices {
        self.prices
    }

    /// What ten seconds may take, nanoseconds; 0: no budget.
    pub fn budget_ns(&self) -> u64 {
        self.budget_ns.unwrap_or(0)
    }

    /// What all events until the last [`step`](Self::step) took, nanoseconds.
    pub fn cost_ns(&self) -> u64 {
        self.cost_ns
    }

    /// Of that, what no event stands for: traps that were still there when their programs were not, estimated to the high side.
    pub fn uncounted_ns(&self) -> u64 {
        self.uncounted_ns
    }

    /// What the last ten seconds took, nanoseconds.
    pub fn load_ns(&mut self, now_ns: u64) -> u64 {
        self.spent.sum(now_ns)
    }

    /// When to ask next, nanoseconds from now.
    pub fn next_in_ns(&mut self, now_ns: u64) -> u64 {
        if now_ns.saturating_sub(self.changed_ns) < NEW_NS {
            return CHECK_LEAST_NS;
        }
        let room = (self.used() - self.spent.sum(now_ns) as f64).max(0.0);
        let until_spent = room / self.rate.max(1.0) / 4.0 * SECOND as f64;
        (until_spent as u64).clamp(CHECK_LEAST_NS, CHECK_MOST_NS)
    }

    /// `counts`: events met since the probes were first placed. The move to make now, if any; [`done`](Self::done) is to follow
    /// it.
    pub fn step(&mut self, now_ns: u64, counts: &Counts) -> Option<Move> {
        self.account(now_ns, counts);
        self.budget_ns?;
        let (to, standing, why) = match self.level {
            Level::Waits | Level::Lives => self.too_much(now_ns).or_else(|| self.waits_again(now_ns))?,
            Level::Windows if self.standing.lives => self.close(now_ns)?,
            Level::Windows => self.open(now_ns)?,
            Level::Looks => self.look_up(now_ns)?,
        };
        let made = Move { from: self.level, to, standing, why, load_ns: self.spent.sum(now_ns) };
        self.take(now_ns, to);
        self.standing = standing;
        self.moving = Some((now_ns, self.cost_ns, self.rate, self.traps_rate));
        Some(made)
    }

    /// The move was carried out; with `counts` met by now.
    pub fn done(&mut self, now_ns: u64, counts: &Counts) {
        let Some((begun_ns, cost_ns, rate, traps_rate)) = self.moving.take() else { return };
        self.account(now_ns, counts);
        self.changed_ns = now_ns;
        if self.standing.lives {
            if self.level == Level::Windows {
                (self.window.opened_ns, self.window.cost_at_open_ns) = (now_ns, cost_ns);
            }
        } else {
            let seconds = now_ns.saturating_sub(begun_ns) as f64 / SECOND as f64;
            let uncounted = (traps_rate * seconds) as u64;
            self.uncounted_ns = self.uncounted_ns.saturating_add(uncounted);
            self.cost_ns = self.cost_ns.saturating_add(uncounted);
            self.spent.add(now_ns, uncounted);
            let took = self.cost_ns.saturating_sub(cost_ns) as f64;
            // Of a crawl nothing can be learnt. How long it takes varies: slow ones are long remembered.
            if rate > 1e6 {
                self.tail_s = (took / rate).max(0.95 * self.tail_s + 0.05 * took / rate).clamp(0.005, 1.0);
            }
            (self.rate, self.waits_rate, self.traps_rate) = (0.0, 0.0, 0.0);
        }
    }

    /// The move could not be carried out: nothing stands, and nothing will.
    pub fn failed(&mut self, now_ns: u64) -> Move {
        let from = self.level;
        self.take(now_ns, Level::Looks);
        self.standing = Standing { lives: false, waits: false };
        (self.moving, self.try_at_ns) = (None, u64::MAX);
        Move {
            from,
            to: Level::Looks,
            standing: self.standing,
            why: why::FAILED,
            load_ns: self.spent.sum(now_ns),
        }
    }

    fn account(&mut self, now_ns: u64, counts: &Counts) {
        let (last_ns, last) = self.last;
        let mut new = *counts;
        new.iter_mut().zip(last).for_each(|(new, old)| *new = new.saturating_sub(old));
        let cost = self.prices.cost(&new);
        let past = now_ns.saturating_sub(last_ns);
        // Two checks at once would make any event a flood.
        if past < MS && cost < MS {
            return;
        }
        self.last = (now_ns, *counts);
        self.cost_ns = self.cost_ns.saturating_add(cost);
        self.spent.add(now_ns, cost);
        let seconds = past.max(MS) as f64 / SECOND as f64;
        // At once when it rises; over a second when it falls.
        let follow = |rate: f64, cost: u64| {
            let now = cost as f64 / seconds;
            if now > rate { now } else { rate + (now - rate) * seconds.min(1.0) }
        };
        self.rate = follow(self.rate, cost);
        self.waits_rate = follow(self.waits_rate, self.prices.cost_of_waits(&new));
        self.traps_rate = follow(self.traps_rate, self.prices.cost_of_traps(&new));
    }

    fn take(&mut self, now_ns: u64, to: Level) {
        if to != self.level {
            (self.level, self.since_ns) = (to, now_ns);
            self.window.calm = 0;
        }
    }

    fn used(&self) -> f64 {
        self.budget_ns.unwrap_or(u64::MAX) as f64 * USED
    }

    /// What will have been spent once probes that are given up now are gone.
    fn foreseen(&mut self, now_ns: u64) -> f64 {
        let until_gone_s = TAIL_MARGIN * self.tail_s + CHECK_LEAST_NS as f64 / SECOND as f64;
        self.spent.sum(now_ns) as f64 + self.rate * until_gone_s
    }

    fn too_much(&mut self, now_ns: u64) -> Option<(Level, Standing, u64)> {
        let lives_rate = (self.rate - self.waits_rate).max(0.0);
        let lives = lives_rate * (WINDOW_NS / SECOND) as f64;
        let lives_fit = self.level == Level::Waits && lives <= ROOM_PART * self.budget_ns() as f64;
        // When waits are given up there must be left what births and deaths go on to take.
        if self.foreseen(now_ns) + if lives_fit { lives } else { 0.0 } < self.used() {
            return None;
        }
        // The level up did not last: it is tried again later and later.
        self.patience_ns = if now_ns.saturating_sub(self.since_ns) < LASTED_NS {
            (self.patience_ns * 2).min(PATIENCE_MOST_NS)
        } else {
            PATIENCE_NS
        };
        self.try_at_ns = now_ns + self.patience_ns;
        if lives_fit {
            return Some((Level::Lives, Standing { lives: true, waits: false }, why::SPENT));
        }
        self.window = Window { rate: lives_rate, ..Window::default() };
        Some(self.shut(now_ns, why::SPENT))
    }

    /// Nothing stands from now on: until the next window, or until looks alone have lasted.
    fn shut(&mut self, now_ns: u64, why: u64) -> (Level, Standing, u64) {
        let none = Standing { lives: false, waits: false };
        let least_s = WINDOW_LEAST_NS as f64 / SECOND as f64 + self.tail_s;
        if self.window.rate * least_s > WINDOW_PART * self.budget_ns() as f64 {
            if self.level == Level::Windows {
                self.patience_ns = (self.patience_ns * 2).min(PATIENCE_MOST_NS);
            }
            self.try_at_ns = now_ns + self.patience_ns.max(3 * PATIENCE_NS);
            return (Level::Looks, none, if why == why::SPENT { why } else { why::NO_WINDOW });
        }
        self.window.open_at_ns = now_ns + PAUSE_NS + self.chance.u64(..CHANCE_NS);
        (Level::Windows, none, why)
    }

    /// Park timing once more, when births and deaths leave room for it.
    fn waits_again(&mut self, now_ns: u64) -> Option<(Level, Standing, u64)> {
        let due = self.level > self.top && self.top == Level::Waits && now_ns >= self.try_at_ns;
        let room = self.spent.sum(now_ns) as f64 <= ROOM_PART / 2.0 * self.budget_ns() as f64;
        (due && room).then_some((Level::Waits, Standing { lives: true, waits: true }, why::ROOM))
    }

    /// A window begins once there is room for what it may take.
    fn open(&mut self, now_ns: u64) -> Option<(Level, Standing, u64)> {
        let most_s = WINDOW_MOST_NS as f64 / SECOND as f64;
        let part = WINDOW_PART * self.budget_ns() as f64;
        let late = self.window.rate * CHECK_MOST_NS as f64 / SECOND as f64;
        let expected = (self.window.rate * (most_s + self.tail_s)).min(part) + late;
        if now_ns < self.window.open_at_ns || self.spent.sum(now_ns) as f64 + expected > self.used() {
            return None;
        }
        Some((Level::Windows, Standing { lives: true, waits: false }, why::WINDOW_OPENS))
    }

    /// It is over when it has lasted long enough or spent its part. Or it stays open, and is none any more.
    fn close(&mut self, now_ns: u64) -> Option<(Level, Standing, u64)> {
        let open_ns = now_ns.saturating_sub(self.window.opened_ns);
        let spent = self.cost_ns.saturating_sub(self.window.cost_at_open_ns) as f64;
        let foreseen = self.foreseen(now_ns);
        let tail = self.rate * TAIL_MARGIN * self.tail_s;
        let part = WINDOW_PART * self.budget_ns() as f64;
        let whole = open_ns >= WINDOW_MOST_NS;
        if !whole && spent + tail < part && foreseen < self.used() {
            return None;
        }
        self.window.rate = spent / (open_ns.max(MS) as f64 / SECOND as f64);
        let needed = self.window.rate * (WINDOW_NS / SECOND) as f64;
        let calm = whole && needed <= ROOM_PART * self.budget_ns() as f64;
        self.window.calm = if calm { self.window.calm + 1 } else { 0 };
        if self.window.calm >= CALM_WINDOWS && now_ns >= self.try_at_ns {
            self.try_at_ns = now_ns + self.patience_ns;
            return Some((Level::Lives, self.standing, why::ROOM));
        }
        Some(self.shut(now_ns, why::WINDOW_CLOSES))
    }

    /// A window after a long time of looks alone: perhaps the program has become calmer.
    fn look_up(&mut self, now_ns: u64) -> Option<(Level, Standing, u64)> {
        let due = self.top < Level::Looks && now_ns >= self.try_at_ns;
        // Nothing is known of now; so the whole budget must be there.
        (due && self.spent.sum(now_ns) == 0).then_some((
            Level::Windows,
            Standing { lives: true, waits: false },
            why::ROOM,
        ))
    }
}
