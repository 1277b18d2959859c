//! The ELF symbol table: names of functions that neither Go's tables nor the DWARF know.

use object::Endianness::Little;
use object::elf;
use object::read::elf::Sym as _;

use super::bytes::c_str;
use super::elf::Image;

/// A large C++ program has a few hundred thousand.
const MAX_SYMBOLS: usize = 1 << 20;
/// Mangled C++ names get long, but not this long.
const MAX_NAME: usize = 4096;
/// Names of one place: libc has up to a dozen.
const MAX_ALIASES: usize = 256;

/// The functions of a symbol table, by address.
#[derive(Debug, Default)]
pub struct CodeSymbols<'d> {
    /// Begin, end, where the name is; in order of begin. Names are read when asked for: a million could each be long.
    functions: Vec<(u64, u64, u32)>,
    names: &'d [u8],
}

impl<'d> CodeSymbols<'d> {
    /// Of `.symtab`, else of `.dynsym`. One pass over the table; what comes after a million functions is left out.
    pub(super) fn load(image: &Image<'d>) -> Self {
        let (mut functions, mut names) = (Vec::new(), &[][..]);
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let Some((symbols, strings)) = image.symbols(kind) else { continue };
            for symbol in symbols.iter().take(MAX_SYMBOLS) {
                let begin = symbol.st_value(Little);
                // A symbol without a size says where something begins, not that an address belongs to it.
                let is_code = symbol.st_type() == elf::STT_FUNC && symbol.st_size(Little) > 0;
                let end = begin.checked_add(symbol.st_size(Little));
                let name = symbol.st_name(Little);
                let is_named = strings.get(name as usize).is_some_and(|&b| b != 0);
                if let (true, Some(end), true) = (is_code, end, is_named) {
                    functions.push((begin, end, name));
                }
            }
            if !functions.is_empty() {
                names = strings;
                break;
            }
        }
        functions.sort_unstable();
        Self { functions, names }
    }

    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The function that the address lies in. Of several at one place (weak names, aliases), the first by name.
    pub fn at(&self, addr: u64) -> Option<&'d str> {
        let after = self.functions.partition_point(|f| f.0 <= addr);
        let begin = self.functions[..after].last()?.0;
        let first = self.functions.partition_point(|f| f.0 < begin);
        let here = self.functions[first..after].iter().filter(|f| addr < f.1).take(MAX_ALIASES);
        let name = here.filter_map(|f| c_str(self.names, f.2.into(), MAX_NAME)).min()?;
        std::str::from_utf8(name).ok()
    }
}
