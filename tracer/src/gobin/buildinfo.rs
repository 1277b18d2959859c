//! What `go version -m` shows: the Go version and the module info the linker left in the file.
//!
//! Format: Go's debug/buildinfo/buildinfo.go. A 32-byte header (magic, pointer size, flags) at a 16-byte boundary,
//! then, from Go 1.18 on, two length-prefixed strings; before that, two pointers to Go strings.

use super::bytes::{self, u64_at};
use super::elf::Image;
use super::error::GoBinError;
use super::limits::{MAX_IMPORT_PATH, MAX_MODULE_INFO, MAX_VERSION};
use super::version::GoVersion;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: u64 = 16;
const MAX_CANDIDATES: usize = 32;
const HEADER: u64 = 32;
const FLAG_INLINE_STRINGS: u8 = 2;

#[derive(Debug)]
pub struct BuildInfo<'d> {
    pub version: GoVersion,
    /// The `path` line of the module info.
    pub main_package: Option<&'d str>,
    module: Option<&'d [u8]>,
}

impl<'d> BuildInfo<'d> {
    /// A `build` line of the module info, for instance that of `-race`.
    pub fn setting(&self, key: &str) -> Option<&'d str> {
        let line =
            |line: &'d [u8]| line.strip_prefix(b"build\t")?.strip_prefix(key.as_bytes())?.strip_prefix(b"=");
        lines(self.module?)?.find_map(line).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Finds the build info by its section, else by its magic: in writable segments first, where the linker puts it.
pub fn find<'d>(image: &Image<'d>) -> Result<BuildInfo<'d>, GoBinError> {
    let mut refused = None;
    for vaddr in candidates(image) {
        match parse(image, vaddr) {
            Ok(info) => return Ok(info),
            Err(e) => _ = refused.get_or_insert(e),
        }
    }
    let nothing = if image.is_too_large() { GoBinError::TooLarge } else { GoBinError::NotGo };
    Err(refused.unwrap_or(nothing))
}

fn candidates<'a>(image: &'a Image<'_>) -> impl Iterator<Item = u64> + 'a {
    let hint = image.section_address(".go.buildinfo");
    let writable = image.find(MAGIC, |s| s.is_writable());
    let others = image.find(MAGIC, |s| !s.is_writable() && !s.is_executable());
    let found = writable.chain(others).filter(|vaddr| vaddr.is_multiple_of(ALIGN));
    // The magic also stands as text in programs that read build infos; a few tries are enough.
    hint.into_iter().chain(found.take(MAX_CANDIDATES))
}

fn parse<'d>(image: &Image<'d>, vaddr: u64) -> Result<BuildInfo<'d>, GoBinError> {
    let data = image.bytes_from(vaddr).ok_or(GoBinError::NotGo)?;
    let header = bytes::slice(data, 0, HEADER).filter(|h| h.starts_with(MAGIC)).ok_or(GoBinError::NotGo)?;
    let (version, module) = if header[15] & FLAG_INLINE_STRINGS != 0 {
        let rest = &data[HEADER as usize..];
        let (version, rest) = prefixed(rest, MAX_VERSION).ok_or(GoBinError::NotGo)?;
        (version, prefixed(rest, MAX_MODULE_INFO).map(|(module, _)| module))
    } else {
        // Up to Go 1.17. Only the version matters: it is refused by name.
        (pointed_string(image, header).ok_or(GoBinError::NotGo)?, None)
    };
    let text = String::from_utf8_lossy(version);
    let version =
        GoVersion::parse(&text).ok_or_else(|| GoBinError::UnknownVersion { text: text.trim().to_owned() })?;
    Ok(BuildInfo { version, main_package: module.and_then(main_package), module })
}

fn prefixed(data: &[u8], max: u32) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes::uvarint(data)?;
    if len > max {
        return None;
    }
    rest.split_at_checked(len as usize)
}

fn pointed_string<'d>(image: &Image<'d>, header: &[u8]) -> Option<&'d [u8]> {
    let string = image.bytes(u64_at(header, 16)?, 16)?;
    let len = u64_at(string, 8).filter(|&n| n <= u64::from(MAX_VERSION))?;
    image.bytes(u64_at(string, 0)?, len)
}

/// Module info stands between two 16-byte sentinels (cmd/go/internal/modload/build.go: `ModInfoData`).
fn lines(module: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    Some(module.get(16..module.len().checked_sub(16)?)?.split(|&b| b == b'\n'))
}

fn main_package(module: &[u8]) -> Option<&str> {
    lines(module)?
        .find_map(|line| line.strip_prefix(b"path\t"))
        .and_then(|path| std::str::from_utf8(path).ok())
        .filter(|path| (1..=MAX_IMPORT_PATH).contains(&path.len()))
}
