//! The runtime's structs as a program describes them, in both forms that gostray reads: debug information and type
//! descriptors. Where a field is matters only in the tables' structs, of which gostray knows one form.

/// A field's type: a number of bytes, or an earlier struct.
enum Of {
    Bytes(u8),
    Struct(&'static str),
}
use Of::{Bytes, Struct};

type Fields = &'static [(&'static str, u32, Of)];

const W: Of = Bytes(8);

const STRUCTS: [(&str, u32, Fields); 14] = [
    ("stack", 16, &[("lo", 0, W), ("hi", 8, W)]),
    ("gobuf", 48, &[("sp", 0, W), ("pc", 8, W), ("bp", 40, W)]),
    ("waitq", 16, &[("first", 0, W), ("last", 8, W)]),
    ("traceable", 16, &[("vp", 0, W), ("vu", 8, W)]),
    ("slice", 24, &[("array", 0, W), ("len", 8, W), ("cap", 16, W)]),
    (
        "runtime.g",
        256,
        &[
            ("stack", 0, Struct("stack")),
            ("m", 48, W),
            ("sched", 56, Struct("gobuf")),
            ("syscallsp", 104, W),
            ("syscallpc", 112, W),
            ("syscallbp", 120, W),
            ("atomicstatus", 144, Bytes(4)),
            ("goid", 152, W),
            ("waitsince", 160, W),
            ("waitreason", 168, Bytes(1)),
            ("parkingOnChan", 169, Bytes(1)),
            ("coroexit", 170, Bytes(1)),
            ("coroarg", 176, W),
            ("lockedm", 184, W),
            ("parentGoid", 192, W),
            ("gopc", 200, W),
            ("startpc", 208, W),
            ("waiting", 216, W),
            ("labels", 224, W),
        ],
    ),
    (
        "runtime.m",
        128,
        &[("g0", 0, W), ("procid", 72, W), ("curg", 80, W), ("waitunlockf", 88, W), ("waitlock", 96, W)],
    ),
    (
        "runtime.sudog",
        112,
        &[
            ("g", 0, W),
            ("next", 8, W),
            ("prev", 16, W),
            ("elem", 24, Struct("traceable")),
            ("ticket", 40, Bytes(4)),
            ("isSelect", 44, Bytes(1)),
            ("success", 45, Bytes(1)),
            ("parent", 48, W),
            ("waitlink", 56, W),
            ("waittail", 64, W),
            ("c", 72, Struct("traceable")),
        ],
    ),
    (
        "runtime.hchan",
        104,
        &[
            ("qcount", 0, W),
            ("dataqsiz", 8, W),
            ("buf", 16, W),
            ("elemsize", 24, Bytes(2)),
            ("closed", 28, Bytes(4)),
            ("timer", 32, W),
            ("elemtype", 40, W),
            ("recvq", 48, Struct("waitq")),
            ("sendq", 64, Struct("waitq")),
        ],
    ),
    (
        "runtime.moduledata",
        400,
        &[
            ("pcHeader", 0, W),
            ("funcnametab", 8, Struct("slice")),
            ("ftab", 128, Struct("slice")),
            ("minpc", 160, W),
            ("maxpc", 168, W),
            ("text", 176, W),
            ("etext", 184, W),
            ("types", 296, W),
            ("etypes", 304, W),
            ("gofunc", 320, W),
        ],
    ),
    (
        "runtime.pcHeader",
        72,
        &[
            ("nfunc", 8, W),
            ("funcnameOffset", 32, W),
            ("cuOffset", 40, W),
            ("filetabOffset", 48, W),
            ("pctabOffset", 56, W),
            ("pclnOffset", 64, W),
        ],
    ),
    ("runtime.functab", 8, &[("entryoff", 0, Bytes(4)), ("funcoff", 4, Bytes(4))]),
    (
        "runtime._func",
        44,
        &[
            ("nameOff", 4, Bytes(4)),
            ("pcsp", 16, Bytes(4)),
            ("pcfile", 20, Bytes(4)),
            ("pcln", 24, Bytes(4)),
            ("npcdata", 28, Bytes(4)),
            ("cuOffset", 32, Bytes(4)),
            ("funcID", 40, Bytes(1)),
            ("flag", 41, Bytes(1)),
            ("nfuncdata", 43, Bytes(1)),
        ],
    ),
    ("runtime.inlinedCall", 16, &[("nameOff", 4, Bytes(4)), ("parentPc", 8, Bytes(4))]),
];

const CONSTANTS: [(&str, u32); 10] = [
    ("runtime._Gidle", 0),
    ("runtime._Grunning", 2),
    ("runtime._Gsyscall", 3),
    ("runtime._Gwaiting", 4),
    ("runtime._Gdead", 6),
    ("runtime._Gscan", 0x1000),
    ("internal/abi.PCDATA_InlTreeIndex", 2),
    ("internal/abi.FUNCDATA_InlTree", 3),
    ("internal/abi.FuncFlagTopFrame", 1),
    ("internal/abi.FuncIDWrapper", 23),
];

