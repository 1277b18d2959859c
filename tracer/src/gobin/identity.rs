//! Which build a file is, and whether another file belongs to it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use object::Endianness::Little;
use object::elf;
use object::read::elf::{NoteIterator, ProgramHeader as _, SectionHeader as _};
use thiserror::Error;

use super::bytes::c_str;
use super::elf::Image;
use super::error::GoBinError;
use super::limits::MAX_NOTES;

/// The ids that a file's notes hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildIds {
    /// The linker's, in hex.
    pub gnu: Option<String>,
    /// Go's own, as it stands (cmd/internal/buildid: note `Go`, type 4).
    pub go: Option<String>,
}

impl BuildIds {
    /// Go's id, when it is one that `go build` computed: four parts of 20 characters, hashes of what went in and of what
    /// came out. Other build systems put a constant there (`redacted`), which says nothing.
    fn go_proof(&self) -> Option<&str> {
        let parts = || self.go.iter().flat_map(|id| id.split('/'));
        let hash = |part: &str| {
            part.len() == 20 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        self.go.as_deref().filter(|_| parts().count() == 4 && parts().all(hash))
    }

    /// Whether `theirs` are of the same build; nothing where there is no id of one kind that proves it.
    pub fn same_build(&self, theirs: &Self) -> Option<Result<(), Mismatch>> {
        let pairs = [(self.go_proof(), theirs.go_proof()), (self.gnu.as_deref(), theirs.gnu.as_deref())];
        let compare = |(ours, theirs): (Option<&str>, Option<&str>)| {
            let (ours, theirs) = (ours?.to_owned(), theirs?.to_owned());
            Some(if ours == theirs { Ok(()) } else { Err(Mismatch::BuildId { theirs, ours }) })
        };
        pairs.into_iter().filter_map(compare).reduce(Result::and)
    }
}

/// What `.gnu_debuglink` says of the separate debug file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file's name without a directory.
    pub name: String,
    /// CRC-32 (the one of zlib) of the whole file.
    pub crc: u32,
}

/// What proves that a debug file belongs to an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    GnuBuildId,
    GoBuildId,
    Checksum,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GnuBuildId => "which has the executable's build id",
            Self::GoBuildId => "which has the executable's Go build id",
            Self::Checksum => "which has the checksum that the executable asks for",
        })
    }
}

/// Why a debug file is not used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    #[error(transparent)]
    Unreadable(#[from] GoBinError),
    #[error("its build id `{theirs}` is not the executable's `{ours}`")]
    BuildId { theirs: String, ours: String },
    #[error("its section `{name}` is not where the executable has it: it comes from another build")]
    Sections { name: String },
    #[error("its checksum is {found:08x}, the executable asks for {wanted:08x}")]
    Checksum { found: u32, wanted: u32 },
    #[error("nothing proves that it belongs to the executable: the two have no build id of one kind")]
    Unproven,
    #[error("it holds neither debug information (DWARF) nor a symbol table")]
    Nothing,
}

/// GNU's and Go's build id. Debug files may have lost their program headers' contents, so sections are looked at too.
pub fn build_ids(image: &Image<'_>) -> BuildIds {
    let mut ids = BuildIds::default();
    let mut seen = 0;
    for p in image.program_headers {
        if let Ok(Some(notes)) = p.notes(Little, image.data) {
            collect(notes, &mut ids, &mut seen);
        }
    }
    for section in image.sections().iter().flat_map(|table| table.iter()) {
        if let Ok(Some(notes)) = section.notes(Little, image.data) {
            collect(notes, &mut ids, &mut seen);
        }
    }
    ids
}

type Notes<'d> = NoteIterator<'d, elf::FileHeader64<object::Endianness>>;

