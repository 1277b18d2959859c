//! Goroutines that wait for each other: first of all, with what speaks for and against it.

use super::super::super::page::Page;
use super::super::super::style::Ink;
use super::super::super::words;
use super::super::frames;
use super::group::{created_by, source, state};
use super::object;
use crate::dump::cycles::Step;
use crate::dump::{Cycle, Dump, Goroutine};

/// Circles that are shown, and steps of one.
const CYCLES: usize = 5;
const STEPS: usize = 8;

/// `short`: the headlines alone.
pub fn write(page: &mut Page, dump: &Dump, short: bool) {
    for cycle in dump.cycles.iter().take(CYCLES) {
        if !short {
            page.blank();
        }
        let head = page.style().paint(Ink::Warning, &headline(cycle));
        page.paragraph(&head);
        if !short {
            body(page, dump, cycle);
        }
    }
    if dump.cycles.len() > CYCLES {
        let more = (dump.cycles.len() - CYCLES) as u64;
        page.paragraph(&format!("… and {} (`--format json` has them)", words::count(more, "more circle")));
    }
}

fn headline(cycle: &Cycle) -> String {
    let who = match (cycle.length, cycle.steps.first()) {
        (1, Some(step)) => {
            format!("goroutine {} waits for a lock that it may have locked itself", step.goid)
        }
        (n, _) => format!("{n} goroutines wait for each other in a circle"),
    };
    let mut doubts = Vec::new();
    if cycle.unsearched > 0 {
        let stacks = words::count(cycle.unsearched, "other stack");
        doubts.push(format!("{stacks} could not be searched to the end, and may lead there"));
    }
    if cycle.global {
        doubts.push("something is a global variable, which any function reaches".to_owned());
    }
    if !cycle.stuck {
        let doubts: Vec<String> = doubts.into_iter().map(|d| format!("; {d}")).collect();
        return format!(
            "LOCKS IN A CIRCLE: {who}, but others may have the locks, or these may only be about to take them: it may pass{}",
            doubts.concat()
        );
    }
    match doubts.as_slice() {
        [] => {
            format!("DEADLOCK? {who}, and no goroutine that can go on is known to lead to what they wait for")
        }
        doubts => format!("DEADLOCK? {who}; {}", doubts.join("; ")),
    }
}

fn body(page: &mut Page, dump: &Dump, cycle: &Cycle) {
    for (n, step) in cycle.steps.iter().take(STEPS).enumerate() {
        let next = cycle.steps.get(n + 1).filter(|_| n + 1 < cycle.length as usize);
        let next = next.or(cycle.steps.first().filter(|_| cycle.steps.len() as u64 == cycle.length));
        one(page, dump, step, next.map(|s| s.goid));
    }
    let hidden = cycle.length.saturating_sub(STEPS as u64);
    if hidden > 0 {
        page.raw(&format!("  … and {} more", words::count(hidden, "goroutine")));
    }
    let touching = cycle.goroutines.saturating_sub(cycle.length);
    if touching > 0 {
        page.field(
            "also",
            &format!("{} in circles that touch this one", words::count(touching, "goroutine")),
        );
    }
    if cycle.behind > 0 {
        page.field(
            "behind",
            &format!("{} cannot go on before", words::count(cycle.behind, "more goroutine")),
        );
    }
    if cycle.others_in_all > 0 {
        let named = cycle.others.iter().map(|goid| match goroutine(dump, *goid) {
            Some(g) => format!("{goid} ({})", state(dump, g)),
            None => goid.to_string(),
        });
        let named: Vec<String> = named.collect();
        let more = cycle.others_in_all.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        page.field("others", &format!("{}{more} have an address too, or lead to it", named.join(", ")));
    }
}

fn one(page: &mut Page, dump: &Dump, step: &Step, next: Option<u64>) {
    let Some(object) = dump.objects.get(step.object as usize) else { return };
    let mut wait = format!("waits {}", object::what(object, step.side));
    if !wait.starts_with("waits to ") {
        wait = format!("waits for {}", object::what(object, step.side));
    }
    if step.cases > 1 {
        let others = words::count(u64::from(step.cases) - 1, "more case");
        wait.push_str(&format!(", one of a select with {others} on which nobody can act"));
    }
    let evidence = match next {
        Some(next) if next == step.goid => {
            "; it has its address also further out on its own stack".to_owned()
        }
        Some(next) => format!("; goroutine {next} has its address on its stack"),
        None => String::new(),
    };
    page.raw(&format!("  goroutine {}", step.goid));
    let Some(g) = goroutine(dump, step.goid) else {
        page.more(&format!("{wait}{evidence}"));
        return;
    };
    page.more(&format!("{wait}{evidence}"));
    if let Some(place) = place(dump, g) {
        page.more(&format!("in {place}"));
    }
    page.more(&format!("created by {}", created_by(dump, g)));
}

/// It may have been left out by a filter.
fn goroutine(dump: &Dump, goid: u64) -> Option<&Goroutine> {
    let at = dump.goroutines.binary_search_by_key(&goid, |g| g.goid).ok()?;
    dump.goroutines.get(at)
}

/// The innermost frame of its own that is none of the library that waits.
fn place(dump: &Dump, g: &Goroutine) -> Option<String> {
    let listed = frames::of(dump, dump.stack(g)?);
    let library = ["sync.", "internal/sync.", "runtime."];
    let own =
        |f: &&frames::Shown<'_>| f.frame.is_some_and(|f| !library.iter().any(|l| f.function.starts_with(l)));
    let frame = listed.frames.iter().find(own)?.frame?;
    let place = source(frame).map_or_else(String::new, |s| format!("  {s}"));
    Some(format!("{}{place}", words::clean(&frame.function)))
}
