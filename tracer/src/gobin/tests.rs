//! The whole room over tiny executables, sound and damaged.

use proptest::prelude::*;

use super::testkit::{self, Spec};
use super::*;

fn all() -> Vec<Spec> {
    let bare = |s: Spec| Spec { in_place: false, ..s.pie() };
    vec![
        Spec::go119(),
        Spec::go119().pie(),
        Spec::go126(),
        Spec::go126().pie(),
        Spec::go127(),
        Spec::go127().pie(),
        bare(Spec::go119()),
        bare(Spec::go127()),
    ]
}

/// (function, file, line, inlined)
fn shape(frames: &[Frame]) -> Vec<(&str, &str, u32, bool)> {
    frames.iter().map(|f| (&*f.function, &*f.file, f.line, f.inlined)).collect()
}

#[test]
fn identity() {
    for spec in all() {
        let data = testkit::build(&spec);
        let b = GoBinary::parse(&data).unwrap_or_else(|e| panic!("{spec:?}: {e}"));
        assert_eq!(b.version().raw, spec.version);
        assert_eq!(b.main_package(), Some("example.com/tiny"));
        assert_eq!(b.build_id().as_deref(), Some("a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3"));
        assert_eq!(b.is_pie(), spec.pie);
        assert_eq!(b.segments().len(), 3);
        assert!(b.layout().unwrap().provenance.starts_with("measured"));
    }
}

#[test]
fn functions_by_name_and_address() {
    for spec in all() {
        let data = testkit::build(&spec);
        let b = GoBinary::parse(&data).unwrap();
        let t = b.functions();
        let text = spec.base() + testkit::TEXT;
        assert_eq!((t.len(), t.iter().count()), (7, 7));
        let main = t.by_name("main.main").unwrap();
        assert_eq!((main.entry, main.end, t.code_end(&main)), (text, text + 32, Some(text + 24)));
        assert_eq!((t.sp_delta(&main, text), t.sp_delta(&main, text + 4)), (Some(0), Some(16)));
        // The real one, not the wrapper before it.
        assert_eq!(t.by_name("runtime.newproc").unwrap().entry, text + 48);
        assert_eq!(t.all_by_name("runtime.newproc").count(), 2);
        assert!(t.by_name("runtime.goexit").unwrap().is_top_frame());
        assert_eq!(t.by_name("runtime.newpro"), None, "a prefix is no name");
        assert_eq!(t.by_name("main.inner"), None, "only inlined");
        for pc in [text, text + 31] {
            assert_eq!(t.by_pc(pc), Some(main));
        }
        assert_eq!(t.by_pc(text - 1), None);
        let (start, end) = t.text_range();
        assert_eq!((start, t.by_pc(end)), (text, None));
        assert_eq!(t.by_pc(end - 1).unwrap().name, "runtime.waitReason.String");
    }
}

#[test]
fn inlined_frames_come_first() {
    for spec in all() {
        let data = testkit::build(&spec);
        let b = GoBinary::parse(&data).unwrap();
        let text = spec.base() + testkit::TEXT;
        let at = |pc| b.frames(text + pc, true).unwrap();
        assert_eq!(shape(&at(0)), [("main.main", "/src/main.go", 10, false)]);
        assert_eq!(
            shape(&at(8)),
            [("main.inner", "/src/inner.go", 20, true), ("main.main", "/src/main.go", 11, false)]
        );
        assert_eq!(
            shape(&at(15)),
            [
                (testkit::INNERMOST, "/src/inner.go", 30, true),
                ("main.inner", "/src/inner.go", 20, true),
                ("main.main", "/src/main.go", 11, false)
            ]
        );
        assert_eq!(shape(&at(16)), [("main.main", "/src/main.go", 12, false)]);
        // The return address after a call at 15 belongs to that call.
        assert_eq!(b.frames(text + 16, false).unwrap(), at(15));
        assert_eq!(b.frames(text + 24, true), Err(Reason::Padding));
        assert_eq!(b.frames(text + 0x300, true), Err(Reason::NotGoCode));
        assert_eq!(b.frames(0, false), Err(Reason::OutsideExecutable));
        assert_eq!(b.frames(u64::MAX, true), Err(Reason::OutsideExecutable));
    }
}

