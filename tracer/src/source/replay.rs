//! Session file → events, as they came. What the file lost comes as `Loss` and `Note` events in its place, so that
//! the session and the report know of it by the only door they have.

use std::collections::VecDeque;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use thiserror::Error;
use tracer_common::wire::{Header, Loss, kind, loss};

use crate::event::{Event, EventError, Note, header};
use crate::failure::{Class, Fail};
use crate::record::{self, Ending, Item, Problem, ReadError, Reader};
use crate::source::text::{self, TextError};

/// Codes of the notes that replay adds.
pub mod note {
    /// The recording has no end: what came before is whole.
    pub const CUT_OFF: &str = "recording-cut-off";
    /// A part of the recording cannot be read.
    pub const DAMAGED: &str = "recording-damaged";
    /// The recording holds events of kinds that this gostray does not know.
    pub const UNKNOWN_EVENTS: &str = "recording-unknown-events";
    /// The recording does not begin with its target.
    pub const NO_TARGET: &str = "recording-without-target";
}

/// A file that is damaged in a thousand places gets no thousand notes. The losses are all there.
const MAX_NOTES: u64 = 20;

#[derive(Debug, Error)]
pub enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the text session does not parse")]
    Text(#[from] TextError),
}

impl Fail for ReplayError {
    fn class(&self) -> Class {
        match self {
            Self::Read(e) => e.class(),
            Self::Text(_) => Class::DamagedSession,
        }
    }
}

/// Yields the events of a recording in the file's order.
pub struct Replay {
    input: Input,
    /// What comes before the next record.
    queue: VecDeque<Event>,
    /// Time of the latest event that had one.
    now_ns: u64,
    begun: bool,
    /// Records of unknown kinds, met so far.
    unknown: u64,
    /// Notes about damage, so far.
    damaged: u64,
    over: bool,
    problems: u64,
}

enum Input {
    File(Box<Reader<Box<dyn Read + Send>>>),
    Text(Box<text::Reader<BufReader<Box<dyn Read + Send>>>>),
}

