//! `gobin` and `symbol` against real Go executables: what is read from a file must be what the program's own runtime,
//! Go's own tools and the DWARF say. Toolchains: `GOSTRAY_TEST_GO`, see `build`.

mod build;
mod dwarf;
mod oracle;
mod tools;

use std::fmt::Write as _;

use build::{BUILDS, Build, Mode};
use tracer::event::message::Symbol;
use tracer::gobin::{GoBinary, Reason};
use tracer::symbol::Symbolizer;

fn parse(build: &Build) -> GoBinary<'_> {
    GoBinary::parse(&build.data).unwrap_or_else(|e| panic!("{}: {e}", build.name()))
}

fn main_of(binary: &GoBinary<'_>) -> u64 {
    binary.functions().by_name("main.main").expect("main.main").entry
}

/// Addresses spread over all functions, about `wanted` of them, none in padding.
fn sample(binary: &GoBinary<'_>, wanted: usize) -> Vec<u64> {
    let table = binary.functions();
    let ends = table.iter().filter_map(|f| Some((f.entry, table.code_end(&f)?)));
    let all: Vec<u64> = ends.flat_map(|(entry, end)| (entry..end).step_by(5)).collect();
    let step = (all.len() / wanted).max(1);
    all.into_iter().step_by(step).collect()
}

#[test]
#[ignore = "needs Go: cargo xtask test"]
fn identity() {
    for build in BUILDS.iter() {
        let (binary, name) = (parse(build), build.name());
        assert_eq!(Some(&*binary.version().raw), name.split(' ').next(), "{name}");
        assert_eq!(binary.main_package(), Some("example.com/oracle"), "{name}");
        assert!(binary.build_id().is_some_and(|id| id.len() >= 20), "{name}");
        assert_eq!(binary.is_pie(), build.mode.pie(), "{name}");
        let layout = binary.layout().unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {} functions, layout {}", binary.functions().len(), layout.provenance);
    }
}

/// Innermost frame at thousands of addresses, as `runtime.FuncForPC` in the running program answers.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn innermost_frames_are_the_runtimes() {
    for build in BUILDS.iter() {
        let (binary, name) = (parse(build), build.name());
        let pcs = sample(&binary, 5000);
        assert!(pcs.len() >= 5000, "{name}: only {} addresses", pcs.len());
        let questions = pcs.iter().fold(String::new(), |mut s, pc| {
            writeln!(s, "pc {pc}").unwrap();
            s
        });
        let answers = oracle::ask(build, main_of(&binary), &questions);
        assert_eq!(answers.len(), pcs.len(), "{name}");
        let mut symbolizer = Symbolizer::new(&binary, 0, None);
        let (mut inlined, mut nameless) = (0, 0);
        for (pc, answer) in pcs.iter().zip(&answers) {
            let symbol = symbolizer.symbol(*pc, true);
            let Some(frame) = symbol.frames.first() else {
                panic!("{name}: {pc:#x}: `{}`, the runtime says {answer}", symbol.unknown_because);
            };
            inlined += usize::from(frame.inlined);
            let file = if frame.file.is_empty() { "?" } else { &frame.file };
            // The runtime calls nameless whatever function's name comes first in the table of names.
            nameless += usize::from(answer.starts_with('\t'));
            let function = if answer.starts_with('\t') { "" } else { &frame.function };
            assert_eq!(&format!("{function}\t{file}\t{}", frame.line), answer, "{name}: {pc:#x}");
        }
        assert!(nameless < 20, "{name}: {nameless} nameless");
        assert_eq!(inlined > 100, build.mode.inlines(), "{name}: {inlined} inlined frames among them");
        println!("{name}: {} addresses, {inlined} inside inlined calls", pcs.len());
    }
}

