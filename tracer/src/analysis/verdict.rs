//! Puts the rules together: *leak* only where growth and survival agree (or where nothing can ever wake them), *suspect*
//! where one of them speaks or time is short, *unknown* where losses cover the window. Every verdict carries its numbers.

use super::growth::{DEVIATIONS, Growth, Sustained};
use super::stuck::{self, Place, Stuck};
use super::survival::{self, ENOUGH_BORN, Says, Survival};
use super::{Role, SECOND_NS, SiteFacts, seconds};
use crate::session::snapshot::{Evidence, Verdict, VerdictKind};

/// Until then nothing can be said about a slow leak.
const SHORT_WATCH_NS: u64 = 30 * SECOND_NS;
/// Who has been known for less than this, and was not seen to end, has shown nothing yet.
const SEEN_NS: u64 = 10 * SECOND_NS;
/// A count that rose until so recently has not yet shown that it is bounded.
const SETTLED_NS: u64 = 10 * SECOND_NS;

/// The verdict on a site.
pub fn judge(f: &SiteFacts, growth: &Growth) -> Verdict {
    let plain = |why: &str| Verdict {
        kind: VerdictKind::Healthy,
        why: why.to_owned(),
        missing: Vec::new(),
        evidence: Vec::new(),
    };
    match f.role {
        Role::System => return plain("one of the runtime's own goroutines"),
        Role::Main => return plain("the main goroutine"),
        Role::Program => {}
    }
    let case = Case { f, growth, survival: survival::measure(f), stuck: stuck::measure(f) };
    let (kind, why, missing) = case.decide();
    let mut verdict = Verdict { kind, why, missing, evidence: case.evidence() };
    case.weaken(&mut verdict);
    verdict
}

struct Case<'a> {
    f: &'a SiteFacts<'a>,
    growth: &'a Growth,
    survival: Survival,
    stuck: Stuck,
}

type Decision = (VerdictKind, String, Vec<String>);

