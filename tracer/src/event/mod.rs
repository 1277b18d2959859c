//! Events: what a session is made of. Wire records in, valid events out, and back.
//!
//! Kernel events keep the fixed shapes of `tracer_common::wire`; what the user side learns (target, symbols,
//! probe sites, notes) is protobuf behind the same header. See `docs/session-format.md`.

pub mod message;
pub mod status;

use prost::Message as _;
use thiserror::Error;
use tracer_common::decode::{self, Fixed};
use tracer_common::wire::{self, Header};

pub use message::{Labels, Note, Object, ProbeSite, Symbol, TargetInfo, WaitReasons, Waits};

/// A valid event. What is rare and large is boxed: an event is moved several times on its way. Times are `CLOCK_BOOTTIME` nanoseconds, stacks are return addresses innermost first.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Birth(wire::Birth),
    Death(wire::Death),
    Park(wire::Park),
    Ready(wire::Ready),
    Run(wire::Run),
    CoroSwitch(wire::CoroSwitch),
    StackDef(StackDef),
    Seen(wire::Seen),
    State(wire::Seen),
    LookBegin(wire::LookEdge),
    LookEnd(wire::LookEdge),
    Tick(Header),
    Loss(wire::Loss),
    Totals(Box<wire::Totals>),
    End(wire::End),
    Blocked(wire::Blocked),
    Cost(Box<wire::Cost>),
    Level(wire::Level),
    Target(Header, Box<TargetInfo>),
    Symbol(Header, Box<Symbol>),
    ProbeSite(Header, Box<ProbeSite>),
    WaitReasons(Header, WaitReasons),
    Note(Header, Note),
    Object(Header, Box<Object>),
    Waits(Header, Waits),
    Labels(Header, Labels),
}

const _: () = assert!(size_of::<Event>() <= 88);

/// Gives a stack id its frames; `h.flags` says how the walk ended (`wire::stack_end`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackDef {
    pub h: Header,
    pub stack: u64,
    pub frames: Vec<u64>,
}

