//! The read-only picture of a session that every output draws.
//!
//! It is also the JSON that `--json` prints (see `docs/json.md`): field names are a promise, changes raise
//! [`SCHEMA`].

use serde::Serialize;

/// Version of the JSON form. Adding a field does not raise it; removing or changing one does.
pub const SCHEMA: &str = "gostray.report/1";

/// Everything a report shows. Durations in nanoseconds, times in nanoseconds since the session's first event
/// unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    pub schema: &'static str,
    pub target: Target,
    /// How long was watched.
    pub watched_ns: u64,
    /// Wall clock at the session's first event, nanoseconds since the Unix epoch; absent without an anchor.
    pub started_unix_ns: Option<u64>,
    /// How it ended; absent while it runs or when the recording was cut off.
    pub end: Option<EndReason>,
    pub totals: Totals,
    pub looks: Looks,
    /// How closely was watched, and when not; absent without probes, and in recordings from before there was a budget.
    pub watching: Option<Watching>,
    /// What watching took; absent before the first second, and in recordings that do not tell.
    pub cost: Option<Cost>,
    pub losses: Vec<Loss>,
    pub probes: Vec<Probe>,
    pub notes: Vec<Note>,
    /// Worst verdict first, then by live count, then by name: a fixed order.
    pub sites: Vec<Site>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Target {
    pub pid: u32,
    pub comm: String,
    pub exe: String,
    pub go_version: String,
    pub build_id: String,
    pub arch: String,
    pub main_package: String,
    pub kernel: String,
    pub from_start: bool,
    pub park: bool,
    /// No probes: all of it is from looks.
    pub looks_only: bool,
    pub layout: String,
    pub gostray_version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum EndReason {
    Asked,
    Duration,
    /// `wait_status` is known when we started the target.
    TargetExited {
        wait_status: Option<u32>,
    },
    TargetExeced,
    OutputFailed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Alive now, of the program's own (without the runtime's and extra Ms).
    pub live: u64,
    /// The runtime's own goroutines, alive now.
    pub live_system: u64,
    /// Placeholders of extra Ms (cgo callbacks), alive now.
    pub live_extra: u64,
    /// Births seen, all kinds.
    pub born: u64,
    /// Deaths seen, all kinds.
    pub died: u64,
    /// Alive when watching began.
    pub before: u64,
    /// Vanished between two looks without a death event (its event was lost, or it was never traced).
    pub vanished: u64,
    /// What the kernel side counted, delivered or lost; absent without probes.
    pub kernel_births: Option<u64>,
    pub kernel_deaths: Option<u64>,
    /// Events applied.
    pub events: u64,
    /// Of `born`: no birth was traced, a look found them.
    pub found: u64,
    /// Of `born`: the new goroutine could not be read, so it is followed nowhere.
    pub born_unidentified: u64,
    /// Of `died`: nothing else was known of them (alive before, and gone before the first look came by; or their
    /// birth was lost). They belong to no site.
    pub died_unattributed: u64,
}

/// Looks at all goroutines, which read them out of the process's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looks {
    pub count: u64,
    /// Nanoseconds from one to the next, as asked for.
    pub every_ns: u64,
    /// Where looks and probes do not tell the same; all zero when they agree. Absent without probes.
    pub disagreements: Option<Disagreements>,
}

/// How closely births, deaths and waits were watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Watching {
    /// What the target may lose in ten seconds, processor time in nanoseconds; absent: whatever it costs.
    pub budget_ns: Option<u64>,
    /// Now: `waits`, `lives` (births and deaths), `windows` (those, for moments) or `looks`.
    pub level: &'static str,
    /// For how long births and deaths were watched, and for how long not.
    pub watched_ns: u64,
    pub unwatched_ns: u64,
    /// For how long waits were not; absent where they were not to be.
    pub waits_unwatched_ns: Option<u64>,
    /// Windows begun.
    pub windows: u64,
    /// Changes of the level, the newest ones; and how many older ones are left out.
    pub moves: Vec<Move>,
    pub moves_left_out: u64,
}