/// Whole stacks with inlined, generic, deferred and closure frames, as `debug.Stack` prints them.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn stacks_are_the_runtimes() {
    for build in BUILDS.iter() {
        let (binary, name) = (parse(build), build.name());
        let lines = oracle::ask(build, main_of(&binary), "stack\n");
        let calls = tools::parse_stack(&lines);
        let mut inlined = 0;
        let mut symbolizer = Symbolizer::new(&binary, 0, None);
        for call in &calls {
            // Wrappers and instances may share the printed name: one of them must give the runtime's answer.
            let entries: Vec<u64> = binary
                .functions()
                .iter()
                .filter(|f| printed(f.name) == call.function)
                .map(|f| f.entry)
                .collect();
            let symbols: Vec<Symbol> =
                entries.iter().map(|entry| symbolizer.symbol(entry + call.offset, false)).collect();
            let got: Vec<Vec<(String, String, u32)>> = symbols
                .iter()
                .map(|s| s.frames.iter().map(|f| (f.function.clone(), f.file.clone(), f.line)).collect())
                .collect();
            assert!(got.contains(&call.frames), "{name}: the runtime says {:?}, we say {got:?}", call.frames);
            inlined += call.frames.len() - 1;
        }
        assert!(calls.len() >= 4, "{name}: {} calls", calls.len());
        assert_eq!(inlined >= 2, build.mode.inlines(), "{name}: {inlined} inlined");
        println!("{name}: {} physical frames, {inlined} inlined ones", calls.len());
    }
}

fn printed(name: &str) -> String {
    match (name.find('['), name.rfind(']')) {
        (Some(a), Some(b)) if a < b => format!("{}[...]{}", &name[..a], &name[b + 1..]),
        _ => name.to_owned(),
    }
}

/// Globals, proved by use: the running program reads its own memory there.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn globals_lead_to_goroutines_and_reasons() {
    for build in BUILDS.iter() {
        let (binary, name) = (parse(build), build.name());
        let globals = binary.globals();
        let layout = binary.layout().unwrap();
        let (allgs, allglen) = (globals.allgs.unwrap(), globals.allglen.unwrap());
        let reasons = globals.wait_reasons.unwrap();
        let goid = layout.kernel.g_goid;
        let questions = format!("allgs {allgs} {allglen} {goid}\nreasons {} {}\n", reasons.addr, reasons.len);
        let answers = oracle::ask(build, main_of(&binary), &questions);
        let numbers: Vec<u64> = answers[0].split(' ').map(|n| n.parse().unwrap()).collect();
        let (len, published, alive, goids) = (numbers[0], numbers[1], numbers[2], &numbers[3..]);
        assert_eq!(len, published, "{name}");
        assert!(len >= 4 && alive == 1, "{name}: {numbers:?}");
        assert!(goids.contains(&1), "{name}: main's goid is among {goids:?}");
        assert!(goids.iter().all(|&id| id < 10_000), "{name}: {goids:?}");
        let reasons = &answers[1..];
        assert_eq!(reasons[0], "", "{name}");
        assert!(reasons[1..].iter().all(|r| r.len() > 3 && r.is_ascii()), "{name}: {reasons:?}");
        for reason in ["chan receive", "chan send", "select", "sleep", "IO wait", "sync.Cond.Wait"] {
            assert!(reasons.iter().any(|r| r == reason), "{name}: `{reason}` in {reasons:?}");
        }
        for global in [&globals.allgptr, &globals.sched, &globals.semtable, &globals.mheap] {
            assert!(global.is_ok(), "{name}: {global:?}");
        }
    }
}

