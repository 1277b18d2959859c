//! The files. Each takes a size, so that the same one is small in a debug build and as bad as it gets in a release one.

use std::io::Read as _;

use super::image::{DATA, Image, RODATA, Section, build_info, put, put32, put64};
use super::program::{self, FUNCTIONS, Function};

pub struct Case {
    pub name: &'static str,
    pub build: fn(usize) -> Made,
    pub small: usize,
    pub full: usize,
    /// Stands in the outcome.
    pub expect: &'static str,
}

/// A file with holes.
pub struct Made {
    pub head: Vec<u8>,
    pub pieces: Vec<(u64, Vec<u8>)>,
    pub len: u64,
}

impl Made {
    pub fn flat(self) -> Vec<u8> {
        let mut out = self.head;
        out.resize(self.len as usize, 0);
        for (at, bytes) in self.pieces {
            put(&mut out, at, &bytes);
        }
        out
    }
}

impl From<Vec<u8>> for Made {
    fn from(head: Vec<u8>) -> Self {
        Self { len: head.len() as u64, head, pieces: Vec::new() }
    }
}

const M: usize = 1 << 20;
const WORK: &str = "made to be slow";

pub const CASES: &[Case] = &[
    Case { name: "sound", build: |_| sound().build().into(), small: 0, full: 0, expect: "allgs known" },
    Case { name: "functions of one name", build: same_name, small: 2000, full: M, expect: "refused" },
    Case {
        name: "too many functions",
        build: same_name,
        small: M + 1,
        full: 4 * M,
        expect: "no sound function table",
    },
    Case { name: "long names", build: long_names, small: 1000, full: M, expect: "allgs known" },
    Case { name: "names without an end", build: endless_names, small: 65 * M, full: 400 * M, expect: WORK },
    Case { name: "only empty names", build: empty_names, small: M, full: 64 * M, expect: "allgs known" },
    Case {
        name: "inline tree in a circle",
        build: circle,
        small: 8,
        full: 8,
        expect: "inlined calls without an end",
    },
    Case {
        name: "inlined, with long names",
        build: circle,
        small: 15_000,
        full: 15_000,
        expect: "names far longer",
    },
    Case { name: "long pc tables", build: long_tables, small: 1 << 18, full: M, expect: WORK },
    Case { name: "one inline table for all", build: many_pairs, small: 1 << 18, full: M, expect: WORK },
    Case {
        name: "varints of 0xff",
        build: all_ff,
        small: 1000,
        full: 100 * M,
        expect: "pclntab) is damaged",
    },
    Case {
        name: "segments over each other",
        build: overlapping,
        small: M,
        full: 200 * M,
        expect: "same bytes several times",
    },
    Case { name: "notes", build: notes, small: M, full: 100 * M, expect: "id 0" },
    Case { name: "section headers", build: sections, small: 1000, full: 60_000, expect: "allgs known" },
    Case {
        name: "section names of 64 MB",
        build: section_names,
        small: M,
        full: 64 * M,
        expect: "allgs known",
    },
    Case { name: "symbols", build: symbols, small: 10_000, full: 2 * M, expect: "allgs known" },
    Case { name: "too many symbols", build: symbols, small: 2 * M + 1, full: 6 * M, expect: "allgs known" },
    Case {
        name: "relocations",
        build: relocations,
        small: 1000,
        full: 5 * M,
        expect: "moduledata) was not found",
    },
    Case { name: "build infos", build: build_infos, small: M, full: 150 * M, expect: "no Go version" },
    Case {
        name: "function tables",
        build: function_tables,
        small: M,
        full: 150 * M,
        expect: "moduledata) was not found",
    },
    Case {
        name: "module data",
        build: module_data,
        small: M,
        full: 150 * M,
        expect: "moduledata) was not found",
    },
    Case { name: "module info", build: module_info, small: M, full: 200 * M, expect: "allgs known" },
    Case { name: "a large hole", build: hole, small: 200 * M, full: 200 << 30, expect: "too large" },
    Case {
        name: "debug sections that lie",
        build: lying_debug,
        small: 1 << 20,
        full: 79 * M,
        expect: "section `.debug_",
    },
    Case {
        name: "debug sections that lie more",
        build: lying_debug,
        small: 1 << 40,
        full: 1 << 40,
        expect: "decompresses to more than",
    },
    Case {
        name: "compressed debug sections",
        build: full_debug,
        small: M,
        full: 79 * M,
        expect: "debug sections read",
    },
    Case {
        name: "long functions",
        build: long_code,
        small: 100_000,
        full: 100 * M,
        expect: "5 sites, 1 refused",
    },
    Case { name: "jumps everywhere", build: jumps, small: 1000, full: 65_000, expect: "allgs known" },
];

