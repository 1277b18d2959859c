//! Dumps as people and tools want them: [`text`] for a terminal, [`go`] as Go's own, [`json`], [`pprof`], [`folded`].
//!
//! All write as they go: a dump may have a million goroutines.

pub mod changes;
pub mod folded;
pub mod frames;
pub mod go;
pub mod json;
pub mod pprof;
pub mod text;

#[cfg(test)]
pub mod fixture;
