//! Which file the debug information is in: the executable itself, or one beside it.

use std::cell::OnceCell;
use std::fmt;

use super::dwarf::DebugSource;
use super::meter::Meter;
use crate::gobin::{CodeSymbols, DebugError, DebugImage, DebugSections, GoBinary};

/// Values of [`crate::event::message::Symbol::source`] besides the empty one, which stands for Go's function table.
pub const DWARF: &str = "dwarf";
pub const SYMBOL_TABLE: &str = "symbol table";

/// Reads the separate debug file.
type Open<'x> = Box<dyn Fn() -> Result<DebugImage<'x>, DebugError> + 'x>;

/// The debug information of one executable. Nothing is read before it is asked for.
pub struct DebugInfo<'x> {
    binary: &'x GoBinary<'x>,
    separate: Option<Open<'x>>,
    sections: OnceCell<Result<DebugSections<'x>, DebugError>>,
    symbols: OnceCell<CodeSymbols<'x>>,
    meter: Meter,
}

impl<'x> DebugInfo<'x> {
    /// What the executable itself holds.
    pub fn of(binary: &'x GoBinary<'x>) -> Self {
        Self {
            binary,
            separate: None,
            sections: OnceCell::new(),
            symbols: OnceCell::new(),
            meter: Meter::default(),
        }
    }

    /// And, where that is nothing, what a separate file holds.
    pub fn or(self, open: impl Fn() -> Result<DebugImage<'x>, DebugError> + 'x) -> Self {
        Self { separate: Some(Box::new(open)), ..self }
    }
}

impl fmt::Debug for DebugInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugInfo").field("separate", &self.separate.is_some()).finish_non_exhaustive()
    }
}

impl DebugSource for DebugInfo<'_> {
    fn sections(&self) -> Result<&DebugSections<'_>, DebugError> {
        let sections = self.sections.get_or_init(|| match (self.binary.debug_sections(), &self.separate) {
            (Err(DebugError::None), Some(open)) => open()?.sections(),
            (own, _) => own,
        });
        sections.as_ref().map_err(Clone::clone)
    }

    fn symbols(&self) -> &CodeSymbols<'_> {
        self.symbols.get_or_init(|| {
            let separate = self.separate.as_ref().and_then(|open| Some(open().ok()?.code_symbols()));
            separate.filter(|s| !s.is_empty()).unwrap_or_else(|| self.binary.code_symbols())
        })
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}
