//! A chunk's records as columns: what of an event can be guessed from those before it in the chunk is not written again.
//!
//! Only kernel events of a fixed shape (births, deaths, parks, readies, runs) are taken apart; every other record stands as
//! it is in a column of its own. Packing loses nothing: unpacking gives the same bytes in the same order, whatever the
//! records say. A chunk can be read without the others, so nothing is remembered from one to the next.
//!
//! The guesses come from how Go schedules: a thread (M) runs what it was last told to, a new goroutine takes the `g` that
//! was last freed, ids are handed out in rows, a goroutine waits where it waited before. [`model`] makes them, once for
//! both directions; [`pack`] writes which one held, [`unpack`] reads it. `docs/session-format.md` has the layout.

mod bits;
mod model;
mod pack;
mod unpack;

pub use pack::Packer;
pub use unpack::unpack;

/// Columns of bytes. Append-only, as codecs are.
mod column {
    /// Flags and kind of each record; 0: the record stands in [`RAW`].
    pub const KIND: usize = 0;
    pub const THREAD: usize = 1;
    pub const CPU: usize = 2;
    /// Whose parent a birth names, which goid it has, from which site it is, how a park waits.
    pub const PARENT: usize = 3;
    pub const GOID: usize = 4;
    pub const SITE: usize = 5;
    pub const WAIT: usize = 6;
    /// Bit lengths of numbers of several sorts.
    pub const SLOT: usize = 7;
    pub const NEW_G: usize = 8;
    pub const NEW_GOID: usize = 9;
    pub const NEW_TID: usize = 10;
    /// Eight bytes each.
    pub const WORDS: usize = 11;
    /// Records as they are, behind their lengths.
    pub const RAW: usize = 12;
    /// What the bit lengths belong to.
    pub const BITS: usize = 13;
    /// One for each kind: bit lengths of the time since the event before, and which guess of the `g` held.
    pub const TIME: usize = 14;
    pub const WHO: usize = TIME + super::KINDS;
    pub const COUNT: usize = WHO + super::KINDS;
}

/// How many columns there are.
#[cfg(test)]
pub const COLUMNS: usize = column::COUNT;

/// Kinds that are taken apart are below this.
const KINDS: usize = 6;

#[cfg(test)]
mod tests;
