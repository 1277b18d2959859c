//! One function for each fuzz target: input to executable, and all questions asked of it. Plain `cargo test` runs the
//! same ones over the committed seeds (`tracer/tests/fuzz_seeds.rs`).

use std::collections::HashMap;

use tracer::dump::Trace;
use tracer::gobin::GoBinary;
use tracer::memory::core::{Core, CoreMemory, Registers};
use tracer::memory::selfcheck::surroundings::Frozen;
use tracer::memory::selfcheck::{CheckError, Misfit, check};
use tracer::source::dump::{Moment, Subject, take};

use super::ask::{Reached, everything};
use super::core_file::{self, CoreFile};
use super::image::{Image, MODULE_SIZE, RODATA, Section, put, put32, put64};
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
/// Whose layout is measured.
const CORE_VERSION: &str = "go1.26.6";

type Ask = fn(&[u8]) -> Reached;

/// Every target by its name, as `cargo fuzz` and `fuzz/seeds` have it.
pub const ALL: [(&str, Ask); 9] = [
    ("elf", everything),
    ("buildinfo", |data| everything(&buildinfo(data))),
    ("pclntab", |data| everything(&pclntab(data))),
    ("moduledata", |data| everything(&moduledata(data))),
    ("inline_trees", |data| everything(&inline_trees(data))),
    ("code", |data| everything(&code(data))),
    ("dwarf", |data| everything(&dwarf(data))),
    ("layouts", layouts),
    ("core", core),
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

/// Any bytes as the core of a process that ran a sound program, and all that a dump asks of it.
pub fn core(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let core = match Core::parse(data) {
        Ok(core) => core,
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return reached;
        }
    };
    reached.parsed = 1;
    let program = program::image(CORE_VERSION, &program::functions()).build();
    let binary = GoBinary::parse(&program).expect("a sound program");
    let _ = (core.executable(), binary.build_ids().same_build(&core.build_ids()));
    let bias = core.load_bias(&binary).unwrap_or(0);
    let memory = CoreMemory::new(&core, &binary, bias);
    let layout = binary.layout().expect("a known version");
    let allgs = binary.globals().allgs.expect("a sound program").wrapping_add(bias);
    let around = Frozen::new(&core, &binary, bias, None);
    let checked = check(&memory, &layout, allgs, &around);
    reached.layouts += u64::from(!matches!(checked, Err(CheckError::Misfit(Misfit::List { .. }))));
    let threads: HashMap<u32, Registers> = core.notes.threads.iter().map(|t| (t.tid, t.registers)).collect();
    let subject = Subject {
        memory: &memory,
        moment: Moment::Then { path: "core", threads: &threads },
        pid: core.notes.pid,
        comm: core.notes.comm.clone(),
        exe: String::new(),
        binary: &binary,
        layout: &layout,
        load_bias: bias,
        allgs,
        semtable: None,
        wait_reasons: None,
        debug: None,
        descriptors: None,
        notes: Vec::new(),
    };
    if let Ok(dump) = take(&subject, &mut |_, _| {}) {
        // Nothing of a core moves, and every entry of the list is told or counted.
        assert!(dump.goroutines.iter().all(|g| !matches!(g.trace, Trace::Running | Trace::Moving)));
        let told = dump.goroutines.len() as u64 + dump.counts.dead + dump.counts.unreadable;
        assert_eq!((told, dump.counts.unsettled), (dump.counts.entries, 0));
        reached.functions += dump.goroutines.len() as u64;
        reached.frames += dump.stacks.iter().map(|s| s.pcs.len() as u64).sum::<u64>();
    }
    reached
}

/// The core of such a process: it has four goroutines. One waits, one runs on its own stack, one on the system's, one in a
/// signal's handler.
pub fn sound_core() -> CoreFile {
    const HEAP: u64 = 0xc0_0000_0000;
    const STACKS: u64 = HEAP + 0x2000;
    const STACK: u64 = 0x800;
    let image = program::image(CORE_VERSION, &program::functions());
    let program = image.build();
    let binary = GoBinary::parse(&program).expect("a sound program");
    let layout = binary.layout().expect("a known version");
    let entry = |name: &str| binary.functions().by_name(name).expect("one of the program's functions").entry;
    let (main, mcall, goexit) = (entry("main.main"), entry("runtime.mcall"), entry("runtime.goexit"));
    let mut heap = vec![0; 0x2000];
    let mut stacks = vec![0; 4 * STACK as usize];
    let mut threads = Vec::new();
    for i in 0..4u64 {
        // Its g, its m and its stack.
        let (g, m, lo) = (0x100 + 0x200 * i, 0x1000 + 0x200 * i, STACK * i);
        put64(&mut heap, 8 * i, HEAP + g);
        let (k, hi) = (&layout.kernel, STACKS + lo + STACK);
        let sp = hi - 0x100;
        let status = if i == 0 { 4 } else { 2 };
        for (at, value) in [
            (k.g_stack_lo, STACKS + lo),
            (k.g_stack_hi, hi),
            (k.g_goid, i + 1),
            (k.g_gopc, main + 5),
            (k.g_startpc, main),
            (k.g_m, if i == 0 { 0 } else { HEAP + m }),
            (layout.g_status, status),
            (layout.g_sched_sp, sp),
            (layout.g_sched_pc, main),
            (layout.g_waitsince, 1_000_000 * i),
        ] {
            put64(&mut heap, g + u64::from(at), value);
        }
        put64(&mut heap, m + u64::from(k.m_curg), HEAP + g);
        put64(&mut heap, m + u64::from(layout.m_procid), 100 + i);
        put64(&mut stacks, lo + STACK - 0x100, goexit + 1);
        threads.push((
            100 + i as u32,
            if i == 2 { mcall } else { main },
            if i == 1 { sp } else { HEAP + 0x1f00 },
        ));
    }
    let segments = binary.segments();
    let mut parts: Vec<core_file::Segment> = segments
        .iter()
        .map(|s| core_file::Segment { vaddr: s.vaddr, memsz: s.memsz, flags: s.flags, bytes: Vec::new() })
        .collect();
    for (part, s) in parts.iter_mut().zip(segments).filter(|(_, s)| s.is_writable()) {
        part.bytes = binary.bytes(s.vaddr, s.filesz as usize).unwrap_or_default().to_vec();
        part.bytes.resize(s.memsz as usize, 0);
        let allgs = binary.globals().allgs.expect("a sound program");
        if s.contains(allgs) {
            let at = allgs - s.vaddr;
            (0..3).zip([HEAP, 4, 4]).for_each(|(i, word)| put64(&mut part.bytes, at + 8 * i, word));
        }
    }
    for (vaddr, bytes) in [(HEAP, heap), (STACKS, stacks)] {
        parts.push(core_file::Segment { vaddr, memsz: bytes.len() as u64, flags: 6, bytes });
    }
    CoreFile {
        pid: 100,
        comm: "sound".to_owned(),
        threads,
        files: Vec::new(),
        auxv: vec![(9, binary.entry())],
        segments: parts,
    }
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
