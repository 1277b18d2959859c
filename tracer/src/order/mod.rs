//! Puts the events of several CPUs, and of the user side, in the order in which they happened.
//!
//! Events are held back until the stream has moved on by the window's length, then released by time; equal times keep
//! the order of arrival. What comes later than that is released at once and counted: it becomes a `Loss` event of
//! cause `LATE`, whose times come from the stream. Definitions (stacks, symbols, the target, …) are facts
//! without a moment: they pass straight through, neither delayed nor moving the window. The same input gives the
//! same output, in a live run and in a replay.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use tracer_common::wire::{self, kind, loss};

use crate::event::{Event, header};

/// How long an event is held back unless told otherwise: 100 ms, an order above the time between two drains of the ring
/// buffer.
pub const DEFAULT_WINDOW_NS: u64 = 100_000_000;

/// How many events may wait at most. Beyond it the oldest are released early, so memory stays bounded whatever the
/// times in the stream are; a look tells of a million goroutines at one moment. Two million events a second are within.
pub const MAX_HELD: usize = 1 << 18;
/// Room for fewer than this is not given back.
const FEW: usize = 1 << 14;

/// The ordering window. Events go in as they come; what is certain by then comes out in order.
#[derive(Debug)]
pub struct Reorder {
    window_ns: u64,
    /// Those that came in order of time: nearly all, because every CPU's own are.
    row: VecDeque<Held>,
    /// Those that came after a later one.
    behind: BinaryHeap<Reverse<Held>>,
    /// Greatest time seen.
    newest_ns: u64,
    /// Time of the last event released in order.
    released_ns: u64,
    arrivals: u64,
    late: Option<Late>,
    late_total: u64,
    max_held: usize,
}

#[derive(Debug)]
struct Late {
    count: u64,
    from_ns: u64,
    to_ns: u64,
}

#[derive(Debug)]
struct Held {
    time_ns: u64,
    arrival: u64,
    event: Event,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Held {}
impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time_ns, self.arrival).cmp(&(other.time_ns, other.arrival))
    }
}

/// A fact that holds from the moment it is known, whatever its time.
pub fn is_definition(event: &Event) -> bool {
    matches!(
        event,
        Event::StackDef(_)
            | Event::Target(..)
            | Event::Symbol(..)
            | Event::ProbeSite(..)
            | Event::WaitReasons(..)
            | Event::Note(..)
            | Event::Labels(..)
    )
}

impl Default for Reorder {
    fn default() -> Self {
        Self::new(DEFAULT_WINDOW_NS)
    }
}

impl Reorder {
    /// `window_ns`: how long an event waits for earlier ones, in nanoseconds of the stream's own time.
    pub fn new(window_ns: u64) -> Self {
        Self {
            window_ns,
            row: VecDeque::new(),
            behind: BinaryHeap::new(),
            newest_ns: 0,
            released_ns: 0,
            arrivals: 0,
            late: None,
            late_total: 0,
            max_held: MAX_HELD,
        }
    }

    /// Takes one event and hands what it releases to `out`, in order.
    pub fn push(&mut self, event: Event, out: &mut impl FnMut(Event)) {
        if is_definition(&event) {
            out(event);
            return;
        }
        let time_ns = event.time_ns();
        self.newest_ns = self.newest_ns.max(time_ns);
        if time_ns < self.released_ns {
            self.count_late(time_ns);
            out(event);
        } else {
            let held = Held { time_ns, arrival: self.arrivals, event };
            self.arrivals += 1;
            if self.row.back().is_none_or(|last| last.time_ns <= time_ns) {
                self.row.push_back(held);
            } else {
                self.behind.push(Reverse(held));
            }
        }
        let due = self.newest_ns.saturating_sub(self.window_ns);
        while self.earliest().is_some_and(|t| t < due) || self.held() > self.max_held {
            self.release(out);
        }
    }

    /// The stream is over: hands out everything held, in order.
    pub fn flush(&mut self, out: &mut impl FnMut(Event)) {
        while self.held() > 0 {
            self.release(out);
        }
        self.report_late(out);
    }

    /// How many events came too late until now.
    pub fn late(&self) -> u64 {
        self.late_total
    }

    /// How many events wait for the window to pass.
    pub fn held(&self) -> usize {
        self.row.len() + self.behind.len()
    }

    /// Time of what is released next.
    fn earliest(&self) -> Option<u64> {
        let row = self.row.front().map(|h| h.time_ns);
        match self.behind.peek() {
            None => row,
            Some(Reverse(h)) => Some(row.map_or(h.time_ns, |t| t.min(h.time_ns))),
        }
    }

    fn release(&mut self, out: &mut impl FnMut(Event)) {
        let from_row = match (self.row.front(), self.behind.peek()) {
            (Some(row), Some(Reverse(behind))) => row < behind,
            (row, _) => row.is_some(),
        };
        let next = if from_row { self.row.pop_front() } else { self.behind.pop().map(|Reverse(h)| h) };
        let Some(Held { time_ns, event, .. }) = next else { return };
        self.released_ns = self.released_ns.max(time_ns);
        // A late event is reported with the next tick and before the end, so that the loss is inside the session.
        if matches!(event, Event::Tick(_) | Event::End(_)) {
            self.report_late(out);
            self.give_back();
        }
        out(event);
    }

    /// The room that a burst has taken.
    fn give_back(&mut self) {
        if self.row.capacity() > FEW && self.row.len() < self.row.capacity() / 4 {
            self.row.shrink_to(self.row.len() * 2);
        }
        if self.behind.capacity() > FEW && self.behind.len() < self.behind.capacity() / 4 {
            self.behind.shrink_to(self.behind.len() * 2);
        }
    }

    fn count_late(&mut self, time_ns: u64) {
        self.late_total += 1;
        let late = self.late.get_or_insert(Late { count: 0, from_ns: time_ns, to_ns: time_ns });
        late.count += 1;
        late.from_ns = late.from_ns.min(time_ns);
        late.to_ns = late.to_ns.max(self.released_ns);
    }

    fn report_late(&mut self, out: &mut impl FnMut(Event)) {
        let Some(late) = self.late.take() else { return };
        out(Event::Loss(wire::Loss {
            h: header(kind::LOSS, late.to_ns),
            from_ns: late.from_ns,
            count: late.count,
            cause: loss::LATE.into(),
        }));
    }
}

#[cfg(test)]
mod tests;
