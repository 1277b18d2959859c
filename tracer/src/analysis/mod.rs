//! Judges a creation site: rules over what the session has counted, one rule a file, each with its words and numbers.
//!
//! Nothing here has state, clock or I/O: facts in, verdict out. [`growth`] says whether the live count rises,
//! [`survival`] whether those born here end, [`stuck`] what the living wait for; [`judge`] puts them together.

pub mod growth;
pub mod stuck;
pub mod survival;
pub mod system;
mod verdict;

use crate::session::distribution::Distribution;
use crate::session::series::Points;

pub use system::Role;
pub use verdict::judge;

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Losses of this long count against a verdict.
pub const WINDOW_NS: u64 = 60 * SECOND_NS;
/// A look this old still says who is alive.
pub const LOOK_FRESH_NS: u64 = 5 * SECOND_NS;

/// What is known about one creation site. Times and durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct SiteFacts<'a> {
    pub role: Role,
    pub now_ns: u64,
    pub watched_ns: u64,
    pub live: u64,
    pub born: u64,
    pub died: u64,
    pub vanished: u64,
    /// Alive when watching began, and how many of them are gone.
    pub before: u64,
    pub before_gone: u64,
    /// Net counts over time, ending now.
    pub points: &'a Points,
    /// Of those born and gone while watched.
    pub lifetimes: &'a Distribution,
    /// Of the living that were born while watched, ascending.
    pub ages: &'a [u64],
    pub waits: Vec<WaitFacts>,
    pub coverage: &'a Coverage,
}

/// What some of a site's living goroutines do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitFacts {
    /// The runtime's word, or a status in angle brackets.
    pub word: String,
    pub count: u64,
    /// How many have done this ever since they are known, or nearly.
    pub unbroken: u64,
    /// The longest time that one of them has done this, at least.
    pub longest_ns: u64,
}

/// What the stream covers, and what of the last [`WINDOW_NS`] was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    pub births_lost: u64,
    pub deaths_lost: u64,
    /// Lost, and it is not known what it was.
    pub unclear_lost: u64,
    /// A look ended within [`LOOK_FRESH_NS`].
    pub looks: bool,
    /// Of the last look.
    pub look_read: u64,
    pub look_unreadable: u64,
    /// Not read by all looks of the last [`WINDOW_NS`] together, without the few that were in motion.
    pub look_gaps: u64,
    /// Now.
    pub births_traced: bool,
    /// For how long births and deaths were not watched, of all the time, to keep the budget; and in which part of it they were.
    pub unwatched_ns: u64,
    pub watched_share: f64,
    /// Who was alive when watching began is known: from a look, or because nobody was.
    pub before_known: bool,
    pub park_traced: bool,
}

impl Coverage {
    /// Looks mend what was lost: who is alive is known from them.
    pub fn looks_mend(&self) -> bool {
        self.looks && reads_enough(self.look_read, self.look_unreadable)
    }
}

/// Whether a look that could not read some goroutines says who is alive all the same: at most a tenth is missing.
pub fn reads_enough(read: u64, unreadable: u64) -> bool {
    unreadable.saturating_mul(10) <= read
}

pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

#[cfg(test)]
mod tests;