impl Watching {
    /// The part of the time in which births and deaths were watched.
    pub fn share(&self) -> f64 {
        let all = self.watched_ns.saturating_add(self.unwatched_ns);
        if all == 0 { 1.0 } else { self.watched_ns as f64 / all as f64 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Move {
    pub at_ns: u64,
    pub from: &'static str,
    pub to: &'static str,
    /// `spent`, `room`, `no-window`, `failed` or `unknown`.
    pub why: &'static str,
    /// What the ten seconds before had taken from the target, estimated.
    pub load_ns: u64,
}

/// What watching took of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Processor time of the target's that the probes took, nanoseconds: an estimate, events times prices.
    pub target_ns: u64,
    /// The most of that within ten seconds.
    pub target_most_ns: u64,
    /// Processor time of gostray's own, from its start.
    pub own_cpu_ns: u64,
    /// Its resident memory now, and at the most (of one value a second), bytes.
    pub own_bytes: u64,
    pub own_most_bytes: u64,
    /// Records that came out of the kernel.
    pub delivered: u64,
    pub prices: Prices,
}

/// What one event is taken to cost the target, nanoseconds: the trap as measured at the start, and what its program does as
/// measured on another machine. Absent where no probe is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prices {
    pub birth: Option<u64>,
    pub death: Option<u64>,
    pub park: Option<u64>,
    pub ready: Option<u64>,
    pub run: Option<u64>,
    pub coro_switch: Option<u64>,
    pub walk: Option<u64>,
    pub stack: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disagreements {
    /// A look found goroutines whose birth no probe told.
    pub births_not_told: u64,
    /// Goroutines were gone whose death no probe told.
    pub deaths_not_told: u64,
    /// A look saw goroutines wait, and still a look later, of which the probes told that they did something else. Absent
    /// without park events.
    pub waits_not_told: Option<u64>,
}

impl Disagreements {
    pub fn any(&self) -> bool {
        *self != Self { waits_not_told: self.waits_not_told.map(|_| 0), ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Stable name, for instance `birth-ring-full`.
    pub cause: &'static str,
    pub count: u64,
    pub from_ns: u64,
    pub to_ns: u64,
    /// What that means for the reader, one sentence.
    pub meaning: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    pub role: String,
    pub function: String,
    pub offset: u64,
    pub instruction: String,
    pub cost_class: String,
    pub refused_because: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub code: String,
    pub text: String,
}

/// A creation site: all goroutines with one creation stack (or one `go` statement, when no more is known) that run one
/// function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Site {
    /// Stable within a program: a hash of the creation stack's functions and lines, and of the start function.
    pub id: String,
    pub verdict: Verdict,
    /// One of the runtime's own goroutines (start function `runtime.*`, with the runtime's exceptions), or an extra M.
    pub system: bool,
    /// The function its goroutines run.
    pub start: Frame,
    /// The `go` statement: first frame of the creation stack.
    pub created_at: Frame,
    pub creation: Stack,
    pub live: u64,
    pub born: u64,
    pub died: u64,
    /// Alive when watching began.
    pub before: u64,
    /// Goroutines per second, least squares over the growth window; absent before there are two points.
    pub slope_per_s: Option<f64>,
    /// Live counts, one a growth sample (oldest first), for a spark line.
    pub trend: Vec<u64>,
    /// Age of the oldest living one; `at_least` when it was alive before we watched.
    pub oldest: Option<Age>,
    /// When its first goroutine was seen, since the session's first event.
    pub first_seen_ns: u64,
    /// Lifetimes of those that were born and died while watched. Where `sampled`, of all whose birth was traced and who are
    /// gone, however that became known: an estimate (Kaplan–Meier), for the end of some lies somewhere before a look.
    pub lifetimes: Option<Percentiles>,
    /// Set where births and deaths were not watched all the time: then `born` and `died` are "at least".
    pub sampled: Option<Sampled>,
    /// What its living goroutines do now, most frequent first.
    pub waits: Vec<Wait>,
    /// Gone without a death event: a look no longer found them. `before + born = live + died + vanished`.
    pub vanished: u64,
    /// Of `born`: no birth was traced, a look found them.
    pub found: u64,
    /// Waits that ended; absent without park events.
    pub past_waits: Option<Percentiles>,
    /// The pprof labels that most of its living goroutines had when a look saw them blocked, at most five.
    pub labels: Vec<Label>,
}

/// A site's births, corrected for the time in which they were not watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sampled {
    /// The part of the time in which births and deaths were watched.
    pub share: f64,
    /// Estimate: the births that were traced over the time in which they were watched; absent when that was none.
    pub births_per_s: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    pub key: String,
    pub value: String,
    pub goroutines: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Function as Go writes it; `0x…` when unknown, then `unknown_because` is set.
    pub function: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub inlined: bool,
    pub unknown_because: Option<String>,
    /// With the type arguments that `function` leaves out: `main.Map[go.shape.int]` for `main.Map[...]`.
    pub full_name: Option<String>,
    /// Only of a start function: the compiler's wrapper that the goroutine begins in (`main.main.gowrap1`), `function` being
    /// what it calls.
    pub wrapper: Option<String>,
    /// Absent when it is Go's own function table; else `dwarf` or `symbol table`.
    pub source: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Absent when the whole stack is here; else what is missing and why, one sentence.
    pub incomplete_because: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Age {
    pub ns: u64,
    /// The true age is this or more.
    pub at_least: bool,
}

/// Percentiles out of an HDR histogram (3 significant digits), nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Goroutines of a site that wait for the same sort of thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wait {
    /// The runtime's own word (`chan send`, `select`, `IO wait`), or a status in angle brackets
    /// (`<running>`, `<runnable>`, `<system call>`, `<not yet seen>`).
    pub reason: String,
    pub count: u64,
    /// For how long they have waited until now. Where `at_least`, the beginning of the wait was not seen (no park
    /// events): each is counted from the first look that found it so.
    pub waited: Option<Percentiles>,
    pub at_least: bool,
    /// What they wait on, as far as looks could tell.
    pub on: Option<WaitedOn>,
    /// The most frequent blocked stack, when one was read.
    pub example: Option<Blocked>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// One that stands there.
    pub goid: u64,
    /// How many stand there.
    pub alike: u64,
    /// How many different stacks were read in all.
    pub stacks: u64,
    pub stack: Stack,
}

/// What goroutines wait on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitedOn {
    /// How many different things.
    pub objects: u64,
    /// Of how many of the goroutines it is known.
    pub known: u64,
    /// Those most waited on, at most three.
    pub most: Vec<WaitedObject>,
}

/// As the last look that told of it found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitedObject {
    /// Goroutines of this site and reason that wait on it.
    pub goroutines: u64,
    /// Of one of them.
    pub side: &'static str,
    /// Absent for a nil channel.
    pub addr: Option<u64>,
    /// All goroutines that wait on it: those that want to send, and all others.
    pub senders: u64,
    pub receivers: u64,
    /// `channel`, `forever`, `mutex`, `rw-mutex`, `wait-group`, `cond`, `semaphore`, `timer` or `descriptor`.
    pub kind: &'static str,
    /// In a few words.
    pub state: String,
}

/// What a site is, with the numbers that say so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub kind: VerdictKind,
    /// One sentence for the reader.
    pub why: String,
    /// What is missing for a firmer verdict and when it will be known; empty when nothing is.
    pub missing: Vec<String>,
    pub evidence: Vec<Evidence>,
}

/// Worst first: the order of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    Leak,
    Suspect,
    Unknown,
    Healthy,
}

/// One number that a reader can check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Stable name, for instance `growth.slope_per_s`.
    pub name: &'static str,
    pub value: f64,
    /// `goroutines/s`, `ns`, `fraction`, `goroutines`.
    pub unit: &'static str,
    /// The threshold it is held against, if there is one.
    pub threshold: Option<f64>,
    /// One clause that says what the number means.
    pub text: String,
}
