//! A stream as a busy program gives it, made up: for the benches of what is pure, and for tests of how memory grows.
//!
//! 50 `go` statements with stacks of eight frames, goroutines born and ended on eight processors, a tick and a look each
//! second; with [`Shape::park`] they also wait, are made ready and run. The same shape gives the same records.

use tracer::event::{Event, StackDef, Symbol, TargetInfo, header, message};
use tracer_common::decode::bytes_of;
use tracer_common::wire::{Birth, Death, Header, LookEdge, Park, Ready, Run, Seen, Totals, kind};

const SITES: u64 = 50;
const FRAMES: u64 = 8;
const CPUS: u64 = 8;
const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_000 * SECOND;

/// What the stream is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Events of the kernel side.
    pub events: u64,
    /// Events a second, in the stream's own time.
    pub rate: u64,
    /// How many live at a time, once so many were born.
    pub live: usize,
    /// Of ten events eight are parks, readies and runs.
    pub park: bool,
}

#[derive(Clone, Copy)]
struct Alive {
    goid: u64,
    g: u64,
    /// A look has told of it.
    seen: bool,
}

/// The records, one after another.
pub struct Workload {
    shape: Shape,
    seed: u64,
    time_ns: u64,
    next_tick_ns: u64,
    goid: u64,
    alive: Vec<Alive>,
    free: Vec<u64>,
    made: u64,
    ticks: u64,
    /// How far the look that is under way has come.
    looking: Option<usize>,
    /// Records of one moment that are still to come.
    queue: std::collections::VecDeque<Vec<u8>>,
}

impl Workload {
    pub fn new(shape: Shape) -> Self {
        let mut new = Self {
            shape,
            seed: 7,
            time_ns: BEGIN,
            next_tick_ns: BEGIN + SECOND,
            goid: 17,
            alive: Vec::new(),
            free: Vec::new(),
            made: 0,
            ticks: 0,
            looking: None,
            queue: std::collections::VecDeque::new(),
        };
        let target = TargetInfo {
            pid: 4242,
            comm: "made-up".into(),
            go_version: "go1.26.6".into(),
            from_start: true,
            park: shape.park,
            ..TargetInfo::default()
        };
        new.tell(&Event::Target(header(kind::TARGET, BEGIN), Box::new(target)));
        for site in 0..SITES {
            let frames: Vec<u64> = (0..FRAMES).map(|depth| pc(site, depth)).collect();
            for (depth, pc) in frames.iter().enumerate() {
                let function = format!("main.site{site}.caller{depth}");
                let frame =
                    message::Frame { function, file: "/src/main.go".into(), line: 7, ..Default::default() };
                let symbol = Symbol { pc: *pc, frames: vec![frame], ..Symbol::default() };
                new.tell(&Event::Symbol(header(kind::SYMBOL, BEGIN), Box::new(symbol)));
            }
            new.tell(&Event::StackDef(StackDef {
                h: header(kind::STACK_DEF, BEGIN),
                stack: site + 1,
                frames,
            }));
        }
        new
    }

