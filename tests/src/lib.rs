//! What the tests that need Go, root or the kernel share. The tests themselves are in `tests/tests`, each ignored
//! with the words `needs root and the kernel: cargo xtask test`, so that plain `cargo test` needs neither.

pub mod chains;
pub mod counts;
pub mod events;
pub mod first;
pub mod fixtures;
pub mod gostray;
pub mod http;
pub mod kernel;
pub mod modes;
pub mod probes;
pub mod real;
pub mod rows;
pub mod truth;

pub use fixtures::{Fixture, Running, root_only};
