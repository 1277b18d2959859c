use super::core_file::{CoreFile, Segment as Part};
use super::*;
use crate::gobin::testkit::{self, Spec};

const EXE: &str = "/srv/server";

/// Three kinds of memory: constants of which the first bytes are there, variables, and a stack behind a gap.
fn small() -> CoreFile {
    let part = |vaddr, memsz, flags, bytes: &[u8]| Part { vaddr, memsz, flags, bytes: bytes.to_vec() };
    CoreFile {
        pid: 4242,
        comm: "server".to_owned(),
        threads: vec![(4242, 0x40_1000, 0x7000_0ff0), (4243, 0x40_2000, 0x10)],
        files: vec![
            (0x40_0000, 0x40_3000, 0, EXE.to_owned()),
            (0x50_0000, 0x50_1000, 3, EXE.to_owned()),
            (0x7f00_0000, 0x7f01_0000, 0, "/lib/libc.so.6".to_owned()),
        ],
        auxv: vec![(9, 0x40_1234), (3, 0x40_0040)],
        segments: vec![
            part(0x40_0000, 0x3000, 5, &[1; 16]),
            part(0x50_0000, 0x10, 6, &[2; 8]),
            part(0x50_0010, 0x10, 6, &[3; 16]),
            part(0x7f00_0000, 0x1000, 5, &[]),
        ],
    }
}

fn read(memory: &dyn ReadMemory, addr: u64, len: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; len];
    memory.read(addr, &mut out).ok().map(|()| out)
}

#[test]
fn memory_is_what_the_core_holds() {
    let file = small().build();
    let core = Core::parse(&file).unwrap();
    assert_eq!(core.cut_off, None);
    assert_eq!(read(&core, 0x40_0000, 16), Some(vec![1; 16]));
    assert_eq!(read(&core, 0x40_0008, 9), None, "left out from there on");
    assert_eq!(read(&core, 0x50_0000, 9), None, "left out is not zero");
    assert_eq!(read(&core, 0x50_0010, 16), Some(vec![3; 16]));
    assert_eq!(read(&core, 0x50_001f, 2), None);
    assert_eq!(read(&core, 0x3f_ffff, 2), None);
    assert_eq!(read(&core, 0x7f00_0000, 1), None);
    assert_eq!(read(&core, u64::MAX, 2), None);
    assert_eq!(read(&core, 0x10, 0), Some(vec![]));
}

#[test]
fn a_read_goes_on_in_the_next_segment() {
    let mut file = small();
    file.segments[1].bytes = vec![2; 16];
    let file = file.build();
    let core = Core::parse(&file).unwrap();
    assert_eq!(read(&core, 0x50_000e, 4), Some(vec![2, 2, 3, 3]));
}

#[test]
fn notes_tell_process_threads_and_files() {
    let file = small().build();
    let core = Core::parse(&file).unwrap();
    let n = &core.notes;
    assert_eq!((n.pid, n.comm.as_str()), (4242, "server"));
    assert_eq!((n.entry, n.program_headers), (Some(0x40_1234), Some(0x40_0040)));
    let second = Thread { tid: 4243, registers: Registers { pc: 0x40_2000, sp: 0x10 } };
    assert_eq!((n.threads.len(), n.threads[1]), (2, second));
    assert_eq!(n.files.len(), 3);
    assert_eq!((n.files[1].offset, n.files[1].path.to_str()), (3 * 4096, Some(EXE)));
    assert_eq!(core.executable(), Some(EXE.into()));
    assert!(core.is_foreign_code(0x7f00_0010));
    assert!(!core.is_foreign_code(0x40_0010) && !core.is_foreign_code(0x50_0010));
}

/// The core of a process that runs the little executable, `bias` further on, of which it holds nothing.
fn of_exe(binary: &GoBinary<'_>, bias: u64) -> CoreFile {
    let mut file = CoreFile { auxv: vec![(9, binary.entry().wrapping_add(bias))], ..CoreFile::default() };
    for s in binary.segments() {
        let page = |at: u64| at & !(PAGE - 1);
        let start = page(s.vaddr) + bias;
        let memsz = (s.vaddr + s.memsz + bias).next_multiple_of(PAGE) - start;
        file.segments.push(Part { vaddr: start, memsz, flags: s.flags, bytes: Vec::new() });
        file.files.push((start, start + memsz, page(s.file_offset) / PAGE, EXE.to_owned()));
    }
    file
}

