//! Small worlds for tests: goroutines with a birth, a death and something to do, and the events that watching them gives.

use tracer_common::wire::{self, Header, kind};

use super::Session;
use super::snapshot::{Site, Snapshot, Verdict, VerdictKind};
use crate::event::status;
use crate::event::{Event, StackDef, Symbol, TargetInfo, WaitReasons, header, message};

pub const SECOND: u64 = 1_000_000_000;

pub const REASONS: [&str; 9] = [
    "",
    "chan send",
    "chan receive",
    "select",
    "sync.Mutex.Lock",
    "sync.WaitGroup.Wait",
    "IO wait",
    "sleep",
    "chan receive (nil chan)",
];

pub fn reason(name: &str) -> u32 {
    REASONS.iter().position(|r| *r == name).unwrap() as u32
}

/// splitmix64: enough chance for a test, the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.unit()
    }

    /// Exponential with this mean.
    pub fn exp(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

#[derive(Clone, Copy)]
pub struct Life {
    site: u64,
    born_s: f64,
    dies_s: f64,
    born_ns: u64,
    dies_ns: u64,
    waits: &'static str,
    /// How often it is found running instead of waiting.
    busy: f64,
}

/// A program and how it is watched. Times in seconds since watching began; negative ones are before.
#[derive(Clone)]
pub struct World {
    pub lives: Vec<Life>,
    pub births_traced: bool,
    pub looks: bool,
    /// The part of deaths and of births that is lost (and reported so).
    pub lost: f64,
    /// Births and deaths are watched for so long at the begin of each such time, seconds; else all the time.
    pub windows: Option<(f64, f64)>,
    pub seed: u64,
}

pub const NEVER: f64 = f64::INFINITY;

impl Default for World {
    fn default() -> Self {
        Self { lives: Vec::new(), births_traced: true, looks: true, lost: 0.0, windows: None, seed: 1 }
    }
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn one(&mut self, site: u64, born_s: f64, dies_s: f64, waits: &'static str) {
        self.busy(site, born_s, dies_s, waits, 0.0);
    }

    pub fn busy(&mut self, site: u64, born_s: f64, dies_s: f64, waits: &'static str, busy: f64) {
        let (born_ns, dies_ns) = (ns(born_s), ns(dies_s));
        self.lives.push(Life { site, born_s, dies_s, born_ns, dies_ns, waits, busy });
    }

    /// `rate` births a second from `from_s` to `to_s`, none of which ends.
    pub fn leak(&mut self, site: u64, rate: f64, (from_s, to_s): (f64, f64), waits: &'static str) {
        let n = ((to_s - from_s) * rate) as u64;
        (0..n).for_each(|i| self.one(site, from_s + i as f64 / rate, NEVER, waits));
    }

    /// Everything that watching until `until_s` yields, in order of time.
    pub fn events(&self, until_s: f64) -> Vec<Event> {
        let mut rng = Rng(self.seed);
        let mut events = preamble(self);
        let end = ns(until_s);
        let mut known: Vec<Option<(u32, u32)>> = vec![None; self.lives.len()];
        let (mut births_lost, mut deaths_lost) = (0, 0);
        for (i, l) in self.lives.iter().enumerate() {
            let goid = i as u64 + 2;
            if l.born_s >= 0.0 && self.births_traced && self.watched(l.born_s) && ns(l.born_s) <= end {
                if rng.unit() < self.lost {
                    births_lost += 1;
                } else {
                    let h = at(kind::BIRTH, ns(l.born_s), goid);
                    let (gopc, start_pc) = (gopc(l.site), start_pc(l.site));
                    events.push(Event::Birth(wire::Birth {
                        h,
                        parent_goid: 1,
                        gopc,
                        start_pc,
                        stack: l.site,
                    }));
                }
            }
            let dies = l.dies_s >= 0.0 && l.dies_s.is_finite() && self.watched(l.dies_s);
            if dies && self.births_traced && ns(l.dies_s) <= end {
                if rng.unit() < self.lost {
                    deaths_lost += 1;
                } else {
                    events.push(Event::Death(wire::Death { h: at(kind::DEATH, ns(l.dies_s), goid) }));
                }
            }
        }
        for second in 0..=(until_s as u64) {
            let t = ns(second as f64) + 1;
            if self.looks {
                self.look(second, t, &mut known, &mut rng, &mut events);
            }
            events.push(Event::Tick(header(kind::TICK, t + SECOND / 2)));
        }
        for (cause, count) in
            [(wire::loss::BIRTH_RING_FULL, births_lost), (wire::loss::DEATH_RING_FULL, deaths_lost)]
        {
            if count > 0 {
                let h = header(kind::LOSS, end);
                events.push(Event::Loss(wire::Loss { h, from_ns: ns(0.0), count, cause: cause.into() }));
            }
        }
        self.levels(until_s, &mut events);
        events.sort_by_key(Event::time_ns);
        events
    }

    fn watched(&self, s: f64) -> bool {
        self.windows.is_none_or(|(open, every)| s.rem_euclid(every) < open)
    }

    fn levels(&self, until_s: f64, events: &mut Vec<Event>) {
        let Some((open, every)) = self.windows else { return };
        let mut at = 0.0;
        while at < until_s {
            for (s, flags, why) in
                [(at, 1, wire::level_why::WINDOW_OPENS), (at + open, 0, wire::level_why::WINDOW_CLOSES)]
            {
                let h = Header { flags, ..header(kind::LEVEL, ns(s)) };
                let (from, to) = (wire::level::WINDOWS, wire::level::WINDOWS);
                events.push(Event::Level(wire::Level { h, from, to, why, load_ns: 0, budget_ns: 1 }));
            }
            at += every;
        }
    }

    fn look(
        &self,
        seq: u64,
        t: u64,
        known: &mut [Option<(u32, u32)>],
        rng: &mut Rng,
        events: &mut Vec<Event>,
    ) {
        let edge = |kind, read| wire::LookEdge { h: header(kind, t), seq: seq + 1, read, unreadable: 0 };
        events.push(Event::LookBegin(edge(kind::LOOK_BEGIN, 0)));
        let mut read = 0;
        for (i, l) in self.lives.iter().enumerate() {
            let alive = l.born_ns < t && l.dies_ns > t;
            if !alive && known[i].is_none_or(|k| k.0 == status::DEAD) {
                continue;
            }
            let state = match alive {
                true if l.busy > 0.0 && rng.unit() < l.busy => (status::RUNNING, 0),
                true => (status::WAITING, reason(l.waits)),
                false => (status::DEAD, 0),
            };
            read += u64::from(alive);
            let was = known[i];
            if (was.is_none() && !alive) || was == Some(state) {
                continue;
            }
            known[i] = Some(state);
            let (gopc, start_pc) = (gopc(l.site), start_pc(l.site));
            let h = at(if was.is_none() { kind::SEEN } else { kind::STATE }, t, i as u64 + 2);
            let (status, reason) = state;
            let seen = wire::Seen { h, gopc, start_pc, status, reason, ..wire::Seen::default() };
            events.push(if was.is_none() { Event::Seen(seen) } else { Event::State(seen) });
        }
        events.push(Event::LookEnd(edge(kind::LOOK_END, read)));
    }

    /// Watches until `until_s` and gives the picture.
    pub fn watch(&self, until_s: f64) -> Snapshot {
        let mut session = Session::new();
        self.events(until_s).into_iter().for_each(|e| session.apply(e));
        session.snapshot()
    }

    /// Watches, and gives the verdict on a site at each of these seconds.
    pub fn verdicts(&self, site: u64, seconds: impl IntoIterator<Item = u64>) -> Vec<(u64, Verdict)> {
        let seconds: Vec<u64> = seconds.into_iter().collect();
        let until_s = seconds.iter().max().map_or(0.0, |s| *s as f64 + 2.0);
        let mut seconds = seconds.into_iter().peekable();
        let mut session = Session::new();
        let mut out = Vec::new();
        for e in self.events(until_s) {
            while let Some(s) = seconds.peek().copied()
                && e.time_ns() > ns(s as f64) + SECOND / 2 + 1
            {
                if let Some(found) = find(&session.snapshot(), site) {
                    out.push((s, found.verdict.clone()));
                }
                seconds.next();
            }
            session.apply(e);
        }
        out
    }
}

pub fn kinds(verdicts: &[(u64, Verdict)]) -> Vec<(u64, VerdictKind)> {
    verdicts.iter().map(|(s, v)| (*s, v.kind)).collect()
}

pub fn find(snapshot: &Snapshot, site: u64) -> Option<&Site> {
    snapshot.sites.iter().find(|s| s.created_at.function == format!("main.site{site}"))
}

/// Attach happens a thousand seconds after boot.
pub fn ns(s: f64) -> u64 {
    if s.is_finite() { ((1000.0 + s) * SECOND as f64) as u64 } else { u64::MAX }
}

pub fn gopc(site: u64) -> u64 {
    0x1000 + site * 0x100
}

pub fn start_pc(site: u64) -> u64 {
    0x90_0000 + site * 0x100
}

pub fn at(kind: u8, time_ns: u64, goid: u64) -> Header {
    Header { time_ns, goid, kind, ..Header::default() }
}

pub fn symbol(pc: u64, function: &str, exact: bool) -> Event {
    let frame =
        message::Frame { function: function.into(), file: "main.go".into(), line: 7, ..Default::default() };
    let symbol = Symbol { pc, frames: vec![frame], exact, ..Symbol::default() };
    Event::Symbol(header(kind::SYMBOL, 0), Box::new(symbol))
}

pub fn stack(id: u64, frames: &[u64]) -> Event {
    Event::StackDef(StackDef { h: header(kind::STACK_DEF, 0), stack: id, frames: frames.to_vec() })
}

pub fn wait_reasons() -> Event {
    let names = REASONS.map(String::from).to_vec();
    Event::WaitReasons(header(kind::WAIT_REASONS, 0), WaitReasons { names })
}

/// What every stream begins with: the target, the words, the symbols of the sites.
fn preamble(world: &World) -> Vec<Event> {
    let target = TargetInfo { pid: 7, ..TargetInfo::default() };
    let mut events = vec![Event::Target(header(kind::TARGET, ns(0.0)), Box::new(target)), wait_reasons()];
    let mut sites: Vec<_> = world.lives.iter().map(|l| l.site).collect();
    sites.sort_unstable();
    sites.dedup();
    for site in sites {
        events.push(stack(site, &[gopc(site), 0x500]));
        events.push(symbol(gopc(site), &format!("main.site{site}"), false));
        events.push(symbol(start_pc(site), &format!("main.run{site}"), true));
    }
    events
}
