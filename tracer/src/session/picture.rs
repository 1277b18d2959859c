//! Draws the snapshot: rows, what their goroutines do, verdicts, totals. Reads the session and changes nothing.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use tracer_common::wire::{end, loss, total};

use crate::analysis::{self, Coverage, Role, SiteFacts, WaitFacts};
use crate::dump::Side;

use super::distribution::Distribution;
use super::frames::{self, Room};
use super::goroutine::{Born, Doing, Goroutine, Held};
use super::objects::Objects;
use super::rows::{self, Row};
use super::sampled;
use super::snapshot::{self, Age, Blocked, EndReason, Frame, Snapshot, Stack, Wait, WaitedObject, WaitedOn};
use super::{Session, waits};

/// Objects and labels that are shown of a site.
const MOST_WAITED_ON: usize = 3;
const MOST_LABELS: usize = 5;

/// What the living goroutines of a row do, gathered in one pass over all goroutines.
#[derive(Default)]
struct Living {
    doing: BTreeMap<Doing, Group>,
    /// Ages of those whose birth is known (to a look at least).
    ages: Vec<u64>,
    oldest: Option<Age>,
    /// By set of labels: how many have it.
    labels: HashMap<u32, u64>,
}

#[derive(Default)]
struct Group {
    count: u64,
    waited: Distribution,
    at_least: bool,
    /// How many were seen at nothing else for (nearly) as long as they are known.
    unbroken: u64,
    longest_ns: u64,
    /// By blocked stack: how many stand there, and the least goid of them.
    stacks: HashMap<u64, (u64, u64)>,
    /// By object: how many of the group wait on it, and at which side.
    on: HashMap<u64, (u64, u32)>,
    /// Of how many it is known what they wait on.
    on_known: u64,
}

impl Group {
    fn add(&mut self, g: &Goroutine, objects: &Objects) {
        if g.blocked != 0 {
            let (count, least) = self.stacks.entry(g.blocked).or_insert((0, g.goid));
            (*count, *least) = (*count + 1, g.goid.min(*least));
        }
        self.on_known += u64::from(g.on != Held::Nothing);
        for on in objects.on(g) {
            self.on.entry(on.addr).or_insert((0, on.side)).0 += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.waited.merge(&other.waited);
        self.at_least |= other.at_least;
        for (stack, (count, goid)) in &other.stacks {
            let (sum, least) = self.stacks.entry(*stack).or_insert((0, *goid));
            (*sum, *least) = (*sum + count, (*least).min(*goid));
        }
        for (addr, (count, side)) in &other.on {
            self.on.entry(*addr).or_insert((0, *side)).0 += count;
        }
        self.on_known += other.on_known;
    }

    /// The most frequent blocked stack; of equals that of the goroutine born first.
    fn example(&self) -> Option<Example> {
        let most = self.stacks.iter().max_by_key(|(_, (count, goid))| (*count, std::cmp::Reverse(*goid)))?;
        let (stack, (alike, goid)) = most;
        Some(Example { goid: *goid, stack: *stack, alike: *alike, stacks: self.stacks.len() as u64 })
    }
}

/// A goroutine that waits as many do.
#[derive(Clone, Copy)]
struct Example {
    goid: u64,
    stack: u64,
    alike: u64,
    stacks: u64,
}

pub fn draw(s: &Session) -> Snapshot {
    let (rows, of_site) = rows::rows(s);
    let mut living: Vec<Living> = Vec::new();
    living.resize_with(rows.len(), Living::default);
    for (living, row) in living.iter_mut().zip(&rows) {
        // Of a million each byte counts, and how many there are is known.
        living.ages.reserve_exact(usize::try_from(row.live).unwrap_or(0).min(s.goroutines.len()));
    }
    let mut siteless = 0;
    for g in s.goroutines.iter() {
        let Some(row) = of_site.get(g.site as usize) else {
            siteless += 1;
            continue;
        };
        let l = &mut living[*row];
        let known_for = s.now_ns.saturating_sub(g.born().known_since_ns());
        if !matches!(g.born(), Born::Before(_)) {
            l.ages.push(known_for);
        }
        let age = Age { ns: known_for, at_least: !matches!(g.born(), Born::Traced(_)) };
        // Of two equal ages the less certain one is kept, so that the order of the map does not matter.
        if l.oldest.is_none_or(|o| (age.ns, age.at_least) > (o.ns, o.at_least)) {
            l.oldest = Some(age);
        }
        let activity = g.activity();
        let waited = s.now_ns.saturating_sub(activity.since_ns);
        let group = l.doing.entry(activity.doing).or_default();
        group.count += 1;
        group.waited.record(waited);
        group.at_least |= activity.at_least;
        // One that wakes for a moment and waits again, as a loop with a ticker does, may leak all the same.
        let alike = s.now_ns.saturating_sub(g.alike_since_ns);
        group.longest_ns = group.longest_ns.max(alike);
        // A look comes a second after the birth at the latest, unless looks are rare.
        let slack = 3_000_000_000_u64.max(known_for / 5);
        group.unbroken += u64::from(alike.saturating_add(slack) >= known_for);
        group.add(g, &s.objects);
        if g.labels != 0 {
            *l.labels.entry(g.labels).or_default() += 1;
        }
    }
    let coverage = coverage(s);
    let mut totals = totals(s);
    totals.live += siteless;
    let mut sites = Vec::with_capacity(rows.len());
    for (row, mut living) in rows.into_iter().zip(living) {
        if row.is_empty() {
            continue;
        }
        let site = site(s, row, &mut living, &coverage);
        *(if site.site.system { &mut totals.live_system } else { &mut totals.live }) += site.site.live;
        sites.push(site);
    }
    sites.sort_by(|a, b| {
        (a.site.verdict.kind, b.site.live, &a.start, &a.site.id).cmp(&(
            b.site.verdict.kind,
            a.site.live,
            &b.start,
            &b.site.id,
        ))
    });
    let mut room = Room::new(s);
    let sites = sites.into_iter().map(|site| site.with_frames(s, &mut room)).collect();
    Snapshot {
        schema: snapshot::SCHEMA,
        target: target(s),
        watched_ns: s.now_ns.saturating_sub(s.first_ns()),
        started_unix_ns: started_unix_ns(s),
        end: s.end.as_ref().and_then(|e| end_reason(e.reason, e.code)),
        totals,
        looks: looks(s),
        watching: s.watch.view(s.now_ns, s.first_ns()),
        cost: s.watch.cost_view(),
        losses: s.losses.view(s.first_ns()),
        probes: s.probes.iter().map(probe).collect(),
        notes: s
            .notes
            .iter()
            .map(|n| snapshot::Note { code: n.code.clone(), text: n.text.clone() })
            .collect(),
        sites,
    }
}

/// A site that has all but its frames, which are drawn when it is known whose come first.
struct Frameless<'a> {
    site: snapshot::Site,
    /// Name of the start function.
    start: Cow<'a, str>,
    start_pc: u64,
    pcs: &'a [u64],
    incomplete_because: Option<String>,
    /// For each of the site's waits one that waits so.
    examples: Vec<Option<Example>>,
}