#[test]
fn copies_of_inlined_functions() {
    for spec in all() {
        let data = testkit::build(&spec);
        let b = GoBinary::parse(&data).unwrap();
        let text = spec.base() + testkit::TEXT;
        assert_eq!(b.inlined_copies("main.inner"), Ok(vec![text]));
        assert_eq!(b.inlined_copies("main"), Ok(vec![]));
        let of = b.inlined_copies_of(&["runtime.gopark", testkit::INNERMOST]);
        assert_eq!(of, Ok(vec![vec![], vec![text]]));
    }
}

#[test]
fn globals_come_from_code() {
    for spec in all() {
        let data = testkit::build(&spec);
        let g = GoBinary::parse(&data).unwrap().globals();
        let at = |a| Ok(spec.base() + a);
        assert_eq!(g.allgs, at(testkit::ALLGS));
        assert_eq!(g.allglen, at(testkit::ALLGLEN));
        assert_eq!(g.allgptr, at(testkit::ALLGPTR));
        let table = WaitReasonTable { addr: spec.base() + testkit::WAIT_REASONS, len: 3 };
        assert_eq!(g.wait_reasons, Ok(table));
    }
}

#[test]
fn missing_instructions_are_named() {
    let mut data = testkit::build(&Spec::go126());
    let b = GoBinary::parse(&data).unwrap();
    let f = b.functions().by_name("runtime.forEachG").unwrap();
    let at = b.file_offset(f.entry).unwrap() as usize;
    data[at..at + 14].fill(0x90);
    let g = GoBinary::parse(&data).unwrap().globals();
    let why = Reason::NoPattern { function: "runtime.forEachG", global: "allgs" };
    assert_eq!((g.allgs, g.allglen), (Err(why.clone()), Err(why)));
    assert!(g.wait_reasons.is_ok());
}

#[test]
fn addresses_and_bytes() {
    let data = testkit::build(&Spec::go126());
    let b = GoBinary::parse(&data).unwrap();
    let base = Spec::go126().base();
    assert_eq!(b.file_offset(base + testkit::TEXT + 5), Some(testkit::TEXT + 5));
    assert_eq!(b.bytes(base + testkit::TEXT, 24), Some(&[0x90; 24][..]));
    assert_eq!(b.file_offset(base + testkit::DATA + 0x1000), None, "bss has no file bytes");
    assert_eq!(b.bytes(base + testkit::DATA + 0xfff, 2), None, "reaches into bss");
    assert_eq!(b.bytes(base, 1), None, "not mapped");
}