/// Where there is a symbol table, the two answers are equal (`globals` refuses otherwise) and really compared.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn globals_are_the_symbol_tables() {
    for build in BUILDS.iter().filter(|b| b.mode.has_symbols()) {
        let (globals, name) = (parse(build).globals(), build.name());
        let symbols = tools::nm(build);
        let at = |symbol: &str| symbols.iter().find(|s| s.name == symbol).map(|s| s.address);
        assert_eq!(globals.allgs.ok(), at("runtime.allgs"), "{name}");
        assert_eq!(globals.allglen.ok(), at("runtime.allglen"), "{name}");
        assert_eq!(globals.allgptr.ok(), at("runtime.allgptr"), "{name}");
        assert_eq!(globals.sched.ok(), at("runtime.sched"), "{name}");
        assert_eq!(globals.semtable.ok(), at("runtime.semtable"), "{name}");
        assert_eq!(globals.mheap.ok(), at("runtime.mheap_"), "{name}");
        assert_eq!(Some(globals.firstmoduledata), at("runtime.firstmoduledata"), "{name}");
        let reasons = symbols.iter().find(|s| s.name == "runtime.waitReasonStrings").unwrap();
        let table = globals.wait_reasons.unwrap();
        assert_eq!((table.addr, 16 * table.len), (reasons.address, reasons.size), "{name}");
    }
}

/// A symbol that contradicts the code makes both unbelievable.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn a_moved_symbol_is_a_disagreement() {
    let build = BUILDS.iter().find(|b| b.mode == Mode::Plain).unwrap();
    let mut data = build.data.clone();
    let allgs = parse(build).globals().allgs.unwrap();
    tools::move_symbol(&mut data, "runtime.allgs", allgs + 64);
    let globals = GoBinary::parse(&data).unwrap().globals();
    let expected = Reason::Disagreement { global: "allgs", code: allgs, symbol: allgs + 64 };
    assert_eq!(globals.allgs, Err(expected));
}

/// Every Go function of `go tool nm` is in the table with that entry and that size, and none is missing.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn functions_are_the_symbol_tables() {
    for build in BUILDS.iter().filter(|b| b.mode.has_symbols()) {
        let (binary, name) = (parse(build), build.name());
        let table = binary.functions();
        let (start, end) = table.text_range();
        let mut checked = 0;
        for symbol in tools::nm(build).iter().filter(|s| s.kind.eq_ignore_ascii_case("t") && s.size > 0) {
            // The linker's markers (`go:textfipsend`) have a size and no code.
            if symbol.address < start || symbol.address >= end || symbol.name.starts_with("go:") {
                continue;
            }
            let f = table.by_pc(symbol.address).unwrap_or_else(|| panic!("{name}: no {symbol:?}"));
            // The symbol table marks the assembler's calling convention, the function table does not.
            let plain = symbol.name.trim_end_matches(".abi0").trim_end_matches(".abiinternal");
            // Up to Go 1.20 the linker itself shortens instances of generics in the function table.
            // The symbol table of Go 1.23 writes the compiler's `·` as a dot.
            if printed(f.name).replace('·', ".") != printed(plain).replace('·', ".") {
                // Names of C functions and of a few linker symbols differ.
                assert!(matches!(build.mode, Mode::Cgo | Mode::Race), "{name}: {symbol:?} is {}", f.name);
                continue;
            }
            assert_eq!(f.entry, symbol.address, "{name}: {symbol:?}");
            let Some(end) = table.code_end(&f) else {
                // The race detector's C++ functions, linked in by Go's linker, have names and no tables.
                assert!(build.mode == Mode::Race, "{name}: {symbol:?}");
                continue;
            };
            assert_eq!(end, symbol.address + symbol.size, "{name}: {symbol:?}");
            checked += 1;
        }
        assert!(
            build.mode == Mode::Race || checked * 100 >= table.len() * 97,
            "{name}: {checked} of {} functions",
            table.len()
        );
        for function in ["runtime.newproc", "runtime.goexit1", "runtime.newproc1", "runtime.gopark"] {
            let f = table.by_name(function).unwrap_or_else(|| panic!("{name}: `{function}`"));
            assert!(!table.is_wrapper(&f) && table.all_by_name(function).count() <= 2, "{name}: {f:?}");
        }
        println!("{name}: {checked} of {} functions", table.len());
    }
}