impl Frameless<'_> {
    fn with_frames(self, s: &Session, room: &mut Room) -> snapshot::Site {
        let mut site = self.site;
        site.start = frames::entry(s, self.start_pc, room);
        site.creation = frames::stack(s, self.pcs, self.incomplete_because, room);
        site.created_at = site.creation.frames.first().cloned().unwrap_or_default();
        for (wait, example) in site.waits.iter_mut().zip(self.examples) {
            wait.example = example.map(|e| Blocked {
                goid: e.goid,
                alike: e.alike,
                stacks: e.stacks,
                stack: blocked_stack(s, e.stack, room),
            });
        }
        site
    }
}

fn site<'a>(s: &'a Session, row: Row<'a>, living: &mut Living, coverage: &Coverage) -> Frameless<'a> {
    // The map of goroutines has no order; sums of floats must not depend on it.
    living.ages.sort_unstable();
    let start = frames::entry_name(s, row.start_pc);
    let role = Role::of(&start);
    let points = row.series.points(&s.clock, s.now_ns, row.count);
    let mut known_lifetimes = row.lifetimes.clone();
    known_lifetimes.merge(&row.rough_lifetimes);
    let facts = SiteFacts {
        role,
        now_ns: s.now_ns,
        watched_ns: s.now_ns.saturating_sub(s.first_ns()),
        live: row.live,
        born: row.born,
        died: row.died,
        vanished: row.vanished,
        before: row.before,
        before_gone: row.before_gone,
        points: &points,
        lifetimes: &known_lifetimes,
        ages: &living.ages,
        waits: living
            .doing
            .iter()
            .map(|(doing, g)| WaitFacts {
                word: waits::word(*doing, &s.wait_reasons),
                count: g.count,
                unbroken: g.unbroken,
                longest_ns: g.longest_ns,
            })
            .collect(),
        coverage,
    };
    let growth = analysis::growth::measure(&facts);
    let verdict = analysis::judge(&facts, &growth);
    let (waits, examples) = wait_groups(s, std::mem::take(&mut living.doing)).into_iter().unzip();
    let site = snapshot::Site {
        id: format!("{:016x}", row.id),
        verdict,
        system: role == Role::System,
        created_at: Frame::default(),
        creation: Stack::default(),
        start: Frame::default(),
        live: row.live,
        born: row.born,
        died: row.died,
        before: row.before,
        slope_per_s: growth.slope_per_s,
        trend: growth.trend,
        oldest: living.oldest,
        first_seen_ns: row.first_seen_ns.saturating_sub(s.first_ns()),
        lifetimes: lifetimes(&row, coverage),
        sampled: births_sampled(s, &row, coverage),
        waits,
        vanished: row.vanished,
        found: row.found,
        past_waits: row.past_waits.percentiles(),
        labels: labels(s, &living.labels),
    };
    let Row { start_pc, pcs, incomplete_because, .. } = row;
    Frameless { site, start, start_pc, pcs, incomplete_because, examples }
}

