//! The document's own types: what is unknown is `null` here, and indices are numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Numbered, SCHEMA, Selection, creation, start};
use crate::dump;
use crate::event::message;

/// In this order. The lists are made while they are written, and read as vectors.
#[derive(Serialize, Deserialize)]
pub struct Document<W, P, S, O, L, G> {
    pub schema: Schema,
    pub about: About,
    pub selection: Option<Selection>,
    pub counts: Counts,
    pub notes: Vec<Note>,
    pub wait_reasons: W,
    pub places: P,
    pub stacks: S,
    pub objects: O,
    pub labels: L,
    pub goroutines: G,
    /// Older versions do not write them.
    #[serde(default)]
    pub cycles: Vec<Cycle>,
}

pub type Read =
    Document<Vec<String>, Vec<Place>, Vec<Stack>, Vec<Object>, Vec<BTreeMap<String, String>>, Vec<Goroutine>>;

/// A list that is made element by element.
pub struct Each<F>(pub F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}

/// [`SCHEMA`], and no other.
pub struct Schema;

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(SCHEMA)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Exactly;
        impl Visitor<'_> for Exactly {
            type Value = Schema;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the schema `{SCHEMA}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Schema, E> {
                if text == SCHEMA {
                    Ok(Schema)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        from.deserialize_str(Exactly)
    }
}

#[derive(Serialize, Deserialize)]
pub struct About {
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub exe: Option<String>,
    pub go_version: Option<String>,
    pub build_id: Option<String>,
    pub arch: Option<String>,
    pub main_package: Option<String>,
    pub layout: Option<String>,
    pub taken_unix_ns: Option<u64>,
    pub took_ns: u64,
    pub gostray_version: Option<String>,
    pub core: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Counts {
    pub entries: u64,
    pub dead: u64,
    pub unreadable: u64,
    pub unsettled: u64,
    pub retries: u64,
    pub doubted: u64,
}

#[derive(Serialize, Deserialize)]
pub struct Note {
    pub code: String,
    pub text: String,
}

#[derive(Serialize, Deserialize)]
pub struct Place {
    pub pc: u64,
    pub exact: bool,
    pub entry: Option<u64>,
    pub wrapper: bool,
    pub frames: Vec<Frame>,
    pub unknown_because: Option<String>,
    pub starts: Option<Frame>,
}

#[derive(Serialize, Deserialize)]
pub struct Frame {
    pub function: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub inlined: bool,
    pub full_name: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Stack {
    /// Indices of places.
    pub places: Vec<u32>,
    pub left_out: Option<LeftOut>,
}

#[derive(Serialize, Deserialize)]
pub struct LeftOut {
    pub after: u64,
    pub frames: u64,
    pub at: Vec<At>,
}

#[derive(Serialize, Deserialize)]
pub struct At {
    pub place: u32,
    pub count: u64,
}

#[derive(Serialize, Deserialize)]
pub struct Goroutine {
    pub goid: u64,
    pub g: u64,
    pub parent: Option<u64>,
    pub status: String,
    pub reason: Option<u8>,
    pub waiting: Option<Age>,
    pub runtime_waiting_ns: Option<u64>,
    /// Index of a place, as is `start`.
    pub created_at: Option<u32>,
    pub start: Option<u32>,
    pub trace: TraceKind,
    pub stack: Option<u32>,
    pub incomplete: Option<Broken>,
    pub thread: Option<u32>,
    pub locked: bool,
    pub labels: Option<u32>,
    pub system: bool,
    pub waits_on: Vec<Wait>,
}

#[derive(Serialize, Deserialize)]
pub struct Cycle {
    pub certainty: Certainty,
    pub steps: Vec<Step>,
    pub length: u64,
    pub goroutines: u64,
    pub behind: u64,
    pub others: Vec<u64>,
    pub others_in_all: u64,
    pub unsearched: u64,
    pub global: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    Closed,
    Open,
    Locks,
}

#[derive(Serialize, Deserialize)]
pub struct Step {
    pub goid: u64,
    pub object: u32,
    pub side: Side,
    pub cases: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Age {
    pub ns: u64,
    pub at_least: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceKind {
    Whole,
    Partial,
    Running,
    Moving,
    None,
}

#[derive(Serialize, Deserialize)]
pub struct Broken {
    pub kind: BrokenKind,
    pub pc: Option<u64>,
    pub limit: Option<u64>,
    pub text: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokenKind {
    NoFunction,
    NoFrame,
    OutOfBounds,
    Unreadable,
    TooDeep,
    NoThread,
    OtherStack,
}

#[derive(Serialize, Deserialize)]
pub struct Wait {
    pub object: u32,
    pub side: Side,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Send,
    Receive,
    Wait,
    Unknown,
}

/// Of what follows `holders_in_all` exactly the one that `kind` names is there (of `forever` none).
#[derive(Serialize, Deserialize)]
pub struct Object {
    pub kind: ObjectKind,
    pub addr: Option<u64>,
    pub receivers: u64,
    pub senders: u64,
    pub holders: Vec<u64>,
    pub holders_in_all: u64,
    pub channel: Option<Channel>,
    pub mutex: Option<Mutex>,
    pub rw_mutex: Option<RwMutex>,
    pub wait_group: Option<WaitGroup>,
    pub cond: Option<Cond>,
    pub semaphore: Option<Semaphore>,
    pub timer: Option<Timer>,
    pub descriptor: Option<Descriptor>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    Channel,
    Forever,
    Mutex,
    RwMutex,
    WaitGroup,
    Cond,
    Semaphore,
    Timer,
    Descriptor,
}

#[derive(Serialize, Deserialize)]
pub struct Channel {
    pub len: u64,
    pub cap: u64,
    pub closed: bool,
    pub elem_size: u16,
    pub timer: Option<Timer>,
}

#[derive(Serialize, Deserialize)]
pub struct Mutex {
    pub locked: bool,
    pub starving: bool,
    pub waiters: u32,
}

#[derive(Serialize, Deserialize)]
pub struct RwMutex {
    pub readers: i32,
    pub writer: bool,
    pub waiting_for_readers: i32,
}

#[derive(Serialize, Deserialize)]
pub struct WaitGroup {
    pub counter: i32,
    pub waiters: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Cond {
    pub waiters: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Semaphore {
    pub value: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Timer {
    pub in_ns: Option<i64>,
    pub stopped: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Descriptor {
    pub fd: u32,
    pub peer: Option<String>,
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub fn about(of: &dump::About) -> About {
    About {
        pid: Some(of.pid).filter(|pid| *pid != 0),
        comm: known(&of.comm),
        exe: known(&of.exe),
        go_version: known(&of.go_version),
        build_id: known(&of.build_id),
        arch: known(&of.arch),
        main_package: known(&of.main_package),
        layout: known(&of.layout),
        taken_unix_ns: Some(of.taken_unix_ns).filter(|ns| *ns != 0),
        took_ns: of.took_ns,
        gostray_version: known(&of.gostray_version),
        core: match &of.source {
            dump::Origin::Process => None,
            dump::Origin::Core { path } => Some(path.clone()),
        },
    }
}

impl From<dump::Counts> for Counts {
    fn from(of: dump::Counts) -> Self {
        let dump::Counts { entries, dead, unreadable, unsettled, retries, doubted } = of;
        Self { entries, dead, unreadable, unsettled, retries, doubted }
    }
}

pub fn note(of: &message::Note) -> Note {
    Note { code: of.code.clone(), text: of.text.clone() }
}

/// Of a program counter that was not looked up nothing is said.
pub fn place(pc: dump::Pc, of: Option<&dump::Place>) -> Place {
    Place {
        pc: pc.pc,
        exact: pc.exact,
        entry: of.map(|p| p.entry).filter(|entry| *entry != 0),
        wrapper: of.is_some_and(|p| p.wrapper),
        frames: of.map_or_else(Vec::new, |p| p.frames.iter().map(frame).collect()),
        unknown_because: of.and_then(|p| known(&p.unknown_because)),
        starts: of.and_then(|p| p.starts.as_ref()).map(frame),
    }
}

fn frame(of: &message::Frame) -> Frame {
    Frame {
        function: of.function.clone(),
        file: known(&of.file),
        line: Some(of.line).filter(|line| *line != 0),
        inlined: of.inlined,
        full_name: known(&of.full_name),
    }
}

pub fn stack(of: &dump::Stack, pcs: &Numbered) -> Stack {
    let at = |at: &Vec<(dump::Pc, u64)>| {
        at.iter().filter_map(|(pc, count)| Some(At { place: pcs.index(*pc)?, count: *count })).collect()
    };
    let left_out = of.left_out.as_ref();
    Stack {
        places: of.pcs.iter().filter_map(|pc| pcs.index(*pc)).collect(),
        left_out: left_out.map(|l| LeftOut { after: l.after as u64, frames: l.frames, at: at(&l.at) }),
    }
}

pub fn goroutine(of: &dump::Goroutine, pcs: &Numbered) -> Goroutine {
    let (trace, incomplete) = match &of.trace {
        dump::Trace::Whole(_) => (TraceKind::Whole, None),
        dump::Trace::Partial { because, .. } => (TraceKind::Partial, Some(*because)),
        dump::Trace::Running => (TraceKind::Running, None),
        dump::Trace::Moving => (TraceKind::Moving, None),
        dump::Trace::None { because } => (TraceKind::None, Some(*because)),
    };
    Goroutine {
        goid: of.goid,
        g: of.g,
        parent: of.parent,
        status: of.status.name(),
        reason: of.reason,
        waiting: of.since.ns().map(|ns| Age { ns, at_least: matches!(of.since, dump::Since::AtLeast(_)) }),
        runtime_waiting_ns: of.runtime_since,
        created_at: creation(of.gopc).and_then(|pc| pcs.index(pc)),
        start: start(of.start_pc).and_then(|pc| pcs.index(pc)),
        trace,
        stack: of.trace.stack(),
        incomplete: incomplete.map(broken),
        thread: of.thread,
        locked: of.locked,
        labels: of.labels,
        system: of.system,
        waits_on: of.waits_on.iter().map(|w| Wait { object: w.object, side: side(w.side) }).collect(),
    }
}

fn broken(of: dump::Broken) -> Broken {
    let (kind, pc, limit) = match of {
        dump::Broken::NoFunction { pc } => (BrokenKind::NoFunction, Some(pc), None),
        dump::Broken::NoFrame { pc } => (BrokenKind::NoFrame, Some(pc), None),
        dump::Broken::OutOfBounds => (BrokenKind::OutOfBounds, None, None),
        dump::Broken::Unreadable => (BrokenKind::Unreadable, None, None),
        dump::Broken::TooDeep { limit } => (BrokenKind::TooDeep, None, Some(limit)),
        dump::Broken::NoThread => (BrokenKind::NoThread, None, None),
        dump::Broken::OtherStack => (BrokenKind::OtherStack, None, None),
    };
    Broken { kind, pc, limit, text: of.to_string() }
}

fn side(of: dump::Side) -> Side {
    match of {
        dump::Side::Send => Side::Send,
        dump::Side::Receive => Side::Receive,
        dump::Side::Wait => Side::Wait,
        dump::Side::Unknown => Side::Unknown,
    }
}

pub fn cycle(of: &dump::Cycle) -> Cycle {
    let step =
        |s: &dump::cycles::Step| Step { goid: s.goid, object: s.object, side: side(s.side), cases: s.cases };
    Cycle {
        certainty: match (of.is_closed(), of.stuck) {
            (true, _) => Certainty::Closed,
            (false, true) => Certainty::Open,
            (false, false) => Certainty::Locks,
        },
        steps: of.steps.iter().map(step).collect(),
        length: of.length,
        goroutines: of.goroutines,
        behind: of.behind,
        others: of.others.clone(),
        others_in_all: of.others_in_all,
        unsearched: of.unsearched,
        global: of.global,
    }
}

pub fn object(of: &dump::Object) -> Object {
    let mut object = Object {
        kind: ObjectKind::Forever,
        addr: Some(of.addr).filter(|addr| *addr != 0),
        receivers: of.receivers,
        senders: of.senders,
        holders: of.holders.clone(),
        holders_in_all: of.holders_in_all,
        channel: None,
        mutex: None,
        rw_mutex: None,
        wait_group: None,
        cond: None,
        semaphore: None,
        timer: None,
        descriptor: None,
    };
    match of.kind.clone() {
        dump::ObjectKind::Channel { len, cap, closed, elem_size, timer: fires } => {
            object.kind = ObjectKind::Channel;
            object.channel = Some(Channel { len, cap, closed, elem_size, timer: fires.map(timer) });
        }
        dump::ObjectKind::Forever => {}
        dump::ObjectKind::Mutex { locked, starving, waiters } => {
            object.kind = ObjectKind::Mutex;
            object.mutex = Some(Mutex { locked, starving, waiters });
        }
        dump::ObjectKind::RwMutex { readers, writer, waiting_for_readers } => {
            object.kind = ObjectKind::RwMutex;
            object.rw_mutex = Some(RwMutex { readers, writer, waiting_for_readers });
        }
        dump::ObjectKind::WaitGroup { counter, waiters } => {
            object.kind = ObjectKind::WaitGroup;
            object.wait_group = Some(WaitGroup { counter, waiters });
        }
        dump::ObjectKind::Cond { waiters } => {
            object.kind = ObjectKind::Cond;
            object.cond = Some(Cond { waiters });
        }
        dump::ObjectKind::Semaphore { value } => {
            object.kind = ObjectKind::Semaphore;
            object.semaphore = Some(Semaphore { value });
        }
        dump::ObjectKind::Timer { fires } => {
            object.kind = ObjectKind::Timer;
            object.timer = Some(timer(fires));
        }
        dump::ObjectKind::Descriptor { fd, peer } => {
            object.kind = ObjectKind::Descriptor;
            object.descriptor = Some(Descriptor { fd, peer });
        }
    }
    object
}

fn timer(fires: dump::Fires) -> Timer {
    let in_ns = match fires {
        dump::Fires::In(ns) => Some(ns),
        dump::Fires::Not | dump::Fires::Unknown => None,
    };
    Timer { in_ns, stopped: fires == dump::Fires::Not }
}
