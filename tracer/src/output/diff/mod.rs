//! What changed between two moments: [`text`] for people, [`json`] for programs.

pub mod json;
pub mod text;

#[cfg(test)]
pub mod fixture;
