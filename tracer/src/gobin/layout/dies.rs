//! Looking entries of debug information up by name, with a bound on the work whatever the sections hold.
//!
//! Only entries at the top of a few compile units are looked at; all other attributes are skipped unread. Each
//! attribute costs a step, also those that take no bytes, of which an abbreviation may declare any number.

use std::collections::HashMap;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfoOffset, DebugStrOffset, Dwarf,
    EndianSlice, LittleEndian, Section as _, UnitHeader, UnitOffset, constants as dw,
};

use super::from_dwarf::DwarfError;
use super::structs::{Field, Struct};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// A program of 37 MB (Go 1.27's own compiler) takes 302,000.
const MAX_STEPS: u64 = 24 << 20;
/// A unit's header and its root entry are read for every unit of the file.
const STEPS_PER_UNIT: u64 = 16;
/// Go's has 2 KB, C compilers' may have a few.
const MAX_ABBREVIATIONS: usize = 16 << 10;
/// What reading a table of that size for one unit costs.
const STEPS_PER_TABLE: u64 = 8 << 10;
/// Of the packages asked for; a package with assembly has two.
const MAX_UNITS: usize = 64;
/// Bounds the memory that fields take.
const STEPS_PER_MEMBER: u64 = 64;
const MAX_NAME: usize = 64;
/// `sudog.c.maybeTraceablePtr.vu` needs three.
const MAX_DEPTH: u32 = 3;

pub struct Budget(u64);

impl Budget {
    pub fn new() -> Self {
        Self(MAX_STEPS)
    }

    fn spend(&mut self, steps: u64) -> Result<(), DwarfError> {
        self.0 = self.0.checked_sub(steps).ok_or(DwarfError::TooMuchWork { limit: MAX_STEPS })?;
        Ok(())
    }
}

/// The compile units of a few Go packages.
pub struct Units<'a> {
    dwarf: &'a Dwarf<Bytes<'a>>,
    units: Vec<Unit<'a>>,
    budget: Budget,
    producer: Option<String>,
}

struct Unit<'a> {
    header: UnitHeader<Bytes<'a>>,
    start: usize,
    abbreviations: Abbreviations,
}

/// Where a struct's entry is.
pub struct StructAt {
    pub name: &'static str,
    unit: usize,
    offset: UnitOffset,
}

pub struct Found {
    pub structs: Vec<StructAt>,
    pub constants: HashMap<String, i64>,
}

/// One entry's attributes that matter here.
#[derive(Default)]
struct Entry<'a> {
    name: Option<&'a [u8]>,
    producer: Option<&'a [u8]>,
    is_go: bool,
    size: Option<u64>,
    member_at: Option<u64>,
    value: Option<i64>,
    of_type: Option<DebugInfoOffset>,
}

