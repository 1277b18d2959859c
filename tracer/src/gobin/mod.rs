//! What a Go executable says about itself, stripped or not: version, functions, lines, inlined calls, runtime
//! variables and struct layouts.
//!
//! Does no I/O: it is given the file's bytes and opens nothing. Addresses are as linked; the load bias is the
//! caller's. Nothing in the file is trusted: every read is checked, every loop has a bound.
//!
//! amd64 only, built by the gc toolchain from Go 1.19 on.

mod buildinfo;
mod bytes;
mod elf;
mod error;
mod globals;
mod inline;
mod layout;
mod moduledata;
mod pclntab;
mod pcvalue;
mod reloc;
mod system;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
mod version;

pub use elf::Segment;
pub use error::{GoBinError, Reason};
pub use globals::{Globals, WaitReasonTable};
pub use layout::{HchanLayout, Layout, LayoutError, SudogLayout, newest as newest_layout};
pub use pclntab::{Func, FuncTable};
pub use system::is_system_start;
pub use version::GoVersion;

use crate::event::message::Frame;
use buildinfo::BuildInfo;
use elf::Image;
use inline::Trees;
use moduledata::Missing;

/// A Go executable. Borrows the file's bytes; holds little of its own.
#[derive(Debug)]
pub struct GoBinary<'d> {
    image: Image<'d>,
    info: BuildInfo<'d>,
    functions: FuncTable<'d>,
    trees: Option<Trees<'d>>,
}

impl<'d> GoBinary<'d> {
    /// Finds version, function table and module data. With section headers this takes microseconds, without them one
    /// pass over the file.
    pub fn parse(data: &'d [u8]) -> Result<Self, GoBinError> {
        let image = Image::parse(data)?;
        let info = buildinfo::find(&image)?;
        let version = || info.version.raw.clone();
        if !info.version.at_least(1, 19) {
            return Err(GoBinError::TooOld { version: version() });
        }
        let (module, header) = moduledata::find(&image, &info.version).map_err(|missing| match missing {
            Missing::Pclntab => GoBinError::NoPclntab { version: version() },
            Missing::ModuleData => GoBinError::NoModuledata { version: version() },
        })?;
        let functions = image
            .bytes_from(module.pclntab)
            .and_then(|table| FuncTable::new(table, &header, module.text, wrapper_id(&info.version)))
            .ok_or_else(|| GoBinError::NoPclntab { version: version() })?;
        let trees = module.gofunc.and_then(|at| image.bytes_from(at)).map(Trees);
        Ok(Self { image, info, functions, trees })
    }

    pub fn version(&self) -> &GoVersion {
        &self.info.version
    }

    /// Import path of the main package; absent when the build recorded none.
    pub fn main_package(&self) -> Option<&str> {
        self.info.main_package
    }

    /// GNU build id in hex, else Go's build id.
    pub fn build_id(&self) -> Option<String> {
        self.image.build_id()
    }

    /// Position independent: a load bias is to be expected.
    pub fn is_pie(&self) -> bool {
        self.image.is_pie()
    }

    pub fn functions(&self) -> &FuncTable<'d> {
        &self.functions
    }

    /// What the kernel maps; with `/proc/PID/maps` it gives the load bias.
    pub fn segments(&self) -> &[Segment] {
        self.image.segments()
    }

    /// Where in the file the byte at `vaddr` comes from.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        self.image.file_offset(vaddr)
    }

    /// `len` bytes of the file at `vaddr`; nothing unless one segment's file part holds them all.
    pub fn bytes(&self, vaddr: u64, len: usize) -> Option<&'d [u8]> {
        self.image.bytes(vaddr, len as u64)
    }

    /// Source frames at `pc`, innermost inlined one first. A return address (`exact` false) is looked up one byte
    /// before, inside the call. File and line are empty and 0 where the table does not know them.
    pub fn frames(&self, pc: u64, exact: bool) -> Result<Vec<Frame>, Reason> {
        let pc = if exact { pc } else { pc.checked_sub(1).ok_or(Reason::OutsideExecutable)? };
        let Some(f) = self.functions.by_pc(pc) else {
            let inside = self.image.is_executable(pc);
            return Err(if inside { Reason::NotGoCode } else { Reason::OutsideExecutable });
        };
        inline::frames(&self.functions, self.trees, &f, pc, &self.info.version.raw)
    }

    /// Addresses of the runtime variables a look needs.
    pub fn globals(&self) -> Globals {
        globals::find(&self.image, &self.functions)
    }

    /// Offsets in the runtime's structs for this exact version.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        layout::layout(&self.info.version)
    }

    /// Entries of the functions into which the compiler inlined a function called `name`. A probe on the function
    /// itself misses those copies (profile-guided builds inline even `runtime.gopark`).
    pub fn inlined_copies(&self, name: &str) -> Result<Vec<u64>, Reason> {
        Ok(self.inlined_copies_of(&[name])?.pop().unwrap_or_default())
    }

    /// [`Self::inlined_copies`] of several functions in one pass over all inline trees; answers in the order asked.
    pub fn inlined_copies_of(&self, names: &[&str]) -> Result<Vec<Vec<u64>>, Reason> {
        let trees =
            self.trees.ok_or_else(|| Reason::UnknownInlineForm { version: self.info.version.raw.clone() })?;
        inline::copies(&self.functions, trees, names)
    }
}

/// `FuncID_wrapper` (internal/abi/symtab.go; before 1.21 runtime/symtab.go). Measured but for 1.20, where the list of
/// ids is that of 1.19.
fn wrapper_id(version: &GoVersion) -> Option<u8> {
    match (version.major, version.minor) {
        (1, 19..=21) => Some(21),
        (1, 22..=24) => Some(22),
        (1, 25..=27) => Some(23),
        _ => None,
    }
}
