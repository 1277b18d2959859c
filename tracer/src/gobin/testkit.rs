//! A tiny Go executable, built byte by byte: what plain `cargo test` reads, since it has no Go toolchain. The real
//! thing is tried in `tests/tests/gobin_real.rs`.

use super::pclntab::{MAGIC_118, MAGIC_120};

/// Addresses of the parts, before `base`.
pub const TEXT: u64 = 0x1000;
pub const RODATA: u64 = 0x2000;
pub const DATA: u64 = 0x4000;
const GOFUNC: u64 = 0x3800;
pub const ALLGS: u64 = DATA + 0x800;
pub const ALLGLEN: u64 = DATA + 0x820;
pub const ALLGPTR: u64 = DATA + 0x828;
pub const WAIT_REASONS: u64 = DATA + 0x900;
const MODULEDATA: u64 = DATA + 0x100;
const RELA: u64 = DATA + 0x600;
const DYNAMIC: u64 = DATA + 0x5a0;
const DATA_SIZE: u64 = 0x1000;

/// Which executable to build.
#[derive(Clone, Debug)]
pub struct Spec {
    pub version: String,
    /// 118 or 120: the form of the function table.
    pub form: u32,
    /// Where `gofunc` is in moduledata.
    pub gofunc: usize,
    pub wrapper_id: u8,
    pub pie: bool,
    /// Relocated words are in the file; else only in the relocations.
    pub in_place: bool,
}

impl Spec {
    pub fn go119() -> Self {
        Self {
            version: "go1.19.8".into(),
            form: 118,
            gofunc: 304,
            wrapper_id: 21,
            pie: false,
            in_place: true,
        }
    }

    pub fn go126() -> Self {
        Self {
            version: "go1.26.6".into(),
            form: 120,
            gofunc: 320,
            wrapper_id: 23,
            pie: false,
            in_place: true,
        }
    }

    pub fn go127() -> Self {
        Self { version: "go1.27.3".into(), gofunc: 344, ..Self::go126() }
    }

    pub fn pie(self) -> Self {
        Self { pie: true, ..self }
    }

    /// Linked address of offset 0.
    pub fn base(&self) -> u64 {
        if self.pie { 0 } else { 0x40_0000 }
    }
}

struct Function {
    name: &'static str,
    code: Vec<u8>,
    /// With padding.
    size: u64,
    func_id: u8,
    flag: u8,
    inlines: bool,
}

