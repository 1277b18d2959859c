//! Goroutines that stand in C, in Go called from C, and deeper than that: our dump says what the program's own says.

use anyhow::{Result, ensure};
use tests::own_dump::{Between, own};
use tests::{Fixture, root_only};

/// Before and after the way back from C to Go was changed, and the newest.
const GO: [&str; 3] = ["1.19.8", "1.22.10", "1.27.3"];

fn compare(go: &str, fixture: Fixture) -> Result<()> {
    let mut program = fixture.go(go).cgo().start(&[])?;
    let between = Between::take(program.pid(), || own(&mut program))?;
    let differ: Vec<String> = between
        .differences(go)
        .into_iter()
        .map(|(id, own, ours)| format!("{go}: goroutine {id}: itself {own:#?}\nwe {ours:#?}"))
        .collect();
    ensure!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
    ensure!(between.only_ours().is_empty(), "{go}: only we have {:#?}", between.only_ours());
    let in_both = |function: &str| {
        let stands = |frames: &[String]| frames.iter().any(|f| f.starts_with(function));
        between.at_rest.values().filter(|g| stands(&g.frames)).count()
    };
    // In C; called from C by a goroutine, by one that was called from C, and by a thread that C started.
    let counted =
        ["main._Cfunc_sleepsInC ", "main.calledBack ", "main.calledDeeper ", "main.foreign "].map(in_both);
    ensure!(counted == [6, 14, 7, 7], "{go}: {counted:?} in C and called from there");
    println!("{go}: {} goroutines the same", between.at_rest.len());
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn in_c_and_called_from_c() -> Result<()> {
    root_only()?;
    let mut failed = Vec::new();
    for go in GO {
        for fixture in [Fixture::new("cgocalls"), Fixture::new("cgocalls").stripped().pie()] {
            if let Err(e) = compare(go, fixture) {
                failed.push(format!("{e:#}"));
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
