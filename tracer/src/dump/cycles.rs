//! Goroutines that wait for each other in a circle.
//!
//! A channel knows no senders and a lock no owner. What is known is who has an address on its stack, and who is able to go
//! on. So the rule is one of exclusion, as in the collector's search for what is alive:
//!
//! - A goroutine *can go on* if it does not wait, if it ran meanwhile, or if it waits for something that ends by itself
//!   or from outside ([`ends_otherwise`]), or on at least one object on which somebody can act.
//! - On an object *somebody can act* if a goroutine that can go on has its address or leads to it, or waits on it too,
//!   or if nobody at all is known to have its address: then it is not known who would act.
//! - All others are *stuck*: of each object that they wait on, everyone who is known to have it is stuck too. A circle
//!   among them is a [`Cycle`].
//! - A circle of locks alone, each waited for by one that has the next one's address, is told too when others could act: a
//!   crossed order of locks is worth a look. It then is not [`Cycle::stuck`]. (An address may be that of a lock which is only
//!   about to be taken; so ordered locks in heavy use may look like it for a moment.)
//!
//! It is evidence and no proof: [`Cycle::is_closed`] says when nothing that was read speaks against it; what a global
//! variable leads to is not read. Linear in goroutines, waits and addresses found.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Dump, Goroutine, ObjectKind, Side, Status, Trace};

/// Circles that are told; the others are counted.
pub const MAX_CYCLES: usize = 32;
/// Steps of one that are told.
pub const MAX_STEPS: usize = 64;
/// Other goroutines that are named.
const MAX_OTHERS: usize = 8;
/// A `time.Time`: timers send it on channels with room for one; before Go 1.23 nothing else tells them.
const TIME: u16 = 24;

/// One circle: each goroutine waits on an object that the next one has, the last one on what the first one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cycle {
    /// The shortest circle through the goroutine with the lowest id; the first [`MAX_STEPS`] of it.
    pub steps: Vec<Step>,
    pub length: u64,
    /// Goroutines in this and other circles that touch it.
    pub goroutines: u64,
    /// Others that cannot go on before these do.
    pub behind: u64,
    /// Unless `stuck`: goroutines besides those of the circle that have an address or lead to it, the first few.
    pub others: Vec<u64>,
    pub others_in_all: u64,
    /// The program's goroutines whose stacks could not be searched to the end; each may have an address.
    pub unsearched: u64,
    /// An object is a global variable, or part of one.
    pub global: bool,
    /// Everyone who is known to have one of the objects is stuck. Else it is a circle of locks.
    pub stuck: bool,
}

impl Cycle {
    /// Nothing that was read speaks against it.
    pub fn is_closed(&self) -> bool {
        self.stuck && self.unsearched == 0 && !self.global
    }
}

/// A goroutine of a circle, and what it waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub goid: u64,
    /// Index into [`Dump::objects`].
    pub object: u32,
    pub side: Side,
    /// How many objects it waits on: of a `select` each is one on which nobody can act.
    pub cases: u32,
}

/// What was read of stacks, besides what goroutines wait on.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub holds: Vec<Hold>,
    /// Objects of which not everyone is in `holds`.
    pub unnamed: HashSet<u32>,
    /// Goroutines whose stacks could not be searched to the end, by index.
    pub unsearched: Vec<u32>,
    /// Goroutines that have run since.
    pub moved: HashSet<u32>,
    /// Where the executable lies, with its global variables: any function has their addresses.
    pub image: Range<u64>,
}

/// Indices of an object and of a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub object: u32,
    pub goroutine: u32,
    pub has: Has,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// On its stack, and does not wait on it.
    Address,
    /// It waits on it, and has it also further out on its stack than the function that waits: it may have locked it before.
    FurtherOut,
    /// In what its stack leads to, or on a stack that changes. That clears others and accuses nobody.
    Perhaps,
}

impl Has {
    fn accuses(self) -> bool {
        self != Self::Perhaps
    }
}

