//! Rows of the snapshot: raw sites joined where symbols say that they are the same lines.
//!
//! Three rules, in this order:
//! 1. Sites whose whole creation stacks have the same functions and lines are one row (the compiler may have made
//!    several copies of one `go` statement).
//! 2. Sites without a creation stack are one row for each `go` statement and each reason why there is no stack.
//! 3. Goroutines that only a look knows (born before we watched) belong to *some* row through their `go` statement. Where
//!    exactly one full stack begins with that statement, or its goroutines had no creator, they are counted there;
//!    where several do, or none, they keep their own row, which shows the `go` statement alone and says why.
//!
//! In all of them goroutines that run different functions are different rows.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::analysis::Role;

use super::Session;
use super::distribution::Distribution;
use super::fnv::Fnv;
use super::frames::{end_of_walk, entry_name};
use super::series::{Count, Series};
use super::sites::{NoStack, Site, SiteKey};

/// One row before it is judged.
#[derive(Debug, Default)]
pub struct Row<'a> {
    /// Hash of functions and lines, stable across runs of one program.
    pub id: u64,
    /// Return addresses of the creation stack, innermost first, and why there are no more.
    pub pcs: &'a [u64],
    pub incomplete_because: Option<String>,
    pub start_pc: u64,
    pub first_seen_ns: u64,
    pub born: u64,
    pub found: u64,
    pub died: u64,
    pub vanished: u64,
    pub before: u64,
    pub before_gone: u64,
    pub live: u64,
    pub lifetimes: Distribution,
    pub rough_lifetimes: Distribution,
    pub certain_lifetimes: Distribution,
    pub middle_lifetimes: Distribution,
    pub past_waits: Distribution,
    pub series: Series,
    pub count: Count,
}

/// How much of the creation stack a row knows. Part of its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Whole,
    /// The stack has an id, but its definition never came.
    Undefined,
    GoStatement(NoStack),
}

/// All rows, and for each raw site the index of its row.
pub fn rows(session: &Session) -> (Vec<Row<'_>>, Vec<usize>) {
    let sites = session.sites.list();
    let mut of_site = Vec::with_capacity(sites.len());
    let mut by_identity: BTreeMap<(Known, u64), usize> = BTreeMap::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut by_go: HashMap<u64, Vec<usize>> = HashMap::new();
    for site in sites {
        let known = known(session, site);
        let pcs = creation_pcs(session, site, known);
        let id = identity(session, pcs, site.start_pc, known);
        let i = *by_identity.entry((known, id)).or_insert_with(|| {
            rows.push(Row {
                id,
                start_pc: site.start_pc,
                first_seen_ns: site.first_seen_ns,
                pcs,
                incomplete_because: incomplete_because(session, site, known),
                ..Row::default()
            });
            if matches!(known, Known::Whole | Known::GoStatement(NoStack::NoCreator)) {
                by_go.entry(statement(session, site)).or_default().push(rows.len() - 1);
            }
            rows.len() - 1
        });
        of_site.push(i);
    }
    // Rule 3: whoever only a look knows goes to the one row of its `go` statement and function that knows all.
    for (site, row) in sites.iter().zip(&mut of_site) {
        if matches!(site.key, SiteKey::GoStatement { why: NoStack::NotTraced, .. })
            && let Some([only]) = by_go.get(&statement(session, site)).map(Vec::as_slice)
        {
            *row = *only;
        }
    }
    for (site, row) in sites.iter().zip(&of_site) {
        rows[*row].add(site);
    }
    (rows, of_site)
}

impl Row<'_> {
    fn add(&mut self, site: &Site) {
        self.first_seen_ns = self.first_seen_ns.min(site.first_seen_ns);
        self.born += site.born;
        self.found += site.found;
        self.died += site.died;
        self.vanished += site.vanished;
        self.before += site.before;
        self.before_gone += site.before_gone;
        self.live += site.live;
        self.lifetimes.merge(&site.lifetimes);
        self.rough_lifetimes.merge(&site.rough_lifetimes);
        self.certain_lifetimes.merge(&site.certain_lifetimes);
        self.middle_lifetimes.merge(&site.middle_lifetimes);
        self.past_waits.merge(&site.past_waits);
        self.series.add(&site.series);
        self.count += site.count();
    }

    /// Nothing ever belonged here: all its goroutines turned out to belong elsewhere.
    pub fn is_empty(&self) -> bool {
        self.born == 0 && self.before == 0 && self.live == 0 && self.died == 0 && self.vanished == 0
    }
}

