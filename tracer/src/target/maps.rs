//! What is mapped where, and how far the executable was moved when it was loaded.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use thiserror::Error;

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// Into the file, bytes.
    pub offset: u64,
    /// All zero for what is no file.
    pub file: FileId,
    /// A path, a name in brackets (`[stack]`), or nothing. The kernel adds ` (deleted)` to a file without a name.
    pub path: Option<PathBuf>,
}

/// Which file. On an overlay the number in `/proc/PID/maps` and the one of `stat` agree in the inode but not always in
/// the device (seen with Docker).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    pub dev_major: u32,
    pub dev_minor: u32,
    pub inode: u64,
}

/// A loadable segment of the executable (`PT_LOAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `p_vaddr`
    pub vaddr: u64,
    /// `p_offset`
    pub offset: u64,
    /// `p_filesz`
    pub file_size: u64,
    /// `p_flags & PF_X`
    pub executable: bool,
}

/// Why the load bias is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BiasError {
    /// Not there (yet), or its text was copied into anonymous memory (huge pages).
    #[error("no executable mapping of the program's file")]
    NotMapped,
    #[error("the program's mappings fit none of its segments")]
    NoFit,
    #[error("the program's file is mapped as code {count} times, at different distances")]
    Ambiguous { count: usize },
}

const PAGE: u64 = 4096;

/// How much is added to the ELF's virtual addresses: 0 unless position independent.
///
/// Taken from the executable mappings of the file `exe`: each must lie in an executable segment, and all must agree. A
/// program that maps its own file once more as data does not confuse this; one that maps it as code does, and is
/// told so. `exe_path` is what `/proc/PID/exe` points to; it decides where inodes agree but devices do not.
pub fn load_bias(
    mappings: &[Mapping],
    exe: FileId,
    exe_path: &std::path::Path,
    segments: &[Segment],
) -> Result<u64, BiasError> {
    let of_exe = |m: &&Mapping| {
        m.executable && (m.file == exe || (m.file.inode == exe.inode && m.path.as_deref() == Some(exe_path)))
    };
    let mut found: Vec<u64> = Vec::new();
    let mut mapped = false;
    for mapping in mappings.iter().filter(of_exe) {
        mapped = true;
        for segment in segments.iter().filter(|s| s.executable) {
            let begin = segment.offset & !(PAGE - 1);
            let end = segment.offset.saturating_add(segment.file_size);
            if mapping.offset < begin || mapping.offset >= end {
                continue;
            }
            // Both addresses of the same byte of the file: in memory, and as the file says. Wraps where the bias
            // is "negative" (a file linked at a high address and loaded lower).
            let linked = segment.vaddr.wrapping_sub(segment.offset).wrapping_add(mapping.offset);
            let bias = mapping.start.wrapping_sub(linked);
            if bias.is_multiple_of(PAGE) && !found.contains(&bias) {
                found.push(bias);
            }
        }
    }
    match found[..] {
        [bias] => Ok(bias),
        [] if mapped => Err(BiasError::NoFit),
        [] => Err(BiasError::NotMapped),
        _ => Err(BiasError::Ambiguous { count: found.len() }),
    }
}

