//! Bytes → valid event. Total: every input gives an event or a [`DecodeError`], nothing panics.

use crate::wire::*;

/// An event with a fixed shape, decoded. Kinds from 64 on are protobuf and decoded by the user side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fixed<'a> {
    Birth(Birth),
    Death(Death),
    Park(Park),
    Ready(Ready),
    Run(Run),
    CoroSwitch(CoroSwitch),
    StackDef(Stack<'a>),
    Seen(Seen),
    State(Seen),
    LookBegin(LookEdge),
    LookEnd(LookEdge),
    Tick(Header),
    Loss(Loss),
    Totals(Totals),
    End(End),
    Blocked(Blocked),
    Cost(Cost),
    Level(Level),
    /// A protobuf message of the kind in the header.
    Message(Header, &'a [u8]),
}

/// A stack definition, borrowed from the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stack<'a> {
    pub h: Header,
    pub stack: u64,
    frames: &'a [u8],
}

impl Stack<'_> {
    /// Return addresses, innermost first.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.frames.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b))
    }
}

/// Why a record is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than a header.
    TooShort { len: usize },
    /// A kind that this version does not know. A reader may skip it: kinds are append-only.
    UnknownKind { kind: u8 },
    /// The record's length does not fit its kind.
    WrongLength { kind: u8, len: usize, expected: usize },
    /// A stack definition that names more frames than it may or carries.
    BadFrameCount { nframes: u64 },
    /// A loss cause, end reason, level or stack end that does not exist.
    BadValue { kind: u8, value: u64 },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooShort { len } => write!(f, "record of {len} bytes is shorter than a header"),
            Self::UnknownKind { kind } => write!(f, "unknown event kind {kind}"),
            Self::WrongLength { kind, len, expected } => {
                write!(f, "event of kind {kind} has {len} bytes instead of {expected}")
            }
            Self::BadFrameCount { nframes } => write!(f, "stack definition with {nframes} frames"),
            Self::BadValue { kind, value } => {
                write!(f, "event of kind {kind} has the impossible value {value}")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// Plain data that any bytes of the right length represent.
trait Plain: Copy {}
macro_rules! plain {
    ($($t:ty),*) => { $(impl Plain for $t {})* };
}
plain!(
    Header, Birth, Death, Park, Ready, Run, CoroSwitch, Seen, LookEdge, Loss, Totals, End, Blocked, Cost,
    Level
);

fn exactly<T: Plain>(kind: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let expected = core::mem::size_of::<T>();
    if bytes.len() != expected {
        return Err(DecodeError::WrongLength { kind, len: bytes.len(), expected });
    }
    // SAFETY: the length was just checked, `Plain` types consist of integers without padding, so every bit pattern
    // is a value; the read is unaligned.
    Ok(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

/// The bytes of a fixed-shape event, as they go into the stream.
pub fn bytes_of<T: Encode>(event: &T) -> &[u8] {
    // SAFETY: `Encode` is only implemented for `repr(C)` types made of integers without padding (asserted by
    // their sizes in `wire`), so all bytes are initialised.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(event).cast::<u8>(), core::mem::size_of::<T>()) }
}

/// Fixed shapes that the user side writes into the stream.
pub trait Encode: sealed::Sealed {}
mod sealed {
    pub trait Sealed {}
}
macro_rules! encode {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Encode for $t {})* };
}
encode!(
    Header, Birth, Death, Park, Ready, Run, CoroSwitch, Seen, LookEdge, Loss, Totals, End, Blocked, Cost,
    Level
);

/// Writes a stack definition as it stands in the stream: cut after its last frame.
/// Frames beyond [`MAX_FRAMES`] are left out; the caller says so in `h.flags`.
#[cfg(feature = "user")]
pub fn encode_stack(h: &Header, stack: u64, frames: &[u64], put: &mut impl FnMut(&[u8])) {
    let frames = &frames[..frames.len().min(MAX_FRAMES)];
    put(bytes_of(h));
    put(&stack.to_le_bytes());
    put(&(frames.len() as u64).to_le_bytes());
    for f in frames {
        put(&f.to_le_bytes());
    }
}

/// How many bytes of a record with these leading bytes belong into the stream. The kernel reserves room for
/// [`MAX_FRAMES`] frames; only the used ones are kept.
#[inline]
pub fn wire_len(bytes: &[u8]) -> usize {
    if bytes.len() == core::mem::size_of::<StackDef>() && bytes[30] == kind::STACK_DEF {
        let n = u64_at(bytes, 40).min(MAX_FRAMES as u64) as usize;
        return STACK_DEF_FIXED + n * 8;
    }
    bytes.len()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut b = [0; 8];
    b.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(b)
}

/// Decodes one record.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Fixed<'_>, DecodeError> {
    const HEADER: usize = core::mem::size_of::<Header>();
    let Some(head) = bytes.get(..HEADER) else {
        return Err(DecodeError::TooShort { len: bytes.len() });
    };
    let h: Header = exactly(0, head)?;
    Ok(match h.kind {
        kind::BIRTH => Fixed::Birth(exactly(h.kind, bytes)?),
        kind::DEATH => Fixed::Death(exactly(h.kind, bytes)?),
        kind::PARK => Fixed::Park(exactly(h.kind, bytes)?),
        kind::READY => Fixed::Ready(exactly(h.kind, bytes)?),
        kind::RUN => Fixed::Run(exactly(h.kind, bytes)?),
        kind::CORO_SWITCH => Fixed::CoroSwitch(exactly(h.kind, bytes)?),
        kind::STACK_DEF => {
            if bytes.len() < STACK_DEF_FIXED {
                return Err(DecodeError::WrongLength {
                    kind: h.kind,
                    len: bytes.len(),
                    expected: STACK_DEF_FIXED,
                });
            }
            let nframes = u64_at(bytes, 40);
            if nframes > MAX_FRAMES as u64 {
                return Err(DecodeError::BadFrameCount { nframes });
            }
            let expected = STACK_DEF_FIXED + nframes as usize * 8;
            if bytes.len() != expected {
                return Err(DecodeError::WrongLength { kind: h.kind, len: bytes.len(), expected });
            }
            if h.flags > stack_end::FAULT {
                return Err(DecodeError::BadValue { kind: h.kind, value: h.flags.into() });
            }
            Fixed::StackDef(Stack { h, stack: u64_at(bytes, 32), frames: &bytes[STACK_DEF_FIXED..] })
        }
        kind::SEEN => Fixed::Seen(exactly(h.kind, bytes)?),
        kind::STATE => Fixed::State(exactly(h.kind, bytes)?),
        kind::LOOK_BEGIN => Fixed::LookBegin(exactly(h.kind, bytes)?),
        kind::LOOK_END => Fixed::LookEnd(exactly(h.kind, bytes)?),
        kind::TICK => Fixed::Tick(exactly(h.kind, bytes)?),
        kind::LOSS => {
            let loss: Loss = exactly(h.kind, bytes)?;
            if loss.cause >= loss::COUNT as u64 {
                return Err(DecodeError::BadValue { kind: h.kind, value: loss.cause });
            }
            Fixed::Loss(loss)
        }
        kind::TOTALS => Fixed::Totals(exactly(h.kind, bytes)?),
        kind::END => {
            let end: End = exactly(h.kind, bytes)?;
            if end.reason > end::OUTPUT_FAILED {
                return Err(DecodeError::BadValue { kind: h.kind, value: end.reason });
            }
            Fixed::End(end)
        }
        kind::BLOCKED => Fixed::Blocked(exactly(h.kind, bytes)?),
        kind::COST => Fixed::Cost(exactly(h.kind, bytes)?),
        kind::LEVEL => {
            let level: Level = exactly(h.kind, bytes)?;
            let worst = level.from.max(level.to);
            if worst > level::LOOKS {
                return Err(DecodeError::BadValue { kind: h.kind, value: worst });
            }
            Fixed::Level(level)
        }
        kind::TARGET..=kind::LABELS => Fixed::Message(h, &bytes[HEADER..]),
        kind => return Err(DecodeError::UnknownKind { kind }),
    })
}
