//! What sets gostray's workshop up, builds it and tries it. The binary `xtask` is the thin front.
//!
//! A library too, because the tests build their Go programs with the very same code.

pub mod debian;
pub mod demo;
pub mod ebpf;
pub mod fuzz;
pub mod golang;
pub mod kernel;
pub mod npm;
pub mod offsets;
pub mod progress;
pub mod setup;
pub mod shell;
pub mod table;
pub mod test;
pub mod toolchain;
pub mod vm;
pub mod workspace;