/// The circles, those that are surest and have the most goroutines first; and how many more there are.
pub fn find(dump: &Dump, held: &Held) -> (Vec<Cycle>, u64) {
    let graph = Graph::new(dump, held);
    let stuck = graph.stuck();
    let locks = graph.locks(&stuck);
    let unsearched = held.unsearched.iter().filter(|g| !dump.goroutines[**g as usize].system).count() as u64
        + dump.counts.unsettled
        + dump.counts.unreadable;
    let mut circles: Vec<(&Part, Vec<Node>)> = Vec::new();
    circles.extend(graph.circles(&stuck).into_iter().map(|c| (&stuck, c)));
    circles.extend(graph.circles(&locks).into_iter().map(|c| (&locks, c)));
    let waiting = |circle: &[Node]| circle.iter().filter(|n| matches!(n, Node::Goroutine(_))).count();
    circles
        .sort_by_key(|(part, c)| (part.locks_only, std::cmp::Reverse(waiting(c)), c.iter().min().copied()));
    let more = circles.len().saturating_sub(MAX_CYCLES) as u64;
    circles.truncate(MAX_CYCLES);
    let mut cycles: Vec<Cycle> =
        circles.iter().map(|(part, circle)| Cycle { unsearched, ..graph.cycle(part, circle) }).collect();
    cycles.sort_by_key(|c| (!c.is_closed(), !c.stuck));
    (cycles, more)
}

/// Goroutines, by index, that circles are made of or end at: what [`find`] says is only so if they all stand still. Empty
/// when there is no circle.
pub fn suspects(dump: &Dump, held: &Held) -> Vec<u32> {
    let graph = Graph::new(dump, held);
    let stuck = graph.stuck();
    let locks = graph.locks(&stuck);
    if graph.circles(&stuck).is_empty() && graph.circles(&locks).is_empty() {
        return Vec::new();
    }
    let in_either = |g: &u32| stuck.goroutines[*g as usize] || locks.goroutines[*g as usize];
    (0..dump.goroutines.len() as u32).filter(in_either).collect()
}

/// The wait may end without a goroutine that is known to have the object.
fn ends_otherwise(kind: &ObjectKind, side: Side) -> bool {
    match *kind {
        ObjectKind::Forever | ObjectKind::Cond { .. } => false,
        // What is not as it is when somebody must wait is about to change. A channel without contents is closed by whoever
        // leads to it, as a context's is.
        ObjectKind::Channel { closed: true, .. } | ObjectKind::Channel { timer: Some(_), .. } => true,
        ObjectKind::Channel { len, cap, .. } if side == Side::Send => len < cap,
        ObjectKind::Channel { len, cap, elem_size, .. } => {
            len > 0 || elem_size == 0 || (cap == 1 && elem_size == TIME)
        }
        ObjectKind::Mutex { locked, .. } => !locked,
        ObjectKind::RwMutex { writer, .. } => !writer,
        ObjectKind::WaitGroup { counter, .. } => counter <= 0,
        ObjectKind::Semaphore { .. } | ObjectKind::Timer { .. } | ObjectKind::Descriptor { .. } => true,
    }
}

fn is_lock(kind: &ObjectKind) -> bool {
    matches!(kind, ObjectKind::Mutex { .. } | ObjectKind::RwMutex { .. })
}

/// It waits, and only others can end that.
fn depends(dump: &Dump, g: &Goroutine) -> bool {
    let ends = |w: &super::Wait| ends_otherwise(&dump.objects[w.object as usize].kind, w.side);
    !g.system
        && matches!(g.status, Status::Waiting | Status::Leaked)
        && !matches!(g.trace, Trace::Running | Trace::Moving)
        && !g.waits_on.is_empty()
        && !g.waits_on.iter().any(ends)
}

/// It waits for what never comes.
pub fn never_goes_on(dump: &Dump, g: &Goroutine) -> bool {
    let forever = |w: &super::Wait| dump.objects[w.object as usize].kind == ObjectKind::Forever;
    depends(dump, g) && g.waits_on.iter().all(forever)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Node {
    Goroutine(u32),
    Object(u32),
}

/// Some of the nodes.
struct Part {
    goroutines: Vec<bool>,
    objects: Vec<bool>,
    /// A goroutine's own further address does not count there.
    locks_only: bool,
}

impl Part {
    fn has(&self, node: Node) -> bool {
        match node {
            Node::Goroutine(g) => self.goroutines[g as usize],
            Node::Object(o) => self.objects[o as usize],
        }
    }
}

/// Lists by index, one behind the other.
struct Lists<T> {
    starts: Vec<usize>,
    all: Vec<T>,
}

impl<T: Copy> Lists<T> {
    fn new(len: usize, mut pairs: Vec<(u32, T)>) -> Self {
        pairs.sort_by_key(|(at, _)| *at);
        let mut starts = vec![0; len + 1];
        for (at, _) in &pairs {
            starts[*at as usize + 1] += 1;
        }
        for i in 0..len {
            starts[i + 1] += starts[i];
        }
        Self { starts, all: pairs.into_iter().map(|(_, of)| of).collect() }
    }

    fn of(&self, at: u32) -> &[T] {
        &self.all[self.starts[at as usize]..self.starts[at as usize + 1]]
    }
}

struct Graph<'d> {
    dump: &'d Dump,
    held: &'d Held,
    /// By object: who waits on it.
    waiters: Lists<u32>,
    /// By object: who has it.
    holders: Lists<(u32, Has)>,
    /// By goroutine: what it has.
    holdings: Lists<(u32, Has)>,
}