fn put(out: &mut [u8], at: u64, bytes: &[u8]) {
    out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

fn put64(out: &mut [u8], at: u64, value: u64) {
    put(out, at, &value.to_le_bytes());
}

fn put32(out: &mut [u8], at: u64, value: u32) {
    put(out, at, &value.to_le_bytes());
}

/// An instruction of `opcode` bytes followed by a displacement to `target`, at `at`.
fn rip(code: &mut Vec<u8>, entry: u64, opcode: &[u8], target: u64) {
    code.extend_from_slice(opcode);
    let next = entry + code.len() as u64 + 4;
    code.extend_from_slice(&(target.wrapping_sub(next) as i32).to_le_bytes());
}

fn functions(spec: &Spec) -> Vec<Function> {
    let plain = |name, len: usize, size, func_id, flag| Function {
        name,
        code: vec![0x90; len],
        size,
        func_id,
        flag,
        inlines: false,
    };
    let mut list = vec![
        // Code ends at 24, padding goes to 32.
        Function { inlines: true, ..plain("main.main", 24, 32, 0, 0) },
        plain("runtime.newproc", 16, 16, spec.wrapper_id, 0),
        plain("runtime.newproc", 16, 16, 0, 0),
        plain("runtime.goexit", 16, 16, 7, 1),
    ];
    let at = |list: &[Function]| TEXT + list.iter().map(|f| f.size).sum::<u64>();
    let mut code = Vec::new();
    let entry = at(&list);
    rip(&mut code, entry, &[0x48, 0x8b, 0x0d], ALLGS); // mov rcx, allgs.ptr
    rip(&mut code, entry, &[0x48, 0x8b, 0x15], ALLGS + 8); // mov rdx, allgs.len
    list.push(Function { code, ..plain("runtime.forEachG", 0, 32, 0, 0) });
    let mut code = Vec::new();
    let entry = at(&list);
    rip(&mut code, entry, &[0x48, 0x8b, 0x1d], ALLGS); // mov rbx, allgs.ptr
    rip(&mut code, entry, &[0x48, 0x39, 0x1d], ALLGPTR); // cmp allgptr, rbx
    rip(&mut code, entry, &[0x48, 0x8b, 0x0d], ALLGS + 8); // mov rcx, allgs.len
    rip(&mut code, entry, &[0x48, 0x8d, 0x15], ALLGLEN); // lea rdx, allglen
    code.extend([0x48, 0x87, 0x0a]); // xchg [rdx], rcx
    list.push(Function { code, ..plain("runtime.allgadd", 0, 48, 0, 0) });
    let mut code = vec![0x3c, 3, 0x72, 0x05]; // cmp al, 3; jb +5
    let entry = at(&list);
    rip(&mut code, entry, &[0x48, 0x8d, 0x05], RODATA); // lea rax, "unknown wait reason"
    rip(&mut code, entry, &[0x48, 0x8d, 0x15], WAIT_REASONS); // lea rdx, waitReasonStrings
    list.push(Function { code, ..plain("runtime.waitReason.String", 0, 32, 0, 0) });
    list
}

/// The executable's bytes. File offset and address (minus base) are equal.
pub fn build(spec: &Spec) -> Vec<u8> {
    let functions = functions(spec);
    let base = spec.base();
    let mut out = vec![0u8; (DATA + DATA_SIZE) as usize];
    headers(&mut out, spec);
    let mut at = TEXT;
    for f in &functions {
        put(&mut out, at, &f.code);
        at += f.size;
    }
    let end = at;
    let (table, pcln) = pclntab(spec, &functions);
    assert!(RODATA + (table.len() as u64) < GOFUNC);
    put(&mut out, RODATA, &table);
    inline_tree(&mut out, spec);
    // Module data: (place, value, is an address).
    let words = [
        (0, RODATA, true),
        (8, RODATA + 72, true),
        (128, RODATA + pcln, true),
        (136, functions.len() as u64 + 1, false),
        (160, TEXT, true),
        (168, end, true),
        (176, TEXT, true),
        (184, end, true),
        (spec.gofunc as u64, GOFUNC, true),
    ];
    let mut relocations = 0;
    for (place, value, address) in words {
        if address && !spec.in_place {
            let rela = RELA + 24 * relocations;
            put64(&mut out, rela, base + MODULEDATA + place);
            put64(&mut out, rela + 8, 8); // R_X86_64_RELATIVE
            put64(&mut out, rela + 16, base + value);
            relocations += 1;
        } else {
            put64(&mut out, MODULEDATA + place, if address { base + value } else { value });
        }
    }
    for (i, (tag, value)) in [(7, base + RELA), (8, 24 * relocations), (0, 0)].into_iter().enumerate() {
        put64(&mut out, DYNAMIC + 16 * i as u64, tag);
        put64(&mut out, DYNAMIC + 16 * i as u64 + 8, value);
    }
    let module =
        format!("{s}path\texample.com/tiny\nmod\texample.com/tiny\t(devel)\n{s}", s = "0123456789abcdef");
    put(&mut out, DATA, &build_info(&spec.version, &module));
    out
}

pub fn build_info(version: &str, module: &str) -> Vec<u8> {
    let mut b = b"\xff Go buildinf:\x08\x02".to_vec();
    b.resize(32, 0);
    for s in [version, module] {
        assert!(s.len() < 128);
        b.push(s.len() as u8);
        b.extend_from_slice(s.as_bytes());
    }
    b
}

fn headers(out: &mut [u8], spec: &Spec) {
    put(out, 0, b"\x7fELF\x02\x01\x01");
    put(out, 16, &[if spec.pie { 3 } else { 2 }, 0, 62, 0, 1]);
    put64(out, 32, 64); // e_phoff
    put(out, 52, &[64, 0, 56, 0, 5, 0, 64]);
    let segments = [
        (1u32, 5u32, TEXT, 0x1000u64, 0x1000u64),
        (1, 4, RODATA, 0x2000, 0x2000),
        (1, 6, DATA, DATA_SIZE, 2 * DATA_SIZE),
        (2, 6, DYNAMIC, 48, 48),
        (4, 4, 0x200, 36, 36),
    ];
    for (i, (kind, flags, at, filesz, memsz)) in segments.into_iter().enumerate() {
        let p = 64 + 56 * i as u64;
        put32(out, p, kind);
        put32(out, p + 4, flags);
        for (field, value) in [(8, at), (16, spec.base() + at), (32, filesz), (40, memsz), (48, 4)] {
            put64(out, p + field, value);
        }
    }
    // A GNU build id note.
    put(out, 0x200, &[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0]);
    put(out, 0x210, &(0xa0..0xb4).collect::<Vec<u8>>());
}

/// Two levels at `main.main`: `main.inner` inlined at 4, `main.innermost[go.shape.int]` inlined into that.
fn inline_tree(out: &mut [u8], spec: &Spec) {
    for (i, (name, parent_pc)) in
        [(name_offset("main.inner"), 4u32), (name_offset(INNERMOST), 8)].into_iter().enumerate()
    {
        let (size, name_at, parent_at) = if spec.form == 118 { (20, 12, 16) } else { (16, 4, 8) };
        let entry = GOFUNC + 16 + size * i as u64;
        put32(out, entry + name_at, name);
        put32(out, entry + parent_at, parent_pc);
    }
}

pub const INNERMOST: &str = "main.innermost[go.shape.int]";
const NAMES: [&str; 8] = [
    "main.main",
    "runtime.newproc",
    "runtime.goexit",
    "runtime.forEachG",
    "runtime.allgadd",
    "runtime.waitReason.String",
    "main.inner",
    INNERMOST,
];

fn name_offset(name: &str) -> u32 {
    let i = NAMES.iter().position(|n| *n == name).unwrap();
    NAMES[..i].iter().map(|n| n.len() as u32 + 1).sum()
}

/// The table and the offset of its last part.
fn pclntab(spec: &Spec, functions: &[Function]) -> (Vec<u8>, u64) {
    let names: Vec<u8> = NAMES.iter().flat_map(|n| n.bytes().chain([0])).collect();
    let files = b"/src/main.go\0/src/inner.go\0";
    let cus: Vec<u8> = [0u32, 13].iter().flat_map(|o| o.to_le_bytes()).collect();
    // Offset 0 means "no table", so something stands there. Values start at −1, deltas are zigzag.
    let mut pcs = vec![0u8];
    let mut table = |bytes: &[u8]| {
        let at = pcs.len() as u32;
        pcs.extend_from_slice(bytes);
        pcs.push(0);
        at
    };
    // main.main: line 10 for 4, 11 for 4 (calls inner), 20 for 4 (inner), 30 for 4 (innermost), 12 up to 24.
    let main_lines = table(&[22, 4, 2, 4, 18, 4, 20, 4, 35, 8]);
    let main_files = table(&[2, 8, 2, 8, 1, 8]);
    let main_inlined = table(&[0, 8, 2, 4, 2, 4, 3, 8]);
    let main_sp = table(&[2, 4, 32, 20]);
    // Line 100 all over.
    let lines: Vec<u32> = functions
        .iter()
        .map(|f| if f.inlines { main_lines } else { table(&[202, 1, f.code.len() as u8]) })
        .collect();
    let file_one = table(&[2, 127]);
    let (names_at, cu_at) = (72u64, 72 + names.len() as u64);
    let files_at = cu_at + cus.len() as u64;
    let pcs_at = files_at + files.len() as u64;
    let pcln_at = (pcs_at + pcs.len() as u64).next_multiple_of(8);
    let ftab_len = 8 * functions.len() + 4;
    let func_size = if spec.form == 118 { 40 } else { 44 };
    let mut funcs = vec![0u8; ftab_len];
    let mut entry = 0u64;
    for (i, f) in functions.iter().enumerate() {
        let record = funcs.len() as u64;
        put32(&mut funcs, 8 * i as u64, entry as u32);
        put32(&mut funcs, 8 * i as u64 + 4, record as u32);
        let mut r = vec![0u8; func_size];
        let pcdata = if f.inlines { 3u32 } else { 0 };
        let funcdata = if f.inlines { 4u8 } else { 0 };
        put32(&mut r, 0, entry as u32);
        put32(&mut r, 4, name_offset(f.name));
        put32(&mut r, 16, if f.inlines { main_sp } else { 0 });
        put32(&mut r, 20, if f.inlines { main_files } else { file_one });
        put32(&mut r, 24, lines[i]);
        put32(&mut r, 28, pcdata);
        put(&mut r, func_size as u64 - 4, &[f.func_id, f.flag, 0, funcdata]);
        if f.inlines {
            for value in [0, 0, main_inlined, u32::MAX, u32::MAX, u32::MAX, 16] {
                r.extend_from_slice(&value.to_le_bytes());
            }
        }
        funcs.extend_from_slice(&r);
        entry += f.size;
    }
    put32(&mut funcs, 8 * functions.len() as u64, entry as u32);
    let mut out = if spec.form == 118 { MAGIC_118 } else { MAGIC_120 }.to_vec();
    for word in [functions.len() as u64, 2, 0, names_at, cu_at, files_at, pcs_at, pcln_at] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for part in [&names[..], &cus, files, &pcs] {
        out.extend_from_slice(part);
    }
    out.resize(pcln_at as usize, 0);
    out.extend_from_slice(&funcs);
    (out, pcln_at)
}
