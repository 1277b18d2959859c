//! The machine form: one report document, and live lines. Every field is described in `docs/json.md`; a test holds the
//! two together.

use serde::Serialize;

use super::changes::Change;
use crate::session::Snapshot;
use crate::session::snapshot::{Age, Frame, Move, Site, VerdictKind};

/// Version of the live lines. Adding a field does not raise it; removing or changing one does.
pub const LIVE_SCHEMA: &str = "gostray.live/1";

/// The whole snapshot as one line of JSON, without its newline. The same snapshot always gives the same bytes.
pub fn report(snapshot: &Snapshot) -> serde_json::Result<String> {
    serde_json::to_string(snapshot)
}

/// One change as one line of JSON, without its newline.
pub fn live(snapshot: &Snapshot, change: &Change<'_>) -> serde_json::Result<String> {
    let at_ns = snapshot.watched_ns;
    match change {
        Change::Appeared { site } => serde_json::to_string(&SiteLine::new(at_ns, "appeared", site)),
        Change::Verdict { site, was, .. } => serde_json::to_string(&SiteLine {
            was_verdict: Some(*was),
            ..SiteLine::new(at_ns, "verdict", site)
        }),
        Change::Live { site, was } => {
            serde_json::to_string(&SiteLine { was_live: Some(*was), ..SiteLine::new(at_ns, "live", site) })
        }
        Change::Loss { cause, count, total, meaning } => serde_json::to_string(&LossLine {
            schema: LIVE_SCHEMA,
            at_ns,
            change: "loss",
            cause,
            count: *count,
            total: *total,
            meaning,
        }),
        Change::Level { moved } => {
            serde_json::to_string(&LevelLine { schema: LIVE_SCHEMA, at_ns, change: "level", moved })
        }
    }
}

/// One line of JSON, without its newline, in the place of `count` lines that found no room.
pub fn left_out(snapshot: &Snapshot, count: u64) -> serde_json::Result<String> {
    let at_ns = snapshot.watched_ns;
    serde_json::to_string(&LeftOutLine { schema: LIVE_SCHEMA, at_ns, change: "left-out", count })
}

#[derive(Serialize)]
struct SiteLine<'s> {
    schema: &'static str,
    at_ns: u64,
    change: &'static str,
    site: &'s str,
    created_at: &'s Frame,
    live: u64,
    born: u64,
    died: u64,
    slope_per_s: Option<f64>,
    verdict: VerdictKind,
    why: &'s str,
    oldest: Option<Age>,
    top_wait: Option<TopWait<'s>>,
    was_verdict: Option<VerdictKind>,
    was_live: Option<u64>,
}

#[derive(Serialize)]
struct TopWait<'s> {
    reason: &'s str,
    count: u64,
}

#[derive(Serialize)]
struct LossLine<'s> {
    schema: &'static str,
    at_ns: u64,
    change: &'static str,
    cause: &'s str,
    count: u64,
    total: u64,
    meaning: &'s str,
}

#[derive(Serialize)]
struct LevelLine<'s> {
    schema: &'static str,
    at_ns: u64,
    change: &'static str,
    #[serde(rename = "move")]
    moved: &'s Move,
}

#[derive(Serialize)]
struct LeftOutLine {
    schema: &'static str,
    at_ns: u64,
    change: &'static str,
    count: u64,
}

impl<'s> SiteLine<'s> {
    fn new(at_ns: u64, change: &'static str, site: &'s Site) -> Self {
        Self {
            schema: LIVE_SCHEMA,
            at_ns,
            change,
            site: &site.id,
            created_at: &site.created_at,
            live: site.live,
            born: site.born,
            died: site.died,
            slope_per_s: site.slope_per_s,
            verdict: site.verdict.kind,
            why: &site.verdict.why,
            oldest: site.oldest,
            top_wait: site.waits.first().map(|w| TopWait { reason: &w.reason, count: w.count }),
            was_verdict: None,
            was_live: None,
        }
    }
}

#[cfg(test)]
mod tests;
