//! One creation site in full.

use super::super::page::Page;
use super::super::stack::{self, Line};
use super::super::style::Ink;
use super::super::words;
use crate::session::snapshot::{Blocked, Frame, Site, Stack, Wait, WaitedObject};

/// A spark line has as many points.
const SPARK_POINTS: usize = 40;
/// A trend in numbers has as many.
const NUMBERS: usize = 12;

pub fn write(page: &mut Page, number: usize, site: &Site) {
    let style = page.style();
    let kind =
        style.paint(Ink::Verdict(site.verdict.kind), &words::verdict(site.verdict.kind).to_uppercase());
    let place = style.paint(Ink::Strong, &words::statement(site));
    let system = if site.system { " (the runtime's own)" } else { "" };
    page.raw(&format!("{number}. {kind}  {place}{system}"));
    page.field("runs", &words::function(&site.start));
    page.field("why", &words::clean(&site.verdict.why));
    for (n, e) in site.verdict.evidence.iter().enumerate() {
        let text = words::evidence(e);
        if n == 0 { page.field("evidence", &text) } else { page.more(&text) }
    }
    for (n, m) in site.verdict.missing.iter().enumerate() {
        let text = words::clean(m);
        if n == 0 { page.field("missing", &text) } else { page.more(&text) }
    }
    page.field("goroutines", &counts(site));
    page.field("trend", &trend(site, style.width.is_some()));
    page.field("first seen", &first_seen(site));
    match site.oldest {
        Some(age) => page.field("oldest", &words::age(age)),
        None if site.live > 0 => page.field("oldest", "unknown"),
        None => {}
    }
    if let Some(l) = &site.lifetimes {
        let how = if site.sampled.is_some() { ", estimated" } else { "" };
        page.field("lifetimes", &format!("of {} that ended{how}: {}", l.count, words::percentiles(l, false)));
    }
    waits(page, site);
    if let Some(p) = &site.past_waits {
        page.field("past waits", &format!("{} that ended: {}", p.count, words::percentiles(p, false)));
    }
    page.field("created by", "");
    stack(page, &site.creation);
    if let Some((wait, example)) = site.waits.iter().find_map(|w| Some((w, w.example.as_ref()?))) {
        page.field("blocked", &blocked(wait, example));
        stack(page, &example.stack);
    }
    page.field("site id", &site.id);
}

fn counts(site: &Site) -> String {
    let least = if site.sampled.is_some() { "at least " } else { "" };
    let mut text = format!(
        "{} alive; {least}{} born, {least}{} died, {} were there before",
        site.live, site.born, site.died, site.before
    );
    if site.vanished > 0 {
        text.push_str(&format!(", {} gone without a death event", site.vanished));
    }
    if site.found > 0 {
        text.push_str(&format!("; {} of the births were not traced but found by a look", site.found));
    }
    if let Some(sampled) = &site.sampled {
        let rate =
            sampled.births_per_s.map_or_else(|| "unknown".to_owned(), |rate| format!("about {rate:.1}/s"));
        let share = words::percent(sampled.share);
        text.push_str(&format!(
            "; births, as estimated from the {share} of the time that they were watched: {rate}"
        ));
    }
    text
}

fn trend(site: &Site, on_a_terminal: bool) -> String {
    let slope = words::maybe_slope(site.slope_per_s);
    match site.trend.as_slice() {
        [] => format!("slope {slope}; no samples yet"),
        points if on_a_terminal => {
            let shown = &points[points.len().saturating_sub(SPARK_POINTS)..];
            let (first, last) = (shown[0], shown[shown.len() - 1]);
            format!("{} {first} → {last}, slope {slope}", words::spark(shown, SPARK_POINTS))
        }
        points => {
            let shown = &points[points.len().saturating_sub(NUMBERS)..];
            let numbers: Vec<String> = shown.iter().map(u64::to_string).collect();
            format!("slope {slope}; live: {}", numbers.join(" "))
        }
    }
}