/// Those that are shown: exact ones, or what is known of all that were followed from their birth, where probes did not stand
/// all the time.
fn lifetimes(row: &Row<'_>, coverage: &Coverage) -> Option<snapshot::Percentiles> {
    if coverage.unwatched_ns == 0 {
        return row.lifetimes.percentiles();
    }
    sampled::percentiles(&row.lifetimes, &row.certain_lifetimes, &row.middle_lifetimes)
}

fn births_sampled(s: &Session, row: &Row<'_>, coverage: &Coverage) -> Option<snapshot::Sampled> {
    let watched_s = analysis::seconds(s.watch.watched(s.now_ns));
    (coverage.unwatched_ns > 0).then(|| snapshot::Sampled {
        share: coverage.watched_share,
        births_per_s: (watched_s > 0.0).then(|| row.born.saturating_sub(row.found) as f64 / watched_s),
    })
}

/// What the living do, most frequent first, each with an example, which is not drawn yet. Several reasons may have one word
/// (those under which a goroutine runs on).
fn wait_groups(s: &Session, doing: BTreeMap<Doing, Group>) -> Vec<(Wait, Option<Example>)> {
    let mut by_word: BTreeMap<String, Group> = BTreeMap::new();
    for (doing, g) in doing {
        match by_word.entry(waits::word(doing, &s.wait_reasons)) {
            Entry::Vacant(first) => {
                first.insert(g);
            }
            Entry::Occupied(mut known) => known.get_mut().merge(&g),
        }
    }
    let mut waits: Vec<_> = by_word
        .into_iter()
        .map(|(reason, g)| {
            let timed = waits::has_duration(&reason);
            let wait = Wait {
                count: g.count,
                waited: if timed { g.waited.percentiles() } else { None },
                at_least: timed && g.at_least,
                on: waited_on(s, &g),
                example: None,
                reason,
            };
            (wait, g.example())
        })
        .collect();
    waits.sort_by(|(a, _), (b, _)| (b.count, &a.reason).cmp(&(a.count, &b.reason)));
    waits
}

/// What the goroutines of a group wait on.
fn waited_on(s: &Session, group: &Group) -> Option<WaitedOn> {
    let mut on: Vec<(u64, u64, u32)> = group.on.iter().map(|(addr, (n, side))| (*n, *addr, *side)).collect();
    on.sort_unstable_by_key(|(n, addr, _)| (std::cmp::Reverse(*n), *addr));
    let most = on.iter().take(MOST_WAITED_ON).filter_map(|(goroutines, addr, side)| {
        let waited = s.objects.get(*addr)?;
        Some(WaitedObject {
            goroutines: *goroutines,
            side: Side::told(*side).name(),
            addr: Some(*addr).filter(|addr| *addr != 0),
            senders: waited.senders,
            receivers: waited.others,
            kind: waited.kind.name(),
            state: waited.kind.state(),
        })
    });
    (!on.is_empty()).then(|| WaitedOn {
        objects: on.len() as u64,
        known: group.on_known,
        most: most.collect(),
    })
}

/// The labels that most of a site's goroutines have.
fn labels(s: &Session, sets: &HashMap<u32, u64>) -> Vec<snapshot::Label> {
    let mut by_pair: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (id, count) in sets {
        for (key, value) in s.objects.labels(*id) {
            *by_pair.entry((key, value)).or_default() += count;
        }
    }
    let mut labels: Vec<_> = by_pair.into_iter().collect();
    // Stable: by name among equals.
    labels.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    labels.truncate(MOST_LABELS);
    let label = |((key, value), goroutines): ((&str, &str), u64)| snapshot::Label {
        key: key.to_owned(),
        value: value.to_owned(),
        goroutines,
    };
    labels.into_iter().map(label).collect()
}

fn blocked_stack(s: &Session, id: u64, room: &mut Room) -> Stack {
    match s.symbols.stack(id) {
        Some(def) => frames::stack(s, &def.frames, frames::end_of_walk(def.h.flags), room),
        None => Stack {
            frames: Vec::new(),
            incomplete_because: Some("the blocked stack's definition is not in the stream".to_owned()),
        },
    }
}

