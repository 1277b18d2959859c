//! How much a session may remember. Beyond a limit things are counted, not followed, and a loss says so.

/// Limits of a session's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Living goroutines that are followed one by one.
    pub goroutines: usize,
    /// Creation sites told apart by their whole stack; beyond, goroutines count under their `go` statement.
    pub stack_sites: usize,
    /// Creation sites in all.
    pub sites: usize,
    /// Stack definitions.
    pub stacks: usize,
    /// Symbols.
    pub symbols: usize,
    /// Bytes of symbols' names.
    pub text_bytes: usize,
    /// Goroutines that left and are remembered against late events.
    pub recent: usize,
    /// Notes, and probe sites.
    pub notes: usize,
    /// Bytes of one note.
    pub note_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            goroutines: 2_000_000,
            stack_sites: 4096,
            sites: 8192,
            stacks: 65_536,
            symbols: 262_144,
            text_bytes: 128 << 20,
            recent: 131_072,
            notes: 256,
            note_bytes: 4096,
        }
    }
}
