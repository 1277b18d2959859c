//! The truth about `tests/go/exact`: what it prints of itself, and a report held against it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use tracer_common::wire::MAX_FRAMES;

use crate::gostray::{Report, Site};

/// What `exact` printed of one of its chains.
#[derive(Debug, Default)]
pub struct Chain {
    /// Of the `go` statement.
    pub line: u64,
    /// Callers of the `go` statement, innermost first, without the runtime's own outermost frame.
    pub functions: Vec<String>,
    pub born: u64,
    pub died: u64,
}

/// What it said of all of them.
pub fn chains<'l>(said: impl IntoIterator<Item = &'l str>) -> Result<BTreeMap<String, Chain>> {
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["stack", name, line, ref functions @ ..] => {
                let chain = chains.entry(name.into()).or_default();
                chain.line = line.parse()?;
                chain.functions = functions.iter().map(|f| (*f).to_owned()).collect();
            }
            ["chain", name, born, died] => {
                let chain = chains.entry(name.into()).or_default();
                (chain.born, chain.died) = (born.parse()?, died.parse()?);
            }
            _ => {}
        }
    }
    ensure!(chains.len() == 5, "it told of {} chains", chains.len());
    Ok(chains)
}

/// The site whose `go` statement is that of this chain; there must be one.
fn site_of<'r>(report: &'r Report, name: &str, chain: &Chain) -> Site<'r> {
    let sites = report.created_in(&chain.functions[0]);
    let [site] = sites[..] else { panic!("{name}: {} sites", sites.len()) };
    site
}

/// Panics unless the report has every birth, death and creation stack of the chains, and nothing else of the program's own.
pub fn check(report: &Report, chains: &BTreeMap<String, Chain>, births: u64, deaths: u64) {
    assert!(report.losses().is_empty(), "{:#?}", report.losses());
    for zero in ["found", "born_unidentified", "vanished"] {
        assert_eq!(report.total(zero), 0, "{zero}");
    }
    assert_eq!(report.total("kernel_births"), report.total("born"));
    assert_eq!(report.total("kernel_deaths"), report.total("died"));
    for (name, chain) in chains {
        let site = site_of(report, name, chain);
        let counts = ["born", "died", "live", "before"].map(|c| site.count(c));
        assert_eq!(counts, [chain.born, chain.died, chain.born - chain.died, 0], "{name}");
        assert_eq!(site.line(), Some(chain.line), "{name}");
        let seen = site.chain();
        if chain.functions.len() < MAX_FRAMES {
            // `exact` leaves out the outermost frame, which is no caller of anything.
            let (outermost, callers) = seen.split_last().expect("a stack has a frame");
            assert_eq!((callers, *outermost), (&as_strs(chain)[..], "runtime.goexit"), "{name}");
            assert_eq!(site.incomplete_because(), None, "{name}");
        } else {
            assert_eq!(seen, as_strs(chain)[..MAX_FRAMES], "{name}");
            assert!(site.incomplete_because().is_some(), "{name}: {} frames are all?", seen.len());
        }
    }
    let sum = |what: &str| -> u64 { report.own().iter().map(|s| s.count(what)).sum() };
    let main = u64::from(report.0["target"]["from_start"] == true);
    assert_eq!((sum("born"), sum("died")), (births + main, deaths));
    assert_eq!(report.total("live"), births - deaths + 1, "the program's own: the chains' and main");
}

fn as_strs(chain: &Chain) -> Vec<&str> {
    chain.functions.iter().map(String::as_str).collect()
}