#[test]
fn what_is_left_out_and_read_only_comes_from_the_executable() {
    for bias in [0, 0x5555_0000_0000] {
        let spec = if bias == 0 { Spec::go126() } else { Spec::go126().pie() };
        let exe = testkit::build(&spec);
        let binary = GoBinary::parse(&exe).unwrap();
        let text = *binary.segments().iter().find(|s| s.is_executable()).unwrap();
        let data = *binary.segments().iter().find(|s| s.is_writable()).unwrap();
        let mut file = of_exe(&binary, bias);
        let at = file.segments.iter().position(|s| s.flags == text.flags).unwrap();
        file.segments[at].bytes = vec![0xcc; 2 + (text.vaddr % PAGE) as usize];
        let file = file.build();
        let core = Core::parse(&file).unwrap();
        assert_eq!(core.load_bias(&binary), Ok(bias));
        let memory = CoreMemory::new(&core, &binary, bias);
        let mut expected = binary.bytes(text.vaddr, 16).unwrap().to_vec();
        expected[..2].fill(0xcc);
        assert_eq!(read(&memory, text.vaddr + bias, 16), Some(expected), "the core goes first");
        assert_eq!(read(&memory, data.vaddr + bias, 1), None, "variables are never the file's");
        assert_eq!(read(&core, text.vaddr + bias, 16), None);
    }
}

/// A program may have made its constants writable.
#[test]
fn nothing_comes_from_the_executable_where_the_process_could_write() {
    let exe = testkit::build(&Spec::go126());
    let binary = GoBinary::parse(&exe).unwrap();
    let mut file = of_exe(&binary, 0);
    file.segments.iter_mut().for_each(|s| s.flags |= 2);
    let file = file.build();
    let core = Core::parse(&file).unwrap();
    let memory = CoreMemory::new(&core, &binary, 0);
    assert!(binary.segments().iter().all(|s| read(&memory, s.vaddr, 1).is_none()));
}

#[test]
fn the_load_bias_has_two_sources_that_must_agree() {
    let exe = testkit::build(&Spec::go126().pie());
    let binary = GoBinary::parse(&exe).unwrap();
    let bias = |change: &dyn Fn(&mut CoreFile)| {
        let mut file = of_exe(&binary, 0x7000_0000);
        change(&mut file);
        let file = file.build();
        Core::parse(&file).unwrap().load_bias(&binary)
    };
    assert_eq!(bias(&|_| ()), Ok(0x7000_0000));
    assert_eq!(bias(&|f| f.files.clear()), Ok(0x7000_0000));
    assert_eq!(bias(&|f| f.auxv.clear()), Ok(0x7000_0000));
    assert_eq!(bias(&|f| f.auxv[0].1 += PAGE), Err(BiasError::NoFit));
    let neither = |f: &mut CoreFile| {
        f.files.clear();
        f.auxv.clear();
    };
    assert_eq!(bias(&neither), Err(BiasError::NotMapped));
    // One that is not position independent is where it was linked.
    let fixed = testkit::build(&Spec::go126());
    let fixed = GoBinary::parse(&fixed).unwrap();
    assert_eq!(Core::parse(&CoreFile::default().build()).unwrap().load_bias(&fixed), Ok(0));
    let file = of_exe(&fixed, 0x1000).build();
    assert_eq!(Core::parse(&file).unwrap().load_bias(&fixed), Err(BiasError::NoFit));
}

#[test]
fn the_first_page_tells_the_build() {
    let exe = testkit::build(&Spec::go126());
    let binary = GoBinary::parse(&exe).unwrap();
    let mut file = of_exe(&binary, 0);
    let first = exe[..exe.len().min(PAGE as usize)].to_vec();
    file.segments.insert(0, Part { vaddr: 0x1000_0000_0000, memsz: PAGE, flags: 4, bytes: first });
    file.files.insert(0, (0x1000_0000_0000, 0x1000_0000_1000, 0, EXE.to_owned()));
    let same = |file: &CoreFile| {
        let file = file.build();
        binary.build_ids().same_build(&Core::parse(&file).unwrap().build_ids())
    };
    // Where the program itself mapped its file is no matter here: only its own page is.
    file.files.retain(|f| f.2 != 0 || f.0 == 0x1000_0000_0000);
    assert_eq!(same(&file), Some(Ok(())));
    file.segments[0].bytes[0x210] ^= 1;
    assert!(matches!(same(&file), Some(Err(_))));
    file.segments[0].bytes.clear();
    assert_eq!(same(&file), None);
}

