//! What watching took, and how closely it could be done for that.

use super::super::page::Page;
use super::super::words;
use crate::session::Snapshot;
use crate::session::snapshot::{Cost, Watching};

/// So many changes of the level are listed: the newest.
const MOVES: usize = 10;

/// `show_time`: the numbers too, which no two runs have in common.
pub fn write(page: &mut Page, snapshot: &Snapshot, show_time: bool) {
    if let Some(watching) = &snapshot.watching
        && (!watching.moves.is_empty() || watching.unwatched_ns > 0)
    {
        page.blank();
        page.raw("WATCHING");
        page.field("now", words::level(watching.level));
        share(page, watching);
        moves(page, watching);
    }
    if let Some(cost) = snapshot.cost.as_ref().filter(|_| show_time) {
        page.blank();
        page.paragraph(&format!("COST  {}", sentence(snapshot, cost)));
    }
}

fn share(page: &mut Page, w: &Watching) {
    let windows =
        if w.windows > 0 { format!(", in {}", words::count(w.windows, "window")) } else { String::new() };
    let text = match w.unwatched_ns {
        0 => "births and deaths all the time".to_owned(),
        ns => format!(
            "births and deaths {} of the time{windows}; not for {}",
            words::percent(w.share()),
            words::duration(ns)
        ),
    };
    page.field("watched", &text);
    if let Some(ns) = w.waits_unwatched_ns.filter(|ns| *ns > 0) {
        page.more(&format!("waits not for {}", words::duration(ns)));
    }
}

fn moves(page: &mut Page, w: &Watching) {
    let left_out = w.moves_left_out + w.moves.len().saturating_sub(MOVES) as u64;
    if left_out > 0 {
        page.more(&format!("… {} of the level before these", words::count(left_out, "change")));
    }
    for m in &w.moves[w.moves.len().saturating_sub(MOVES)..] {
        page.field(&words::duration(m.at_ns), &words::moved(m, w.budget_ns));
    }
}

/// `the probes took about 45.0ms of the target's processor time (0.10% of a core; …)`
fn sentence(snapshot: &Snapshot, c: &Cost) -> String {
    let own = format!(
        "gostray itself used {} of processor time and {} of memory",
        words::duration(c.own_cpu_ns),
        words::megabytes(c.own_most_bytes)
    );
    let Some(watching) = &snapshot.watching else {
        return format!("no probes took anything from the target; {own}.");
    };
    let budget = match watching.budget_ns {
        Some(ns) => format!("budget {}", words::of_a_core(ns, words::TEN_SECONDS_NS)),
        None => "no budget".to_owned(),
    };
    format!(
        "the probes took about {} of the target's processor time ({} of a core; within ten seconds {} at most; {budget}; estimated); \
         {own}.",
        words::duration(c.target_ns),
        words::of_a_core(c.target_ns, snapshot.watched_ns),
        words::of_a_core(c.target_most_ns, words::TEN_SECONDS_NS),
    )
}
