//! One function for each fuzz target: input to executable, and all questions asked of it. Plain `cargo test` runs the
//! same ones over the committed seeds (`tracer/tests/fuzz_seeds.rs`).

use super::ask::{Reached, everything};
use super::image::{Image, MODULE_SIZE, RODATA, Section, put, put32};
use super::program::{self, VERSIONS};
use super::recipe;

/// Functions whose code the target `code` replaces, by their places in `FUNCTIONS`: those that the planner decodes, then
/// those that tell where the globals are. The seeds keep this order.
pub const CODE: [usize; 12] = [7, 8, 9, 10, 11, 12, 13, 14, 6, 3, 4, 5];

pub const DEBUG: [&str; 12] = [
    ".debug_abbrev",
    ".debug_info",
    ".debug_line",
    ".debug_str",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
    ".debug_rnglists",
    ".debug_ranges",
    ".debug_loclists",
    ".debug_aranges",
    ".debug_loc",
];

/// Bytes of code that are not Go's.
const FOREIGN: usize = 256;

type Ask = fn(&[u8]) -> Reached;

/// Every target by its name, as `cargo fuzz` and `fuzz/seeds` have it.
pub const ALL: [(&str, Ask); 8] = [
    ("elf", everything),
    ("buildinfo", |data| everything(&buildinfo(data))),
    ("pclntab", |data| everything(&pclntab(data))),
    ("moduledata", |data| everything(&moduledata(data))),
    ("inline_trees", |data| everything(&inline_trees(data))),
    ("code", |data| everything(&code(data))),
    ("dwarf", |data| everything(&dwarf(data))),
    ("layouts", layouts),
];

pub const PIE: u8 = 1;
pub const RELOCATED: u8 = 2;
pub const SECTIONS: u8 = 4;

/// The first part says which program: version, then [`PIE`], [`RELOCATED`], [`SECTIONS`].
fn shaped(shape: Option<&Vec<u8>>, functions: &[program::Function]) -> Image {
    let byte = |at: usize| shape.and_then(|s| s.get(at)).copied().unwrap_or(0);
    let mut image = program::image(VERSIONS[usize::from(byte(0)) % VERSIONS.len()], functions);
    image.pie = byte(1) & (PIE | RELOCATED) != 0;
    image.in_place = byte(1) & RELOCATED == 0;
    image.sections = byte(1) & SECTIONS != 0;
    image
}

fn sound(parts: &[Vec<u8>]) -> Image {
    shaped(parts.first(), &program::functions())
}

/// Parts: shape, build information.
pub fn buildinfo(data: &[u8]) -> Vec<u8> {
    let mut parts = recipe::parts(data);
    let mut image = sound(&parts);
    if let Some(info) = parts.get_mut(1) {
        image.info = std::mem::take(info);
    }
    image.build()
}

/// Parts: shape, names, compilation units, files, pc tables, functions, inline trees.
pub fn pclntab(data: &[u8]) -> Vec<u8> {
    let mut parts = recipe::parts(data);
    let mut image = sound(&parts);
    let places = [
        &mut image.names,
        &mut image.cus,
        &mut image.files,
        &mut image.pcs,
        &mut image.funcs,
        &mut image.trees,
    ];
    for (place, part) in places.into_iter().zip(parts.iter_mut().skip(1)) {
        *place = std::mem::take(part);
    }
    image.build()
}

/// Parts: shape, module data, relocations, program headers (written over the sound ones).
pub fn moduledata(data: &[u8]) -> Vec<u8> {
    let parts = recipe::parts(data);
    let mut image = sound(&parts);
    image.module = parts.get(1).filter(|m| !m.is_empty()).cloned();
    image.relocations = parts.get(2).cloned().unwrap_or_default();
    let mut out = image.build();
    if let Some(headers) = parts.get(3) {
        put(&mut out, 64, &headers[..headers.len().min(5 * 56)]);
    }
    out
}

/// Parts: shape, inline index, lines, files (pc tables of `main.main`), inline tree, names.
pub fn inline_trees(data: &[u8]) -> Vec<u8> {
    let parts = recipe::parts(data);
    let mut image = sound(&parts);
    let record = 8 * image.nfunc + 4;
    let size = if image.is_118() { 40 } else { 44 };
    for (part, place) in parts.iter().skip(1).zip([size + 8, 24, 20]) {
        put32(&mut image.funcs, record + place, image.pcs.len() as u32);
        image.pcs.extend_from_slice(part);
        image.pcs.push(0);
    }
    if let Some(tree) = parts.get(4) {
        image.trees.truncate(16);
        image.trees.extend_from_slice(tree);
    }
    if let Some(names) = parts.get(5) {
        image.names.extend_from_slice(names);
    }
    image.build()
}