#[test]
fn what_is_refused_is_named() {
    let good = testkit::build(&Spec::go126());
    let parse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut data = good.clone();
        change(&mut data);
        GoBinary::parse(&data).err()
    };
    assert_eq!(parse(&|d| d.clear()), Some(GoBinError::NotElf));
    assert_eq!(parse(&|d| d[1] = b'F'), Some(GoBinError::NotElf));
    assert_eq!(parse(&|d| d[18] = 183), Some(GoBinError::NotAmd64 { machine: "arm64".into() }));
    assert_eq!(
        parse(&|d| d[4] = 1).map(|e| e.to_string()),
        Some("built for `x32 (amd64 with 32-bit pointers)`, only amd64 is supported".into())
    );
    assert_eq!(parse(&|d| d[16] = 4), Some(GoBinError::NotExecutable { kind: 4 }));
    let data = testkit::DATA as usize;
    let releases = "Go 1.20 or newer";
    assert_eq!(parse(&|d| d[data] = 0), Some(GoBinError::NoBuildInfo { releases }));
    let table = testkit::RODATA as usize;
    let nothing = |d: &mut Vec<u8>| (d[data], d[table]) = (0, 0);
    assert_eq!(parse(&nothing), Some(GoBinError::NotGo));
    let version = |v: &str| {
        let info = testkit::build_info(v, "");
        parse(&|d| d[data..data + info.len()].copy_from_slice(&info))
    };
    assert_eq!(version("go1.18.10"), Some(GoBinError::TooOld { version: "go1.18.10".into() }));
    assert_eq!(version("devel +a1b2c3"), Some(GoBinError::UnknownVersion { text: "devel +a1b2c3".into() }));
    assert_eq!(parse(&|d| d[table + 6] = 4), Some(GoBinError::NoPclntab { version: "go1.26.6".into() }));
    let altered = parse(&|d| d[table] = 0).map(|e| e.to_string()).unwrap_or_default();
    assert!(
        altered.starts_with("obfuscated") && altered.contains("the unusual mark 0xffffff00"),
        "{altered}"
    );
    let unknown = version("unknown").map(|e| e.to_string()).unwrap_or_default();
    assert!(unknown.starts_with("obfuscated") && unknown.contains("`unknown`"), "{unknown}");
    let renamed = parse(&|d| {
        let at = memchr::memmem::find(d, b"runtime.goexit\0").expect("it has that function");
        d[at..at + 7].copy_from_slice(b"zQx8yV1");
    });
    let renamed = renamed.map(|e| e.to_string()).unwrap_or_default();
    assert!(renamed.contains("none of its functions is called `runtime.goexit`"), "{renamed}");
    let packed = parse(&|d| {
        d[data] = 0;
        d[0x380..0x384].copy_from_slice(b"UPX!");
    });
    assert_eq!(packed, Some(GoBinError::Packed { packer: "UPX" }));
    // The function table says one function more than the module data does.
    assert_eq!(parse(&|d| d[table + 8] += 1), Some(GoBinError::NoModuledata { version: "go1.26.6".into() }));
}

#[test]
fn go_1_17_build_info_is_read_through_its_pointers() {
    let mut data = testkit::build(&Spec::go126());
    let (at, base) = (testkit::DATA, Spec::go126().base());
    data[at as usize + 15] = 0;
    let string = at + 0xa00;
    for (place, value) in [(at + 16, base + string), (string, base + string + 16), (string + 8, 8)] {
        data[place as usize..place as usize + 8].copy_from_slice(&value.to_le_bytes());
    }
    data[string as usize + 16..][..8].copy_from_slice(b"go1.16.3");
    let error = GoBinary::parse(&data).err();
    assert_eq!(error, Some(GoBinError::TooOld { version: "go1.16.3".into() }));
}

/// Asks everything there is to ask. Must come back, whatever the file holds.
fn exercise(data: &[u8]) {
    let Ok(b) = GoBinary::parse(data) else { return };
    let _ = (b.main_package(), b.build_id(), b.layout(), b.globals());
    let _ = b.inlined_copies_of(&["main.inner", "runtime.gopark", ""]);
    for f in b.functions().iter().take(64) {
        assert!(f.entry <= f.end);
        let _ = (b.functions().sp_delta(&f, f.entry), b.functions().code_end(&f));
        let _ = b.bytes(f.entry, f.size() as usize);
    }
    let (start, _) = b.functions().text_range();
    for pc in (0..256).map(|i| start.wrapping_add(i)).chain([0, u64::MAX]) {
        if let Ok(frames) = b.frames(pc, pc % 2 == 0) {
            assert!(!frames.is_empty());
        }
    }
}

/// The parts that hold structure; the rest of the file is padding.
fn interesting() -> impl Strategy<Value = usize> {
    let (text, ro, data) = (testkit::TEXT as usize, testkit::RODATA as usize, testkit::DATA as usize);
    prop_oneof![0..0x240usize, text..text + 0x100, ro..ro + 0x400, 0x3800..0x3860usize, data..data + 0x700]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        which in 0..8usize,
        changes in prop::collection::vec((interesting(), prop_oneof![Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()]), 1..12),
    ) {
        let mut data = testkit::build(&all()[which]);
        for (at, value) in changes {
            data[at] = value;
        }
        exercise(&data);
    }

    #[test]
    fn cut_off_files_never_panic(which in 0..8usize, len in 0..0x5000usize) {
        let mut data = testkit::build(&all()[which]);
        data.truncate(len);
        exercise(&data);
    }
}
