//! What `go version -m` shows: the Go version and the module info the linker left in the file.
//!
//! Format: Go's debug/buildinfo/buildinfo.go. A 32-byte header (magic, pointer size, flags) at a 16-byte boundary,
//! then, from Go 1.18 on, two length-prefixed strings; before that, two pointers to Go strings.

use super::bytes::{self, u64_at};
use super::elf::{Image, Segment};
use super::error::GoBinError;
use super::version::GoVersion;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: usize = 16;
const HEADER: u64 = 32;
const FLAG_INLINE_STRINGS: u8 = 2;
/// A version is a word, with experiments a line.
const MAX_VERSION: u32 = 1024;

#[derive(Debug)]
pub struct BuildInfo<'d> {
    pub version: GoVersion,
    /// The `path` line of the module info.
    pub main_package: Option<&'d str>,
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
    Err(refused.unwrap_or(GoBinError::NotGo))
}

fn candidates<'a>(image: &'a Image<'_>) -> impl Iterator<Item = u64> + 'a {
    let hint = image.section_address(".go.buildinfo");
    let writable = image.segments().iter().filter(|s| s.is_writable());
    let others = image.segments().iter().filter(|s| !s.is_writable() && !s.is_executable());
    hint.into_iter().chain(writable.chain(others).flat_map(move |s| hits(image, s)))
}

fn hits<'a>(image: &Image<'a>, s: &Segment) -> impl Iterator<Item = u64> + 'a {
    let base = s.vaddr;
    memchr::memmem::find_iter(image.segment_bytes(s), MAGIC)
        .map(move |at| base + at as u64)
        .filter(|vaddr| vaddr.is_multiple_of(ALIGN as u64))
        // The magic also stands as text in programs that read build infos; a few tries are enough.
        .take(16)
}

fn parse<'d>(image: &Image<'d>, vaddr: u64) -> Result<BuildInfo<'d>, GoBinError> {
    let data = image.bytes_from(vaddr).ok_or(GoBinError::NotGo)?;
    let header = bytes::slice(data, 0, HEADER).filter(|h| h.starts_with(MAGIC)).ok_or(GoBinError::NotGo)?;
    let (version, module) = if header[15] & FLAG_INLINE_STRINGS != 0 {
        let rest = &data[HEADER as usize..];
        let (version, rest) = prefixed(rest, MAX_VERSION).ok_or(GoBinError::NotGo)?;
        (version, prefixed(rest, u32::MAX).map(|(module, _)| module))
    } else {
        // Up to Go 1.17. Only the version matters: it is refused by name.
        (pointed_string(image, header).ok_or(GoBinError::NotGo)?, None)
    };
    let text = String::from_utf8_lossy(version);
    let version =
        GoVersion::parse(&text).ok_or_else(|| GoBinError::UnknownVersion { text: text.trim().to_owned() })?;
    Ok(BuildInfo { version, main_package: module.and_then(main_package) })
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
fn main_package(module: &[u8]) -> Option<&str> {
    let inner = module.get(16..module.len().checked_sub(16)?)?;
    inner
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(b"path\t"))
        .and_then(|path| std::str::from_utf8(path).ok())
        .filter(|path| !path.is_empty())
}
