//! Programs that a tool has altered after the compiler: packed or obfuscated ones. They are refused, but by name.

use super::elf::Image;
use super::error::GoBinError;
use super::pclntab::{Form, FuncTable, Header};

/// Bytes 4 to 8 of a function table on amd64: two zeroes, instruction size quantum, pointer size. What stands before
/// them is the mark that obfuscators change.
const BEHIND_THE_MARK: &[u8] = &[0, 0, 1, 8];
/// Chance hits of four bytes are many, but few of them look like a table's header.
const MAX_CANDIDATES: usize = 4096;
/// UPX writes its mark behind the program headers and at the file's end.
const UPX_MARK: &[u8] = b"UPX!";
const UPX_REACH: usize = 1024;
/// In every Go program, and never called by another name but by an obfuscator's.
const ALWAYS_THERE: &str = "runtime.goexit";

/// A better reason than `e` for the lack of sound Go build information, if there is one.
pub fn explain(image: &Image<'_>, data: &[u8], e: GoBinError) -> GoBinError {
    match e {
        GoBinError::NotGo | GoBinError::TooLarge if is_packed(data) => GoBinError::Packed { packer: "UPX" },
        // A file too large to be searched may have build information where nobody looked.
        GoBinError::NotGo => match table_of(image) {
            Some(releases) => GoBinError::NoBuildInfo { releases },
            None => e,
        },
        GoBinError::UnknownVersion { text } if text.is_empty() || text == "unknown" => {
            let mark = altered_mark(image).map_or(String::new(), |m| format!(", {}", unusual(m)));
            GoBinError::Obfuscated { what: format!("its Go version is `{text}`{mark}") }
        }
        e => e,
    }
}

/// Why no function table was found in a program of this version: its mark was changed.
pub fn altered_table(image: &Image<'_>, version: &str) -> Option<GoBinError> {
    let mark = altered_mark(image)?;
    Some(GoBinError::Obfuscated { what: format!("it was built with `{version}`, but {}", unusual(mark)) })
}

/// An error where the table's names are not those of the Go runtime.
pub fn altered_names(functions: &FuncTable<'_>, version: &str) -> Option<GoBinError> {
    (!functions.has_name(ALWAYS_THERE)).then(|| GoBinError::Obfuscated {
        what: format!("it was built with `{version}`, but none of its functions is called `{ALWAYS_THERE}`"),
    })
}

fn unusual(mark: u32) -> String {
    format!("its function table begins with the unusual mark {mark:#010x}")
}

fn is_packed(data: &[u8]) -> bool {
    let head = &data[..data.len().min(UPX_REACH)];
    let tail = &data[data.len().saturating_sub(UPX_REACH)..];
    [head, tail].iter().any(|part| memchr::memmem::find(part, UPX_MARK).is_some())
}

/// The Go releases that write a function table like this file's.
fn table_of(image: &Image<'_>) -> Option<&'static str> {
    tables(image).find_map(Header::parse).map(|h| match h.form {
        Form::V118 => "Go 1.18 or 1.19",
        Form::V120 => "Go 1.20 or newer",
    })
}

fn altered_mark(image: &Image<'_>) -> Option<u32> {
    tables(image).find_map(|table| {
        let mark = u32::from_le_bytes(table.first_chunk().copied()?);
        Header::parse_whatever_its_mark(table).map(|_| mark)
    })
}

/// Whatever may be a function table, by what stands behind its mark.
fn tables<'a>(image: &'a Image<'_>) -> impl Iterator<Item = &'a [u8]> + 'a {
    let hint = image.section_address(".gopclntab").map(|at| at.saturating_add(4));
    let found = image.find(BEHIND_THE_MARK, |s| !s.is_executable()).filter(|at| at.is_multiple_of(4));
    let all = hint.into_iter().chain(found.take(MAX_CANDIDATES));
    all.filter_map(|at| image.bytes_from(at.checked_sub(4)?))
}
