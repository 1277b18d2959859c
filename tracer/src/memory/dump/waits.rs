//! What a parked goroutine waits on: the sudogs that `g.waiting` begins, and the channels they stand at.
//!
//! A sudog belongs to its goroutine while that is parked, and holds on to the channel. So all of it is read between
//! the two reads of the g that must be the same. The channel itself is others' too: its length is a moment's.
//!
//! A sleeping goroutine has its own timer (runtime/time.go, `timeSleep`, Go 1.19 to 1.27), which it keeps for its next
//! sleep. Until when it sleeps it notes before it parks: in `g.sleepWhen`, before Go 1.23 in `g.timer.nextwhen`.

use foldhash::HashMap;

use super::super::g::G;
use super::super::{MemoryError, ReadMemory};
use crate::dump::{Fires, ObjectKind, Side};
use crate::event::status;
use crate::gobin::{HchanLayout, Layout, SudogLayout, TimerLayout};

/// More cases than that no `select` has (`reflect.Select` allows as many).
const MAX_CASES: usize = 65_536;
/// Cases in all, beyond the first of each goroutine: a million goroutines may have five each. Every one costs a read and may
/// be another channel.
pub const MAX_CASES_IN_ALL: u64 = 4 << 20;

/// What the reason of a wait says about its object (`runtime/runtime2.go`, `waitReasonStrings`). The names are the
/// target's own, so the numbers may be any version's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Send,
    Receive,
    Select,
    /// On a nil channel, or a `select` without cases.
    Forever,
    /// A mutex, a WaitGroup, a semaphore.
    Semaphore,
    Cond,
    Sleep,
    Network,
    Coroutine,
    Other,
}

impl Reason {
    pub fn of(name: &str) -> Self {
        // In a synctest bubble the same waits have a word behind them.
        let plain = name.strip_suffix(" (durable)").or(name.strip_suffix(" (synctest)")).unwrap_or(name);
        match plain {
            "chan send" => Self::Send,
            "chan receive" => Self::Receive,
            "select" => Self::Select,
            "chan receive (nil chan)" | "chan send (nil chan)" | "select (no cases)" => Self::Forever,
            "sync.Cond.Wait" => Self::Cond,
            "semacquire"
            | "sync.Mutex.Lock"
            | "sync.RWMutex.RLock"
            | "sync.RWMutex.Lock"
            | "sync.WaitGroup.Wait" => Self::Semaphore,
            "sleep" => Self::Sleep,
            "IO wait" => Self::Network,
            "coroutine" => Self::Coroutine,
            _ => Self::Other,
        }
    }
}

/// One thing that a goroutine was found to wait on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addr: u64,
    pub kind: ObjectKind,
    pub side: Side,
}

#[derive(Clone, Copy, Debug)]
struct Sudog {
    g: u64,
    elem: u64,
    c: u64,
    waitlink: u64,
}

/// Sudogs, channels and timers read since the last [`Waits::forget`]: together for a batch of goroutines, and each
/// channel once.
pub struct Waits {
    /// `CLOCK_MONOTONIC`, which timers go by, at the begin of the dump; absent where it is not known.
    now: Option<u64>,
    sudogs: HashMap<u64, Sudog>,
    channels: HashMap<u64, Option<Channel>>,
    /// When they fire, by the address of the word that says so.
    times: HashMap<u64, u64>,
    room: Vec<u8>,
    /// Cases that may still be read, beyond the first of each goroutine. Never forgotten.
    cases: u64,
    /// Goroutines of which it is not told what they wait on: too many cases were read before.
    pub left_out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    kind: (u64, u64, bool, u16),
    receivers: bool,
    senders: bool,
    /// The timer that feeds it, else 0.
    timer: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self::limited(MAX_CASES_IN_ALL)
    }
}

impl Waits {
    pub fn new(now: Option<u64>) -> Self {
        Self { now, ..Self::default() }
    }

