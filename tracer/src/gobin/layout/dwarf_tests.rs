//! `from_dwarf` over debug information written by hand: sound, foreign, damaged and made to be slow.

use gimli::SectionId;
use std::time::{Duration, Instant};

use gimli::constants as dw;
use proptest::prelude::*;

use super::*;
use crate::gobin::debug::DebugSections;

const UNIT: u8 = 1;
const STRUCT: u8 = 2;
const MEMBER: u8 = 3;
const BASE: u8 = 4;
const CONSTANT: u8 = 5;
const POINTER: u8 = 6;
const BOMB: u8 = 7;
const EMPTY_UNIT: u8 = 8;

fn leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One table for everything below. Entry [`BOMB`] has thousands of attributes that take no bytes.
fn abbreviations() -> Vec<u8> {
    let mut out = Vec::new();
    let mut entry =
        |code: u8, tag: gimli::DwTag, children: bool, attributes: &[(gimli::DwAt, gimli::DwForm)]| {
            leb(&mut out, code.into());
            leb(&mut out, tag.0.into());
            out.push(children.into());
            for (name, form) in attributes {
                leb(&mut out, name.0.into());
                leb(&mut out, form.0.into());
            }
            out.extend([0, 0]);
        };
    let name = (dw::DW_AT_name, dw::DW_FORM_string);
    let language = (dw::DW_AT_language, dw::DW_FORM_data1);
    entry(UNIT, dw::DW_TAG_compile_unit, true, &[name, language, (dw::DW_AT_producer, dw::DW_FORM_string)]);
    entry(STRUCT, dw::DW_TAG_structure_type, true, &[name, (dw::DW_AT_byte_size, dw::DW_FORM_udata)]);
    let at = (dw::DW_AT_data_member_location, dw::DW_FORM_udata);
    entry(MEMBER, dw::DW_TAG_member, false, &[name, at, (dw::DW_AT_type, dw::DW_FORM_ref_addr)]);
    entry(BASE, dw::DW_TAG_base_type, false, &[name, (dw::DW_AT_byte_size, dw::DW_FORM_udata)]);
    entry(CONSTANT, dw::DW_TAG_constant, false, &[name, (dw::DW_AT_const_value, dw::DW_FORM_sdata)]);
    entry(POINTER, dw::DW_TAG_pointer_type, false, &[name]);
    let flag = (dw::DW_AT_external, dw::DW_FORM_flag_present);
    entry(BOMB, dw::DW_TAG_variable, false, &vec![flag; 7000]);
    entry(EMPTY_UNIT, dw::DW_TAG_compile_unit, false, &[]);
    out.push(0);
    out
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend(s.as_bytes());
    out.push(0);
}

/// A unit of DWARF 4 around these entries, which begin at 11 plus the root entry.
fn unit(root: &[u8], entries: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0, 0, 0, 0, 0, 8];
    body.extend(root);
    body.extend(entries);
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend(body);
    out
}

fn root(name: &str, language: gimli::DwLang) -> Vec<u8> {
    let mut out = vec![UNIT];
    text(&mut out, name);
    out.push(language.0 as u8);
    text(&mut out, "Go cmd/compile go1.28.0; regabi");
    out
}