/// Why a record is not an event.
#[derive(Debug, Error)]
pub enum EventError {
    #[error(transparent)]
    Shape(#[from] decode::DecodeError),
    #[error("message of kind {kind} is damaged")]
    Message { kind: u8, source: prost::DecodeError },
}

impl EventError {
    /// True for kinds a newer gostray may have written: a reader counts and skips them.
    pub fn is_unknown_kind(&self) -> bool {
        matches!(self, Self::Shape(decode::DecodeError::UnknownKind { .. }))
    }
}

impl Event {
    /// Decodes one record. Total: never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        Ok(match decode::decode(bytes)? {
            Fixed::Birth(e) => Self::Birth(e),
            Fixed::Death(e) => Self::Death(e),
            Fixed::Park(e) => Self::Park(e),
            Fixed::Ready(e) => Self::Ready(e),
            Fixed::Run(e) => Self::Run(e),
            Fixed::CoroSwitch(e) => Self::CoroSwitch(e),
            Fixed::StackDef(e) => {
                Self::StackDef(StackDef { h: e.h, stack: e.stack, frames: e.frames().collect() })
            }
            Fixed::Seen(e) => Self::Seen(e),
            Fixed::State(e) => Self::State(e),
            Fixed::LookBegin(e) => Self::LookBegin(e),
            Fixed::LookEnd(e) => Self::LookEnd(e),
            Fixed::Tick(h) => Self::Tick(h),
            Fixed::Loss(e) => Self::Loss(e),
            Fixed::Totals(e) => Self::Totals(Box::new(e)),
            Fixed::End(e) => Self::End(e),
            Fixed::Blocked(e) => Self::Blocked(e),
            Fixed::Cost(e) => Self::Cost(Box::new(e)),
            Fixed::Level(e) => Self::Level(e),
            Fixed::Message(h, body) => {
                let bad = |source| EventError::Message { kind: h.kind, source };
                match h.kind {
                    wire::kind::TARGET => Self::Target(h, Box::new(TargetInfo::decode(body).map_err(bad)?)),
                    wire::kind::SYMBOL => Self::Symbol(h, Box::new(Symbol::decode(body).map_err(bad)?)),
                    wire::kind::PROBE_SITE => {
                        Self::ProbeSite(h, Box::new(ProbeSite::decode(body).map_err(bad)?))
                    }
                    wire::kind::WAIT_REASONS => Self::WaitReasons(h, WaitReasons::decode(body).map_err(bad)?),
                    wire::kind::NOTE => Self::Note(h, Note::decode(body).map_err(bad)?),
                    wire::kind::OBJECT => Self::Object(h, Box::new(Object::decode(body).map_err(bad)?)),
                    wire::kind::WAITS => Self::Waits(h, Waits::decode(body).map_err(bad)?),
                    wire::kind::LABELS => Self::Labels(h, Labels::decode(body).map_err(bad)?),
                    kind => return Err(decode::DecodeError::UnknownKind { kind }.into()),
                }
            }
        })
    }

    /// Appends the event's record to `out`. [`Event::decode`] gives the same event back.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |b: &[u8]| out.extend_from_slice(b);
        match self {
            Self::Birth(e) => put(decode::bytes_of(e)),
            Self::Death(e) => put(decode::bytes_of(e)),
            Self::Park(e) => put(decode::bytes_of(e)),
            Self::Ready(e) => put(decode::bytes_of(e)),
            Self::Run(e) => put(decode::bytes_of(e)),
            Self::CoroSwitch(e) => put(decode::bytes_of(e)),
            Self::StackDef(e) => decode::encode_stack(&e.h, e.stack, &e.frames, &mut put),
            Self::Seen(e) | Self::State(e) => put(decode::bytes_of(e)),
            Self::LookBegin(e) | Self::LookEnd(e) => put(decode::bytes_of(e)),
            Self::Tick(h) => put(decode::bytes_of(h)),
            Self::Loss(e) => put(decode::bytes_of(e)),
            Self::Totals(e) => put(decode::bytes_of(e.as_ref())),
            Self::End(e) => put(decode::bytes_of(e)),
            Self::Blocked(e) => put(decode::bytes_of(e)),
            Self::Cost(e) => put(decode::bytes_of(e.as_ref())),
            Self::Level(e) => put(decode::bytes_of(e)),
            Self::Target(h, m) => message_into(h, m.as_ref(), out),
            Self::Symbol(h, m) => message_into(h, m.as_ref(), out),
            Self::ProbeSite(h, m) => message_into(h, m.as_ref(), out),
            Self::WaitReasons(h, m) => message_into(h, m, out),
            Self::Note(h, m) => message_into(h, m, out),
            Self::Object(h, m) => message_into(h, m.as_ref(), out),
            Self::Waits(h, m) => message_into(h, m, out),
            Self::Labels(h, m) => message_into(h, m, out),
        }
    }

    /// The event's header. Its `kind` is always the right one for the variant when the event was decoded or made by
    /// [`header`].
    pub fn header(&self) -> &Header {
        match self {
            Self::Birth(e) => &e.h,
            Self::Death(e) => &e.h,
            Self::Park(e) => &e.h,
            Self::Ready(e) => &e.h,
            Self::Run(e) => &e.h,
            Self::CoroSwitch(e) => &e.h,
            Self::StackDef(e) => &e.h,
            Self::Seen(e) | Self::State(e) => &e.h,
            Self::LookBegin(e) | Self::LookEnd(e) => &e.h,
            Self::Tick(h) => h,
            Self::Loss(e) => &e.h,
            Self::Totals(e) => &e.h,
            Self::End(e) => &e.h,
            Self::Blocked(e) => &e.h,
            Self::Cost(e) => &e.h,
            Self::Level(e) => &e.h,
            Self::Target(h, _)
            | Self::Symbol(h, _)
            | Self::ProbeSite(h, _)
            | Self::WaitReasons(h, _)
            | Self::Note(h, _)
            | Self::Object(h, _)
            | Self::Waits(h, _)
            | Self::Labels(h, _) => h,
        }
    }

    /// `CLOCK_BOOTTIME` nanoseconds.
    pub fn time_ns(&self) -> u64 {
        self.header().time_ns
    }
}

/// A header for an event that concerns no goroutine.
pub fn header(kind: u8, time_ns: u64) -> Header {
    Header { time_ns, kind, ..Header::default() }
}

fn message_into(h: &Header, m: &impl prost::Message, out: &mut Vec<u8>) {
    out.extend_from_slice(decode::bytes_of(h));
    // `Vec` grows as needed; `encode_raw` cannot fail on it.
    m.encode_raw(out);
}