fn sound() -> Image {
    program::image("go1.26.6", &program::functions())
}

/// Repeats the last function's entry and its record until there are `n` functions.
fn with_functions(mut image: Image, n: usize, name: impl Fn(usize) -> u32) -> Image {
    let old = image.nfunc as usize;
    let records = image.funcs[8 * old + 4..].to_vec();
    let moved = 8 * (n - old) as u32;
    let mut funcs = vec![0; 8 * n + 4];
    let text = image.text.len() as u32;
    for i in 0..old {
        let word = |at: usize| u32::from_le_bytes(image.funcs[at..at + 4].try_into().unwrap());
        put32(&mut funcs, 8 * i as u64, word(8 * i));
        put32(&mut funcs, 8 * i as u64 + 4, word(8 * i + 4) + moved);
    }
    let record = |i: usize| (8 * n + 4 + records.len() + 44 * (i - old)) as u32;
    for i in old..n {
        put32(&mut funcs, 8 * i as u64, text + 16 * (i - old) as u32);
        put32(&mut funcs, 8 * i as u64 + 4, record(i));
    }
    put32(&mut funcs, 8 * n as u64, text + 16 * (n - old) as u32);
    funcs.extend_from_slice(&records);
    let mut one = vec![0; 44];
    for i in old..n {
        put32(&mut one, 4, name(i - old));
        funcs.extend_from_slice(&one);
    }
    image.funcs = funcs;
    image.nfunc = n as u64;
    image
}

fn same_name(n: usize) -> Made {
    let name = program::name_offset("runtime.newproc1");
    with_functions(sound(), n, |_| name).build().into()
}

/// Functions whose names begin 61 bytes apart and are 64 KiB long each.
fn long_names(n: usize) -> Made {
    let mut image = sound();
    let first = image.names.len();
    for _ in 0..n {
        image.names.extend_from_slice(b"runtime.f");
        image.names.extend_from_slice(&[b'x'; 52]);
        if image.names.len() % (1 << 16) < 61 {
            image.names.push(0);
        }
    }
    image.names.push(0);
    let names = image.names.len() - 1;
    with_functions(image, n, |i| (first + 61 * i).min(names) as u32).build().into()
}

fn endless_names(len: usize) -> Made {
    let mut image = sound();
    image.names.resize(len, b'r');
    image.build().into()
}

fn empty_names(len: usize) -> Made {
    let mut image = sound();
    image.names.resize(len, 0);
    image.build().into()
}

/// `main.main` is one inlined call of itself, under a name so long.
fn circle(name: usize) -> Made {
    let mut image = sound();
    let at = image.names.len() as u32;
    image.names.resize(image.names.len() + name, b'n');
    image.names.push(0);
    inline_everywhere(&mut image, at, &[2, 0x80, 0x80, 1]);
    // All of the text is `main.main`.
    let functions = image.text.len() as u32;
    image.nfunc = 1;
    let record = u32::from_le_bytes(image.funcs[4..8].try_into().unwrap()) as usize;
    image.funcs.drain(12..record);
    put32(&mut image.funcs, 4, 12);
    put32(&mut image.funcs, 8, functions);
    image.build().into()
}

/// `main.main` has this inline table and a tree of one call, of the name at `name`, whose parent is at its own entry.
fn inline_everywhere(image: &mut Image, name: u32, table: &[u8]) {
    let record = u64::from(u32::from_le_bytes(image.funcs[4..8].try_into().unwrap()));
    put32(&mut image.funcs, record + 44 + 8, image.pcs.len() as u32);
    // The line table is the same: it ends where the function does.
    put32(&mut image.funcs, record + 24, image.pcs.len() as u32);
    image.pcs.extend_from_slice(table);
    image.pcs.push(0);
    image.trees = vec![0; 16];
    image.trees.extend_from_slice(&[0; 16]);
    put32(&mut image.trees, 16 + 4, name);
    put32(&mut image.trees, 16 + 8, 0);
}

/// One function of `n` bytes, and a pair for each.
fn long_tables(n: usize) -> Made {
    let mut image = sound();
    image.text.resize(n, 0x90);
    let table: Vec<u8> =
        std::iter::once([2, 1]).chain((1..n).map(|i| [1 + (i as u8 & 1), 1])).flatten().collect();
    inline_everywhere(&mut image, 0, &table);
    image.nfunc = 1;
    let record = u32::from_le_bytes(image.funcs[4..8].try_into().unwrap()) as usize;
    image.funcs.drain(12..record);
    put32(&mut image.funcs, 4, 12);
    put32(&mut image.funcs, 8, n as u32);
    image.build().into()
}

