//! gostray finds the goroutines that never come home, in a Go program that nobody changed, rebuilt or restarted.
//!
//! Data flows one way. A [`source`] (live, session file, text scenario) yields wire records; [`event`] decodes
//! them; [`order`] puts them in order; [`session`] applies them, the only thing that ever changes a session;
//! [`analysis`] judges; [`output`] draws a read-only [`session::Snapshot`]. [`record`] tees the records into a file
//! as they came. `session` and `analysis` know no clock, no file, no tokio and no aya.
//!
//! Not for: programs that gccgo or TinyGo built; other architectures than amd64 (yet); changing the target in any way.

pub mod analysis;
pub mod cli;
pub mod diff;
pub mod drive;
pub mod dump;
pub mod event;
#[cfg(test)]
mod event_gen;
pub mod failure;
pub mod gobin;
pub mod govern;
pub mod memory;
pub mod order;
pub mod output;
pub mod pipeline;
pub mod probe;
pub mod record;
pub mod session;
pub mod source;
pub mod symbol;
pub mod target;
