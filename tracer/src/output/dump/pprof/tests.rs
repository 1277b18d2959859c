use std::io::Read as _;

use super::super::fixture::fixture;
use super::*;

/// The profile in text, as `go tool pprof -raw` has it.
fn raw(p: &proto::Profile) -> String {
    use std::fmt::Write as _;
    let s = |i: i64| &p.string_table[i as usize];
    let mut out = String::new();
    for sample in &p.sample {
        let _ = writeln!(out, "{:?} {:?}", sample.value, sample.location_id);
        for l in &sample.label {
            let _ = writeln!(out, "    {} = {:?}", s(l.key), s(l.str));
        }
    }
    for l in &p.location {
        let _ = writeln!(out, "{}: {:#x} M={}", l.id, l.address, l.mapping_id);
        for line in &l.line {
            let f = &p.function[line.function_id as usize - 1];
            let _ =
                writeln!(out, "    {:?} {:?} {:?}:{}", s(f.name), s(f.system_name), s(f.filename), line.line);
        }
    }
    for c in &p.comment {
        let _ = writeln!(out, "# {}", s(*c));
    }
    out
}

#[test]
fn all_sorts() {
    insta::assert_snapshot!(raw(&profile(&fixture(), |_| true)));
}

#[test]
fn it_unpacks_to_what_was_built_and_counts_each_once() {
    let dump = fixture();
    let mut out = Vec::new();
    write(&dump, |g| !g.system, &mut out).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(out.as_slice()).read_to_end(&mut bytes).unwrap();
    let read = proto::Profile::decode(bytes.as_slice()).unwrap();
    assert_eq!(read, profile(&dump, |g| !g.system));
    let total = |of: usize| read.sample.iter().map(|s| s.value[of]).sum::<i64>();
    assert_eq!(total(0), dump.goroutines.iter().filter(|g| !g.system).count() as i64);
    assert_eq!(total(1), dump.goroutines.iter().filter_map(|g| g.since.ns()).sum::<u64>() as i64);
    assert_eq!(read.string_table[0], "");
    assert!(read.sample.iter().all(|s| !s.location_id.is_empty()), "pprof shows no sample without a place");
}

#[test]
fn sums_do_not_overflow() {
    let mut dump = fixture();
    for g in &mut dump.goroutines {
        g.since = crate::dump::Since::AtLeast(u64::MAX);
    }
    assert!(profile(&dump, |_| true).sample.iter().all(|s| s.value[1] == i64::MAX));
}
