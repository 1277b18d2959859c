//! Where events come from. Whatever the source, everything after it is the same.

pub mod text;