impl<'a> Units<'a> {
    /// All compile units in Go of packages so named; a package may have several.
    pub fn find(
        dwarf: &'a Dwarf<Bytes<'a>>,
        packages: &[&str],
        mut budget: Budget,
    ) -> Result<Self, DwarfError> {
        let (mut units, mut producer) = (Vec::new(), None);
        let mut last: Option<(DebugAbbrevOffset, Abbreviations)> = None;
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            budget.spend(STEPS_PER_UNIT)?;
            let offset = header.debug_abbrev_offset();
            if last.as_ref().is_none_or(|(at, _)| *at != offset) {
                budget.spend(STEPS_PER_TABLE)?;
                // A unit whose table is not readable is not Go's: Go's linker writes one table for all.
                let Ok(table) = abbreviations(dwarf, offset) else { continue };
                last = Some((offset, table));
            }
            let Some((_, table)) = &last else { continue };
            let Some(start) = header.debug_info_offset() else { continue };
            // Nor is one whose first entry is not.
            let Ok(Some(entry)) = root(dwarf, &header, table, start, &mut budget)? else { continue };
            let named = entry.name.is_some_and(|n| packages.iter().any(|p| p.as_bytes() == n));
            if !named || !entry.is_go {
                continue;
            }
            if let Some(text) = entry.producer.and_then(|p| std::str::from_utf8(p).ok()) {
                producer.get_or_insert_with(|| text.to_owned());
            }
            if units.len() == MAX_UNITS {
                return Err(DwarfError::TooMuchWork { limit: MAX_STEPS });
            }
            let abbreviations = abbreviations(dwarf, offset)?;
            units.push(Unit { header, start: start.0, abbreviations });
        }
        Ok(Self { dwarf, units, budget, producer })
    }

    /// Of the compiler, as its producer line has it: `Go cmd/compile go1.24.11; regabi`.
    pub fn go_version(&self) -> Option<String> {
        let version = self.producer.as_ref()?.strip_prefix("Go cmd/compile ")?;
        Some(version.split(';').next()?.to_owned())
    }

    /// Finds structs and constants at the top of the units.
    pub fn look(
        &mut self,
        structs: &[&'static str],
        is_constant: impl Fn(&str) -> bool,
    ) -> Result<Found, DwarfError> {
        let mut found = Found { structs: Vec::new(), constants: HashMap::new() };
        for (index, unit) in self.units.iter().enumerate() {
            let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
            while !entries.is_empty() {
                let (offset, depth) = (entries.next_offset(), entries.next_depth());
                self.budget.spend(1)?;
                let Some(abbreviation) = entries.read_abbreviation()? else { continue };
                let specs = abbreviation.attributes();
                self.budget.spend(specs.len() as u64)?;
                let tag = abbreviation.tag();
                if depth != 1 || !matches!(tag, dw::DW_TAG_structure_type | dw::DW_TAG_constant) {
                    entries.skip_attributes(specs)?;
                    continue;
                }
                let mut entry = Entry::default();
                for spec in specs {
                    entry.take(self.dwarf, DebugInfoOffset(unit.start), entries.read_attribute(*spec)?);
                }
                let Some(name) = entry.name.and_then(|n| std::str::from_utf8(n).ok()) else { continue };
                if tag == dw::DW_TAG_constant {
                    if let Some(value) = entry.value
                        && is_constant(name)
                    {
                        found.constants.insert(name.to_owned(), value);
                    }
                } else if let Some(name) = structs.iter().find(|s| **s == name)
                    && !found.structs.iter().any(|s| s.name == *name)
                {
                    found.structs.push(StructAt { name, unit: index, offset });
                }
            }
        }
        Ok(found)
    }

    /// Size and fields, with the fields of fields.
    pub fn structure(&mut self, at: &StructAt) -> Result<Struct, DwarfError> {
        let (entry, fields) = self.members(at.unit, at.offset, MAX_DEPTH)?;
        let missing = || super::structs::Unfit::Missing { what: at.name.to_owned() };
        Ok(Struct { name: at.name, size: entry.size.ok_or_else(missing)?, fields })
    }

    fn members(
        &mut self,
        unit: usize,
        offset: UnitOffset,
        depth: u32,
    ) -> Result<(Entry<'a>, Vec<Field>), DwarfError> {
        let own = &self.units[unit];
        let start = DebugInfoOffset(own.start);
        let mut entries = own.header.entries_raw(&own.abbreviations, Some(offset))?;
        let mut root = None;
        let mut members = Vec::new();
        while !entries.is_empty() {
            let level = entries.next_depth();
            if root.is_some() && level <= 0 {
                break;
            }
            self.budget.spend(1)?;
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            self.budget.spend(abbreviation.attributes().len() as u64)?;
            let mut entry = Entry::default();
            for spec in abbreviation.attributes() {
                entry.take(self.dwarf, start, entries.read_attribute(*spec)?);
            }
            if root.is_none() {
                let has_children = abbreviation.has_children();
                root = Some(entry);
                if !has_children {
                    break;
                }
            } else if level == 1 && abbreviation.tag() == dw::DW_TAG_member {
                self.budget.spend(STEPS_PER_MEMBER)?;
                members.push(entry);
            }
        }
        let mut fields = Vec::new();
        for member in members {
            let (Some(name), Some(offset)) = (member.name, member.member_at) else { continue };
            let (size, inner) = match member.of_type {
                Some(of) => self.type_at(of, depth - 1)?,
                None => (None, Vec::new()),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            fields.push(Field { name, offset, size, fields: inner });
        }
        Ok((root.unwrap_or_default(), fields))
    }

    /// Size of the type, and its fields when it is a struct.
    fn type_at(
        &mut self,
        mut at: DebugInfoOffset,
        depth: u32,
    ) -> Result<(Option<u64>, Vec<Field>), DwarfError> {
        // A named struct is a typedef of a struct; more would be a circle.
        for _ in 0..4 {
            let Some((unit, offset)) = self.locate(at) else { break };
            let own = &self.units[unit];
            let mut entries = own.header.entries_raw(&own.abbreviations, Some(offset))?;
            let Some(abbreviation) = entries.read_abbreviation()? else { break };
            self.budget.spend(1 + abbreviation.attributes().len() as u64)?;
            let tag = abbreviation.tag();
            if tag == dw::DW_TAG_structure_type && depth > 0 {
                let (entry, fields) = self.members(unit, offset, depth)?;
                return Ok((entry.size, fields));
            }
            let mut entry = Entry::default();
            for spec in abbreviation.attributes() {
                entry.take(self.dwarf, DebugInfoOffset(own.start), entries.read_attribute(*spec)?);
            }
            match (tag, entry.of_type) {
                (dw::DW_TAG_typedef, Some(to)) => at = to,
                // Go's linker writes no size for pointers.
                (dw::DW_TAG_pointer_type | dw::DW_TAG_subroutine_type, _) => {
                    return Ok((Some(8), Vec::new()));
                }
                _ => return Ok((entry.size, Vec::new())),
            }
        }
        Ok((None, Vec::new()))
    }

    /// In which of the units an offset in the section lies.
    fn locate(&self, at: DebugInfoOffset) -> Option<(usize, UnitOffset)> {
        let inside = |u: &Unit<'_>| at.to_unit_offset(&u.header);
        self.units.iter().enumerate().find_map(|(i, u)| Some((i, inside(u)?)))
    }
}

impl<'a> Entry<'a> {
    fn take(
        &mut self,
        dwarf: &Dwarf<Bytes<'a>>,
        unit: DebugInfoOffset,
        attribute: gimli::Attribute<Bytes<'a>>,
    ) {
        let value = attribute.value();
        match attribute.name() {
            dw::DW_AT_name => self.name = text(dwarf, value),
            dw::DW_AT_producer => self.producer = text(dwarf, value),
            dw::DW_AT_language => self.is_go = value == AttributeValue::Language(dw::DW_LANG_Go),
            dw::DW_AT_byte_size => self.size = value.udata_value(),
            dw::DW_AT_data_member_location => self.member_at = value.udata_value(),
            dw::DW_AT_const_value => self.value = value.sdata_value(),
            dw::DW_AT_type => {
                self.of_type = match value {
                    AttributeValue::DebugInfoRef(at) => Some(at),
                    AttributeValue::UnitRef(at) => unit.0.checked_add(at.0).map(DebugInfoOffset),
                    _ => None,
                }
            }
            _ => {}
        }
    }
}

/// The first entry of a unit, when it is a compile unit; the inner error is the unit's damage.
fn root<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    header: &UnitHeader<Bytes<'a>>,
    table: &Abbreviations,
    start: DebugInfoOffset,
    budget: &mut Budget,
) -> Result<Result<Option<Entry<'a>>, gimli::Error>, DwarfError> {
    let mut entries = header.entries_raw(table, None)?;
    let abbreviation = match entries.read_abbreviation() {
        Ok(Some(abbreviation)) => abbreviation,
        Ok(None) => return Ok(Ok(None)),
        Err(e) => return Ok(Err(e)),
    };
    budget.spend(abbreviation.attributes().len() as u64)?;
    if abbreviation.tag() != dw::DW_TAG_compile_unit {
        return Ok(Ok(None));
    }
    let mut entry = Entry::default();
    for spec in abbreviation.attributes() {
        match entries.read_attribute(*spec) {
            Ok(attribute) => entry.take(dwarf, start, attribute),
            Err(e) => return Ok(Err(e)),
        }
    }
    Ok(Ok(Some(entry)))
}