/// Package runtime as in Go 1.26, as far as it is read, with every struct flat but for `c` and `elem`.
fn runtime() -> Vec<u8> {
    let known = table::amd64().unwrap().into_iter().find(|r| r.version.release() == "go1.26.6").unwrap();
    let o = known.offsets;
    let root = root("runtime", dw::DW_LANG_Go);
    let mut out = Vec::new();
    let mut at_size = std::collections::BTreeMap::new();
    let here = |out: &Vec<u8>| (11 + root.len() + out.len()) as u32;
    for size in [1u64, 2, 4, 8] {
        at_size.insert(size, here(&out));
        out.push(if size == 8 { POINTER } else { BASE });
        text(&mut out, &format!("of{size}"));
        if size != 8 {
            leb(&mut out, size);
        }
    }
    let structure = |out: &mut Vec<u8>, name: &str, size: u32, fields: &[(&str, u32, u32)]| {
        let start = here(out);
        out.push(STRUCT);
        text(out, name);
        leb(out, size.into());
        for (name, at, of) in fields {
            out.push(MEMBER);
            text(out, name);
            leb(out, (*at).into());
            out.extend(at_size.get(&u64::from(*of)).copied().unwrap_or(*of).to_le_bytes());
        }
        out.push(0);
        start
    };
    let out = &mut out;
    let pair = structure(out, "runtime.maybeTraceablePtr", 16, &[("vp", 0, 8), ("vu", 8, 8)]);
    let chan = structure(out, "runtime.maybeTraceableChan", 16, &[("maybeTraceablePtr", 0, pair)]);
    let stack = structure(out, "runtime.stack", 16, &[("lo", 0, 8), ("hi", 8, 8)]);
    let gobuf = structure(out, "runtime.gobuf", 48, &[("sp", 0, 8), ("pc", 8, 8), ("bp", 40, 8)]);
    let waitq = structure(out, "runtime.waitq", 16, &[("first", 0, 8), ("last", 8, 8)]);
    let slice = structure(out, "[]uint8", 24, &[("array", 0, 8), ("len", 8, 8), ("cap", 16, 8)]);
    let (g, m, s, h) = (&o.g, &o.m, &o.sudog, &o.hchan);
    structure(
        out,
        "runtime.g",
        g.size,
        &[
            ("stack", 0, stack),
            ("m", g.m, 8),
            ("sched", g.sched_sp, gobuf),
            ("syscallsp", g.syscallsp, 8),
            ("syscallpc", g.syscallpc, 8),
            ("syscallbp", g.syscallbp.unwrap(), 8),
            ("atomicstatus", g.status, 4),
            ("goid", g.goid, 8),
            ("waitsince", g.waitsince, 8),
            ("waitreason", g.waitreason, 1),
            ("parkingOnChan", g.parking_on_chan, 1),
            ("coroexit", g.coroexit.unwrap(), 1),
            ("coroarg", g.coroarg.unwrap(), 8),
            ("lockedm", g.lockedm, 8),
            ("parentGoid", g.parent_goid.unwrap(), 8),
            ("gopc", g.gopc, 8),
            ("startpc", g.startpc, 8),
            ("waiting", g.waiting, 8),
            ("labels", g.labels, 8),
            ("timer", g.timer.unwrap(), 8),
            ("sleepWhen", g.sleep_when.unwrap(), 8),
            ("bubble", g.bubble.unwrap(), 8),
            ("trackingSeq", g.tracking_seq.unwrap(), 1),
        ],
    );
    structure(
        out,
        "runtime.m",
        1824,
        &[
            ("g0", m.g0, 8),
            ("procid", m.procid, 8),
            ("curg", m.curg, 8),
            ("waitunlockf", m.waitunlockf.unwrap(), 8),
            ("waitlock", m.waitlock.unwrap(), 8),
        ],
    );
    structure(
        out,
        "runtime.sudog",
        s.size,
        &[
            ("g", s.g, 8),
            ("next", s.next, 8),
            ("prev", s.prev, 8),
            ("elem", s.elem - 8, pair),
            ("ticket", s.ticket, 4),
            ("isSelect", s.is_select, 1),
            ("success", s.success, 1),
            ("parent", s.parent, 8),
            ("waitlink", s.waitlink, 8),
            ("waittail", s.waittail, 8),
            ("c", s.c - 8, chan),
        ],
    );
    structure(
        out,
        "runtime.hchan",
        h.size,
        &[
            ("qcount", h.qcount, 8),
            ("dataqsiz", h.dataqsiz, 8),
            ("buf", h.buf, 8),
            ("elemsize", h.elemsize, 2),
            ("closed", h.closed, 4),
            ("timer", h.timer.unwrap(), 8),
            ("elemtype", h.elemtype, 8),
            ("recvq", h.recvq_first, waitq),
            ("sendq", h.sendq_first, waitq),
        ],
    );
    structure(out, "runtime.timer", 104, &[("when", o.timer.unwrap().when, 8)]);
    let module = &o.moduledata;
    structure(
        out,
        "runtime.moduledata",
        592,
        &[
            ("pcHeader", 0, 8),
            ("funcnametab", 8, slice),
            ("ftab", 128, slice),
            ("minpc", 160, 8),
            ("maxpc", 168, 8),
            ("text", 176, 8),
            ("etext", 184, 8),
            ("types", module.types, 8),
            ("etypes", module.etypes, 8),
            ("gofunc", module.gofunc, 8),
        ],
    );
    structure(
        out,
        "runtime.pcHeader",
        72,
        &[
            ("nfunc", 8, 8),
            ("funcnameOffset", 32, 8),
            ("cuOffset", 40, 8),
            ("filetabOffset", 48, 8),
            ("pctabOffset", 56, 8),
            ("pclnOffset", 64, 8),
        ],
    );
    structure(out, "runtime.functab", 8, &[("entryoff", 0, 4), ("funcoff", 4, 4)]);
    structure(
        out,
        "runtime._func",
        44,
        &[
            ("nameOff", 4, 4),
            ("pcsp", 16, 4),
            ("pcfile", 20, 4),
            ("pcln", 24, 4),
            ("npcdata", 28, 4),
            ("cuOffset", 32, 4),
            ("funcID", 40, 1),
            ("flag", 41, 1),
            ("nfuncdata", 43, 1),
        ],
    );
    structure(out, "runtime.inlinedCall", 16, &[("nameOff", 4, 4), ("parentPc", 8, 4)]);
    for (name, value) in [
        ("runtime._Gidle", 0),
        ("runtime._Grunnable", 1),
        ("runtime._Grunning", 2),
        ("runtime._Gsyscall", 3),
        ("runtime._Gwaiting", 4),
        ("runtime._Gdead", 6),
        ("runtime._Gcopystack", 8),
        ("runtime._Gpreempted", 9),
        ("runtime._Gleaked", 10),
        ("runtime._Gdeadextra", 11),
        ("runtime._Gscan", 0x1000),
        ("internal/abi.PCDATA_InlTreeIndex", 2),
        ("internal/abi.FUNCDATA_InlTree", 3),
        ("internal/abi.FuncFlagTopFrame", 1),
        ("internal/abi.FuncIDWrapper", 23),
    ] {
        out.push(CONSTANT);
        text(out, name);
        // Two bytes of signed LEB128 hold all of them.
        out.extend([value as u8 & 0x7f | 0x80, (value >> 7) as u8]);
    }
    out.push(0);
    unit(&root, out)
}

