//! The session file: the wire records of a run, as they came, in checksummed chunks (`docs/session-format.md`).
//!
//! [`Writer`] is a [`Sink`]: the live source hands it every record that it also decodes. [`Reader`] gives the
//! same bytes back, on any machine, also from a file that was cut off or damaged; what is missing is then a named
//! [`Problem`], never a silence.
//!
//! Not here: what the records mean (`event`), and when to flush by a wall clock. The writer's clock is the
//! stream's; whoever drives it calls [`Writer::flush`] when the stream stands still.

mod columns;
mod create;
pub mod format;
mod input;
mod problem;
mod reader;
mod unpack;
mod writer;

pub use create::{FileOutput, Output};
pub use format::{MAX_RECORD, VERSION, VERSIONS};
pub use problem::{Cause, Lost, Part, Problem, ReadError};
pub use reader::{Ending, Item, Reader, open};
pub use writer::{Summary, WriteError, Writer};

/// Where wire records go besides the decoder.
pub trait Sink {
    /// Takes one record as it stands on the wire.
    fn record(&mut self, bytes: &[u8]) -> Result<(), WriteError>;
}

impl<O: Output> Sink for Writer<O> {
    fn record(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(bytes)
    }
}

/// `None` is "do not record".
impl<S: Sink> Sink for Option<S> {
    fn record(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        match self {
            Some(sink) => sink.record(bytes),
            None => Ok(()),
        }
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn record(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        (**self).record(bytes)
    }
}

/// Hands each record to both, the first one first. Where that one fails the second does not get it.
#[derive(Debug)]
pub struct Tee<A, B>(pub A, pub B);

impl<A: Sink, B: Sink> Sink for Tee<A, B> {
    fn record(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.0.record(bytes)?;
        self.1.record(bytes)
    }
}

#[cfg(test)]
mod tests;
