//! What a person on call reads: how many goroutines there are and what they do, then groups of those that came from one
//! place and stand at one place, the largest first.

mod cycle;
mod group;
mod head;
mod object;
mod objects;

use std::io::{self, Write};

use super::super::page::Page;
use super::super::style::{Ink, Style};
use super::super::words;
use super::changes::Changes;
use super::json::Selection;
use crate::dump::{Dump, Goroutine, Group, groups};

/// Without [`Options::all`], as many groups are shown.
const GROUPS: usize = 20;
/// Of groups that are no more.
const GONE: usize = 5;

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    pub style: Style,
    /// Each goroutine instead of groups, the runtime's own too.
    pub all: bool,
    /// A line for each group, and all groups: for a terminal on which each dump is drawn over the last one.
    pub table: bool,
    /// What was left out before.
    pub selection: Option<&'a Selection>,
    /// Against the dump before; of the groups that [`shown`] gives.
    pub changes: Option<&'a Changes>,
}

/// The groups that a text shows, or would show without [`Options::all`].
pub fn shown(dump: &Dump) -> Vec<Group> {
    groups(dump, |g| !g.system)
}

/// A few words for a group: what its goroutines do, and where they come from.
pub fn title(dump: &Dump, g: &Goroutine) -> String {
    format!("{}, created by {}", group::state(dump, g), group::created_by(dump, g))
}

/// The whole text. `shown` is what [`shown`] gives.
pub fn write(dump: &Dump, shown: &[Group], options: &Options<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(options.style);
    head::write(&mut page, dump, options);
    cycle::write(&mut page, dump, options.table);
    let any = if options.all { !dump.goroutines.is_empty() } else { !shown.is_empty() };
    if !any {
        page.blank();
        page.raw("no goroutines to show");
    }
    out.write_all(page.finish().as_bytes())?;
    if options.all {
        for i in 0..dump.goroutines.len() as u32 {
            let mut page = Page::new(options.style);
            page.blank();
            group::one(&mut page, dump, i);
            out.write_all(page.finish().as_bytes())?;
        }
    } else if options.table {
        let mut page = Page::new(options.style);
        page.blank();
        for (n, group) in shown.iter().enumerate() {
            group::line(&mut page, dump, group, options.changes.and_then(|c| c.groups.get(n)).copied());
        }
        out.write_all(page.finish().as_bytes())?;
    } else {
        for (n, group) in shown.iter().take(GROUPS).enumerate() {
            let mut page = Page::new(options.style);
            let more = options.changes.and_then(|c| c.groups.get(n)).copied();
            page.blank();
            group::write(&mut page, dump, n + 1, group, more);
            out.write_all(page.finish().as_bytes())?;
        }
    }
    let mut page = Page::new(options.style);
    if !options.all && !options.table {
        more_groups(&mut page, shown);
    }
    if !options.table {
        objects::write(&mut page, dump, options.all);
    }
    tail(&mut page, dump, options);
    out.write_all(page.finish().as_bytes())
}

fn more_groups(page: &mut Page, shown: &[Group]) {
    if shown.len() > GROUPS {
        let rest = &shown[GROUPS..];
        let goroutines = rest.iter().map(|g| g.members.len() as u64).sum();
        page.blank();
        page.paragraph(&format!(
            "… and {} with {} (`--filter` narrows, `--all` shows each goroutine)",
            words::count(rest.len() as u64, "more group"),
            words::count(goroutines, "goroutine")
        ));
    }
}

fn tail(page: &mut Page, dump: &Dump, options: &Options<'_>) {
    if let Some(changes) = options.changes.filter(|c| !c.gone.is_empty()) {
        page.blank();
        page.raw("GONE since the last dump");
        for (count, title) in changes.gone.iter().take(GONE) {
            page.raw(&format!("  {:>7}  {title}", format!("-{count}")));
        }
        if changes.gone.len() > GONE {
            page.raw(&format!("  … and {}", words::count((changes.gone.len() - GONE) as u64, "more group")));
        }
    }
    let own = dump.goroutines.iter().filter(|g| g.system).count() as u64;
    if !options.all && own > 0 {
        page.blank();
        let text = format!("{} of the runtime's own (`--all` shows them)", words::count(own, "goroutine"));
        let text = page.style().paint(Ink::Faint, &text);
        page.raw(&text);
    }
    if !dump.notes.is_empty() {
        page.blank();
        page.raw("NOTES");
        for note in &dump.notes {
            page.raw(&format!("  {} [{}]", words::clean(&note.text), words::clean(&note.code)));
        }
    }
}

#[cfg(test)]
mod tests;