impl Case<'_> {
    fn decide(&self) -> Decision {
        if let Some(decision) = self.cannot_wake() {
            return decision;
        }
        match self.growth.sustained {
            Some(growth) => self.grows(&growth),
            None => self.bounded(),
        }
    }

    /// Waits that nothing in the program can end.
    fn cannot_wake(&self) -> Option<Decision> {
        let (nil, none) = (self.stuck.nil_channel, self.stuck.no_cases);
        if nil >= 2 {
            let why = format!("{nil} goroutines wait on a nil channel, which nothing can ever wake");
            return Some((VerdictKind::Leak, why, Vec::new()));
        }
        if none >= 2 && self.f.born >= 2 {
            let why = format!(
                "{none} goroutines stand in a `select` without cases, which nothing can ever wake, and more are born"
            );
            return Some((VerdictKind::Leak, why, Vec::new()));
        }
        let (count, what) =
            if nil > 0 { (nil, "on a nil channel") } else { (none, "in a `select` without cases") };
        (count > 0).then(|| {
            (
                VerdictKind::Suspect,
                format!("{count} waits {what}, which nothing can ever wake"),
                vec!["whether it is meant to: a second one, born while we watch, settles it".to_owned()],
            )
        })
    }

    fn grows(&self, growth: &Sustained) -> Decision {
        let rate = format!("live count grows by {:.2}/s over {}", growth.per_s(), secs(growth.over_ns));
        match self.survival.says {
            Says::Stay { part } => self.stays(&rate, part),
            Says::End => (
                VerdictKind::Healthy,
                format!("{rate}, but those born here end: it follows its load"),
                Vec::new(),
            ),
            Says::Slow => (
                VerdictKind::Suspect,
                format!(
                    "{rate}; some of those born here end, and it cannot be told yet whether the rest will"
                ),
                vec!["a longer watch: the curve of lifetimes is still falling".to_owned()],
            ),
            Says::TooEarly => (
                VerdictKind::Suspect,
                format!("{rate}; too early to say whether those born here end"),
                vec![format!(
                    "{ENOUGH_BORN} births and an age of 8 s ({} births, oldest {})",
                    self.f.born,
                    secs(self.survival.oldest_ns)
                )],
            ),
        }
    }

    /// Growth and survival agree: a leak, once it has lasted as long as the place where they stand demands.
    fn stays(&self, rate: &str, part: f64) -> Decision {
        let needed = self.needed_ns(part);
        let ends = match self.f.died + self.f.vanished {
            0 if self.sampled() => format!("none of the {} that are known has ended", self.f.born),
            0 => format!("none of the {} born here has ended", self.f.born),
            // Short lives between two looks are missing: they would make the part smaller.
            _ if self.sampled() => format!("{} of those that are known stay", self.survival.overdue),
            _ => format!("{:.0} % of those born here never end", part * 100.0),
        };
        let stand = match self.stuck.word.as_str() {
            word if word.starts_with('<') => String::new(),
            word => format!("; most stand in `{word}`"),
        };
        let why = format!("{rate} and {ends}{stand}");
        let steady = self.growth.steady.map_or(0, |s| s.over_ns);
        if steady >= needed {
            return (VerdictKind::Leak, why, Vec::new());
        }
        let sustained = self.growth.sustained.map_or(0, |s| s.over_ns);
        let missing = if sustained >= needed {
            "growth that does not slow down: a warm-up looks like this".to_owned()
        } else {
            // It can have grown since its first birth at most.
            let lasted = sustained.max(self.survival.oldest_ns.min(self.f.watched_ns));
            match needed.saturating_sub(lasted) {
                left if left >= SECOND_NS => format!("needs {} more of the same growth", secs(left)),
                _ => format!("growth in each quarter of {}", secs(needed)),
            }
        };
        (VerdictKind::Suspect, why, vec![missing])
    }

    fn needed_ns(&self, part: f64) -> u64 {
        let by_place = self.stuck.place.needed_ns();
        // Where others do come home, a stall must be told from a leak: give it the longer time.
        if part < 0.9 { by_place.max(Place::Idle.needed_ns()) } else { by_place }
    }

    /// Most of what this site has is alive and new to us: that it is bounded cannot be told yet.
    fn too_young(&self) -> Option<Decision> {
        let f = self.f;
        let ended = f.died + f.vanished;
        let from_before = f.before > f.before_gone;
        let known_ns = if from_before { f.watched_ns } else { self.survival.oldest_ns.min(f.watched_ns) };
        let left = SEEN_NS.checked_sub(known_ns).filter(|left| *left > 0)?;
        // Rounded down, and what is left up: when it says one second more, one second is enough.
        let known = if known_ns < SECOND_NS { secs(known_ns) } else { format!("{} s", known_ns / SECOND_NS) };
        (f.live > ended).then(|| {
            let why = if ended == 0 {
                format!("{} live and none seen to end, in {known}", f.live)
            } else {
                format!("{} live and only {ended} seen to end, in {known}", f.live)
            };
            let missing = format!("needs {} s more to say whether they do", left.div_ceil(SECOND_NS));
            (VerdictKind::Unknown, why, vec![missing])
        })
    }

    /// The count does not rise.
    fn bounded(&self) -> Decision {
        let f = self.f;
        if let Some(decision) = self.too_young() {
            return decision;
        }
        if let Some(crowd) = &self.stuck.crowd
            && f.died + f.vanished == 0
        {
            return (
                VerdictKind::Suspect,
                format!(
                    "{} goroutines have stood in `{}` for {} or longer and none has ended, but none is added either",
                    crowd.count,
                    crowd.word,
                    secs(crowd.for_ns)
                ),
                vec!["growth: they may have leaked before we watched, or be meant to stay".to_owned()],
            );
        }
        let mut missing = Vec::new();
        let why = if f.live == 0 {
            format!("all have ended ({}{} born)", self.at_least(), f.born)
        } else if f.born == 0 {
            format!("{} live, none born while watched", f.live)
        } else if f.died + f.vanished == 0 {
            format!("{} live, and the count has not risen for {}", f.live, secs(self.growth.flat_ns))
        } else {
            let born = f.born + f.before;
            format!("{} live of {}{born} born: those born here end, or make room", f.live, self.at_least())
        };
        if f.watched_ns < SHORT_WATCH_NS {
            missing.push(format!("watched for only {}: a slow leak does not show yet", secs(f.watched_ns)));
        } else if f.born > 0 && f.live > 2 && self.growth.flat_ns < SETTLED_NS && f.died + f.vanished == 0 {
            missing.push(format!(
                "the count rose until {} ago: needs {}",
                secs(self.growth.flat_ns),
                secs(SETTLED_NS)
            ));
        }
        (VerdictKind::Healthy, why, missing)
    }

    /// What was lost weakens what can be said.
    fn weaken(&self, verdict: &mut Verdict) {
        let c = self.f.coverage;
        if self.sampled() && !c.looks_mend() && !self.cannot_wake_speaks() {
            verdict.kind = VerdictKind::Unknown;
            verdict.why = format!(
                "births and deaths were not watched for {}, to keep the budget, and no look says who is alive",
                secs(c.unwatched_ns)
            );
            return;
        }
        if !c.births_traced && !c.looks {
            verdict.kind = VerdictKind::Unknown;
            verdict.why = "neither a probe at births nor a recent look: nothing says who is alive".to_owned();
            return;
        }
        if !c.before_known {
            verdict.missing.push(
                "no look has told who was alive before: their deaths are not seen, so a level reached long ago looks like growth"
                    .to_owned(),
            );
        }
        let (births, deaths) =
            (c.births_lost.saturating_add(c.unclear_lost), c.deaths_lost.saturating_add(c.unclear_lost));
        if births > 0 || deaths > 0 {
            let lost = format!(
                "{} births, {} deaths and {} other events of the last minute were lost",
                c.births_lost, c.deaths_lost, c.unclear_lost
            );
            let net = self.growth.sustained.map_or(0, |g| g.net.unsigned_abs());
            let grown = matches!(verdict.kind, VerdictKind::Leak | VerdictKind::Suspect) && net > 0;
            // Without looks a lost death looks like growth, and a lost birth hides it.
            let covers = if grown { deaths.saturating_mul(2) >= net } else { births >= ENOUGH_BORN };
            if !c.looks_mend() && covers && !self.cannot_wake_speaks() {
                verdict.kind = VerdictKind::Unknown;
                verdict.why =
                    format!("{lost}, as many as would {} this", if grown { "explain" } else { "hide" });
            } else if c.looks_mend() {
                verdict.missing.push(format!("{lost}; looks say who is alive, lifetimes are rough"));
            } else {
                verdict.missing.push(format!("{lost}, so counts may be off by as many"));
            }
        }
        if c.looks && !c.looks_mend() {
            verdict.missing.push(format!(
                "the last look could not read {} of {} goroutines",
                c.look_unreadable,
                c.look_read.max(c.look_unreadable)
            ));
            if !c.births_traced && verdict.kind == VerdictKind::Healthy {
                verdict.kind = VerdictKind::Unknown;
                verdict.why = "too much of the target's memory could not be read".to_owned();
            }
        } else if c.looks && c.look_gaps > 0 && !c.births_traced {
            verdict.missing.push(
                "looks of the last minute could not read many goroutines: found later, they look younger than they are"
                    .to_owned(),
            );
        }
    }

    /// Births and deaths were not watched all the time.
    fn sampled(&self) -> bool {
        self.f.coverage.unwatched_ns > 0
    }

    fn at_least(&self) -> &'static str {
        if self.sampled() { "at least " } else { "" }
    }

    fn cannot_wake_speaks(&self) -> bool {
        self.stuck.nil_channel > 0 || self.stuck.no_cases > 0
    }

    fn evidence(&self) -> Vec<Evidence> {
        let f = self.f;
        let mut out = Vec::new();
        let mut put = |name, value: f64, unit, threshold, text: String| {
            out.push(Evidence { name, value, unit, threshold, text });
        };
        if let Some(slope) = self.growth.slope_per_s {
            put(
                "growth.slope_per_s",
                slope,
                "goroutines/s",
                None,
                "least squares over the last minute".into(),
            );
        }
        if let Some(g) = self.growth.sustained {
            let text = "time over which each quarter added to the live count";
            put("growth.sustained_ns", g.over_ns as f64, "ns", None, text.into());
            put("growth.net", g.net as f64, "goroutines", None, "added over that time".into());
            let text = "added, in deviations of a bounded population's chance";
            put("growth.deviations", g.deviations, "deviations", Some(DEVIATIONS), text.into());
        }
        if let Some(g) = self.growth.steady
            && let Says::Stay { part } = self.survival.says
        {
            let text = format!("time over which growth did not slow down; standing in `{}`", self.stuck.word);
            put("growth.steady_ns", g.over_ns as f64, "ns", Some(self.needed_ns(part) as f64), text);
        }
        put(
            "growth.flat_ns",
            self.growth.flat_ns as f64,
            "ns",
            None,
            "since the live count last rose".into(),
        );
        if let Some(at_horizon) = self.survival.at_horizon {
            let text = format!("of those born here live longer than {}", secs(self.survival.horizon_ns));
            put("survival.at_horizon", at_horizon, "fraction", None, text);
            let text = format!(
                "alive and older than {}, which nearly all who ended did not reach",
                secs(self.survival.knee_ns)
            );
            put("survival.overdue", self.survival.overdue as f64, "goroutines", None, text);
        }
        let text =
            if self.sampled() { "born while watched, or found by a look" } else { "born while watched" };
        put("survival.born", f.born as f64, "goroutines", Some(ENOUGH_BORN as f64), text.into());
        put("survival.ended", (f.died + f.vanished) as f64, "goroutines", None, "ended while watched".into());
        if self.sampled() {
            let text = format!(
                "of the time births and deaths were watched, not for {} of it, to keep the budget: counts of them are at least, and who \
                 came and went in between is not known",
                secs(f.coverage.unwatched_ns)
            );
            put("watch.share", f.coverage.watched_share, "fraction", None, text);
        }
        if f.before > 0 {
            let text = format!("of the {} alive when watching began have ended", f.before);
            put("survival.before_ended", f.before_gone as f64, "goroutines", None, text);
        }
        if f.live > 0 {
            let text = format!(
                "of {} were seen at nothing else since they are known; most: `{}`",
                f.live, self.stuck.word
            );
            put("waits.unbroken", self.stuck.unbroken as f64, "goroutines", None, text);
        }
        out
    }
}

/// A duration in words: `25 s`, `4 min`, `12 ms`.
fn secs(ns: u64) -> String {
    match seconds(ns) {
        s if s >= 600.0 => format!("{:.0} min", s / 60.0),
        s if s >= 1.0 || ns == 0 => format!("{s:.0} s"),
        s if s >= 0.001 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}