impl<'d> Graph<'d> {
    fn new(dump: &'d Dump, held: &'d Held) -> Self {
        let program = |g: u32| !dump.goroutines[g as usize].system;
        let mut waiters = Vec::new();
        for (i, g) in dump.goroutines.iter().enumerate().filter(|(_, g)| !g.system) {
            waiters.extend(g.waits_on.iter().map(|w| (w.object, i as u32)));
        }
        let holds = || held.holds.iter().filter(|h| program(h.goroutine));
        Self {
            dump,
            held,
            waiters: Lists::new(dump.objects.len(), waiters),
            holders: Lists::new(
                dump.objects.len(),
                holds().map(|h| (h.object, (h.goroutine, h.has))).collect(),
            ),
            holdings: Lists::new(
                dump.goroutines.len(),
                holds().map(|h| (h.goroutine, (h.object, h.has))).collect(),
            ),
        }
    }

    /// Goroutines that cannot go on, and objects on which nobody can act.
    fn stuck(&self) -> Part {
        let Self { dump, held, .. } = self;
        let depends = |(i, g): (usize, &Goroutine)| depends(dump, g) && !held.moved.contains(&(i as u32));
        let mut part = Part {
            goroutines: dump.goroutines.iter().enumerate().map(depends).collect(),
            objects: vec![true; dump.objects.len()],
            locks_only: false,
        };
        let mut free: Vec<Node> = (0..dump.goroutines.len() as u32)
            .filter(|g| !part.goroutines[*g as usize] && !dump.goroutines[*g as usize].system)
            .map(Node::Goroutine)
            .collect();
        for (o, object) in dump.objects.iter().enumerate() {
            let known = self.holders.of(o as u32).iter().any(|(_, has)| has.accuses());
            let forever = object.kind == ObjectKind::Forever;
            if !forever && (!known || held.unnamed.contains(&(o as u32))) {
                part.objects[o] = false;
                free.push(Node::Object(o as u32));
            }
        }
        let act = |part: &mut Part, free: &mut Vec<Node>, o: u32| {
            let forever = dump.objects[o as usize].kind == ObjectKind::Forever;
            if !forever && std::mem::take(&mut part.objects[o as usize]) {
                free.push(Node::Object(o));
            }
        };
        while let Some(node) = free.pop() {
            match node {
                Node::Goroutine(g) => {
                    self.holdings.of(g).iter().for_each(|(o, _)| act(&mut part, &mut free, *o));
                    let waits = &dump.goroutines[g as usize].waits_on;
                    waits.iter().for_each(|w| act(&mut part, &mut free, w.object));
                }
                Node::Object(o) => {
                    for g in self.waiters.of(o) {
                        if std::mem::take(&mut part.goroutines[*g as usize]) {
                            free.push(Node::Goroutine(*g));
                        }
                    }
                }
            }
        }
        part
    }

    /// Goroutines that wait for a lock and are not stuck, and locks.
    fn locks(&self, stuck: &Part) -> Part {
        let Self { dump, held, .. } = self;
        let waits = |(i, g): (usize, &Goroutine)| {
            let lock = |w: &super::Wait| is_lock(&dump.objects[w.object as usize].kind);
            depends(dump, g)
                && g.waits_on.iter().all(lock)
                && !stuck.goroutines[i]
                && !held.moved.contains(&(i as u32))
        };
        Part {
            goroutines: dump.goroutines.iter().enumerate().map(waits).collect(),
            objects: dump.objects.iter().map(|o| is_lock(&o.kind)).collect(),
            locks_only: true,
        }
    }

    /// Where an edge leads within `part`: from a goroutine to what it waits on, from an object to who has it.
    fn next(&self, part: &Part, node: Node) -> impl Iterator<Item = Node> {
        let (waits, holders) = match node {
            Node::Goroutine(g) => (&self.dump.goroutines[g as usize].waits_on[..], &[][..]),
            Node::Object(o) => (&[][..], self.holders.of(o)),
        };
        let counts = |has: Has| has.accuses() && (has == Has::Address || !part.locks_only);
        let waits = waits.iter().map(|w| Node::Object(w.object));
        let holders = holders.iter().filter(move |(_, has)| counts(*has)).map(|(g, _)| Node::Goroutine(*g));
        waits.chain(holders).filter(|next| part.has(*next))
    }