/// The two functions named `runtime.newproc` differ in what they are, and the right one is chosen: the one whose
/// symbol has no `.abi0` suffix.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn the_wrapper_is_not_taken_for_the_function() {
    for build in BUILDS.iter().filter(|b| b.mode.has_symbols()) {
        let (binary, name) = (parse(build), build.name());
        let symbols = tools::nm(build);
        for function in ["runtime.newproc", "runtime.goexit1"] {
            let f = binary.functions().by_name(function).unwrap();
            let symbol = symbols.iter().find(|s| s.name == function).unwrap();
            assert_eq!(f.entry, symbol.address, "{name}: `{function}`");
        }
    }
}

/// Outer function, file and line at 2,000 addresses, as `go tool addr2line` answers.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn lines_are_those_of_addr2line() {
    for build in BUILDS.iter().filter(|b| b.mode == Mode::Plain) {
        let (binary, name) = (parse(build), build.name());
        let pcs = sample(&binary, 2000);
        let answers = tools::addr2line(build, &pcs);
        assert_eq!(answers.len(), pcs.len(), "{name}");
        for (pc, (function, place)) in pcs.iter().zip(&answers) {
            let frames = binary.frames(*pc, true).unwrap();
            let (first, last) = (&frames[0], &frames[frames.len() - 1]);
            assert_eq!(&format!("{}:{}", first.file, first.line), place, "{name}: {pc:#x}");
            assert_eq!(&last.function, function, "{name}: {pc:#x}");
        }
    }
}

/// Whole chains of inlined calls, as the DWARF has them.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn inlined_chains_are_the_dwarfs() {
    for build in BUILDS.iter().filter(|b| b.mode == Mode::Plain) {
        let (binary, name) = (parse(build), build.name());
        let pcs = sample(&binary, 4000);
        let chains = dwarf::chains(build, &pcs);
        let (mut same, mut compared, mut deep) = (0, 0, 0);
        for (pc, theirs) in pcs.iter().zip(&chains) {
            let ours: Vec<String> =
                binary.frames(*pc, true).unwrap().into_iter().map(|f| printed(&f.function)).collect();
            // Assembler functions have no inlined calls and often no DWARF.
            let Some(theirs) = theirs else { continue };
            compared += 1;
            same += usize::from(&ours == theirs);
            deep += usize::from(ours.len() > 2);
        }
        assert!(compared >= 1000 && deep > 20, "{name}: {compared} compared, {deep} deep");
        // The compiler writes DWARF ranges and inline marks apart; they differ at a few instructions.
        assert!(same * 1000 >= compared * 990, "{name}: {same} of {compared} chains agree");
        println!("{name}: {same} of {compared} chains agree, {deep} of three frames and more");
    }
}

/// The built-in layouts are those in the DWARF of a program this toolchain built.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn layouts_are_the_dwarfs() {
    for build in BUILDS.iter().filter(|b| b.mode.has_go_dwarf()) {
        let (layout, name) = (parse(build).layout().unwrap(), build.name());
        let offsets = dwarf::Offsets::read(build);
        let checked = dwarf::check_layout(&layout, &offsets, &name);
        assert!(checked > 40, "{name}: only {checked} fields");
        println!("{name}: {checked} fields, {}", layout.provenance);
    }
}

/// Copies of inlined functions are where the DWARF has them.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn inlined_copies_are_the_dwarfs() {
    for build in BUILDS.iter().filter(|b| b.mode.has_go_dwarf()) {
        let (binary, name) = (parse(build), build.name());
        for function in ["runtime.goparkunlock", "runtime.gopark", "runtime.newproc1", "sync.(*Mutex).Unlock"]
        {
            let ours: Vec<String> = binary
                .inlined_copies(function)
                .unwrap()
                .iter()
                .map(|&entry| binary.functions().by_pc(entry).unwrap().name.to_owned())
                .collect();
            let theirs = dwarf::callers_with_copy(build, function);
            let mut ours = ours;
            ours.sort();
            ours.dedup();
            assert_eq!(ours, theirs, "{name}: `{function}`");
            println!("{name}: `{function}` inlined into {}", ours.len());
        }
    }
}