/// Abbreviations for [`debug_info`]: unit, struct, member, base type, constant.
pub fn abbreviations() -> Vec<u8> {
    let mut out = Vec::new();
    // Tag, children, pairs of attribute and form (`string`, `data1`, `data4`, `ref4`).
    let entries: [(u8, u8, &[u8]); 5] = [
        (0x11, 1, &[0x03, 0x08, 0x13, 0x0b, 0x25, 0x08]),
        (0x13, 1, &[0x03, 0x08, 0x0b, 0x06]),
        (0x0d, 0, &[0x03, 0x08, 0x38, 0x06, 0x49, 0x13]),
        (0x24, 0, &[0x03, 0x08, 0x0b, 0x0b]),
        (0x27, 0, &[0x03, 0x08, 0x1c, 0x06]),
    ];
    for (code, (tag, children, pairs)) in (1..).zip(entries) {
        out.extend([code, tag, children]);
        out.extend(pairs);
        out.extend([0, 0]);
    }
    out.push(0);
    out
}

/// A unit of package `runtime` in DWARF 4.
pub fn debug_info() -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8];
    let entry = |out: &mut Vec<u8>, code: u8, name: &str| {
        let at = out.len() as u32;
        out.push(code);
        out.extend(name.bytes().chain([0]));
        at
    };
    entry(&mut out, 1, "runtime");
    out.push(0x16); // DW_LANG_Go
    out.extend(b"Go cmd/compile go1.99.1; regabi\0");
    let mut known: Vec<(&str, u32)> = Vec::new();
    let bytes = [1u8, 2, 4, 8].map(|size| {
        let at = entry(&mut out, 4, "base");
        out.push(size);
        (size, at)
    });
    for (name, size, fields) in &STRUCTS {
        known.push((*name, entry(&mut out, 2, name)));
        out.extend(size.to_le_bytes());
        for (field, offset, of) in *fields {
            entry(&mut out, 3, field);
            out.extend(offset.to_le_bytes());
            let at = match of {
                Bytes(size) => bytes.iter().find(|b| b.0 == *size).map(|b| b.1),
                Struct(name) => known.iter().find(|k| k.0 == *name).map(|k| k.1),
            };
            out.extend(at.expect("an earlier type").to_le_bytes());
        }
        out.push(0);
    }
    for (name, value) in CONSTANTS {
        entry(&mut out, 5, name);
        out.extend(value.to_le_bytes());
    }
    out.push(0);
    let len = out.len() as u32 - 4;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

/// The same as type descriptors, linked to `base` (internal/abi/type.go: `StructType`, `StructField`, `Name`).
pub fn descriptors(base: u64) -> Vec<u8> {
    let mut out = vec![0; 8];
    let mut known: Vec<(String, u64)> = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        let at = out.len() as u64;
        out.extend([1, text.len() as u8]);
        out.extend(text.bytes());
        at
    };
    // abi.Type, and what follows it in a struct's.
    let descriptor = |out: &mut Vec<u8>, size: u64, kind: u8, name: u64, fields: (u64, u64)| {
        out.resize(out.len().next_multiple_of(8), 0);
        let at = out.len();
        out.resize(at + 80, 0);
        out[at..at + 8].copy_from_slice(&size.to_le_bytes());
        out[at + 20] = 2; // TFlagExtraStar
        out[at + 23] = kind;
        out[at + 40..at + 44].copy_from_slice(&(name as u32).to_le_bytes());
        for (place, word) in [(56, fields.0), (64, fields.1), (72, fields.1)] {
            out[at + place..at + place + 8].copy_from_slice(&word.to_le_bytes());
        }
        base + at as u64
    };
    for size in [1u64, 2, 4, 8] {
        let name = text(&mut out, "*uint");
        known.push((size.to_string(), descriptor(&mut out, size, 8, name, (0, 0))));
    }
    for (name, size, fields) in STRUCTS.iter().filter(|s| s.0 != "runtime.moduledata") {
        let mut table = Vec::new();
        for (field, offset, of) in *fields {
            let name = base + text(&mut out, field);
            let of = match of {
                Bytes(size) => size.to_string(),
                Struct(name) => (*name).to_owned(),
            };
            let of = known.iter().find(|k| k.0 == of).expect("an earlier type").1;
            table.extend([name, of, u64::from(*offset)].into_iter().flat_map(u64::to_le_bytes));
        }
        let named = text(&mut out, &format!("*{name}"));
        out.resize(out.len().next_multiple_of(8), 0);
        let at = base + out.len() as u64;
        out.extend(table);
        let of = descriptor(&mut out, u64::from(*size), 25, named, (at, fields.len() as u64));
        known.push(((*name).to_owned(), of));
    }
    out
}