/// A hundred functions of `n` bytes that share one inline table of as many pairs.
fn many_pairs(n: usize) -> Made {
    let mut image = sound();
    let table: Vec<u8> = (0..n).flat_map(|i| [1 + (i as u8 & 1), 1]).collect();
    inline_everywhere(&mut image, 0, &table);
    let old = image.nfunc as usize;
    let record = u32::from_le_bytes(image.funcs[4..8].try_into().unwrap()) + 800;
    let mut image = with_functions(image, old + 100, |_| 0);
    for i in 0..=100 {
        let at = 8 * (old + i) as u64;
        put32(&mut image.funcs, at, (image.text.len() + n * i) as u32);
        if i < 100 {
            put32(&mut image.funcs, at + 4, record);
        }
    }
    image.build().into()
}

fn all_ff(len: usize) -> Made {
    let mut image = sound();
    image.pcs = vec![0xff; len];
    image.build().into()
}

/// 250 segments that each show the whole file.
fn overlapping(len: usize) -> Made {
    let mut head = sound().build();
    let table = head.len() as u64;
    put64(&mut head, 32, table);
    put(&mut head, 56, &[250]);
    for i in 0..250u64 {
        let mut p = vec![0; 56];
        put32(&mut p, 0, 1);
        put32(&mut p, 4, 6);
        for (field, value) in [(16, i << 32), (32, len as u64), (40, len as u64)] {
            put64(&mut p, field, value);
        }
        head.extend_from_slice(&p);
    }
    Made { head, pieces: Vec::new(), len: len as u64 }
}

/// Notes of nobody, shown by every program header that is left.
fn notes(len: usize) -> Made {
    let mut image = sound();
    let one = program::note(4, b"Foo\0", 9, b"");
    image.notes = one.iter().copied().cycle().take(len / one.len() * one.len()).collect();
    image.build().into()
}

fn sections(n: usize) -> Made {
    let mut image = sound();
    image.sections = true;
    let mut out = image.build();
    let (table, last) = (out.len() as u64, [out[62], out[63]]);
    let at = u64::from_le_bytes(out[40..48].try_into().unwrap()) as usize;
    let headers = out[at..].to_vec();
    out.extend_from_slice(&headers);
    out.resize(out.len() + 64 * (n - headers.len() / 64), 0);
    put64(&mut out, 40, table);
    put(&mut out, 60, &(n as u16).to_le_bytes());
    put(&mut out, 62, &last);
    out.into()
}

/// 200 sections, and a table of names without a NUL.
fn section_names(len: usize) -> Made {
    let mut image = sound();
    image.sections = true;
    let other = |_| Section { kind: 1, ..Section::default() };
    image.others = (0..200).map(other).collect();
    image.others.push(Section { name: "x".repeat(len), ..Section::default() });
    let mut out = image.build();
    // The names are the last bytes before the headers.
    let at = u64::from_le_bytes(out[40..48].try_into().unwrap()) as usize;
    let names = at - len;
    for b in &mut out[names - 300..at] {
        *b = if *b == 0 { b'x' } else { *b };
    }
    out.into()
}

/// Symbols whose names begin all over a table without a NUL.
fn symbols(n: usize) -> Made {
    let mut image = sound();
    image.sections = true;
    let mut table = vec![0; 24 * n];
    for i in 0..n as u64 {
        put32(&mut table, 24 * i, (i.wrapping_mul(2_654_435_761) % n as u64) as u32);
        put64(&mut table, 24 * i + 8, DATA);
    }
    image.others = vec![
        Section { name: ".symtab".into(), kind: 2, link: 4, bytes: table, ..Section::default() },
        Section {
            name: ".strtab".into(),
            kind: 3,
            bytes: b"runtime.a".repeat(n / 9 + 1),
            ..Section::default()
        },
    ];
    image.build().into()
}

/// Every word will be the address of the function table.
fn relocations(n: usize) -> Made {
    let mut image = sound();
    image.pie = true;
    image.in_place = false;
    for _ in 0..n {
        for word in [DATA + 8, 8, RODATA] {
            image.relocations.extend_from_slice(&word.to_le_bytes());
        }
    }
    // The words that are left zero in the file stay so: the sound relocations behind are taken back.
    let words = [DATA, DATA + 8, DATA + 128, DATA + 160, DATA + 168, DATA + 176, DATA + 184, DATA + 320];
    let mut out = image.build();
    let len = out.len() - 24 * words.len();
    out[len..].fill(0);
    out.into()
}

