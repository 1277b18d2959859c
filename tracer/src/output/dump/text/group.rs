//! One group, or one goroutine by itself.

use std::collections::{BTreeMap, HashMap};

use super::super::super::page::Page;
use super::super::super::stack::{self, Line};
use super::super::super::style::Ink;
use super::super::super::words;
use super::super::frames::{self, Item};
use super::object;
use crate::dump::{Dump, Goroutine, Group, Side, Since, Status, Trace};
use crate::event::message::Frame;

/// Frames shown at each end of a stack: of a group, and of a goroutine by itself (as Go does).
const ENDS: usize = 16;
const ENDS_OF_ONE: usize = 50;
/// Ids of a group's goroutines, sets of labels, and things that they wait on.
const IDS: usize = 8;
const LABELS: usize = 4;
const OBJECTS: usize = 4;

/// `more`: than in the dump before.
pub fn write(page: &mut Page, dump: &Dump, number: usize, group: &Group, more: Option<i64>) {
    let style = page.style();
    let first = group.first(dump);
    let count = words::count(group.members.len() as u64, "goroutine");
    let more = change(group, more).map(|c| format!(" ({c})")).unwrap_or_default();
    let count = style.paint(Ink::Strong, &format!("{count}{more}"));
    page.raw(&format!("{number}. {count}  {}", heading(dump, first, Ages::of(dump, group))));
    body(page, dump, &group.members, ENDS);
}

/// `    300  +12       chan receive, waiting at least 5m00s  main.worker  /src/api/main.go:33`
pub fn line(page: &mut Page, dump: &Dump, group: &Group, more: Option<i64>) {
    let style = page.style();
    let first = group.first(dump);
    let more = change(group, more).unwrap_or_default();
    let count = style.paint(Ink::Strong, &format!("{:>7}  {more:<8}", group.members.len()));
    let place =
        dump.places.creation(first.gopc).filter(|_| first.goid != 1).and_then(source).unwrap_or_default();
    let place = style.paint(Ink::Place, &place);
    page.raw(&format!(
        "{count}  {}  {}  {place}",
        heading(dump, first, Ages::of(dump, group)),
        runs(dump, first)
    ));
}

/// `+3`, `-1`, `+2, new`
fn change(group: &Group, more: Option<i64>) -> Option<String> {
    let n = more.filter(|n| *n != 0)?;
    Some(if n == group.members.len() as i64 { format!("{n:+}, new") } else { format!("{n:+}") })
}

/// The goroutine at that index.
pub fn one(page: &mut Page, dump: &Dump, i: u32) {
    let Some(g) = dump.goroutines.get(i as usize) else { return };
    let ages = Ages { longest: g.since, shortest: g.since, unknown: 0 };
    let who = page.style().paint(Ink::Strong, &format!("goroutine {}", g.goid));
    let system = if g.system { " (the runtime's own)" } else { "" };
    page.raw(&format!("{who}  {}{system}", heading(dump, g, ages)));
    body(page, dump, &[i], ENDS_OF_ONE);
}

/// What it waits for, else its status; and what is odd about that.
pub fn state(dump: &Dump, g: &Goroutine) -> String {
    words::clean(&dump.state(g)).into_owned()
}

/// How long the goroutines of a group have been waiting.
struct Ages {
    longest: Since,
    shortest: Since,
    /// Of so many it is not known, though of others it is.
    unknown: usize,
}

impl Ages {
    fn of(dump: &Dump, group: &Group) -> Self {
        let since = |i: &u32| dump.goroutines.get(*i as usize).and_then(|g| g.since.ns());
        let known = group.members.iter().filter_map(since).count();
        let unknown = if known == 0 { 0 } else { group.members.len() - known };
        Self { longest: group.longest, shortest: group.shortest, unknown }
    }

