//! Why a file, an address or a fact about the Go runtime is refused. One sentence each.

use thiserror::Error;

/// Why a file is not a Go executable we can read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GoBinError {
    #[error("not an ELF file")]
    NotElf,
    #[error("built for `{machine}`, only amd64 is supported")]
    NotAmd64 { machine: String },
    #[error("an ELF file of type {kind}, not an executable")]
    NotExecutable { kind: u16 },
    #[error("damaged ELF file: {what}")]
    DamagedElf { what: &'static str },
    #[error("not a Go program: it carries no Go build information")]
    NotGo,
    #[error("packed with {packer}: the file holds a compressed copy, the program itself is only in memory")]
    Packed { packer: &'static str },
    #[error(
        "a Go program without build information: only its function table is there, which {releases} wrote"
    )]
    NoBuildInfo { releases: &'static str },
    #[error("obfuscated, as garble does it: {what}")]
    Obfuscated { what: String },
    #[error("Go build information names no Go version: `{text}`")]
    UnknownVersion { text: String },
    #[error("built with `{version}`, the oldest supported is Go 1.19")]
    TooOld { version: String },
    #[error(
        "no section says where Go build information is, and the file is too large to be searched for it as a whole"
    )]
    TooLarge,
    #[error("built with `{version}`, but no sound function table (pclntab) was found")]
    NoPclntab { version: String },
    #[error("built with `{version}`, but the runtime's description of its module (moduledata) was not found")]
    NoModuledata { version: String },
    #[error("built with `{version}`, in which `{what}` is not as in any Go this was made for")]
    UnknownForm { version: String, what: String },
}

/// Why one thing about a Go executable is not known. Travels into reports as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    #[error("outside the executable: a shared library, the vDSO or generated code")]
    OutsideExecutable,
    #[error("in the executable but not Go code: C code or a linker's stub")]
    NotGoCode,
    /// The first half of the sentence is [`Reason::NotGoCode`]'s.
    #[error("in the executable but not Go code, and nothing names it: {because}")]
    NoName { because: Box<Reason> },
    #[error("{because}")]
    NoDebug { because: String },
    #[error("the debug information is damaged: {because}")]
    DamagedDebug { because: String },
    #[error(
        "the debug information takes too much work or memory to read: very large, damaged or made to be slow"
    )]
    TooMuchDebug,
    #[error("the function table calls the function `{table}`, the debug information `{debug}`")]
    OtherFunction { table: String, debug: String },
    #[error("in the padding between two functions")]
    Padding,
    #[error("the function table (pclntab) is damaged at this function: {what}")]
    DamagedTable { what: &'static str },
    #[error("the form of inline trees in `{version}` is not known")]
    UnknownInlineForm { version: String },
    #[error("function `{function}` is not in the function table")]
    NoFunction { function: &'static str },
    #[error("function `{function}` does not hold the instructions that reveal `{global}`")]
    NoPattern { function: &'static str, global: &'static str },
    #[error("function `{function}` points to {count} different places for `{global}`")]
    Ambiguous { function: &'static str, global: &'static str, count: usize },
    #[error("code says `{global}` is at {code:#x}, the symbol table says {symbol:#x}")]
    Disagreement { global: &'static str, code: u64, symbol: u64 },
    #[error("the function table takes more than {limit} steps to search: damaged or made to be slow")]
    TooMuchWork { limit: u64 },
}
