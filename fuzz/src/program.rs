//! A sound Go program of two dozen instructions a function, with everything in it that gostray asks for.

use super::image::{
    ALLGLEN, ALLGPTR, ALLGS, DATA, Image, RODATA, TEXT, WAIT_REASONS, build_info, put, put32,
};

pub struct Function {
    pub name: &'static str,
    pub code: Vec<u8>,
}

/// Versions whose tables differ in form, and one that nobody knows.
pub const VERSIONS: [&str; 6] = ["go1.19.8", "go1.21.13", "go1.24.3", "go1.26.6", "go1.27.3", "go1.99.1"];

pub const FUNCTIONS: [&str; 17] = [
    "main.main",
    "runtime.newproc",
    "runtime.goexit",
    "runtime.forEachG",
    "runtime.allgadd",
    "runtime.waitReason.String",
    "runtime.mcall",
    "runtime.newproc1",
    "runtime.goexit0",
    "runtime.goexit1",
    "runtime.coroswitch_m",
    "runtime.gopark",
    "runtime.park_m",
    "runtime.ready",
    "runtime.execute",
    "main.generic[go.shape.int]",
    "runtime.newproc",
];
/// Only inlined.
const INLINED: [&str; 2] = ["main.inner", "main.innermost[go.shape.int]"];

/// Stack check, frame, one `nop`, back; then the way to `morestack`.
const PLAIN: [u8; 20] = [
    0x49, 0x3b, 0x66, 0x10, 0x76, 0x07, 0x55, 0x48, 0x89, 0xe5, 0x90, 0x5d, 0xc3, 0xe8, 0, 0, 0, 0, 0xeb,
    0xec,
];

/// As Go 1.26 compiles the end of `newproc1`: two jumps to the epilogue.
const NEWPROC1: [u8; 34] = [
    0x8b, 0x91, 0x08, 0x01, 0, 0, // mov 0x108(%rcx), %edx
    0x83, 0xfa, 0x01, // cmp $1, %edx
    0x75, 0x12, // jne epilogue
    0x41, 0x80, 0xbe, 0xb1, 0, 0, 0, 0, // cmpb $0, 0xb1(%r14)
    0x74, 0x08, // je epilogue
    0x49, 0xc7, 0x46, 0x10, 0xde, 0xfa, 0xff, 0xff, // movq $-1314, 0x10(%r14)
    0x48, 0x83, 0xc4, 0x50, 0x5d, // add $0x50, %rsp; pop %rbp
];

/// `opcode` and the distance from its end to `target`.
fn rip(code: &mut Vec<u8>, entry: u64, opcode: &[u8], target: u64) {
    code.extend_from_slice(opcode);
    let next = entry + code.len() as u64 + 4;
    code.extend_from_slice(&(target.wrapping_sub(next) as i32).to_le_bytes());
}

/// The functions' code, in the order of [`FUNCTIONS`], each at the place that follows from those before it.
pub fn functions() -> Vec<Function> {
    let mut list: Vec<Function> = Vec::new();
    let mut entry = TEXT;
    let mut mcall = 0;
    for name in FUNCTIONS {
        let mut code = Vec::new();
        match name {
            "runtime.forEachG" => {
                rip(&mut code, entry, &[0x48, 0x8b, 0x0d], DATA + ALLGS); // mov rcx, allgs.ptr
                rip(&mut code, entry, &[0x48, 0x8b, 0x15], DATA + ALLGS + 8); // mov rdx, allgs.len
            }
            "runtime.allgadd" => {
                rip(&mut code, entry, &[0x48, 0x8b, 0x1d], DATA + ALLGS); // mov rbx, allgs.ptr
                rip(&mut code, entry, &[0x48, 0x39, 0x1d], DATA + ALLGPTR); // cmp allgptr, rbx
                rip(&mut code, entry, &[0x48, 0x8b, 0x0d], DATA + ALLGS + 8); // mov rcx, allgs.len
                rip(&mut code, entry, &[0x48, 0x8d, 0x15], DATA + ALLGLEN); // lea rdx, allglen
                code.extend([0x48, 0x87, 0x0a]); // xchg [rdx], rcx
            }
            "runtime.waitReason.String" => {
                code.extend([0x3c, 3, 0x72, 0x05]); // cmp al, 3; jb +5
                rip(&mut code, entry, &[0x48, 0x8d, 0x05], RODATA); // lea rax, "unknown wait reason"
                rip(&mut code, entry, &[0x48, 0x8d, 0x15], DATA + WAIT_REASONS);
            }
            "runtime.newproc1" => code.extend(NEWPROC1),
            "runtime.goexit1" | "runtime.gopark" => rip(&mut code, entry, &[0xe8], mcall),
            "runtime.mcall" => mcall = entry,
            "main.main" => code.extend([0x90; 23]),
            _ => code.extend(PLAIN),
        }
        code.push(0xc3);
        entry += code.len().next_multiple_of(16) as u64;
        list.push(Function { name, code });
    }
    list
}