fn sections(info: &[u8], abbreviations: &[u8]) -> DebugSections<'static> {
    DebugSections::of(|id| match id {
        SectionId::DebugInfo => info.to_vec(),
        SectionId::DebugAbbrev => abbreviations.to_vec(),
        _ => Vec::new(),
    })
}

fn read(info: &[u8]) -> Result<Described, DwarfError> {
    from_dwarf::read(&sections(info, &abbreviations()))
}

fn edited(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut info = runtime();
    let at = memchr::memmem::find(&info, from.as_bytes()).expect(from);
    info[at..at + to.len()].copy_from_slice(to.as_bytes());
    info
}

#[test]
fn a_sound_unit_is_read() {
    // Behind a unit in C with the same name.
    let foreign = unit(&root("runtime", dw::DW_LANG_C99), &[0]);
    let described = read(&runtime()).unwrap();
    assert_eq!(described.version, "go1.28.0");
    let known = table::amd64().unwrap().into_iter().find(|r| r.version.release() == "go1.26.6").unwrap();
    assert_eq!(described.offsets, known.offsets);
    assert_eq!(read(&foreign), Err(DwarfError::NoRuntime));
    assert_eq!(read(&[]), Err(DwarfError::NoRuntime));
}

#[test]
fn what_is_not_as_expected_is_named() {
    let missing = |what: &str| Err(DwarfError::Unfit(Unfit::Missing { what: what.into() }));
    assert_eq!(read(&edited("atomicstatus", "atomicStatos")), missing("runtime.g.atomicstatus"));
    assert_eq!(read(&edited("runtime.sudog", "runtime.sudoh")), missing("runtime.sudog"));
    assert_eq!(read(&edited("runtime._Gwaiting", "runtime._Gwoiting")), missing("runtime._Gwaiting"));
    assert_eq!(read(&edited("FuncIDWrapper", "FuncIDWrappes")), missing("internal/abi.FuncIDWrapper"));
    // A status with another value.
    for (name, expected) in [
        ("runtime._Grunnable", 1),
        ("runtime._Gwaiting", 4),
        ("runtime._Gcopystack", 8),
        ("runtime._Gpreempted", 9),
        ("runtime._Gleaked", 10),
    ] {
        let mut info = runtime();
        let text = [name.as_bytes(), b"\0"].concat();
        let at = memchr::memmem::find(&info, &text).unwrap() + text.len();
        info[at] ^= 1;
        let found = DwarfError::Constant { name, found: expected ^ 1, expected };
        assert_eq!(read(&info), Err(found));
    }
    // Older versions do not have it.
    assert!(read(&edited("runtime._Gleaked", "runtime._Gleakes")).is_ok());
    // A function's record of another size.
    let mut info = runtime();
    let at = memchr::memmem::find(&info, b"runtime._func\0").unwrap() + 14;
    info[at] = 48;
    assert_eq!(read(&info), Err(Unfit::Form { what: "runtime._func".into() }.into()));
}

