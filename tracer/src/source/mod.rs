//! Where events come from.

pub mod replay;