fn coverage(s: &Session) -> Coverage {
    let since = |ns: u64| {
        let from = s.now_ns.saturating_sub(ns);
        move |cause: u32| s.losses.since(cause, from)
    };
    let recent = since(analysis::WINDOW_NS);
    Coverage {
        births_lost: recent(loss::BIRTH_RING_FULL),
        deaths_lost: recent(loss::DEATH_RING_FULL),
        unclear_lost: recent(loss::READ_FAULT)
            .saturating_add(recent(loss::UNDECODABLE))
            .saturating_add(recent(loss::LATE))
            .saturating_add(recent(loss::SESSION_LIMIT)),
        looks: s.looks.last_end_ns.is_some_and(|t| s.now_ns.saturating_sub(t) <= analysis::LOOK_FRESH_NS),
        look_gaps: recent(loss::LOOK_UNREADABLE),
        look_unreadable: s.looks.unreadable,
        look_read: s.looks.read,
        births_traced: s.births_traced && s.watch.lives_stand(),
        unwatched_ns: s.watch.unwatched(s.now_ns),
        watched_share: s.watch.share(s.now_ns),
        before_known: s.looks.saw_some || s.target.as_ref().is_some_and(|t| t.from_start),
        park_traced: s.park_traced(),
    }
}

fn totals(s: &Session) -> snapshot::Totals {
    snapshot::Totals {
        live: 0,
        live_system: 0,
        live_extra: s.extras.values().filter(|in_use| **in_use).count() as u64,
        born: s.counts.born,
        died: s.counts.died,
        before: s.counts.before,
        vanished: s.counts.vanished,
        kernel_births: s.kernel.map(|k| k.counts[total::BIRTHS]),
        kernel_deaths: s.kernel.map(|k| k.counts[total::DEATHS]),
        events: s.counts.events,
        found: s.counts.found,
        born_unidentified: s.counts.born_unidentified,
        died_unattributed: s.counts.died_unattributed,
    }
}

fn looks(s: &Session) -> snapshot::Looks {
    let traced = s.births_traced;
    let deaths_traced = s.probes.iter().any(|p| p.role == "exit" && p.refused_because.is_empty());
    snapshot::Looks {
        count: s.looks.ended,
        every_ns: s.target.as_ref().and_then(|t| t.limits.as_ref()).map_or(0, |l| l.look_every_ns),
        disagreements: traced.then(|| snapshot::Disagreements {
            births_not_told: s.counts.found.saturating_sub(s.counts.found_unwatched),
            deaths_not_told: if deaths_traced {
                s.counts.vanished.saturating_sub(s.counts.vanished_unwatched)
            } else {
                0
            },
            waits_not_told: s.park_traced().then_some(s.looks.disagreed),
        }),
    }
}

fn started_unix_ns(s: &Session) -> Option<u64> {
    let t = s.target.as_ref().filter(|t| t.anchor_unix_ns != 0)?;
    let first = i128::from(s.first_ns()) - i128::from(t.anchor_boot_ns);
    u64::try_from(i128::from(t.anchor_unix_ns) + first).ok()
}

fn target(s: &Session) -> snapshot::Target {
    let Some(t) = s.target.as_deref() else { return snapshot::Target::default() };
    snapshot::Target {
        pid: t.pid,
        comm: t.comm.clone(),
        exe: t.exe.clone(),
        go_version: t.go_version.clone(),
        build_id: t.build_id.clone(),
        arch: t.arch.clone(),
        main_package: t.main_package.clone(),
        kernel: t.kernel.clone(),
        from_start: t.from_start,
        park: t.park,
        looks_only: t.looks_only,
        layout: t.layout_provenance.clone(),
        gostray_version: t.gostray_version.clone(),
    }
}

fn end_reason(reason: u64, code: u64) -> Option<EndReason> {
    Some(match reason {
        end::ASKED => EndReason::Asked,
        end::DURATION => EndReason::Duration,
        end::TARGET_EXITED => EndReason::TargetExited { wait_status: u32::try_from(code).ok() },
        end::TARGET_EXECED => EndReason::TargetExeced,
        end::OUTPUT_FAILED => EndReason::OutputFailed,
        _ => return None,
    })
}

fn probe(p: &crate::event::ProbeSite) -> snapshot::Probe {
    snapshot::Probe {
        role: p.role.clone(),
        function: p.function.clone(),
        offset: p.offset,
        instruction: p.instruction.clone(),
        cost_class: p.cost_class.clone(),
        refused_because: (!p.refused_because.is_empty()).then(|| p.refused_because.clone()),
    }
}
