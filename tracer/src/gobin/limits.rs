//! How much of a file is read and how long it is searched, whatever it claims.
//!
//! Together they keep what an attach does with a hostile file under 1 s and 256 MB (`tracer/tests/hostile_binaries.rs`
//! measures that). Beside each limit stands what prometheus 3.5 has, a program of 100 MB and the largest at hand, where it
//! was counted; a limit leaves at least six times that.

/// 15.
pub const MAX_PROGRAM_HEADERS: usize = 256;
/// 38. Go's external linking with `-ffunction-sections` C code stays far below.
pub const MAX_SECTIONS: usize = 4096;
/// Bytes of a section's name: 23.
pub const MAX_SECTION_NAME: usize = 256;
/// It is stripped; Go's symbol table has an entry for a function and for a variable, and it has 130,616 functions.
pub const MAX_SYMBOLS: usize = 2 << 20;
/// 4.
pub const MAX_NOTES: usize = 1024;
/// Relocations looked at, in all passes. It is not position independent; then nearly every function, type and string that
/// is pointed to has one, and each is looked at in a few passes.
pub const MAX_RELOCATIONS: usize = 1 << 24;
/// Bytes of segments looked through for one thing, where no section says where it is. Its read-only data have 54 MB, its
/// writable 1 MB: the one limit that leaves only three times as much, because pages that were looked at count as
/// memory.
pub const MAX_SEARCHED: usize = 160 << 20;
/// Bytes looked through for module data, over all function tables that look like one: 1 MB for each.
pub const MAX_SEARCHED_AGAIN: usize = 256 << 20;
/// Bytes of a version: a word, with experiments a line.
pub const MAX_VERSION: u32 = 1024;
/// Bytes of the module info: under 1 KB; usually some 10 KB.
pub const MAX_MODULE_INFO: u32 = 4 << 20;
/// Bytes of the main package's import path.
pub const MAX_IMPORT_PATH: usize = 4096;
/// Functions: 130,616.
pub const MAX_FUNCTIONS: u64 = 1 << 20;
/// Bytes of all functions' names: 10,059,096.
pub const MAX_NAMES: usize = 64 << 20;
/// Bytes of one function's name: 971.
pub const MAX_NAME: usize = 16 * 1024;
/// Bytes of a source file's path. `PATH_MAX` of Linux.
pub const MAX_PATH: usize = 4096;
/// Bytes of names and paths in the frames of one address.
pub const MAX_FRAMES_TEXT: usize = 128 * 1024;
/// How deep calls are inlined into each other; the inliner's budget keeps real chains under a few dozen.
pub const MAX_DEPTH: usize = 256;
/// Pairs in one pc table: 13,832.
pub const MAX_PAIRS: usize = 1 << 20;
/// Pairs walked for the frames of one address: 22,053, at the last address of any of its functions.
pub const MAX_PAIRS_PER_PC: usize = 160_000;
/// Pairs walked to see what is inlined into a wrapper, which has at most 4096 bytes.
pub const MAX_ROOT_PAIRS: usize = 1 << 16;
/// Functions and pairs walked in the search for inlined copies: 714,961.
pub const MAX_INLINE_STEPS: u64 = 1 << 23;
