//! Goroutines by what they wait on: the channel that hundreds want to send on, the lock that all want.

use std::collections::HashMap;

use super::super::super::page::Page;
use super::super::super::style::Ink;
use super::super::super::words;
use super::group::{created_by, runs, state};
use super::object;
use crate::dump::{Dump, Goroutine, Side};

/// Objects that are shown, creation sites of one, and goroutines that have its address.
const OBJECTS: usize = 5;
const SITES: usize = 4;
const HOLDERS: usize = 8;

/// Who waits on one object: by side and creation site how many, and the first of them.
#[derive(Default)]
struct Waiters {
    goroutines: u64,
    sites: HashMap<(Side, u64, u64), (u64, u32)>,
}

/// Objects on which more than one of the program's goroutines waits, those with the most first: `every` one or a few.
pub fn write(page: &mut Page, dump: &Dump, every: bool) {
    let mut all: HashMap<u32, Waiters> = HashMap::new();
    for (i, g) in dump.goroutines.iter().enumerate().filter(|(_, g)| !g.system) {
        let mut last = None;
        for wait in &g.waits_on {
            // A nil channel is nobody's.
            if dump.objects.get(wait.object as usize).is_none_or(|o| o.addr == 0) {
                continue;
            }
            let waiters = all.entry(wait.object).or_default();
            let again = last.replace(wait.object) == Some(wait.object);
            waiters.goroutines += u64::from(!again);
            waiters.sites.entry((wait.side, g.gopc, g.start_pc)).or_insert((0, i as u32)).0 += 1;
        }
    }
    let mut all: Vec<(u32, Waiters)> = all.into_iter().filter(|(_, w)| w.goroutines > 1).collect();
    all.sort_unstable_by_key(|(at, w)| (std::cmp::Reverse(w.goroutines), *at));
    if all.is_empty() {
        return;
    }
    page.blank();
    page.raw("MOST WAITED ON");
    let shown = if every { all.len() } else { OBJECTS };
    for (at, waiters) in all.iter().take(shown) {
        one(page, dump, *at, waiters);
    }
    if all.len() > shown {
        let rest = (all.len() - shown) as u64;
        page.raw(&format!("  … and {} on which more than one waits", words::count(rest, "more object")));
    }
}

fn one(page: &mut Page, dump: &Dump, at: u32, waiters: &Waiters) {
    let object = &dump.objects[at as usize];
    let count = page.style().paint(Ink::Strong, &words::count(waiters.goroutines, "goroutine"));
    page.raw(&format!("  {count} on {}", object::what(object, Side::Unknown)));
    let mut sites: Vec<_> = waiters.sites.iter().collect();
    sites.sort_unstable_by_key(|((side, ..), (n, first))| (std::cmp::Reverse(*n), *first, *side as u8));
    for ((side, ..), (n, first)) in sites.iter().take(SITES) {
        let g = &dump.goroutines[*first as usize];
        let side = match side {
            Side::Send => "to send",
            Side::Receive => "to receive",
            Side::Wait => "waiting",
            Side::Unknown => "either side",
        };
        page.more(&format!("{n} {side}: {}, created by {}", runs(dump, g), created_by(dump, g)));
    }
    if sites.len() > SITES {
        page.more(&format!("… of {}", words::count((sites.len() - SITES) as u64, "more creation site")));
    }
    if object.holders_in_all > 0 {
        let named = object.holders.iter().take(HOLDERS);
        let named: Vec<String> = named.map(|goid| with_state(dump, *goid)).collect();
        let more = object.holders_in_all.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        page.more(&format!("its address is also with {}{more}", named.join(", ")));
    }
}

/// `goroutine 7 (IO wait)`
fn with_state(dump: &Dump, goid: u64) -> String {
    let found = dump.goroutines.binary_search_by_key(&goid, |g: &Goroutine| g.goid).ok();
    match found.and_then(|at| dump.goroutines.get(at)) {
        Some(g) => format!("goroutine {goid} ({})", state(dump, g)),
        None => format!("goroutine {goid}"),
    }
}