    /// Sets of nodes each of which leads to each other one.
    fn circles(&self, part: &Part) -> Vec<Vec<Node>> {
        let goroutines = (0..part.goroutines.len() as u32).map(Node::Goroutine);
        let objects = (0..part.objects.len() as u32).map(Node::Object);
        let nodes: Vec<Node> = goroutines.chain(objects).filter(|n| part.has(*n)).collect();
        let mut graph: DiGraph<Node, (), u32> = DiGraph::with_capacity(nodes.len(), nodes.len());
        let at = |node: Node| match node {
            Node::Goroutine(g) => g as usize,
            Node::Object(o) => part.goroutines.len() + o as usize,
        };
        let mut index = vec![NodeIndex::end(); part.goroutines.len() + part.objects.len()];
        for node in &nodes {
            index[at(*node)] = graph.add_node(*node);
        }
        for node in &nodes {
            for next in self.next(part, *node) {
                graph.add_edge(index[at(*node)], index[at(next)], ());
            }
        }
        let mut sets = kosaraju_scc(&graph);
        // A goroutine is never its own neighbour: what goes in a circle has an object.
        sets.retain(|set| set.len() > 1);
        sets.into_iter().map(|set| set.into_iter().map(|n| graph[n]).collect()).collect()
    }

    /// `circle` is one of [`circles`](Self::circles).
    fn cycle(&self, part: &Part, circle: &[Node]) -> Cycle {
        let dump = self.dump;
        let within: HashSet<Node> = circle.iter().copied().collect();
        let start = circle.iter().filter(|n| matches!(n, Node::Goroutine(_))).min().copied();
        let way = start.map_or_else(Vec::new, |start| self.way_round(part, &within, start));
        let mut cycle = Cycle {
            length: (way.len() / 2) as u64,
            goroutines: circle.iter().filter(|n| matches!(n, Node::Goroutine(_))).count() as u64,
            behind: self.behind(part, circle, &within),
            stuck: !part.locks_only,
            ..Cycle::default()
        };
        for pair in way.chunks_exact(2).take(MAX_STEPS) {
            let [Node::Goroutine(g), Node::Object(object)] = *pair else { continue };
            let g = &dump.goroutines[g as usize];
            let side = g.waits_on.iter().find(|w| w.object == object).map_or(Side::Unknown, |w| w.side);
            cycle.steps.push(Step { goid: g.goid, object, side, cases: g.waits_on.len() as u32 });
        }
        let mut others: HashSet<u32> = HashSet::new();
        for node in circle {
            let Node::Object(o) = *node else { continue };
            cycle.global |= self.held.image.contains(&dump.objects[o as usize].addr);
            if part.locks_only {
                let have = self.holders.of(o).iter().map(|(g, _)| *g);
                others.extend(have.filter(|g| !within.contains(&Node::Goroutine(*g))));
            }
        }
        cycle.others_in_all = others.len() as u64;
        cycle.others = others.into_iter().map(|g| dump.goroutines[g as usize].goid).collect();
        cycle.others.sort_unstable();
        cycle.others.truncate(MAX_OTHERS);
        cycle
    }

    /// The shortest way from `start` back to it, without its end.
    fn way_round(&self, part: &Part, within: &HashSet<Node>, start: Node) -> Vec<Node> {
        let mut from: HashMap<Node, Node> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.next(part, node).filter(|n| within.contains(n)) {
                if next == start {
                    let mut way = vec![node];
                    while let Some(before) = way.last().and_then(|n| from.get(n)) {
                        way.push(*before);
                    }
                    way.reverse();
                    return way;
                }
                if let Entry::Vacant(unseen) = from.entry(next) {
                    unseen.insert(node);
                    queue.push_back(next);
                }
            }
        }
        Vec::new()
    }

    /// How many goroutines of `part` lead to the circle and are not in it.
    fn behind(&self, part: &Part, circle: &[Node], within: &HashSet<Node>) -> u64 {
        let mut seen: HashSet<Node> = HashSet::new();
        let mut next: Vec<Node> = circle.to_vec();
        let mut goroutines = 0;
        while let Some(node) = next.pop() {
            let before: Vec<Node> = match node {
                Node::Object(o) => self.waiters.of(o).iter().map(|g| Node::Goroutine(*g)).collect(),
                Node::Goroutine(g) => {
                    let had = self.holdings.of(g).iter().filter(|(_, has)| *has == Has::Address);
                    had.map(|(o, _)| Node::Object(*o)).collect()
                }
            };
            for node in before {
                if part.has(node) && !within.contains(&node) && seen.insert(node) {
                    goroutines += u64::from(matches!(node, Node::Goroutine(_)));
                    next.push(node);
                }
            }
        }
        goroutines
    }
}

#[cfg(test)]
mod tests;