    pub(super) fn limited(cases: u64) -> Self {
        Self {
            now: None,
            sudogs: HashMap::default(),
            channels: HashMap::default(),
            times: HashMap::default(),
            room: Vec::new(),
            cases,
            left_out: 0,
        }
    }

    pub fn forget(&mut self) {
        self.sudogs.clear();
        self.channels.clear();
        self.times.clear();
    }

    /// Reads what these goroutines wait on with a few system calls for all of them, as far as it goes: first sudogs,
    /// their channels, and timers. The rest is read when it is asked for.
    pub fn fetch(
        &mut self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        gs: impl Iterator<Item = G>,
    ) -> Result<(), MemoryError> {
        let parked = |g: &G| matches!(g.status(), status::WAITING | status::LEAKED);
        let (mut at, mut times) = (Vec::new(), Vec::new());
        for g in gs.filter(parked) {
            match g.waiting {
                0 => times.extend(sleeps_until(layout, &g)),
                waiting => at.push(waiting),
            }
        }
        let mut room = std::mem::take(&mut self.room);
        let parsed =
            fetched(memory, &at, layout.sudog.size, &mut room, |bytes| Sudog::parse(bytes, &layout.sudog));
        self.sudogs.extend(parsed?);
        let mut at: Vec<u64> = self.sudogs.values().map(|s| s.c).filter(|c| *c != 0).collect();
        at.sort_unstable();
        at.dedup();
        let parsed =
            fetched(memory, &at, layout.hchan.size, &mut room, |bytes| Channel::parse(bytes, &layout.hchan));
        self.channels.extend(parsed?);
        times.extend(self.channels.values().flatten().filter_map(|c| fires_at(layout, c)));
        times.sort_unstable();
        times.dedup();
        self.times.extend(fetched(memory, &times, 8, &mut room, |bytes| word(bytes, 0))?);
        self.room = room;
        Ok(())
    }

    /// What `g` waits on; of one with several cases an empty list, too, once [`MAX_CASES_IN_ALL`] were read. Nothing where the chain makes no sense, which is for the caller to read again or leave: a
    /// goroutine that parks or wakes has its sudogs in the making.
    pub fn of(
        &mut self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        g: &G,
        reason: Reason,
    ) -> Result<Option<Vec<Found>>, MemoryError> {
        if !matches!(g.status(), status::WAITING | status::LEAKED) {
            return Ok(Some(Vec::new()));
        }
        if reason == Reason::Forever {
            let side = Side::Wait;
            return Ok(Some(vec![Found { addr: 0, kind: ObjectKind::Forever, side }]));
        }
        if reason == Reason::Sleep {
            return self.sleep(memory, layout, g);
        }
        let mut found: Vec<Found> = Vec::new();
        let mut at = g.waiting;
        let mut cases = 0;
        while at != 0 {
            cases += 1;
            let sudog = match self.sudogs.get(&at) {
                Some(fetched) => Some(*fetched),
                None => bytes(memory, at, layout.sudog.size)?.map(|b| Sudog::parse(&b, &layout.sudog)),
            };
            let Some(sudog) = sudog.filter(|s| s.g == g.addr) else { return Ok(None) };
            if cases > MAX_CASES {
                return Ok(None);
            }
            if cases > 1 {
                let Some(left) = self.cases.checked_sub(1) else {
                    self.left_out += 1;
                    return Ok(Some(Vec::new()));
                };
                self.cases = left;
            }
            let one = if sudog.c != 0 {
                match self.channel(memory, &layout.hchan, sudog.c)? {
                    Some(channel) => {
                        let timer = self.timer_of(memory, layout, g, &channel)?;
                        Some(found_channel(sudog.c, &channel, reason, timer))
                    }
                    None => None,
                }
            } else if sudog.elem != 0 && matches!(reason, Reason::Semaphore | Reason::Cond) {
                let kind = if reason == Reason::Cond {
                    cond(memory, sudog.elem)?
                } else {
                    semaphore(memory, sudog.elem)?
                };
                kind.map(|kind| Found { addr: sudog.elem, kind, side: Side::Wait })
            } else {
                None
            };
            let Some(one) = one else { return Ok(None) };
            found.push(one);
            // Of a semaphore the link leads to the others that wait on it.
            at = if sudog.c != 0 { sudog.waitlink } else { 0 };
        }
        Ok(Some(found))
    }

