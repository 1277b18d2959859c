//! From records to a session: the one way that live and replayed events take.

use tracer_common::wire::{self, kind, loss};

use crate::event::{Event, header};
use crate::order::Reorder;
use crate::session::{Session, Snapshot};

/// Decodes, orders, applies.
#[derive(Default)]
pub struct Pipeline {
    order: Reorder,
    session: Session,
}

impl Pipeline {
    pub fn new() -> Self {
        Self::default()
    }

    /// One record as a live source yields it. One that does not decode becomes a loss: it is counted, not hidden.
    pub fn push(&mut self, record: &[u8]) {
        let event = Event::decode(record).unwrap_or_else(|_| {
            let now = self.session.now_ns();
            let cause = loss::UNDECODABLE.into();
            Event::Loss(wire::Loss { h: header(kind::LOSS, now), from_ns: now, count: 1, cause })
        });
        self.push_event(event);
    }

    /// One event as a replay yields it.
    pub fn push_event(&mut self, event: Event) {
        self.push_event_with(event, &mut |_| ());
    }

    /// As [`push_event`](Self::push_event); `on_tick` sees the session right after each tick of the stream, so that
    /// what is shown once a second does not depend on how fast events come.
    pub fn push_event_with(&mut self, event: Event, on_tick: &mut dyn FnMut(&Session)) {
        let Self { order, session } = self;
        order.push(event, &mut |event| apply(session, event, on_tick));
    }

    /// The stream is over: what waited for its order is applied.
    pub fn finish(&mut self) {
        self.finish_with(&mut |_| ());
    }

    /// As [`finish`](Self::finish), with `on_tick` as in [`push_event_with`](Self::push_event_with).
    pub fn finish_with(&mut self, on_tick: &mut dyn FnMut(&Session)) {
        let Self { order, session } = self;
        order.flush(&mut |event| apply(session, event, on_tick));
    }

    /// The session as it stands, for outputs.
    pub fn snapshot(&self) -> Snapshot {
        self.session.snapshot()
    }

    /// Stream time, `CLOCK_BOOTTIME` nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.session.now_ns()
    }
}

fn apply(session: &mut Session, event: Event, on_tick: &mut dyn FnMut(&Session)) {
    let tick = matches!(event, Event::Tick(_));
    session.apply(event);
    if tick {
        on_tick(session);
    }
}
