//! The first law: a probe is only placed where it is proven to be right. Wrong offsets, altered bytes and overlapping
//! code are planted; each must be refused by name, and the target must live on.

use std::path::PathBuf;

use tests::fixtures::Fixture;
use tracer::gobin::GoBinary;
use tracer::memory::ProcessMemory;
use tracer::probe::code::Code;
use tracer::probe::site::finish;
use tracer::probe::{Plan, Refusal, Role, Site, plan, verify};
use tracer::source::live::fit::Fit;
use tracer::source::live::prepare::{About, prepare};
use tracer::source::live::{Choice, Live, LiveError};

const NEEDED: &str = "a Go program is built and started";

/// The program's file, and what is planned for it.
struct Case {
    image: Vec<u8>,
    path: PathBuf,
}

impl Case {
    fn new() -> Self {
        let path = Fixture::new("zoo").build().expect(NEEDED);
        Self { image: std::fs::read(&path).expect("the program can be read"), path }
    }

    fn plan(&self) -> Plan {
        plan(&GoBinary::parse(&self.image).expect("a Go binary"), true)
    }

    fn site(&self, role: Role) -> Site {
        self.plan().sites.into_iter().find(|s| s.role == role).expect("the untouched program has every site")
    }

    /// A session on the running program, planned from this (altered) image.
    fn attach(&self, pid: u32) -> Result<(), LiveError> {
        let binary = GoBinary::parse(&self.image).expect("still a Go binary");
        let about = About {
            pid,
            comm: String::new(),
            exe: String::new(),
            command: String::new(),
            started_boot_ns: 0,
            load_bias: 0,
            kernel: String::new(),
            cpus: 0,
            from_start: false,
            park: true,
            looks_only: false,
            limits: Default::default(),
        };
        let prepared = prepare(about, &binary).expect("a known layout");
        let exe = std::fs::File::open(format!("/proc/{pid}/exe")).expect("the target runs");
        let choice = Choice { ring_bytes: 1 << 20, stacks: 1024, diagnostics: false, budget: None };
        let fit = Fit::Known(Default::default());
        Live::start(prepared, fit, &exe, &choice, &mut |_| ()).map(|_| ())
    }
}

/// The program holds what its file holds at every planned function: nobody has put a breakpoint there.
fn untouched(original: &Case, pid: u32) {
    let binary = GoBinary::parse(&original.image).expect("a Go binary");
    let memory = ProcessMemory::new(pid);
    for site in original.plan().sites {
        let file = binary.bytes(site.entry, (site.end - site.entry) as usize).expect("in the file");
        verify::confirm(&site, file, &memory, 0).expect("no byte differs");
    }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn wrong_offsets_are_refused() {
    tests::root_only().unwrap();
    let case = Case::new();
    let binary = GoBinary::parse(&case.image).unwrap();
    for role in [Role::Create, Role::Exit, Role::Park, Role::Ready, Role::Run] {
        let right = case.site(role);
        let bytes = binary.bytes(right.entry, (right.end - right.entry) as usize).unwrap();
        let code = Code::decode(right.entry, bytes);
        let mut refused = 0;
        for addr in right.entry..right.end {
            let made = finish(role, right.program, &right.function, &code, right.end, addr, 0, "");
            match made {
                Ok(site) => assert!(code.at(site.addr).is_some(), "{role:?} at {addr:#x}"),
                Err(Refusal::NotABoundary { addr: at, .. }) => {
                    assert_eq!(at, addr);
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        // Most bytes of a function are inside of instructions.
        assert!(refused > bytes.len() / 2, "{role:?}: {refused} of {} refused", bytes.len());
    }
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn altered_bytes_are_refused_and_the_target_lives() {
    tests::root_only().unwrap();
    let original = Case::new();
    let mut program = Fixture::new("zoo").start(&["-scenario", "pool"]).expect(NEEDED);
    let pid = program.pid();
    for role in [Role::Create, Role::Exit] {
        let site = original.site(role);
        let function = (site.file_offset - (site.addr - site.entry)) as usize;
        let length = (site.end - site.entry) as usize;
        // A byte somewhere in the function, not only at the site: the file is then not what runs.
        for at in [site.file_offset as usize + 1, function, function + length / 2, function + length - 1] {
            let mut altered = Case { image: original.image.clone(), path: original.path.clone() };
            altered.image[at] ^= 0x01;
            let error = altered.attach(pid).expect_err("an altered file must not be believed");
            let LiveError::NoSites { because } = &error else { panic!("{error:?}") };
            assert!(because.contains(&site.function), "{because}");
            assert!(program.is_alive().unwrap());
            untouched(&original, pid);
        }
    }
    // And the other way round: the untouched file is attached to, so the refusals above mean something.
    original.attach(pid).expect("the untouched file fits");
    untouched(&original, pid);
    assert!(program.is_alive().unwrap());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn overlapping_code_is_refused_and_the_target_lives() {
    tests::root_only().unwrap();
    let original = Case::new();
    let mut program = Fixture::new("zoo").start(&["-scenario", "pool"]).expect(NEEDED);
    let site = original.site(Role::Exit);
    let function = (site.file_offset - (site.addr - site.entry)) as usize;
    let mut altered = Case { image: original.image.clone(), path: original.path.clone() };
    // `jbe` of the stack check now leads one byte into the `mov` behind the push.
    assert_eq!(altered.image[function + 4], 0x76, "jbe rel8 behind the cmp");
    altered.image[function + 5] = 2;
    let planned = altered.plan();
    let refusal = planned.refusal_of(Role::Exit).expect("overlapping code is refused");
    assert!(matches!(refusal, Refusal::Overlap { .. }), "{refusal}");
    let error = altered.attach(program.pid()).expect_err("without deaths there is no session");
    assert!(error.to_string().contains("code overlaps"), "{error}");
    assert!(program.is_alive().unwrap());
    untouched(&original, program.pid());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn another_file_is_not_taken_for_the_running_one() {
    tests::root_only().unwrap();
    let other = Case::new();
    let mut program = Fixture::new("demo").start(&[]).expect(NEEDED);
    let error = other.attach(program.pid()).expect_err("another program's file");
    assert!(matches!(error, LiveError::NoSites { .. }), "{error:?}");
    assert!(program.is_alive().unwrap());
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn no_return_probe_exists_in_the_object() {
    // Entry points are uprobes; a return probe would stand in a section of its own.
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf/src");
    let mut files = vec![PathBuf::from(sources)];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("uretprobe"), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} files were read");
}