    /// The runtime's own sleepers (`bgscavenge`) have no timer of `time.Sleep`.
    fn sleep(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        g: &G,
    ) -> Result<Option<Vec<Found>>, MemoryError> {
        if g.timer == 0 {
            return Ok(Some(Vec::new()));
        }
        let until = match (g.sleep_when, sleeps_until(layout, g)) {
            (Some(until), _) => Some(until),
            (None, Some(at)) => match self.time(memory, at)? {
                Some(until) => Some(until),
                None => return Ok(None),
            },
            (None, None) => None,
        };
        let fires = until.map_or(Fires::Unknown, |until| self.fires(g, until));
        Ok(Some(vec![Found { addr: g.timer, kind: ObjectKind::Timer { fires }, side: Side::Wait }]))
    }

    /// The timer that feeds a channel.
    fn timer_of(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        g: &G,
        channel: &Channel,
    ) -> Result<Option<Fires>, MemoryError> {
        if channel.timer == 0 {
            return Ok(None);
        }
        let time = match fires_at(layout, channel) {
            Some(at) => self.time(memory, at)?,
            None => None,
        };
        Ok(Some(time.map_or(Fires::Unknown, |when| self.fires(g, when))))
    }

    fn time(&self, memory: &dyn ReadMemory, at: u64) -> Result<Option<u64>, MemoryError> {
        match self.times.get(&at) {
            Some(fetched) => Ok(Some(*fetched)),
            None => Ok(bytes(memory, at, 8)?.map(|b| word(&b, 0))),
        }
    }

    /// A bubble of `testing/synctest` has a clock of its own.
    fn fires(&self, g: &G, when: u64) -> Fires {
        let time = |t: u64| i64::try_from(t).ok();
        match (when, time(when), self.now.and_then(time)) {
            (0, ..) => Fires::Not,
            (_, Some(when), Some(now)) if g.bubble == 0 => Fires::In(when - now),
            _ => Fires::Unknown,
        }
    }

    fn channel(
        &mut self,
        memory: &dyn ReadMemory,
        layout: &HchanLayout,
        at: u64,
    ) -> Result<Option<Channel>, MemoryError> {
        if let Some(known) = self.channels.get(&at) {
            return Ok(*known);
        }
        let channel = bytes(memory, at, layout.size)?.and_then(|b| Channel::parse(&b, layout));
        self.channels.insert(at, channel);
        Ok(channel)
    }
}

/// Where the time stands until which a goroutine sleeps that does not have it itself.
fn sleeps_until(layout: &Layout, g: &G) -> Option<u64> {
    let offset = layout.timer?.nextwhen.filter(|_| g.timer != 0 && g.sleep_when.is_none())?;
    g.timer.checked_add(offset.into())
}

/// Where the time stands at which the timer of a channel fires.
fn fires_at(layout: &Layout, channel: &Channel) -> Option<u64> {
    let TimerLayout { when, .. } = layout.timer.filter(|_| channel.timer != 0)?;
    channel.timer.checked_add(when.into())
}

fn found_channel(addr: u64, channel: &Channel, reason: Reason, timer: Option<Fires>) -> Found {
    let (len, cap, closed, elem_size) = channel.kind;
    let side = match reason {
        Reason::Send => Side::Send,
        Reason::Receive => Side::Receive,
        // It stands in one of the two queues; where only one has anybody, in that.
        _ => match (channel.receivers, channel.senders) {
            (true, false) => Side::Receive,
            (false, true) => Side::Send,
            _ => Side::Unknown,
        },
    };
    Found { addr, kind: ObjectKind::Channel { len, cap, closed, elem_size, timer }, side }
}

