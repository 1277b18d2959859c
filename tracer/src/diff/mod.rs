//! What grew, shrank, appeared and vanished between two moments of a program, by creation site.
//!
//! Pure. The two moments may be of two processes: sites are matched by names, never by addresses.

mod census;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

pub use census::{Census, Family, Gap, Key, Position, Site, Source};

use crate::analysis::Role;
use crate::session::snapshot::Note;

/// Two moments, and what became of each site.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff<'c> {
    pub before: &'c Census,
    pub after: &'c Census,
    /// Absent when a time is unknown, or the second moment is not the later one.
    pub elapsed_ns: Option<u64>,
    /// Largest growth first, then the largest loss, then what stayed.
    pub rows: Vec<Row<'c>>,
    pub notes: Vec<Note>,
}

/// A site at both moments; it is there at one of them at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'c> {
    pub before: Option<&'c Site>,
    pub after: Option<&'c Site>,
    /// The builds differ and the statement is at another line now.
    pub moved: bool,
    /// The builds differ, and so do the lines of several `go` statements alike: which one became which is not known.
    pub ambiguous: bool,
    /// The change is not larger than what the censuses may have missed or counted too many: no evidence.
    pub within_gaps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Grew,
    Appeared,
    Vanished,
    Shrank,
    Unchanged,
}

/// Why two moments are not compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("they are of different programs: `{before}` and `{after}`")]
    OtherProgram { before: String, after: String },
    #[error("they count different goroutines: {before} and {after}")]
    OtherFilters { before: String, after: String },
}

/// Codes of the notes.
pub mod note {
    pub const OTHER_PROGRAM: &str = "other-program";
    pub const OTHER_FILTERS: &str = "other-filters";
    pub const OTHER_BUILD: &str = "other-build";
    pub const BUILD_UNKNOWN: &str = "build-unknown";
    pub const PROGRAM_UNKNOWN: &str = "program-unknown";
    pub const FILTERED: &str = "filtered";
    pub const NOT_LATER: &str = "not-later";
}

impl<'c> Row<'c> {
    /// As it is now; one that vanished as it was.
    pub fn site(&self) -> Option<&'c Site> {
        self.after.or(self.before)
    }

    pub fn was(&self) -> u64 {
        self.before.map_or(0, |s| s.live)
    }

    pub fn now(&self) -> u64 {
        self.after.map_or(0, |s| s.live)
    }

    pub fn growth(&self) -> i64 {
        (self.now() as i64).saturating_sub(self.was() as i64)
    }

    pub fn is_system(&self) -> bool {
        self.site().is_some_and(|s| s.role == Role::System)
    }

    pub fn change(&self) -> Change {
        match (self.before, self.after, self.growth()) {
            (None, ..) => Change::Appeared,
            (_, None, _) => Change::Vanished,
            (.., 0) => Change::Unchanged,
            (.., 1..) => Change::Grew,
            _ => Change::Shrank,
        }
    }

    /// The line at which a moved `go` statement was.
    pub fn moved_from(&self) -> Option<u32> {
        self.before.filter(|_| self.moved)?.created.line
    }
}

impl<'c> Diff<'c> {
    /// Rows of the program's own that grew by at least so much.
    pub fn grown(&self, by: u64) -> impl Iterator<Item = &Row<'c>> {
        let least = i64::try_from(by).unwrap_or(i64::MAX);
        self.rows.iter().filter(move |r| !r.is_system() && r.growth() >= least)
    }

    /// Goroutines an hour.
    pub fn per_hour(&self, growth: i64) -> Option<f64> {
        const HOUR_NS: f64 = 3.6e12;
        self.elapsed_ns.map(|ns| growth as f64 * HOUR_NS / ns as f64)
    }
}

/// Two moments that are not of one program, or do not count the same goroutines, say nothing about growth.
pub fn refusal(before: &Census, after: &Census) -> Option<Refusal> {
    if before.main_package != after.main_package
        && !before.main_package.is_empty()
        && !after.main_package.is_empty()
    {
        let (before, after) = (before.main_package.clone(), after.main_package.clone());
        return Some(Refusal::OtherProgram { before, after });
    }
    let set = |c: &Census| c.filters.iter().cloned().collect::<BTreeSet<_>>();
    (set(before) != set(after))
        .then(|| Refusal::OtherFilters { before: filters(before), after: filters(after) })
}

