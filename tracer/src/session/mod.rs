//! What is known about the target's goroutines, built from events and nothing else.

pub mod snapshot;

pub use snapshot::Snapshot;
