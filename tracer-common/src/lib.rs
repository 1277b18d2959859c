//! The contract between the kernel side (`tracer-ebpf`) and the user side (`tracer`) of gostray.
//!
//! One `repr(C)` struct per event, little-endian, without padding. Everything here is append-only: a kind's
//! number, a field's place and a loss cause's number never change, because session files keep the bytes as
//! they came out of the ring buffer (see `docs/session-format.md`).
//!
//! `wire` holds the raw shapes; with the feature `user`, [`decode`] turns bytes into a valid
//! [`decode::KernelEvent`] or a named error. Nothing is ever transmuted into an enum.

#![no_std]

pub mod config;
pub mod walk;
pub mod wire;

#[cfg(feature = "user")]
pub mod decode;