fn first_seen(site: &Site) -> String {
    match (site.before, site.first_seen_ns) {
        (0, 0) => "when watching began".to_owned(),
        (0, ns) => format!("{} into the watch", words::duration(ns)),
        _ => "was there before".to_owned(),
    }
}

fn waits(page: &mut Page, site: &Site) {
    for (n, wait) in site.waits.iter().enumerate() {
        let text = wait_line(wait);
        if n == 0 { page.field("waiting in", &text) } else { page.more(&text) }
    }
    for (n, text) in site.waits.iter().flat_map(waited_on).enumerate() {
        if n == 0 { page.field("waits on", &text) } else { page.more(&text) }
    }
    if !site.labels.is_empty() {
        let labels = site
            .labels
            .iter()
            .map(|l| format!("{}={} ({})", words::clean(&l.key), words::clean(&l.value), l.goroutines));
        page.field("labels", &labels.collect::<Vec<_>>().join(", "));
    }
    if site.waits.is_empty() && site.live > 0 {
        page.field("waiting in", "unknown: no look has seen its goroutines");
    }
}

/// `goroutine 1337, in `chan send`; 808 stand there, of 810`
fn blocked(wait: &Wait, example: &Blocked) -> String {
    let lead = format!("goroutine {}, in `{}`", example.goid, words::clean(&wait.reason));
    match (example.alike, example.stacks) {
        (alike, 1) if alike == wait.count => match alike {
            1 => lead,
            n => format!("{lead}; all {n} stand there"),
        },
        (alike, stacks) => {
            let of = if stacks > 1 { format!(", in {stacks} different stacks") } else { String::new() };
            format!("{lead}; {alike} of {} stand there{of}", wait.count)
        }
    }
}

fn wait_line(wait: &Wait) -> String {
    let lead = format!("{}: {}", words::clean(&wait.reason), wait.count);
    match &wait.waited {
        Some(p) => format!("{lead}, for {}", words::percentiles(p, wait.at_least)),
        None => lead,
    }
}

/// `808 on channel 0xc0001000 (unbuffered): 808 send, 0 receive`; what is left out is counted.
fn waited_on(wait: &Wait) -> Vec<String> {
    let Some(on) = &wait.on else { return Vec::new() };
    if let Some(one) = on.most.first().filter(|one| one.goroutines == 1 && on.objects > 1) {
        let of = format!("{} different objects, no two on the same; for instance: ", on.objects);
        return vec![of + &waited_object(one)];
    }
    let mut lines: Vec<String> = on.most.iter().map(waited_object).collect();
    let more = on.objects.saturating_sub(on.most.len() as u64);
    if more > 0 {
        lines.push(format!("… and {more} more objects"));
    }
    lines
}

fn waited_object(on: &WaitedObject) -> String {
    let addr = on.addr.map_or(String::new(), |addr| format!(" {addr:#x}"));
    let all = on.senders + on.receivers;
    let others = match on.kind {
        "channel" => format!(": {} send, {} receive", on.senders, on.receivers),
        // Others, of other sites or for other reasons, wait for it too.
        _ if all > on.goroutines => format!(": {all} wait in all"),
        _ => String::new(),
    };
    let what = match on.kind {
        "forever" => "a nil channel, or a `select` without cases",
        "mutex" => "sync.Mutex",
        "rw-mutex" => "sync.RWMutex",
        "wait-group" => "sync.WaitGroup",
        "cond" => "sync.Cond",
        kind => kind,
    };
    format!("{} on {what}{addr} ({}){others}", on.goroutines, words::clean(&on.state))
}

fn stack(page: &mut Page, stack: &Stack) {
    let frames = stack.frames.iter().map(|f| Line::Frame { name: name(f), source: words::source(f) });
    let missing = stack.incomplete_because.as_ref().map(|why| Line::Missing(words::clean(why).into_owned()));
    let lines: Vec<Line> = frames.chain(missing).collect();
    if lines.is_empty() {
        page.raw("    (no frames)");
    }
    stack::write(page, &lines);
}

fn name(frame: &Frame) -> String {
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    format!("{}{inlined}", words::function(frame))
}
