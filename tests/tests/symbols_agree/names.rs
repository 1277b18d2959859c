//! Every sort of name that the compiler gives, as the program's own runtime prints it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result};
use tests::Fixture;
use tracer::gobin::GoBinary;
use tracer::symbol::Symbolizer;

const VERSIONS: [&str; 5] = ["1.21.13", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// `runtime.CallersFrames` about two frames of each sort of function.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn names_are_the_runtimes() -> Result<()> {
    for go in VERSIONS {
        let path = Fixture::new("names").go(go).build()?;
        let out = Command::new(&path).output()?;
        let data = std::fs::read(&path)?;
        let binary = GoBinary::parse(&data)?;
        let mut symbolizer = Symbolizer::new(&binary, 0, None);
        let mut kinds = BTreeSet::new();
        let mut shortened = 0;
        for line in String::from_utf8(out.stdout)?.lines() {
            let [kind, pc, function, file, number] = line.splitn(5, ' ').collect::<Vec<_>>()[..] else {
                panic!("{go}: {line}");
            };
            let symbol = symbolizer.symbol(pc.parse()?, false);
            let frame = symbol.frames.first().with_context(|| format!("{go}: {line}: {symbol:?}"))?;
            assert_eq!((frame.function.as_str(), frame.file.as_str()), (function, file), "{go}: {line}");
            assert_eq!(frame.line, number.parse::<u32>()?, "{go}: {line}");
            if function.contains("[...]") {
                assert!(frame.full_name.contains("[go.shape."), "{go}: {line}: {frame:?}");
                shortened += 1;
            } else {
                assert_eq!(frame.full_name, "", "{go}: {line}");
            }
            kinds.insert(kind.to_owned());
        }
        assert_eq!(kinds.len(), 11, "{go}: {kinds:?}");
        assert!(shortened >= 4, "{go}: {shortened}");
    }
    Ok(())
}

/// What no traceback shows: wrappers, method values, initialisers, assembly; and what wrappers start.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn functions_of_every_sort_are_in_the_table() -> Result<()> {
    for go in VERSIONS {
        let path = Fixture::new("names").go(go).build()?;
        let data = std::fs::read(&path)?;
        let binary = GoBinary::parse(&data)?;
        let mut symbolizer = Symbolizer::new(&binary, 0, None);
        let mut entry = |name: &str| -> Result<_> {
            let f =
                binary.functions().all_by_name(name).next().with_context(|| format!("{go}: no `{name}`"))?;
            Ok(symbolizer.symbol(f.entry, true))
        };
        for name in ["main.init.0", "main.(*counter).value", "main.double[go.shape.int]"] {
            entry(name)?;
        }
        let starts = |symbol: &tracer::event::message::Symbol| {
            symbol.starts.as_ref().map(|f| (f.function.clone(), f.line > 0)).unwrap_or_default()
        };
        // Go 1.22 gave the wrappers of `go` and `defer` names of their own; before, they are closures among others.
        let before = go.starts_with("1.21.");
        for (creator, kind, started) in
            [("main.main", "gowrap", "main.with"), ("main.defers", "deferwrap", "main.deferred")]
        {
            let kind = if before { "func" } else { kind };
            let wrappers = (1..=5).filter_map(|i| entry(&format!("{creator}.{kind}{i}")).ok());
            let started_by: Vec<_> = wrappers.map(|w| starts(&w)).filter(|s| !s.0.is_empty()).collect();
            assert_eq!(started_by, [(started.to_owned(), true)], "{go}: {creator}.{kind}");
        }
        assert_eq!(
            starts(&entry("main.(*counter).count-fm")?),
            ("main.(*counter).count".to_owned(), true),
            "{go}"
        );
        // A function that the program wrote is not claimed to start another.
        assert_eq!(entry("main.call")?.starts, None, "{go}");
        let assembly = entry("runtime.memmove")?;
        assert!(assembly.frames[0].file.ends_with("memmove_amd64.s") && assembly.frames[0].line > 0, "{go}");
    }
    Ok(())
}

/// The two sides of a call into C: Go's stub, and the C function that cgo made.
#[test]
#[ignore = "needs Go: cargo xtask test"]
fn stubs_of_cgo() -> Result<()> {
    let path = Fixture::new("cgo").build()?;
    let data = std::fs::read(&path)?;
    let binary = GoBinary::parse(&data)?;
    let stub = binary.functions().iter().find(|f| f.name.starts_with("main._Cfunc_")).context("no stub")?;
    let debug = tracer::symbol::DebugInfo::of(&binary);
    let mut symbolizer = Symbolizer::new(&binary, 0, None).with_debug(&debug);
    let go = symbolizer.symbol(stub.entry, true);
    assert_eq!(go.frames[0].function, stub.name);
    assert_eq!((go.frames[0].file.as_str(), go.source.as_str()), ("_cgo_gotypes.go", ""));
    let file = object::File::parse(&*data)?;
    let call = stub.name.trim_start_matches("main.");
    let c = object::Object::symbols(&file).find(|s| {
        object::ObjectSymbol::name(s)
            .is_ok_and(|n| n.starts_with("_cgo_") && n.ends_with(call.trim_start_matches('_')))
    });
    let c = c.with_context(|| format!("no C side of `{call}`"))?;
    let symbol = symbolizer.symbol(object::ObjectSymbol::address(&c), true);
    let frame = symbol.frames.last().with_context(|| format!("{symbol:?}"))?;
    assert_eq!(Ok(frame.function.as_str()), object::ObjectSymbol::name(&c));
    assert_eq!(symbol.source, "dwarf");
    Ok(())
}
