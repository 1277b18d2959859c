//! What a Go executable says about itself, stripped or not: version, functions, lines, inlined calls, runtime
//! variables and struct layouts.
//!
//! Does no I/O: it is given the file's bytes and opens nothing. Addresses are as linked; the load bias is the
//! caller's. Nothing in the file is trusted: every read is checked, every loop has a bound.
//!
//! amd64 only, built by the gc toolchain from Go 1.19 on.

mod buildinfo;
mod bytes;
mod debug;
mod debug_file;
mod elf;
mod error;
mod globals;
mod identity;
mod inline;
mod kind;
mod layout;
mod limits;
mod moduledata;
mod odd;
mod pclntab;
mod pcvalue;
mod reloc;
mod symtab;
mod system;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
mod version;
mod wrapper;

pub use debug::{DebugError, DebugSections};
pub use debug_file::{DebugImage, Parts};
pub use elf::Segment;
pub(crate) use elf::check_machine;
pub use error::{GoBinError, Reason};
pub use globals::{Globals, WaitReasonTable};
pub use identity::{BuildIds, DebugLink, Mismatch, Proof};
pub use kind::BuildKind;
pub use layout::{
    Described, DwarfError, Goroutines, HchanLayout, Layout, LayoutError, Measured, ModuleOffsets, Offsets,
    SudogLayout, Table, TimerLayout, Unfit, Unknown, described, newest as newest_layout,
};
pub use pclntab::{Func, FuncTable};
pub use symtab::CodeSymbols;
pub use system::is_system_start;
pub use version::GoVersion;

use std::ops::Range;

use crate::event::message::Frame;
use buildinfo::BuildInfo;
use elf::Image;
use inline::Trees;
use layout::Runtime;
use moduledata::Missing;

/// A Go executable. Borrows the file's bytes; holds little of its own.
#[derive(Debug)]
pub struct GoBinary<'d> {
    image: Image<'d>,
    info: BuildInfo<'d>,
    /// What is known about the runtime of this version.
    runtime: Result<Runtime, LayoutError>,
    functions: FuncTable<'d>,
    trees: Option<Trees<'d>>,
    /// `runtime.firstmoduledata`.
    module: u64,
}

impl<'d> GoBinary<'d> {
    /// Finds version, function table and module data. With section headers this takes microseconds, without them one
    /// pass over the file.
    pub fn parse(data: &'d [u8]) -> Result<Self, GoBinError> {
        let image = Image::parse(data)?;
        let info = buildinfo::find(&image).map_err(|e| odd::explain(&image, data, e))?;
        if !info.version.at_least(1, 19) {
            return Err(GoBinError::TooOld { version: info.version.raw });
        }
        let mut runtime = layout::find(&info.version, || DebugSections::load(&image));
        let (functions, trees, module) = tables(&image, &info.version, &mut runtime)?;
        Ok(Self { image, info, runtime, functions, trees, module })
    }

    /// Takes what the executable does not tell from the debug information in a file of its own. Needed for versions
    /// that were not measured only; after it, [`Self::layout`], wrappers and inline trees are known.
    pub fn learn(&mut self, debug: &DebugSections<'_>) -> Result<(), GoBinError> {
        if self.runtime.is_err() {
            let mut runtime = layout::from_debug(&self.info.version, debug);
            (self.functions, self.trees, self.module) =
                tables(&self.image, &self.info.version, &mut runtime)?;
            self.runtime = runtime;
        }
        Ok(())
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
        let ids = self.build_ids();
        ids.gnu.or(ids.go)
    }

    pub fn build_ids(&self) -> BuildIds {
        identity::build_ids(&self.image)
    }

    /// Where the file says that its debug information is.
    pub fn debug_link(&self) -> Option<DebugLink> {
        identity::debug_link(&self.image)
    }