    /// `at least 5m00s to 1h30m, unknown of 3`
    fn text(&self) -> Option<String> {
        let (short, long) = (self.shortest.ns()?, self.longest.ns()?);
        let mut text = match (self.shortest, self.longest) {
            _ if words::duration(short) == words::duration(long) => age(self.longest),
            (Since::AtLeast(_), Since::AtLeast(_)) => {
                format!("at least {} to {}", words::duration(short), words::duration(long))
            }
            (shortest, longest) => format!("{} to {}", age(shortest), age(longest)),
        };
        if self.unknown > 0 {
            text.push_str(&format!(", unknown of {}", self.unknown));
        }
        Some(text)
    }
}

fn age(since: Since) -> String {
    match since {
        Since::Unknown => "unknown".to_owned(),
        Since::AtLeast(ns) => format!("at least {}", words::duration(ns)),
        Since::Exactly(ns) => words::duration(ns),
    }
}

/// `chan receive, waiting at least 5m00s, locked to its thread`
fn heading(dump: &Dump, g: &Goroutine, ages: Ages) -> String {
    let mut text = state(dump, g);
    match ages.text() {
        Some(ages) if g.status == Status::Waiting => text.push_str(&format!(", waiting {ages}")),
        Some(ages) => text.push_str(&format!(", for {ages}")),
        None if g.status == Status::Waiting => text.push_str(", for how long is unknown"),
        None => {}
    }
    if g.locked {
        text.push_str(", locked to its thread");
    }
    text
}

fn body(page: &mut Page, dump: &Dump, members: &[u32], ends: usize) {
    let all = || members.iter().filter_map(|i| dump.goroutines.get(*i as usize));
    let Some(first) = all().next() else { return };
    page.field("runs", &runs(dump, first));
    let parent = match first.parent {
        Some(parent) if all().all(|g| g.parent == first.parent) => format!(", in goroutine {parent}"),
        _ => String::new(),
    };
    page.field("created by", &format!("{}{parent}", created_by(dump, first)));
    waits_on(page, dump, members);
    labels(page, dump, members);
    if let [_] = members
        && let Some(thread) = first.thread
    {
        page.field("thread", &thread.to_string());
    }
    if members.len() > 1 {
        let mut ids: Vec<String> = all().take(IDS).map(|g| g.goid.to_string()).collect();
        if members.len() > IDS {
            ids.push(format!("… {} more", members.len() - IDS));
        }
        page.field("ids", &ids.join(", "));
    } else if ends == ENDS {
        page.field("id", &first.goid.to_string());
    }
    page.field("stack", &no_stack(first));
    stack::write(page, &lines(dump, first, ends));
}

pub fn runs(dump: &Dump, g: &Goroutine) -> String {
    match dump.places.started(g.start_pc) {
        Some(frame) => words::clean(&frame.function).into_owned(),
        None if g.start_pc == 0 => "unknown".to_owned(),
        None => format!("{:#x} (unknown)", g.start_pc),
    }
}

/// `main.main  /src/app/main.go:21`
pub fn created_by(dump: &Dump, g: &Goroutine) -> String {
    match dump.places.creation(g.gopc) {
        _ if g.goid == 1 => "the runtime: it is the main goroutine".to_owned(),
        Some(frame) => match source(frame) {
            Some(source) => format!("{}  {source}", words::clean(&frame.function)),
            None => words::clean(&frame.function).into_owned(),
        },
        None if g.gopc == 0 => "unknown".to_owned(),
        None => format!("{:#x} (unknown)", g.gopc),
    }
}

pub fn source(frame: &Frame) -> Option<String> {
    let file = words::clean(&frame.file);
    match frame.line {
        _ if file.is_empty() => None,
        0 => Some(format!("{file} (line unknown)")),
        line => Some(format!("{file}:{line}")),
    }
}

