//! Executables made to be slow, large or misleading: each costs at most 1 s and 256 MB and ends in a named error or a
//! right answer.
//!
//! Plain `cargo test` runs small ones in this process and looks at the outcome. `at_full_size` (release build, by `cargo
//! xtask test`) writes each at the size where it hurts most and has a child do with it what an attach does. Of the child
//! are measured: processor time; `VmHWM`, which counts the pages of the mapped file that were touched although the kernel
//! may drop them at any time; and its own memory, by `RLIMIT_DATA`, beyond which it cannot allocate.

mod attach;
mod cases;
#[path = "../../../fuzz/src/image.rs"]
mod image;
#[path = "../../../fuzz/src/program.rs"]
mod program;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use attach::attach;
use cases::{CASES, Case};

const CPU: Duration = Duration::from_secs(1);
const MEMORY: u64 = 256 << 20;
/// Names the file to the child.
const FILE_VAR: &str = "GOSTRAY_HOSTILE_FILE";

#[test]
fn small_ones_end_as_they_should() {
    for case in CASES {
        let start = std::time::Instant::now();
        let data = (case.build)(case.small).flat();
        let outcome = attach(&data, 24);
        println!("{}: {:?} {outcome}", case.name, start.elapsed());
        assert!(outcome.contains(case.expect), "`{}` ended in: {outcome}", case.name);
    }
}

#[test]
fn a_sound_program_is_read() {
    let functions = program::functions();
    for version in &program::VERSIONS[..5] {
        let outcome = attach(&program::image(version, &functions).build(), 100);
        for part in ["allgs known", "reasons known", "6 sites, 0 refused", "no debug information"] {
            assert!(outcome.contains(part), "{version}: {outcome}");
        }
    }
}

#[test]
fn cut_off_anywhere() {
    let mut image = program::image("go1.26.6", &program::functions());
    image.sections = true;
    let whole = image.build();
    let refused = (0..whole.len()).filter(|&len| attach(&whole[..len], 4).starts_with("refused")).count();
    // Only the section headers at the end can be missed.
    assert!((whole.len() - 600..whole.len()).contains(&refused), "{refused} of {}", whole.len());
}

#[test]
#[ignore = "needs a release build: cargo xtask test"]
fn at_full_size() {
    if std::env::var_os(FILE_VAR).is_some() {
        return child();
    }
    if cfg!(debug_assertions) {
        panic!("its limits are those of a release build; try: cargo test --release");
    }
    let mut too_much = Vec::new();
    for case in CASES {
        let (outcome, cpu, peak) = measured(case);
        println!("{:<28} {:>4} ms {:>4} MB  {outcome}", case.name, cpu.as_millis(), peak >> 20);
        if cpu > CPU || peak > MEMORY || !outcome.contains(case.expect) {
            too_much.push(case.name);
        }
    }
    assert!(too_much.is_empty(), "over 1 s or 256 MB, or with another outcome: {too_much:?}");
}

/// Outcome, processor time and peak memory of an attach to the case's file.
fn measured(case: &Case) -> (String, Duration, u64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let made = (case.build)(case.full);
    file.write_all(&made.head).unwrap();
    for (at, bytes) in &made.pieces {
        file.seek(SeekFrom::Start(*at)).unwrap();
        file.write_all(bytes).unwrap();
    }
    file.as_file().set_len(made.len).unwrap();
    drop(made);
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["at_full_size", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE_VAR, file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().find_map(|l| l.split_once("measured: ")).map(|(_, l)| l);
    let Some(line) = line else {
        return (format!("no end ({}): {}", out.status, String::from_utf8_lossy(&out.stderr)), CPU, 0);
    };
    let mut words = line.splitn(3, ' ');
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let (cpu, peak) = (Duration::from_micros(number()), number());
    (words.next().unwrap().to_owned(), cpu, peak)
}

fn child() {
    use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
    let file = std::fs::File::open(std::env::var_os(FILE_VAR).unwrap()).unwrap();
    // SAFETY: the file is this test's own, written before and changed by nobody.
    let data = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).unwrap();
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let time = |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
        time(usage.user_time()) + time(usage.system_time())
    };
    let before = cpu();
    let outcome = attach(&data, 1000);
    let cpu = cpu() - before;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("\nmeasured: {} {} {}", cpu.as_micros(), peak << 10, outcome.replace('\n', " "));
}