/// Compares them in any case.
pub fn diff<'c>(before: &'c Census, after: &'c Census) -> Diff<'c> {
    let same_build = !before.build_id.is_empty() && before.build_id == after.build_id;
    let mut was: BTreeMap<Key, &Site> = before.sites.iter().map(|s| (s.key(), s)).collect();
    let mut now: BTreeMap<Key, &Site> = after.sites.iter().map(|s| (s.key(), s)).collect();
    // The lines of one program's text do not move.
    let lines = if same_build { BTreeMap::new() } else { lines(&was, &now) };
    let mut rows: Vec<Row<'c>> = Vec::new();
    for (family, lines) in &lines {
        if let Some((from, to)) = lines.moved() {
            let key = |line| Key { family: (*family).clone(), line };
            let (before, after) = (was.remove(&key(from)), now.remove(&key(to)));
            rows.push(Row { before, after, moved: true, ambiguous: false, within_gaps: false });
        }
    }
    let keys: BTreeSet<Key> = was.keys().chain(now.keys()).cloned().collect();
    for key in keys {
        let ambiguous = lines.get(&key.family).is_some_and(Lines::ambiguous);
        let (before, after) = (was.remove(&key), now.remove(&key));
        rows.push(Row { before, after, moved: false, ambiguous, within_gaps: false });
    }
    // Whoever was overlooked before seems to have been born, whoever is overlooked now to have ended. A session may also
    // count goroutines that are gone: the other way round.
    let uncertain = before.uncertain().saturating_add(after.uncertain());
    for row in &mut rows {
        row.within_gaps = row.growth() != 0 && row.growth().unsigned_abs() <= uncertain;
    }
    rows.sort_by_key(|r| (rank(r.growth()), r.site().map(Site::key)));
    let elapsed_ns = match (before.at_unix_ns, after.at_unix_ns) {
        (Some(a), Some(b)) => b.checked_sub(a).filter(|ns| *ns > 0),
        _ => None,
    };
    Diff { before, after, elapsed_ns, rows, notes: notes(before, after, elapsed_ns) }
}

/// Growth by size, then losses by size, then nothing.
fn rank(growth: i64) -> (u8, Reverse<u64>) {
    let sort = match growth {
        1.. => 0,
        0 => 2,
        _ => 1,
    };
    (sort, Reverse(growth.unsigned_abs()))
}

/// At which lines the `go` statements of a family stand.
#[derive(Default)]
struct Lines {
    before: BTreeSet<Option<u32>>,
    after: BTreeSet<Option<u32>>,
}

fn lines(was: &BTreeMap<Key, &Site>, now: &BTreeMap<Key, &Site>) -> BTreeMap<Family, Lines> {
    let mut all: BTreeMap<Family, Lines> = BTreeMap::new();
    for key in was.keys() {
        all.entry(key.family.clone()).or_default().before.insert(key.line);
    }
    for key in now.keys() {
        all.entry(key.family.clone()).or_default().after.insert(key.line);
    }
    all
}

impl Lines {
    /// From which line to which: one statement before and one after, and no other that it could be.
    fn moved(&self) -> Option<(Option<u32>, Option<u32>)> {
        let (from, to) = (self.before.first()?, self.after.first()?);
        let one = self.before.len() == 1 && self.after.len() == 1;
        (one && from != to && from.is_some() && to.is_some()).then_some((*from, *to))
    }

    fn ambiguous(&self) -> bool {
        let there = !self.before.is_empty() && !self.after.is_empty();
        there && self.before != self.after && self.moved().is_none()
    }
}

fn filters(census: &Census) -> String {
    if census.filters.is_empty() {
        return "all".to_owned();
    }
    let each: Vec<String> = census.filters.iter().map(|f| format!("`{f}`")).collect();
    format!("those with {}", each.join(" and "))
}

fn notes(before: &Census, after: &Census, elapsed_ns: Option<u64>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |code: &str, text: String| notes.push(Note { code: code.to_owned(), text });
    match refusal(before, after) {
        Some(e @ Refusal::OtherProgram { .. }) => note(note::OTHER_PROGRAM, e.to_string()),
        Some(e @ Refusal::OtherFilters { .. }) => note(note::OTHER_FILTERS, e.to_string()),
        None if !after.filters.is_empty() => {
            note(note::FILTERED, format!("only some goroutines are counted: {}", filters(after)));
        }
        None => {}
    }
    if before.main_package.is_empty() || after.main_package.is_empty() {
        let text = "that both are of the same program is not known: its main package is missing";
        note(note::PROGRAM_UNKNOWN, text.to_owned());
    }
    if before.build_id.is_empty() || after.build_id.is_empty() {
        note(note::BUILD_UNKNOWN, "whether both are of the same build is not known".to_owned());
    } else if before.build_id != after.build_id {
        let build = |c: &Census| match c.go_version.as_str() {
            "" => c.build_id.clone(),
            version => format!("{} ({version})", c.build_id),
        };
        let text = format!(
            "different builds, {} and {}: `go` statements are matched by their functions, lines may have moved",
            build(before),
            build(after)
        );
        note(note::OTHER_BUILD, text);
    }
    if before.at_unix_ns.is_some() && after.at_unix_ns.is_some() && elapsed_ns.is_none() {
        let text =
            "the second moment is not later than the first one: growth is shown from the first to the second";
        note(note::NOT_LATER, text.to_owned());
    }
    for census in [before, after] {
        for n in &census.notes {
            note(&n.code, n.text.clone());
        }
    }
    notes
}

#[cfg(test)]
mod tests;
