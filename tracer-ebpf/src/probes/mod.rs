//! One file a thing that happens to a goroutine.

pub mod create;
pub mod exit;
pub mod park;
pub mod ready;
pub mod run;