#[test]
fn other_files_are_refused_by_name() {
    let refusal = |bytes: &[u8]| Core::parse(bytes).unwrap_err().to_string();
    assert_eq!(refusal(b""), "not an ELF file");
    assert_eq!(refusal(b"\x28\xb5\x2f\xfd\0\0"), "packed with zstd (`unzstd`)");
    assert_eq!(refusal(&testkit::build(&Spec::go126())), "an ELF file of another kind, an executable");
    let with = |at: usize, value: u8| {
        let mut file = small().build();
        file[at] = value;
        refusal(&file)
    };
    assert_eq!(with(18, 183), "the core of a process for `arm64`, only amd64 is supported");
    assert!(with(4, 1).contains("x32"));
    assert_eq!(with(16, 3), "an ELF file of another kind, an executable or a shared library");
}

#[test]
fn impossible_segments_are_refused() {
    let refusal = |change: &dyn Fn(&mut CoreFile)| {
        let mut file = small();
        change(&mut file);
        let file = file.build();
        match Core::parse(&file) {
            Err(CoreError::Damaged { what }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(&|f| f.segments[1].memsz = 0x11), "two segments for one address");
    assert_eq!(refusal(&|f| f.segments[3].memsz = u64::MAX), "a segment beyond the end of all addresses");
    assert_eq!(refusal(&|f| f.segments[1].memsz = 7), "a segment with more bytes than memory");
    // The same bytes shown at a thousand places.
    let mut file = small();
    file.segments = (0..40)
        .map(|i| Part { vaddr: 0x10_0000 * i, memsz: 0x10_0000, flags: 6, bytes: vec![0; 0x2000] })
        .collect();
    let mut file = file.build();
    for i in 2..41 {
        let first: [u8; 8] = file[64 + 56 + 8..][..8].try_into().unwrap();
        file[64 + 56 * i + 8..][..8].copy_from_slice(&first);
    }
    file.truncate(0x6000);
    let what = "segments that show the same bytes several times";
    assert_eq!(Core::parse(&file).unwrap_err(), CoreError::Damaged { what });
    // A huge one that is not there costs nothing.
    let mut file = small();
    file.segments[3].memsz = 1 << 62;
    assert!(Core::parse(&file.build()).is_ok());
}

/// At whatever length it was cut off: what is there is as it was, and what is not is not told.
#[test]
fn a_core_that_is_cut_off_is_used_as_far_as_it_goes() {
    let mut whole = small();
    whole.segments[1].bytes = (0..16).collect();
    let whole = whole.build();
    let reference = Core::parse(&whole).unwrap();
    // All but the headers.
    let held = whole.len() - 64 - 5 * 56;
    let mut parsed = 0;
    for len in 0..whole.len() {
        let Ok(core) = Core::parse(&whole[..len]) else { continue };
        parsed += 1;
        let missing = (whole.len() - len) as u64;
        assert_eq!(core.cut_off, Some(CutOff { missing, of: held as u64 }), "{len}");
        for at in (0x40_0000..0x40_0010).chain(0x50_0000..0x50_0020) {
            let byte = read(&core, at, 1);
            assert!(byte.is_none() || byte == read(&reference, at, 1), "{len}: {at:#x}");
        }
        assert!(core.notes.threads.iter().zip(&reference.notes.threads).all(|(a, b)| a == b));
        assert!(core.notes.files.is_empty() || core.notes.files == reference.notes.files);
    }
    assert_eq!(parsed, held);
}

#[test]
fn damaged_bytes_end_in_an_answer() {
    let exe = testkit::build(&Spec::go126());
    let binary = GoBinary::parse(&exe).unwrap();
    let whole = small().build();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut file = whole.clone();
            file[at] ^= flip;
            let Ok(core) = Core::parse(&file) else { continue };
            let bias = core.load_bias(&binary).unwrap_or(0x1000);
            let memory = CoreMemory::new(&core, &binary, bias);
            let _ = (core.executable(), core.build_ids(), core.is_foreign_code(0x7f00_0000));
            for addr in [0, 0x40_0000, 0x50_0008, 0x50_000f, u64::MAX - 7] {
                let _ = read(&memory, addr, 16);
            }
        }
    }
}
