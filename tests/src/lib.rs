//! What the tests that need Go, root or the kernel share. The tests themselves are in `tests/tests`, each ignored
//! with the words `needs root and the kernel: cargo xtask test`, so that plain `cargo test` needs neither.

pub mod events;
pub mod fixtures;
pub mod gostray;
pub mod truth;

pub use fixtures::{Fixture, Running, root_only};
