//! What people and programs get to see: all of it drawn from one read-only [`Snapshot`](crate::session::Snapshot).
//!
//! [`report`] is the text at the end, [`json`] its machine form and the live lines of `--json`, [`lines`] the plain
//! lines of a pipe, [`tui`] the live table of a terminal. What changed between two snapshots is decided once, in
//! [`changes`]. Nothing here reads a clock or a file.

pub mod changes;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod json;
pub mod lines;
pub mod page;
pub mod report;
pub mod stack;
pub mod style;
pub mod tui;

pub mod words;

#[cfg(test)]
pub mod fixture;

pub use style::Style;
