//! The text twin of the event stream: one event a line, for small scenarios and for reading a recording by eye.
//!
//! [`print()`] and [`parse`] are inverse for every event; `docs/text-scenario.md` describes the form. Reading needs memory for
//! one line only, and a line has a limit.

mod fields;
mod line;
mod print;

use std::io::{self, BufRead};

use thiserror::Error;

use crate::event::Event;

pub use print::print;

/// Longer lines are refused. The longest event, a stack of 64 frames or a symbol, needs a few kilobytes.
pub const MAX_LINE: usize = 1 << 20;
/// How many events one `repeat` may make.
pub const MAX_REPEAT: u64 = 1_000_000;

/// Why a text is not a scenario.
#[derive(Debug, Error)]
pub enum TextError {
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: Reason },
    #[error("line {line} could not be read")]
    Read { line: u64, source: io::Error },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    #[error("it is longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("`{0}` is not a time: `@` and a number with `s`, `ms`, `us` or `ns`, as in `@1.5s`")]
    Time(String),
    #[error("there is no event after the time")]
    NoEvent,
    #[error("`{0}` is no event")]
    UnknownEvent(String),
    #[error("`{0}` is not a field of `{1}`")]
    UnknownField(String, &'static str),
    #[error("the field `{0}` is there twice")]
    Twice(String),
    #[error("`{1}` is not a value of `{0}`")]
    Value(String, String),
    #[error("the text after `{0}` does not end with a quote")]
    Quote(String),
    #[error("`{0}` belongs to a `frame`, and none comes before it")]
    NoFrame(String),
    #[error("a stack of more than {} frames", tracer_common::wire::MAX_FRAMES)]
    TooManyFrames,
    #[error(
        "`repeat` needs a count up to {MAX_REPEAT}, `every` and a duration, as in `repeat 100 every 200ms @0s birth goid=10`"
    )]
    Repeat,
    #[error("a number leaves its range while it is repeated")]
    RepeatRange,
}

/// Reads events line by line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    repeat: Option<line::Repeat>,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, line: 0, buffer: Vec::new(), repeat: None, failed: false }
    }

    fn read_line(&mut self) -> Result<bool, TextError> {
        self.buffer.clear();
        self.line += 1;
        let mut limited = io::Read::take(&mut self.input, MAX_LINE as u64 + 1);
        let n = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| TextError::Read { line: self.line, source })?;
        if self.buffer.len() > MAX_LINE {
            return Err(TextError::Line { line: self.line, reason: Reason::TooLong });
        }
        Ok(n > 0)
    }

    fn step(&mut self) -> Result<Option<Event>, TextError> {
        loop {
            let at = |reason| TextError::Line { line: self.line, reason };
            if let Some(repeat) = &mut self.repeat {
                match repeat.next() {
                    Some(event) => return event.map(Some).map_err(at),
                    None => self.repeat = None,
                }
            }
            if !self.read_line()? {
                return Ok(None);
            }
            let at = |reason| TextError::Line { line: self.line, reason };
            let text = str::from_utf8(&self.buffer).map_err(|_| at(Reason::NotUtf8))?;
            self.repeat = line::parse(text).map_err(at)?;
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, TextError>;

    /// After an error nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// All events of a text.
pub fn parse(text: &str) -> Result<Vec<Event>, TextError> {
    Reader::new(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests;