/// Parses `/proc/PID/maps`. `None` if a line is not as the kernel writes it (fs/proc/task_mmu.c, `show_map_vma`).
pub fn parse_maps(text: &[u8]) -> Option<Vec<Mapping>> {
    text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let blank = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(blank);
        rest = after.get(1..).unwrap_or_default();
        std::str::from_utf8(field).ok()
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?.as_bytes();
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let path = rest.trim_ascii_start();
    if perms.len() != 4 {
        return None;
    }
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        readable: perms[0] == b'r',
        writable: perms[1] == b'w',
        executable: perms[2] == b'x',
        offset,
        file: FileId {
            dev_major: u32::from_str_radix(major, 16).ok()?,
            dev_minor: u32::from_str_radix(minor, 16).ok()?,
            inode,
        },
        path: (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(path))),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EXE: FileId = FileId { dev_major: 0xfe, dev_minor: 1, inode: 77 };

    fn map(start: u64, offset: u64, perms: &str, file: FileId, path: &str) -> Mapping {
        Mapping {
            start,
            end: start + 0x10_0000,
            readable: perms.contains('r'),
            writable: perms.contains('w'),
            executable: perms.contains('x'),
            offset,
            file,
            path: (!path.is_empty()).then(|| path.into()),
        }
    }

    fn segment(vaddr: u64, offset: u64, file_size: u64, executable: bool) -> Segment {
        Segment { vaddr, offset, file_size, executable }
    }

    fn bias(mappings: &[Mapping], segments: &[Segment]) -> Result<u64, BiasError> {
        load_bias(mappings, EXE, Path::new("/app"), segments)
    }

    #[test]
    fn a_plain_go_program_is_where_it_was_linked() {
        let segments = [segment(0x40_0000, 0, 0x8_0000, true), segment(0x48_0000, 0x8_0000, 0x9_0000, false)];
        let maps = [map(0x40_0000, 0, "r-x", EXE, "/app"), map(0x48_0000, 0x8_0000, "r--", EXE, "/app")];
        assert_eq!(bias(&maps, &segments), Ok(0));
    }

    #[test]
    fn position_independent_with_text_off_a_page_boundary() {
        // As external linkers do: offset and address of text agree modulo the page only.
        let segments = [segment(0, 0, 0x1_2340, false), segment(0x1_3360, 0x1_2360, 0x5_0000, true)];
        let base = 0x5555_5555_4000;
        let maps = [map(base, 0, "r--", EXE, "/app"), map(base + 0x1_3000, 0x1_2000, "r-x", EXE, "/app")];
        assert_eq!(bias(&maps, &segments), Ok(base));
    }

    #[test]
    fn a_split_text_mapping_agrees_with_itself() {
        let segments = [segment(0x1000, 0x1000, 0x30_0000, true)];
        let base = 0x7f00_0000_0000;
        let maps = [
            map(base + 0x1000, 0x1000, "r-x", EXE, "/app"),
            map(base + 0x11_0000, 0x11_0000, "rwx", EXE, "/app"),
        ];
        assert_eq!(bias(&maps, &segments), Ok(base));
    }

    #[test]
    fn other_mappings_of_the_file_do_not_confuse() {
        let segments = [segment(0x40_0000, 0, 0x8_0000, true)];
        let data = map(0x7f00_0000_0000, 0, "r--", EXE, "/app");
        let code = map(0x40_0000, 0, "r-x", EXE, "/app");
        assert_eq!(bias(&[data.clone(), code.clone()], &segments), Ok(0));
        assert_eq!(bias(std::slice::from_ref(&data), &segments), Err(BiasError::NotMapped));
        let again = map(0x7f00_1000_0000, 0, "r-x", EXE, "/app");
        assert_eq!(bias(&[code, again], &segments), Err(BiasError::Ambiguous { count: 2 }));
        let beyond = map(0x40_0000, 0x9_0000, "r-x", EXE, "/app");
        assert_eq!(bias(&[beyond], &segments), Err(BiasError::NoFit));
        assert_eq!(bias(&[], &segments), Err(BiasError::NotMapped));
    }

    #[test]
    fn on_an_overlay_the_devices_differ() {
        let segments = [segment(0x40_0000, 0, 0x8_0000, true)];
        let overlay = FileId { dev_minor: 9, ..EXE };
        assert_eq!(bias(&[map(0x40_0000, 0, "r-x", overlay, "/app")], &segments), Ok(0));
        assert_eq!(
            bias(&[map(0x40_0000, 0, "r-x", overlay, "/other")], &segments),
            Err(BiasError::NotMapped)
        );
    }

    #[test]
    fn numbers_at_the_edge_do_not_overflow() {
        let segments = [segment(u64::MAX, u64::MAX, u64::MAX, true), segment(0, u64::MAX, 1, true)];
        let maps = [map(0, !4095, "r-x", EXE, ""), map(u64::MAX - 0x20_0000, 0, "r-x", EXE, "")];
        let _ = bias(&maps, &segments);
    }

    #[test]
    fn lines_of_the_kernel() {
        let text = b"55d0c2a00000-55d0c2a02000 r-xp 00001000 fe:01 131 /usr/bin/my app (deleted)\n\
            7ffd1f0e1000-7ffd1f102000 rw-p 00000000 00:00 0                          [stack]\n\
            7f0000000000-7f0000001000 ---s 00000000 00:00 0 \n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let maps = parse_maps(text).unwrap();
        assert_eq!(maps.len(), 4);
        let first = &maps[0];
        assert_eq!((first.start, first.end, first.offset), (0x55d0_c2a0_0000, 0x55d0_c2a0_2000, 0x1000));
        assert_eq!(first.file, FileId { dev_major: 0xfe, dev_minor: 1, inode: 131 });
        assert_eq!(first.path.as_deref(), Some(Path::new("/usr/bin/my app (deleted)")));
        assert!(first.readable && first.executable && !first.writable);
        assert_eq!(maps[1].path.as_deref(), Some(Path::new("[stack]")));
        assert_eq!(maps[2].path, None);
        for bad in ["x", "1-2", "1-2 r-xp", "1-2 r-xp 0 fe:01", "1-2 r-x 0 fe:01 1", "1-g r-xp 0 0:0 0"] {
            assert_eq!(parse_maps(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_maps(b""), Some(vec![]));
    }

    proptest::proptest! {
        #[test]
        fn noise_never_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse_maps(&text);
        }
    }
}