fn collect(mut notes: Notes<'_>, ids: &mut BuildIds, seen: &mut usize) {
    while *seen < MAX_NOTES
        && let Ok(Some(note)) = notes.next()
    {
        *seen += 1;
        let desc = note.desc();
        // A real one has 8 to 83 bytes; a hostile one must not fill the report.
        if desc.is_empty() || desc.len() > 256 {
            continue;
        }
        if ids.gnu.is_none() && note.name() == b"GNU" && note.n_type(Little) == elf::NT_GNU_BUILD_ID {
            ids.gnu = Some(hex(desc));
        }
        if ids.go.is_none() && note.name() == b"Go" && note.n_type(Little).0 == 4 {
            ids.go = std::str::from_utf8(desc).ok().map(str::to_owned);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// The link that `objcopy --add-gnu-debuglink` writes: a name, zeroes up to a multiple of four, the checksum.
pub fn debug_link(image: &Image<'_>) -> Option<DebugLink> {
    let section = image.section(".gnu_debuglink")?;
    let data = section.data(Little, image.data).ok()?;
    let name = std::str::from_utf8(c_str(data, 0, 256)?).ok()?;
    let crc = data.get((name.len() + 1).next_multiple_of(4)..)?.first_chunk()?;
    // A hostile one must not lead elsewhere.
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    plain.then(|| DebugLink { name: name.to_owned(), crc: u32::from_le_bytes(*crc) })
}

/// Whether `file` was made from the build that `executable` is. `crc`: what the executable's link asks for, and what
/// the file has, where it was found by that link.
pub fn belongs(executable: &Image<'_>, file: &Image<'_>, crc: Option<(u32, u32)>) -> Result<Proof, Mismatch> {
    let (ours, theirs) = (build_ids(executable), build_ids(file));
    let mut proof = None;
    for (ours, theirs, kind) in [
        (ours.go_proof(), theirs.go_proof(), Proof::GoBuildId),
        (ours.gnu.as_deref(), theirs.gnu.as_deref(), Proof::GnuBuildId),
    ] {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            if ours != theirs {
                return Err(Mismatch::BuildId { theirs: theirs.to_owned(), ours: ours.to_owned() });
            }
            proof = Some(kind);
        }
    }
    if let Some((wanted, found)) = crc {
        if wanted != found {
            return Err(Mismatch::Checksum { found, wanted });
        }
        proof = proof.or(Some(Proof::Checksum));
    }
    let proof = proof.ok_or(Mismatch::Unproven)?;
    // Ids are what a build system says; where the code lies is what was built.
    same_places(executable, file)?;
    Ok(proof)
}

/// Every section that is loaded lies where it lies in the other file.
fn same_places(executable: &Image<'_>, file: &Image<'_>) -> Result<(), Mismatch> {
    let places = |image: &Image<'_>| -> HashMap<Vec<u8>, (u64, u64)> {
        let loaded = image.named_sections().filter(|(_, s)| s.sh_flags(Little).contains(elf::SHF_ALLOC));
        loaded.map(|(name, s)| (name.to_owned(), (s.sh_addr(Little), s.sh_size(Little)))).collect()
    };
    let theirs = places(file);
    for (name, place) in places(executable) {
        if theirs.get(&name).is_some_and(|other| *other != place) {
            return Err(Mismatch::Sections { name: String::from_utf8_lossy(&name).into_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::testkit::{self, Spec};

    fn go(id: &str) -> BuildIds {
        BuildIds { gnu: None, go: Some(id.to_owned()) }
    }

    #[test]
    fn only_an_id_that_go_computed_is_a_proof() {
        let real = "KP5wUBJTy_gA8YK2SR3i/ERZzf9dacWn13tgUwwgp/OB_azsR2zqqsAlpVHTJV/vpZ8zQiaG2RadzV6d-0M";
        assert_eq!(go(real).go_proof(), Some(real));
        for bad in ["", "redacted", "a/b/c/d", &real[1..], &real[..62], &real.replace('_', "+")] {
            assert_eq!(go(bad).go_proof(), None, "{bad}");
        }
        assert_eq!(BuildIds::default().go_proof(), None);
    }

    /// The little executable has a GNU build id and no section headers.
    #[test]
    fn ids_checksums_and_their_absence() {
        let ours = testkit::build(&Spec::go126());
        let image = Image::parse(&ours).unwrap();
        assert_eq!(belongs(&image, &image, None), Ok(Proof::GnuBuildId));
        assert_eq!(belongs(&image, &image, Some((1, 1))), Ok(Proof::GnuBuildId));
        let wrong = belongs(&image, &image, Some((1, 2)));
        assert_eq!(wrong, Err(Mismatch::Checksum { found: 2, wanted: 1 }));
        let mut other = ours.clone();
        other[0x210] = 0xff;
        let other = Image::parse(&other).unwrap();
        let Err(Mismatch::BuildId { theirs, ours: id }) = belongs(&image, &other, Some((1, 1))) else {
            panic!()
        };
        assert!(theirs.starts_with("ffa1") && id.starts_with("a0a1"), "{theirs} {id}");
        let mut without = ours.clone();
        without[0x200..0x224].fill(0);
        let without = Image::parse(&without).unwrap();
        assert_eq!(belongs(&image, &without, None), Err(Mismatch::Unproven));
        assert_eq!(belongs(&image, &without, Some((1, 1))), Ok(Proof::Checksum));
    }
}