/// The magic of build information, and a version that is none, again and again.
fn build_infos(len: usize) -> Made {
    let mut image = sound();
    let mut one = build_info(&"v".repeat(1000), b"");
    one.resize(one.len().next_multiple_of(16), 0);
    image.info = one.repeat(len / one.len());
    image.build().into()
}

/// Headers of function tables, each sound by itself.
fn function_tables(len: usize) -> Made {
    let mut image = sound();
    let mut one = image.build();
    let at = one.windows(8).position(|w| w == [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]).unwrap();
    one = one[at..at + 80].to_vec();
    image.names = one.repeat(len / 80);
    let mut out = image.build();
    // The true one is not among them.
    out[at] = 0;
    out.into()
}

/// The two words that module data begin with, again and again.
fn module_data(len: usize) -> Made {
    let mut image = sound();
    let base = image.base();
    let words = [(base + RODATA).to_le_bytes(), (base + RODATA + 72).to_le_bytes()].concat();
    image.module = Some(vec![0; 352]);
    image.info.resize(image.info.len().next_multiple_of(16), 0);
    image.info.extend_from_slice(&words.repeat(len / 16));
    image.build().into()
}

fn module_info(len: usize) -> Made {
    let mut image = sound();
    image.info = build_info("go1.26.6", &b"\n".repeat(len));
    image.build().into()
}

/// Gigabytes that are mapped and hold nothing.
fn hole(len: usize) -> Made {
    let mut image = sound();
    image.info = Vec::new();
    let mut head = image.build();
    let data = 64 + 2 * 56;
    put64(&mut head, data + 32, len as u64);
    put64(&mut head, data + 40, len as u64);
    Made { len: (len + head.len()) as u64, head, pieces: Vec::new() }
}

/// A hundred bytes that are said to become so many.
fn lying_debug(size: usize) -> Made {
    let mut image = sound();
    image.sections = true;
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&(size as u64).to_le_bytes());
    bytes.extend_from_slice(&1u64.to_le_bytes());
    bytes.extend_from_slice(&[0x78, 0x9c]);
    bytes.extend_from_slice(&[0x55; 100]);
    with_compressed_debug(image, &bytes)
}

/// Two sections that do become so many, in a program whose layout only they can tell.
fn full_debug(size: usize) -> Made {
    let mut image = program::image("go1.99.1", &program::functions());
    image.sections = true;
    let mut bytes = vec![2, 0, 0, 0, 0, 0, 0, 0]; // ELFCOMPRESS_ZSTD
    bytes.extend_from_slice(&(size as u64).to_le_bytes());
    bytes.extend_from_slice(&1u64.to_le_bytes());
    bytes.extend(zstd::encode_all(std::io::repeat(0x55).take(size as u64), 1).expect("memory is enough"));
    with_compressed_debug(image, &bytes)
}

/// The image with two debug sections of these bytes, which begin with an ELF compression header.
fn with_compressed_debug(mut image: Image, bytes: &[u8]) -> Made {
    let section = |name: &str| Section {
        name: name.into(),
        kind: 1,
        flags: 0x800, // SHF_COMPRESSED
        bytes: bytes.to_vec(),
        ..Section::default()
    };
    image.others = vec![section(".debug_info"), section(".debug_abbrev")];
    image.build().into()
}

fn probed(code: impl Fn(&[u8]) -> Vec<u8>) -> Made {
    let mut functions: Vec<Function> = program::functions();
    let at = FUNCTIONS.iter().position(|f| *f == "runtime.newproc1").unwrap();
    functions[at].code = code(&functions[at].code);
    program::image("go1.26.6", &functions).build().into()
}

/// `newproc1` with a tail of so many `nop`s.
fn long_code(len: usize) -> Made {
    probed(|code| [code, &vec![0x90; len]].concat())
}

/// `newproc1` with so many jumps to its epilogue before its end.
fn jumps(len: usize) -> Made {
    probed(|code| {
        let mut out = Vec::new();
        for i in 0..len / 6 {
            let to = (len / 6 - i - 1) * 6 + 29;
            out.extend_from_slice(&[0x0f, 0x85]);
            out.extend_from_slice(&(to as u32).to_le_bytes());
        }
        out.extend_from_slice(code);
        out
    })
}