impl Replay {
    /// Opens a session file or its text twin, whichever it is by its first bytes; `-` is the standard input.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        Self::from_input(record::open(path)?)
    }

    /// The same over any stream.
    pub fn from_input(mut input: Box<dyn Read + Send>) -> Result<Self, ReplayError> {
        let mut head = Vec::new();
        let io = |source| ReadError::Io { source };
        input.by_ref().take(record::format::MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
        // A text begins with a comment, an event's time, an empty line or `repeat`; a file's first byte is not ASCII.
        let is_text = matches!(head.first(), Some(b'#' | b'@' | b'\n')) || head.starts_with(b"repeat ");
        let input: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(input));
        let input = if is_text {
            Input::Text(Box::new(text::Reader::new(BufReader::new(input))))
        } else {
            Input::File(Box::new(Reader::new(input)?))
        };
        Ok(Self {
            input,
            queue: VecDeque::new(),
            now_ns: 0,
            begun: false,
            unknown: 0,
            damaged: 0,
            over: false,
            problems: 0,
        })
    }

    /// The next event; `None` at the end.
    pub fn next_event(&mut self) -> Result<Option<Event>, ReplayError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            let reader = match &mut self.input {
                Input::Text(events) => return Ok(events.next().transpose()?),
                Input::File(reader) => reader,
            };
            // Owned before anything else is touched: the item borrows the reader's chunk.
            let item = match reader.next_item() {
                Ok(Some(Item::Record(bytes))) => Step::Record(Event::decode(bytes), time_of(bytes)),
                Ok(Some(Item::Problem(problem))) => Step::Problem(problem),
                Ok(None) => Step::End,
                // The file was readable up to here. Its events count; so does that the rest is missing.
                Err(e) if self.begun => Step::GivenUp(e),
                Err(e) => return Err(e.into()),
            };
            match item {
                Step::Record(Ok(event), _) => {
                    self.now_ns = self.now_ns.max(event.time_ns());
                    if !self.begun && !matches!(event, Event::Target(..)) {
                        self.note(
                            note::NO_TARGET,
                            "the recording's beginning is missing: its target is unknown".into(),
                        );
                    }
                    self.begun = true;
                    if self.queue.is_empty() {
                        return Ok(Some(event));
                    }
                    self.queue.push_back(event);
                }
                Step::Record(Err(error), time_ns) => {
                    self.begun = true;
                    self.undecodable(&error, time_ns);
                }
                Step::Problem(problem) => self.problem(&problem),
                Step::GivenUp(error) => {
                    self.note(
                        note::DAMAGED,
                        format!("the rest of the recording is not read: {}", chain(&error)),
                    );
                    self.over = true;
                }
                Step::End => {
                    if self.unknown > 0 {
                        let text = format!(
                            "{} events are of kinds that this gostray does not know; a newer one does",
                            self.unknown
                        );
                        self.note(note::UNKNOWN_EVENTS, text);
                    }
                    self.over = true;
                }
            }
        }
    }

    /// How the file ended; `None` before the end, and for a text session.
    pub fn ending(&self) -> Option<Ending> {
        match &self.input {
            Input::File(reader) => reader.ending(),
            Input::Text(_) => None,
        }
    }

    /// Places where the file was damaged or cut off, so far.
    pub fn problems(&self) -> u64 {
        self.problems
    }

    fn undecodable(&mut self, error: &EventError, time_ns: Option<u64>) {
        if error.is_unknown_kind() {
            // Kinds are append-only: a newer gostray knew more. What we know of is not less for it.
            self.unknown += 1;
            return;
        }
        let at = time_ns.unwrap_or(self.now_ns);
        self.lost(1, at, at);
    }

    fn problem(&mut self, problem: &Problem) {
        self.problems += 1;
        let lost = &problem.lost;
        let from = lost.from_ns.unwrap_or(self.now_ns);
        let to = lost.to_ns.unwrap_or(from).max(from);
        match lost.records {
            Some(0) => {}
            Some(count) => self.lost(count, from, to),
            // An end without an end mark is no hole: the recording ends there, and its note says so.
            None if problem.cause.is_cut_off() => {}
            // At least something may be missing: a verdict must not rely on this interval.
            None => self.lost(1, from, to),
        }
        let (code, count) = if problem.cause.is_cut_off() {
            (note::CUT_OFF, String::new())
        } else {
            let count = match lost.records {
                Some(0) => "; no event is lost".into(),
                Some(1) => "; 1 event is lost".into(),
                Some(n) => format!("; {n} events are lost"),
                None => "; how many events are lost is not known".into(),
            };
            (note::DAMAGED, count)
        };
        self.note(code, format!("{problem}{count}"));
    }

    fn lost(&mut self, count: u64, from_ns: u64, to_ns: u64) {
        let h = Header { time_ns: to_ns, kind: kind::LOSS, ..Header::default() };
        self.queue.push_back(Event::Loss(Loss { h, from_ns, count, cause: loss::UNDECODABLE.into() }));
    }

    fn note(&mut self, code: &str, text: String) {
        let mut text = text;
        if code == note::DAMAGED {
            self.damaged += 1;
            match self.damaged {
                ..MAX_NOTES => {}
                MAX_NOTES => text = "there are more damaged places; no further ones are listed".into(),
                _ => return,
            }
        }
        self.queue.push_back(Event::Note(header(kind::NOTE, self.now_ns), Note { code: code.into(), text }));
    }
}

impl Iterator for Replay {
    type Item = Result<Event, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

enum Step {
    Record(Result<Event, EventError>, Option<u64>),
    Problem(Problem),
    GivenUp(ReadError),
    End,
}

fn time_of(record: &[u8]) -> Option<u64> {
    (record.len() >= size_of::<Header>()).then(|| record.first_chunk().map(|b| u64::from_le_bytes(*b)))?
}

fn chain(error: &ReadError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests;