    /// The next record; false at the end.
    pub fn next(&mut self, record: &mut Vec<u8>) -> bool {
        record.clear();
        if let Some(queued) = self.queue.pop_front() {
            record.extend_from_slice(&queued);
            return true;
        }
        if let Some(at) = self.looking {
            self.look_on(at, record);
            return true;
        }
        if self.made >= self.shape.events {
            return false;
        }
        self.time_ns += 1 + self.random() % (2 * SECOND / self.shape.rate);
        if self.time_ns >= self.next_tick_ns {
            (self.time_ns, self.looking) = (self.next_tick_ns, Some(0));
            self.next_tick_ns += SECOND;
            self.ticks += 1;
            record.extend_from_slice(bytes_of(&self.edge(kind::LOOK_BEGIN, 0)));
            return true;
        }
        self.made += 1;
        let what = self.random() % 10;
        if self.alive.len() < self.shape.live && (!self.shape.park || what < 5) || self.alive.is_empty() {
            self.birth(record);
        } else if self.shape.park && what < 8 {
            let at = self.young();
            let Alive { goid, g, .. } = self.alive[at];
            match what % 3 {
                0 => record.extend_from_slice(bytes_of(&Park {
                    h: self.h(kind::PARK, goid, g),
                    lock: 0xc000_0000 + g % 4096,
                    unlockf: 0x40_5000,
                    reason: 14,
                })),
                1 => record.extend_from_slice(bytes_of(&Ready { h: self.h(kind::READY, goid, g) })),
                _ => record.extend_from_slice(bytes_of(&Run { h: self.h(kind::RUN, goid, g) })),
            }
        } else if what.is_multiple_of(2) && self.alive.len() <= self.shape.live {
            self.birth(record);
        } else {
            let at = self.young();
            let Alive { goid, g, .. } = self.alive.swap_remove(at);
            self.free.push(g);
            record.extend_from_slice(bytes_of(&Death { h: self.h(kind::DEATH, goid, g) }));
        }
        true
    }

    fn birth(&mut self, record: &mut Vec<u8>) {
        self.goid += 1;
        let goid = self.goid;
        let g = self.free.pop().unwrap_or(0xc000_0000_0000 + goid * 448);
        let site = self.random() % SITES;
        self.alive.push(Alive { goid, g, seen: false });
        record.extend_from_slice(bytes_of(&Birth {
            h: self.h(kind::BIRTH, goid, g),
            parent_goid: 1 + site % 5,
            gopc: pc(site, 0),
            start_pc: 0x60_0000 + site * 64,
            stack: site + 1,
        }));
    }

    /// One of the last ones mostly: most goroutines are short-lived.
    fn young(&mut self) -> usize {
        let (n, r) = (self.alive.len(), self.random() as usize);
        if r % 10 == 0 { r / 10 % n } else { n - 1 - r / 10 % n.min(32) }
    }

    /// The next that the look has to tell of, or its end, the counters and a tick.
    fn look_on(&mut self, at: usize, record: &mut Vec<u8>) {
        let now = self.time_ns;
        if let Some(next) = (at..self.alive.len()).find(|i| !self.alive[*i].seen) {
            self.looking = Some(next + 1);
            let Alive { goid, g, seen } = &mut self.alive[next];
            *seen = true;
            let h = Header { goid: *goid, g: *g, ..header(kind::SEEN, now) };
            record.extend_from_slice(bytes_of(&Seen {
                h,
                gopc: pc(1, 0),
                status: 4,
                reason: 14,
                ..Seen::default()
            }));
            return;
        }
        self.looking = None;
        record.extend_from_slice(bytes_of(&self.edge(kind::LOOK_END, self.alive.len() as u64)));
        let totals = Totals { h: header(kind::TOTALS, now), counts: [self.goid - 17, 0, 0, 0, 0, 0, 0, 0] };
        self.queue.push_back(bytes_of(&totals).to_vec());
        self.queue.push_back(bytes_of(&header(kind::TICK, now)).to_vec());
    }

    fn edge(&self, kind: u8, read: u64) -> LookEdge {
        LookEdge { h: header(kind, self.time_ns), seq: self.ticks, read, unreadable: 0 }
    }

    fn tell(&mut self, event: &Event) {
        let mut record = Vec::new();
        event.encode(&mut record);
        self.queue.push_back(record);
    }

    fn h(&mut self, kind: u8, goid: u64, g: u64) -> Header {
        let cpu = self.random() % CPUS;
        Header { time_ns: self.time_ns, goid, g, tid: 4242 + cpu as u32, cpu: cpu as u16, kind, flags: 0 }
    }

    /// splitmix64
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 1
    }
}

fn pc(site: u64, depth: u64) -> u64 {
    0x47_0000 + site * 4096 + depth * 64
}