fn names() -> Vec<u8> {
    FUNCTIONS[..16].iter().chain(&INLINED).flat_map(|n| n.bytes().chain([0])).collect()
}

pub fn name_offset(name: &str) -> u32 {
    let all = FUNCTIONS[..16].iter().chain(&INLINED);
    all.take_while(|n| **n != name).map(|n| n.len() as u32 + 1).sum()
}

/// The whole program. `functions` may have other code than [`functions`] gives them, of any length.
pub fn image(version: &str, functions: &[Function]) -> Image {
    let old = version.starts_with("go1.19");
    let wrapper = match version.get(..6) {
        Some("go1.19" | "go1.21") => 21,
        Some("go1.24") => 22,
        _ => 23,
    };
    let module = b"0123456789abcdefpath\texample.com/tiny\nmod\texample.com/tiny\t(devel)\n0123456789abcdef";
    // Offset 0 means "no table", so something stands there. Values start at -1, deltas are zigzag.
    let mut pcs = vec![0u8];
    let mut table = |bytes: &[u8]| {
        pcs.extend_from_slice(bytes);
        pcs.push(0);
        (pcs.len() - bytes.len() - 1) as u32
    };
    // main.main: 4 bytes its own, 4 that call inner, 4 of inner, 4 of innermost, 8 its own.
    let lines = table(&[22, 4, 2, 4, 18, 4, 20, 4, 35, 8]);
    let files = table(&[2, 8, 2, 8, 1, 8]);
    let inlined = table(&[0, 8, 2, 4, 2, 4, 3, 8]);
    let sp = table(&[2, 4, 32, 20]);
    // Line 100, file 0 of 16 KiB.
    let (line, file) = (table(&[202, 1, 0x80, 0x80, 1]), table(&[2, 0x80, 0x80, 1]));
    let size = if old { 40usize } else { 44 };
    let mut funcs = vec![0u8; 8 * functions.len() + 4];
    let mut text = Vec::new();
    for (i, f) in functions.iter().enumerate() {
        let inlines = i == 0;
        let record = funcs.len() as u32;
        put32(&mut funcs, 8 * i as u64, text.len() as u32);
        put32(&mut funcs, 8 * i as u64 + 4, record);
        let mut r = vec![0u8; size];
        let words = [(0, text.len() as u32), (4, name_offset(f.name))];
        let tables = if inlines { [sp, files, lines, 3] } else { [0, file, line, 0] };
        for (at, value) in words.into_iter().chain([16, 20, 24, 28].into_iter().zip(tables)) {
            put32(&mut r, at, value);
        }
        let id = if i == 1 { wrapper } else { 0 };
        put(&mut r, size as u64 - 4, &[id, u8::from(f.name == "runtime.goexit"), 0, 4 * u8::from(inlines)]);
        if inlines {
            for value in [0, 0, inlined, u32::MAX, u32::MAX, u32::MAX, 16] {
                r.extend_from_slice(&u32::to_le_bytes(value));
            }
        }
        funcs.extend_from_slice(&r);
        text.extend_from_slice(&f.code);
        text.resize(text.len().next_multiple_of(16), 0xcc);
    }
    put32(&mut funcs, 8 * functions.len() as u64, text.len() as u32);
    let mut trees = vec![0; 16];
    for (i, parent_pc) in [4u32, 8].into_iter().enumerate() {
        let (size, name, parent) = if old { (20, 12, 16) } else { (16, 4, 8) };
        let mut entry = vec![0; size];
        put32(&mut entry, name, name_offset(INLINED[i]));
        put32(&mut entry, parent, parent_pc);
        trees.extend_from_slice(&entry);
    }
    Image {
        version: version.to_owned(),
        pie: false,
        in_place: true,
        sections: false,
        text,
        nfunc: functions.len() as u64,
        names: names(),
        cus: [0u32, 13].iter().flat_map(|o| o.to_le_bytes()).collect(),
        files: b"/src/main.go\0/src/inner.go\0".to_vec(),
        pcs,
        funcs,
        trees,
        info: build_info(version, module),
        module: None,
        relocations: Vec::new(),
        notes: note(4, b"GNU\0", 3, &[0xa5; 20]),
        others: Vec::new(),
    }
}

pub fn note(name_len: u32, name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [name_len, desc.len() as u32, kind] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(name);
    out.extend_from_slice(desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