/// Parts: shape, the code of each of [`CODE`].
pub fn code(data: &[u8]) -> Vec<u8> {
    let parts = recipe::parts(data);
    let mut functions = program::functions();
    for (at, part) in CODE.into_iter().zip(parts.iter().skip(1)) {
        functions[at].code.clone_from(part);
    }
    shaped(parts.first(), &functions).build()
}

/// Parts: shape, one byte for each section (1: compressed, as its header says), the sections of [`DEBUG`], symbol table,
/// its strings. Behind Go's functions lies code that only these can know: of Go's they are not asked.
pub fn dwarf(data: &[u8]) -> Vec<u8> {
    let parts = recipe::parts(data);
    let mut image = sound(&parts);
    image.sections = true;
    image.text.resize(image.text.len() + FOREIGN, 0x90);
    let flags = parts.get(1).cloned().unwrap_or_default();
    for (i, (name, part)) in DEBUG.iter().zip(parts.iter().skip(2)).enumerate() {
        if part.is_empty() {
            continue;
        }
        let compressed = flags.get(i).is_some_and(|f| f & 1 != 0);
        image.others.push(Section {
            name: (*name).to_owned(),
            kind: 1,
            flags: if compressed { 0x800 } else { 0 }, // SHF_COMPRESSED
            bytes: part.clone(),
            ..Section::default()
        });
    }
    if let Some([symbols, strings]) = parts.get(2 + DEBUG.len()..4 + DEBUG.len()) {
        // The three sections that are always there, and this one.
        let link = image.others.len() as u32 + 4;
        let section = |name: &str, kind, bytes: &Vec<u8>, link| Section {
            name: name.to_owned(),
            kind,
            bytes: bytes.clone(),
            link,
            ..Section::default()
        };
        image.others.push(section(".symtab", 2, symbols, link));
        image.others.push(section(".strtab", 3, strings, 0));
    }
    image.build()
}

/// Where [`layouts`] has the type descriptors: behind the headers of their file.
pub const TYPES: u64 = RODATA + 64 + 56;

/// Parts: abbreviations, debug information, strings, in a program of a version that nobody knows; type descriptors, in a
/// file of their own.
pub fn layouts(data: &[u8]) -> Reached {
    let parts = recipe::parts(data);
    let mut image = sound(&[vec![VERSIONS.len() as u8 - 1]]);
    image.sections = true;
    for (name, part) in [".debug_abbrev", ".debug_info", ".debug_str"].into_iter().zip(&parts) {
        image.others.push(Section {
            name: name.to_owned(),
            kind: 1,
            bytes: part.clone(),
            ..Section::default()
        });
    }
    let file = image.build();
    let mut reached = everything(&file);
    reached.layouts += u64::from(tracer::gobin::GoBinary::parse(&file).is_ok_and(|b| b.layout().is_ok()));
    if let Some(types) = parts.get(3) {
        let range = TYPES..TYPES + types.len() as u64;
        reached.layouts += u64::from(tracer::gobin::described_by_types(&only(types), range).is_ok());
    }
    reached
}

/// A file that is loaded as a whole, to `RODATA`: headers, then these bytes.
fn only(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 64 + 56];
    let len = (out.len() + bytes.len()) as u64;
    put(&mut out, 0, b"\x7fELF\x02\x01\x01");
    // Type and machine, version; one program header of 56 bytes at 64.
    put(&mut out, 16, &[2, 0, 62, 0, 1]);
    put(&mut out, 32, &[64]);
    put(&mut out, 52, &[64, 0, 56, 0, 1, 0, 64]);
    put(&mut out, 64, &[1, 0, 0, 0, 4]);
    for (at, word) in [(16, RODATA), (24, RODATA), (32, len), (40, len), (48, 0x1000)] {
        put(&mut out, 64 + at, &word.to_le_bytes());
    }
    out.extend_from_slice(bytes);
    out
}

/// The module data of a sound program, as a part for [`moduledata`].
pub fn module_of(image: &Image) -> Vec<u8> {
    let file = image.build();
    let at = u64::from_le_bytes(file[64 + 2 * 56 + 8..][..8].try_into().expect("eight bytes")) as usize;
    file[at..at + MODULE_SIZE].to_vec()
}