/// What its goroutines wait on, that of most of them first.
fn waits_on(page: &mut Page, dump: &Dump, members: &[u32]) {
    let mut objects: HashMap<(u32, Side), usize> = HashMap::new();
    for g in members.iter().filter_map(|i| dump.goroutines.get(*i as usize)) {
        for wait in &g.waits_on {
            *objects.entry((wait.object, wait.side)).or_default() += 1;
        }
    }
    let mut objects: Vec<((u32, Side), usize)> = objects.into_iter().collect();
    objects.sort_unstable_by_key(|((object, side), n)| (std::cmp::Reverse(*n), *object, *side as u8));
    for (n, ((object, side), count)) in objects.iter().take(OBJECTS).enumerate() {
        let Some(object) = dump.objects.get(*object as usize) else { continue };
        let mut text = object::text(object, *side);
        if *count < members.len() {
            text = format!("{count} of them: {text}");
        }
        if n == 0 { page.field("waits on", &text) } else { page.more(&text) }
    }
    if objects.len() > OBJECTS {
        page.more(&format!("… and {} more", objects.len() - OBJECTS));
    }
}

/// `job=mail tenant=a (2), none (1)`
fn labels(page: &mut Page, dump: &Dump, members: &[u32]) {
    let mut sets: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for g in members.iter().filter_map(|i| dump.goroutines.get(*i as usize)) {
        *sets.entry(g.labels).or_default() += 1;
    }
    if sets.keys().all(Option::is_none) {
        return;
    }
    let mut sets: Vec<(Option<u32>, usize)> = sets.into_iter().collect();
    sets.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let one = sets.len() == 1;
    let each = sets.iter().take(LABELS).map(|(set, n)| {
        let set = set.and_then(|s| dump.labels.get(s as usize)).into_iter().flatten();
        let pairs: Vec<String> =
            set.map(|(k, v)| format!("{}={}", words::clean(k), words::clean(v))).collect();
        let pairs = if pairs.is_empty() { "none".to_owned() } else { pairs.join(" ") };
        if one { pairs } else { format!("{pairs} ({n})") }
    });
    let mut each: Vec<String> = each.collect();
    if sets.len() > LABELS {
        each.push(format!("… {} more", sets.len() - LABELS));
    }
    page.field("labels", &each.join(", "));
}

/// Why there is none; empty when there is.
fn no_stack(g: &Goroutine) -> String {
    match &g.trace {
        Trace::Whole(_) | Trace::Partial { .. } => String::new(),
        Trace::Running => "unknown: it is running".to_owned(),
        Trace::Moving => "unknown: it ran between each two reads".to_owned(),
        Trace::None { because } => format!("unknown: {because}"),
    }
}

fn lines(dump: &Dump, g: &Goroutine, ends: usize) -> Vec<Line> {
    let Some(stack) = dump.stack(g) else { return Vec::new() };
    let listed = frames::of(dump, stack);
    let each = listed.cut(ends).into_iter().map(|item| match item {
        Item::LeftOut(n) => Line::Missing(words::count(n, "frame")),
        Item::Frame(shown) => match shown.frame {
            Some(frame) => {
                let inlined = if frame.inlined { " (inlined)" } else { "" };
                let name = format!("{}{inlined}", words::clean(&frame.function));
                Line::Frame { name, source: source(frame) }
            }
            None => {
                let name = format!("{:#x} (unknown: {})", shown.pc, words::clean(shown.because));
                Line::Frame { name, source: None }
            }
        },
    });
    let mut lines = Vec::new();
    for line in each {
        again(line, &mut lines);
    }
    let mut lines: Vec<Line> = lines.into_iter().map(counted).collect();
    if let Trace::Partial { because, .. } = g.trace {
        lines.push(Line::Missing(format!("incomplete: {because}")));
    }
    lines
}

/// A recursion's frames are one line.
fn again(line: Line, lines: &mut Vec<(Line, u64)>) {
    match lines.last_mut() {
        Some((last, n)) if *last == line => *n += 1,
        _ => lines.push((line, 1)),
    }
}

fn counted((line, n): (Line, u64)) -> Line {
    match line {
        Line::Frame { name, source } if n > 1 => Line::Frame { name: format!("{name} × {n}"), source },
        line => line,
    }
}