fn known(session: &Session, site: &Site) -> Known {
    match site.key {
        SiteKey::Stack { id, .. } if session.symbols.stack(id).is_some_and(|d| !d.frames.is_empty()) => {
            Known::Whole
        }
        SiteKey::Stack { .. } => Known::Undefined,
        SiteKey::GoStatement { why, .. } => Known::GoStatement(why),
    }
}

fn creation_pcs<'a>(session: &'a Session, site: &'a Site, known: Known) -> &'a [u64] {
    match (site.key, known) {
        (SiteKey::Stack { id, .. }, Known::Whole) => {
            session.symbols.stack(id).map_or(std::slice::from_ref(&site.gopc), |d| &d.frames)
        }
        _ => std::slice::from_ref(&site.gopc),
    }
}

fn incomplete_because(session: &Session, site: &Site, known: Known) -> Option<String> {
    match known {
        Known::Whole => match site.key {
            SiteKey::Stack { id, .. } => session.symbols.stack(id).and_then(|d| end_of_walk(d.h.flags)),
            SiteKey::GoStatement { .. } => None,
        },
        Known::Undefined => {
            Some("the creation stack was not delivered: only the `go` statement is known".to_owned())
        }
        Known::GoStatement(NoStack::NotTraced) => Some(
            "its birth was not traced (born before we watched, or between two looks): only the `go` statement is known"
                .to_owned(),
        ),
        Known::GoStatement(NoStack::NoCreator) => Some(
            match Role::of(&entry_name(session, site.start_pc)) {
                Role::Main => "the runtime's start code made it: there is no creating goroutine",
                _ => "no goroutine created it: the runtime's start code, or a timer",
            }
            .to_owned(),
        ),
        Known::GoStatement(NoStack::Unmatched) => Some(
            "the creator's frames did not lead to the `go` statement: only the statement is known".to_owned(),
        ),
        Known::GoStatement(NoStack::Limit) => Some(
            "more creation stacks than are told apart: counted together under their `go` statement".to_owned(),
        ),
    }
}

/// Identity of a `go` statement with the function that it starts.
fn statement(session: &Session, site: &Site) -> u64 {
    identity(session, &[site.gopc], site.start_pc, Known::Whole)
}

/// FNV-1a over functions and lines, outermost last, then the start function; over the address less the load bias where
/// there is no symbol.
fn identity(session: &Session, pcs: &[u64], start_pc: u64, known: Known) -> u64 {
    let bias = session.target.as_ref().map_or(0, |t| t.load_bias);
    let mut hash = Fnv::default();
    for &pc in pcs {
        match session.symbols.at_return(pc) {
            Ok(frames) => frames.hashes.iter().for_each(|h| hash.part(&h.to_le_bytes())),
            Err(_) => hash.part(&pc.wrapping_sub(bias).to_le_bytes()),
        }
    }
    match session.symbols.at_entry(start_pc) {
        Ok(known) => hash.part(known.frames.last().map_or(b"", |f| f.function.as_bytes())),
        Err(_) if start_pc == 0 => hash.part(b""),
        Err(_) => hash.part(&start_pc.wrapping_sub(bias).to_le_bytes()),
    }
    // A stack of one frame and a lone `go` statement are not the same thing.
    hash.part(match known {
        Known::Whole => b"",
        Known::Undefined => b"undefined",
        Known::GoStatement(NoStack::NotTraced) => b"look",
        Known::GoStatement(NoStack::NoCreator) => b"start",
        Known::GoStatement(NoStack::Unmatched) => b"unmatched",
        Known::GoStatement(NoStack::Limit) => b"limit",
    });
    hash.0
}