    /// Where the notes stand in memory (as linked) and what the file has there; the build id is in one of them.
    pub fn notes(&self) -> impl Iterator<Item = (u64, &'d [u8])> + '_ {
        self.image.notes()
    }

    /// Position independent: a load bias is to be expected.
    pub fn is_pie(&self) -> bool {
        self.image.is_pie()
    }

    /// Where the program is entered, as linked.
    pub fn entry(&self) -> u64 {
        self.image.entry()
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

    /// What the function that begins at `entry` calls, when it is a wrapper of the compiler's around one call: the `f` of
    /// `go f(x)`.
    pub fn wrapped(&self, entry: u64) -> Option<Frame> {
        let f = self.functions.by_pc(entry).filter(|f| f.entry == entry)?;
        let code = self.image.bytes(f.entry, f.size())?;
        wrapper::wrapped(&self.functions, self.trees, &f, code)
    }

    /// Addresses of the runtime variables a look needs.
    pub fn globals(&self) -> Globals {
        globals::find(&self.image, &self.functions, self.module)
    }

    /// Offsets in the runtime's structs for this exact version.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        self.runtime.as_ref().map(Runtime::layout).map_err(Clone::clone)
    }

    /// [`Self::layout`], with the debug information in a file of its own to help.
    pub fn layout_from(&self, debug: &DebugSections<'_>) -> Result<Layout, LayoutError> {
        self.layout()
            .or_else(|_| layout::from_debug(&self.info.version, debug).map(|runtime| runtime.layout()))
    }

    /// The file's own debug information. Costs nothing but section look-ups unless it is compressed.
    pub fn debug_sections(&self) -> Result<DebugSections<'d>, DebugError> {
        DebugSections::load(&self.image)
    }

    /// The file has debug information itself, whatever it is worth.
    pub fn has_debug_info(&self) -> bool {
        self.image.debug_section(gimli::SectionId::DebugInfo).is_some()
    }

    /// Functions of the ELF symbol table; empty in a stripped file. One pass over the table.
    pub fn code_symbols(&self) -> CodeSymbols<'d> {
        CodeSymbols::load(&self.image)
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

/// The Go version of a file that may be no program of its own: a shared library.
pub fn go_version_in(data: &[u8]) -> Option<GoVersion> {
    let image = Image::parse(data).ok()?;
    Some(buildinfo::find(&image).ok()?.version)
}

/// The build ids of a file of which perhaps no more is there than its first page.
pub fn build_ids_in(data: &[u8]) -> BuildIds {
    Image::parse(data).map(|image| identity::build_ids(&image)).unwrap_or_default()
}

/// The runtime's structs as the type descriptors in an ELF file (of any machine of 64 bits) describe them; `types` is
/// from `runtime.types` to `runtime.etypes`, as linked.
pub fn described_by_types(data: &[u8], types: Range<u64>) -> Result<Goroutines, Unfit> {
    let not_elf = |_| Unfit::Missing { what: "an ELF file".to_owned() };
    layout::by_types(&Image::of_any_machine(data).map_err(not_elf)?, &types)
}

/// Function table, inline trees and the address of the module data, as far as the version's runtime is known; where that is not sure, it is compared
/// with the program.
fn tables<'d>(
    image: &Image<'d>,
    version: &GoVersion,
    runtime: &mut Result<Runtime, LayoutError>,
) -> Result<(FuncTable<'d>, Option<Trees<'d>>, u64), GoBinError> {
    let name = || version.raw.clone();
    if let Err(LayoutError::Unknown { dwarf: DwarfError::Unfit(Unfit::Form { what }), .. }) = runtime {
        return Err(GoBinError::UnknownForm { version: name(), what: what.clone() });
    }
    let offsets = runtime.as_ref().ok().map(|r| &r.offsets);
    let (module, header) =
        moduledata::find(image, offsets.map(|o| o.moduledata)).map_err(|missing| match missing {
            Missing::Pclntab => odd::altered_table(image, &version.raw)
                .unwrap_or_else(|| GoBinError::NoPclntab { version: name() }),
            Missing::ModuleData => GoBinError::NoModuledata { version: name() },
        })?;
    let functions = image
        .bytes_from(module.pclntab)
        .and_then(|table| FuncTable::new(table, &header, module.text, offsets.map(|o| o.wrapper_id)))
        .ok_or_else(|| GoBinError::NoPclntab { version: name() })?;
    if let Some(e) = odd::altered_names(&functions, &version.raw) {
        return Err(e);
    }
    let trees = module.gofunc.and_then(|at| image.bytes_from(at)).map(Trees);
    if let Ok(known) = runtime
        && let Some(types) = &module.types
    {
        known.compare(image, types, version).unwrap_or_else(|e| *runtime = Err(e));
    }
    Ok((functions, trees, module.at))
}
