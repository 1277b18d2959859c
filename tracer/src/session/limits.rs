//! How much a session may remember. Beyond a limit things are counted, not followed, and a loss says so.

use crate::event::TargetInfo;

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
    /// Frames of one symbol: how deep calls may be inlined into each other. Go's inliner stays far below.
    pub symbol_frames: usize,
    /// Bytes of one name: a function, a path. Longer ones are cut and end in `…`.
    pub name_bytes: usize,
    /// Bytes of symbols' names.
    pub text_bytes: usize,
    /// Goroutines that left and are remembered against late events.
    pub recent: usize,
    /// Different sets of pprof labels, and bytes of one label's key or value.
    pub label_sets: usize,
    pub label_bytes: usize,
    /// Notes, and probe sites.
    pub notes: usize,
    /// Bytes of one note, and of one probe site's strings.
    pub note_bytes: usize,
    /// Bytes of JSON that the frames of one snapshot may take, all stacks together.
    pub picture_bytes: usize,
}

impl Limits {
    /// Cuts what the stream says of the target.
    pub fn cut_target(&self, t: &mut TargetInfo) {
        for text in [
            &mut t.comm,
            &mut t.exe,
            &mut t.go_version,
            &mut t.build_id,
            &mut t.arch,
            &mut t.main_package,
            &mut t.kernel,
            &mut t.gostray_version,
            &mut t.command,
            &mut t.layout_provenance,
        ] {
            cut(text, self.name_bytes);
        }
    }
}

/// Cuts a text to so many bytes and marks it, and gives back the memory.
pub fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
        text.shrink_to_fit();
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            goroutines: 2_000_000,
            stack_sites: 4096,
            sites: 8192,
            stacks: 65_536,
            symbols: 262_144,
            symbol_frames: 64,
            name_bytes: 4096,
            text_bytes: 128 << 20,
            recent: 131_072,
            label_sets: 16_384,
            label_bytes: 256,
            notes: 256,
            note_bytes: 4096,
            picture_bytes: 4 << 20,
        }
    }
}
