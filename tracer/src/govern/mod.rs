//! The governor: how closely the target may be watched, so that what this takes from it stays within a budget.
//!
//! Pure: counts of events and times go in, moves come out ([`Governor::step`]); who carries them out is
//! [`source::live`](crate::source::live). No clock, no aya, no tokio.
//!
//! What was taken is an estimate, events times [`Prices`]. The sum over the last ten seconds is kept below the budget by
//! acting ahead: probes go when what was spent, and what will be until they are gone, comes near it. From park timing the way
//! is down to births and deaths, then to windows (births and deaths for a moment, at random times, with looks in between), then to
//! looks alone; and up again when there is room, the more slowly the more often that has failed. What cannot be held is
//! said by the numbers: a program that goes from calm to its utmost within the few milliseconds between two
//! checks has spent what it spends until the probes are gone.
//!
//! A place is left for a cheaper step between births and deaths and windows: probes at the `go` statements under suspicion
//! alone.

mod governor;
mod price;
mod spent;

use tracer_common::wire::{level, level_flag};

pub use governor::Governor;
pub use price::{Prices, TRAP_THERE_NS};
pub use spent::WINDOW_NS;

/// How closely the target is watched, closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Births, deaths and each wait.
    Waits,
    /// Births and deaths.
    Lives,
    /// Births and deaths in short windows.
    Windows,
    /// No probes.
    Looks,
}

impl Level {
    /// As in the stream ([`level`]).
    pub fn number(self) -> u64 {
        match self {
            Self::Waits => level::WAITS,
            Self::Lives => level::LIVES,
            Self::Windows => level::WINDOWS,
            Self::Looks => level::LOOKS,
        }
    }
}

/// Which probes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// At births and deaths.
    pub lives: bool,
    /// At parks, readies and runs.
    pub waits: bool,
}

impl Standing {
    /// As in the stream ([`level_flag`]).
    pub fn flags(self) -> u8 {
        let lives = if self.lives { level_flag::LIVES } else { 0 };
        lives | if self.waits { level_flag::WAITS } else { 0 }
    }
}

/// A change of what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Level,
    pub to: Level,
    /// From now on.
    pub standing: Standing,
    /// `wire::level_why`
    pub why: u64,
    /// What the last ten seconds took from the target, nanoseconds.
    pub load_ns: u64,
}

#[cfg(test)]
mod tests;