/// Names that matter are short; a longer one, or one far away in a table of strings, need not be measured.
fn text<'a>(dwarf: &Dwarf<Bytes<'a>>, value: AttributeValue<Bytes<'a>>) -> Option<&'a [u8]> {
    let bytes = match value {
        AttributeValue::String(bytes) => return Some(bytes.slice()).filter(|b| b.len() <= MAX_NAME),
        AttributeValue::DebugStrRef(DebugStrOffset(at)) => dwarf.debug_str.reader().slice().get(at..)?,
        AttributeValue::DebugLineStrRef(at) => dwarf.debug_line_str.reader().slice().get(at.0..)?,
        _ => return None,
    };
    let bytes = &bytes[..bytes.len().min(MAX_NAME + 1)];
    bytes.split(|&b| b == 0).next().filter(|b| b.len() <= MAX_NAME)
}

fn abbreviations(dwarf: &Dwarf<Bytes<'_>>, offset: DebugAbbrevOffset) -> Result<Abbreviations, gimli::Error> {
    let all = dwarf.debug_abbrev.reader().slice();
    let own = all.get(offset.0..).unwrap_or_default();
    let own = &own[..own.len().min(MAX_ABBREVIATIONS)];
    DebugAbbrev::new(own, LittleEndian).abbreviations(DebugAbbrevOffset(0))
}