impl Sudog {
    fn parse(bytes: &[u8], l: &SudogLayout) -> Self {
        let word = |offset: u32| word(bytes, offset);
        Self { g: word(l.g), elem: word(l.elem), c: word(l.c), waitlink: word(l.waitlink) }
    }
}

impl Channel {
    /// Nothing where it cannot be a channel.
    fn parse(bytes: &[u8], l: &HchanLayout) -> Option<Self> {
        let word = |offset: u32| word(bytes, offset);
        let (len, cap) = (word(l.qcount), word(l.dataqsiz));
        let kind = (len, cap, word(l.closed) as u32 != 0, word(l.elemsize) as u16);
        let (receivers, senders) = (word(l.recvq_first) != 0, word(l.sendq_first) != 0);
        let channel = Self { kind, receivers, senders, timer: l.timer.map_or(0, word) };
        (len <= cap).then_some(channel)
    }
}

/// Objects of `size` bytes at these addresses, those that could be read.
fn fetched<T>(
    memory: &dyn ReadMemory,
    at: &[u64],
    size: u32,
    room: &mut Vec<u8>,
    parse: impl Fn(&[u8]) -> T,
) -> Result<Vec<(u64, T)>, MemoryError> {
    let size = size as usize;
    room.resize(at.len() * size, 0);
    let mut ok = vec![false; at.len()];
    memory.read_each(at, size, room, &mut ok)?;
    let read = at.iter().zip(room.chunks_exact(size)).zip(ok).filter(|(_, ok)| *ok);
    Ok(read.map(|((at, bytes), _)| (*at, parse(bytes))).collect())
}

/// The state of a channel, of its bytes; nothing where it cannot be one, and of one that a timer feeds: when is not here.
pub(super) fn channel(bytes: &[u8], layout: &HchanLayout) -> Option<ObjectKind> {
    let channel = Channel::parse(bytes, layout).filter(|c| c.timer == 0)?;
    let (len, cap, closed, elem_size) = channel.kind;
    Some(ObjectKind::Channel { len, cap, closed, elem_size, timer: None })
}

/// The value of a semaphore.
pub(super) fn semaphore(memory: &dyn ReadMemory, at: u64) -> Result<Option<ObjectKind>, MemoryError> {
    Ok(bytes(memory, at, 4)?.map(|b| semaphore_of(&b)))
}

pub(super) fn semaphore_of(bytes: &[u8]) -> ObjectKind {
    ObjectKind::Semaphore { value: word(bytes, 0) as u32 }
}

/// A `sync.notifyList`: how many tickets were drawn, and how many called (`runtime/sema.go`; the same in Go 1.19 to 1.27).
pub(super) fn cond(memory: &dyn ReadMemory, at: u64) -> Result<Option<ObjectKind>, MemoryError> {
    Ok(bytes(memory, at, 8)?.map(|b| cond_of(&b)))
}

pub(super) fn cond_of(bytes: &[u8]) -> ObjectKind {
    let (wait, notify) = (word(bytes, 0) as u32, word(bytes, 4) as u32);
    ObjectKind::Cond { waiters: wait.wrapping_sub(notify) }
}

pub(super) fn bytes(memory: &dyn ReadMemory, at: u64, len: u32) -> Result<Option<Vec<u8>>, MemoryError> {
    let mut bytes = vec![0; len as usize];
    match memory.read(at, &mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(e @ (MemoryError::Gone | MemoryError::Forbidden)) => Err(e),
        Err(_) => Ok(None),
    }
}

/// The word at `offset`, as far as there are bytes.
pub(super) fn word(bytes: &[u8], offset: u32) -> u64 {
    let rest = bytes.get(offset as usize..).unwrap_or_default();
    let mut word = [0; 8];
    let n = rest.len().min(8);
    word[..n].copy_from_slice(&rest[..n]);
    u64::from_le_bytes(word)
}
