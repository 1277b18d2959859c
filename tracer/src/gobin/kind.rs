//! How a program was built, as far as the file tells.

use serde::Serialize;

use super::GoBinary;

/// The `build` lines of the module info (`go version -m`) that matter to a tracer, and what the file itself shows.
/// `None`: the build recorded nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildKind {
    pub position_independent: bool,
    /// No program interpreter: nothing but the kernel loads it.
    pub statically_linked: bool,
    /// Without a symbol table.
    pub stripped: bool,
    /// With DWARF.
    pub debug_info: bool,
    /// Without section headers nothing but the kernel's view of the file is left.
    pub section_headers: bool,
    pub cgo: Option<bool>,
    pub race: Option<bool>,
    pub trimpath: Option<bool>,
    /// The profile that the compiler was guided by, as the build names it.
    pub profile: Option<String>,
    /// `-buildmode`, for instance `exe` or `pie`.
    pub mode: Option<String>,
}

impl GoBinary<'_> {
    pub fn kind(&self) -> BuildKind {
        let setting = |key: &str| self.info.setting(key);
        // A build that recorded settings leaves out those that are off.
        let recorded = setting("-compiler").is_some() || setting("GOARCH").is_some();
        let switch = |key: &str| match setting(key) {
            Some(value) => Some(value == "true" || value == "1"),
            None => recorded.then_some(false),
        };
        BuildKind {
            position_independent: self.image.is_pie(),
            statically_linked: !self.image.has_interpreter(),
            stripped: !self.image.has_symbols(),
            debug_info: self.image.debug_section(gimli::SectionId::DebugInfo).is_some(),
            section_headers: self.image.has_section_headers(),
            cgo: switch("CGO_ENABLED"),
            race: switch("-race"),
            trimpath: switch("-trimpath"),
            profile: setting("-pgo").map(str::to_owned),
            mode: setting("-buildmode").map(str::to_owned),
        }
    }
}