/// Unoptimised and with other tests beside it this takes many times as long as in a release.
fn ends_soon(info: &[u8], abbreviations: &[u8]) -> Result<Described, DwarfError> {
    let start = Instant::now();
    let result = from_dwarf::read(&sections(info, abbreviations));
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    result
}

#[test]
fn made_to_be_slow() {
    let too_much = |r: Result<Described, DwarfError>| matches!(r, Err(DwarfError::TooMuchWork { .. }));
    let table = abbreviations();
    // Attributes without bytes.
    assert!(too_much(ends_soon(&unit(&root("runtime", dw::DW_LANG_Go), &vec![BOMB; 1 << 20]), &table)));
    // Units without end.
    assert!(too_much(ends_soon(&unit(&[EMPTY_UNIT], &[]).repeat(3 << 20), &table)));
    // The same, each with a table of its own that is as large as may be.
    let many = vec![[1u8, 0x11, 0, 0, 0]; 1 << 20].concat();
    let mut units = Vec::new();
    for i in 0..1u32 << 16 {
        units.extend([&[8, 0, 0, 0, 4, 0][..], &(5 * (i & 0xff)).to_le_bytes(), &[8, 1]].concat());
    }
    assert!(too_much(ends_soon(&units, &many)));
    // A struct whose members are itself.
    let own = root("runtime", dw::DW_LANG_Go);
    let start = 11 + own.len() as u32;
    let mut entries = vec![STRUCT];
    text(&mut entries, "runtime.g");
    leb(&mut entries, 8);
    for _ in 0..40_000 {
        entries.push(MEMBER);
        entries.extend(b"x\0\0");
        entries.extend(start.to_le_bytes());
    }
    entries.extend([0, 0]);
    assert!(too_much(ends_soon(&unit(&own, &entries), &table)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn damaged_ones_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut info = runtime();
        for (at, value) in changes {
            let at = at.index(info.len());
            info[at] = value;
        }
        let _ = read(&info);
    }

    #[test]
    fn cut_off_ones_never_panic(len in any::<prop::sample::Index>()) {
        let info = runtime();
        let _ = read(&info[..len.index(info.len())]);
    }
}
