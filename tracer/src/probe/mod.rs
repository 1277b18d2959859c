//! Probes: choose (`plan`, `site`, `code`), confirm (`verify`), load and attach (`load`), price (`calibrate`).
//!
//! The first law of gostray stands here: a probe at a wrong byte kills the target. A site is used only when decoding
//! from its function's first byte lands on it, the function's bytes in the file equal those in the process's memory,
//! and the function's bounds come from pclntab. Everything else is refused by name. Return probes do not exist here.
//!
//! The only room that imports aya.

pub mod calibrate;
pub mod code;
pub mod load;
pub mod plan;
pub mod site;
pub mod verify;

pub use plan::{Plan, plan};
pub use site::{Refusal, Role, Site};
