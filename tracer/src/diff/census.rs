//! How many goroutines lived where at one moment: what a dump and a session have in common.
//!
//! Only names are kept: addresses mean nothing in another process.

use std::collections::HashMap;

use crate::analysis::Role;
use crate::dump::{self, Dump, Goroutine, Trace, groups};
use crate::event::message;
use crate::session::snapshot::{self, Note, Snapshot};

/// A program at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    pub source: Source,
    /// 0 when unknown.
    pub pid: u32,
    /// `""` when unknown, as the other strings.
    pub comm: String,
    pub exe: String,
    pub go_version: String,
    pub build_id: String,
    pub main_package: String,
    /// Wall clock, nanoseconds since the Unix epoch: begin of the dump, end of the session.
    pub at_unix_ns: Option<u64>,
    /// Of a dump: only goroutines of which all of these hold were counted.
    pub filters: Vec<String>,
    /// Each creation site once, with at least one living goroutine.
    pub sites: Vec<Site>,
    /// What is not known.
    pub gaps: Vec<Gap>,
    /// What the reader must know besides.
    pub notes: Vec<Note>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Dump,
    Session,
}

/// The living goroutines of one `go` statement that run one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The `go` statement. Those of which not even the function is known are one site for each started function.
    pub created: Position,
    /// The function they run; absent when unknown.
    pub started: Option<String>,
    pub role: Role,
    pub live: u64,
    /// What they do, most frequent first: wait reasons as the runtime names them, else a status.
    pub states: Vec<(String, u64)>,
    /// Where most of those with a readable stack wait: the innermost frame of the program's own, else of its libraries.
    pub waits_at: Option<Position>,
}

/// A place in the source, as much as is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// Something that a census may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Stable name; of a session that of its loss.
    pub cause: &'static str,
    pub count: u64,
    /// So many goroutines may be missing from the counts or be too many. Else they are counted, and something else is unknown.
    pub counts: bool,
    pub meaning: &'static str,
}

/// What tells sites apart in any process of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub family: Family,
    pub line: Option<u32>,
}

/// All `go` statements of one function that start the same function. The directory is left out: the function has its package's path
/// already, and another machine may build elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Family {
    main: bool,
    /// Of one without a name: nothing else would keep the runtime's own apart.
    system: bool,
    function: Option<String>,
    file: Option<String>,
    started: Option<String>,
}

impl Census {
    /// Goroutines of the program's own, main among them.
    pub fn own(&self) -> u64 {
        self.sum(|role| role != Role::System)
    }

    /// The runtime's own.
    pub fn system(&self) -> u64 {
        self.sum(|role| role == Role::System)
    }

    /// So many goroutines may be missing, or counted and gone.
    pub fn uncertain(&self) -> u64 {
        let counts = self.gaps.iter().filter(|g| g.counts);
        counts.fold(0, |sum, g| sum.saturating_add(g.count))
    }

    fn sum(&self, which: impl Fn(Role) -> bool) -> u64 {
        let sites = self.sites.iter().filter(|s| which(s.role));
        sites.fold(0, |sum, s| sum.saturating_add(s.live))
    }

    /// Of a dump, with the filters that it was taken with.
    pub fn of_dump(dump: &Dump, filters: &[String]) -> Self {
        let about = &dump.about;
        let mut sites = Sites::default();
        // A million goroutines are few groups: what is known of each is looked up once.
        let own = groups(dump, |g| !g.system);
        for group in own.into_iter().chain(groups(dump, |g| g.system)) {
            let g = group.first(dump);
            let (created, started) = (created(dump, g), started(dump, g));
            let role = role(g.system, started.as_deref());
            let at = dump.stack(g).and_then(|stack| {
                let places = stack.pcs.iter().filter_map(|pc| dump.places.at(*pc));
                innermost(places.flat_map(|p| &p.frames).map(position), &about.main_package)
            });
            let state = dump.reason(g).unwrap_or_else(|| g.status.name());
            let live = group.members.len() as u64;
            sites.add(Counted { created, started, role, live, states: vec![(state, live)], at });
        }
        Self {
            source: Source::Dump,
            pid: about.pid,
            comm: about.comm.clone(),
            exe: about.exe.clone(),
            go_version: about.go_version.clone(),
            build_id: about.build_id.clone(),
            main_package: about.main_package.clone(),
            at_unix_ns: (about.taken_unix_ns != 0).then_some(about.taken_unix_ns),
            filters: filters.to_vec(),
            sites: sites.finish(),
            gaps: gaps_of_dump(dump),
            notes: Vec::new(),
        }
    }

    /// Of a session's end.
    pub fn of_session(session: &Snapshot) -> Self {
        let target = &session.target;
        let mut sites = Sites::default();
        for s in session.sites.iter().filter(|s| s.live > 0) {
            let blocked = s.waits.iter().find_map(|w| w.example.as_ref());
            let at = blocked.and_then(|b| {
                innermost(b.stack.frames.iter().filter_map(known_position), &target.main_package)
            });
            let started = s.start.unknown_because.is_none().then(|| s.start.function.clone());
            let role = role(s.system, started.as_deref());
            sites.add(Counted {
                created: known_position(&s.created_at).unwrap_or_default(),
                started,
                role,
                live: s.live,
                states: s.waits.iter().map(|w| (state(&w.reason), w.count)).collect(),
                at,
            });
        }
        Self {
            source: Source::Session,
            pid: target.pid,
            comm: target.comm.clone(),
            exe: target.exe.clone(),
            go_version: target.go_version.clone(),
            build_id: target.build_id.clone(),
            main_package: target.main_package.clone(),
            at_unix_ns: session.started_unix_ns.map(|ns| ns.saturating_add(session.watched_ns)),
            filters: Vec::new(),
            sites: sites.finish(),
            gaps: gaps_of_session(session),
            // What replay itself found wrong with the file.
            notes: session.notes.iter().filter(|n| n.code.starts_with("recording-")).cloned().collect(),
        }
    }
}

impl Site {
    pub fn key(&self) -> Key {
        // The runtime's start code made it: where, differs between versions and says nothing.
        let main = self.role == Role::Main;
        let created = &self.created;
        let base = created.file.as_deref().map(|f| f.rsplit('/').next().unwrap_or(f).to_owned());
        let family = if main {
            Family { main, system: false, function: None, file: None, started: None }
        } else {
            let system = self.role == Role::System && self.started.is_none();
            Family {
                main,
                system,
                function: created.function.clone(),
                file: base,
                started: self.started.clone(),
            }
        };
        Key { family, line: created.line.filter(|_| !main) }
    }
}

/// Goroutines that were found together.
struct Counted {
    created: Position,
    started: Option<String>,
    role: Role,
    live: u64,
    states: Vec<(String, u64)>,
    at: Option<Position>,
}

/// Sites as they fill.
#[derive(Default)]
struct Sites(HashMap<Key, Filling>);

struct Filling {
    site: Site,
    states: HashMap<String, u64>,
    at: HashMap<Position, u64>,
}

impl Sites {
    fn add(&mut self, more: Counted) {
        let Counted { created, started, role, live, states, at } = more;
        let site = Site { created, started, role, live: 0, states: Vec::new(), waits_at: None };
        let new = Filling { site, states: HashMap::new(), at: HashMap::new() };
        let filling = self.0.entry(new.site.key()).or_insert(new);
        // The runtime's own only when all are.
        if role != Role::System {
            filling.site.role = role;
        }
        filling.site.live = filling.site.live.saturating_add(live);
        for (state, count) in states {
            let sum = filling.states.entry(state).or_default();
            *sum = sum.saturating_add(count);
        }
        if let Some(at) = at {
            let sum = filling.at.entry(at).or_default();
            *sum = sum.saturating_add(live);
        }
    }

    /// In order of their keys.
    fn finish(self) -> Vec<Site> {
        let mut all: Vec<(Key, Filling)> = self.0.into_iter().collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let finish = |(_, filling): (Key, Filling)| {
            let (states, at) = (frequent(filling.states), frequent(filling.at));
            Site { states, waits_at: at.into_iter().next().map(|(at, _)| at), ..filling.site }
        };
        all.into_iter().map(finish).collect()
    }
}

/// Most frequent first, then by name.
fn frequent<T: Ord>(counts: HashMap<T, u64>) -> Vec<(T, u64)> {
    let mut all: Vec<(T, u64)> = counts.into_iter().collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
}

/// `system`: as whoever read the goroutine says.
fn role(system: bool, started: Option<&str>) -> Role {
    match (system, started.map(Role::of)) {
        (true, _) => Role::System,
        (false, Some(Role::Main)) => Role::Main,
        _ => Role::Program,
    }
}

fn created(dump: &Dump, g: &Goroutine) -> Position {
    dump.places.creation(g.gopc).map(position).unwrap_or_default()
}

fn started(dump: &Dump, g: &Goroutine) -> Option<String> {
    dump.places.started(g.start_pc).map(|f| f.function.clone()).filter(|f| !f.is_empty())
}

fn position(frame: &message::Frame) -> Position {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    Position {
        function: text(&frame.function),
        file: text(&frame.file),
        line: (frame.line != 0).then_some(frame.line),
    }
}

/// Not of a frame that has an address in place of a name.
fn known_position(frame: &snapshot::Frame) -> Option<Position> {
    let known = frame.unknown_because.is_none();
    known.then(|| Position {
        function: Some(frame.function.clone()),
        file: frame.file.clone(),
        line: frame.line,
    })
}

/// Of the program's own code, else of any library, else nothing: the runtime's frames say what the wait reason says already.
fn innermost(frames: impl Iterator<Item = Position>, main_package: &str) -> Option<Position> {
    let mut library = None;
    for frame in frames {
        let Some(function) = frame.function.as_deref() else { continue };
        if is_own(function, main_package) {
            return Some(frame);
        }
        if library.is_none() && !is_runtimes(&frame) && function.contains('.') {
            library = Some(frame);
        }
    }
    library
}

/// By its package, or by its file: the runtime has functions of other packages too (`internal/poll.runtime_pollWait`).
fn is_runtimes(frame: &Position) -> bool {
    let directory = frame.file.as_deref().and_then(|f| f.rsplit('/').nth(1));
    directory == Some("runtime") || frame.function.as_deref().is_some_and(|f| package(f) == "runtime")
}

/// Not of the standard library. Its packages' paths have no dot in the first element; nor has the program's own where its module's
/// name has none.
fn is_own(function: &str, main_package: &str) -> bool {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let package = package(function);
    let root = first(package);
    package == "main" || root.contains('.') || (!main_package.is_empty() && root == first(main_package))
}

/// Path of a function's package: `net/http` of `net/http.(*conn).serve`; all of it where there is no dot.
fn package(function: &str) -> &str {
    // Type arguments have paths of their own.
    let name = function.split('[').next().unwrap_or(function);
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name[last..].find('.') {
        Some(dot) => &name[..last + dot],
        None => name,
    }
}

/// A session's words for what does not wait, as a dump has them.
fn state(word: &str) -> String {
    match (word, word.strip_prefix("<reason ")) {
        ("<system call>", _) => "syscall".to_owned(),
        (_, Some(number)) => format!("wait reason {}", number.trim_end_matches('>')),
        _ => word.trim_matches(['<', '>']).to_owned(),
    }
}

fn gaps_of_dump(dump: &Dump) -> Vec<Gap> {
    let of = |which: fn(&Trace) -> bool| dump.goroutines.iter().filter(|g| which(&g.trace)).count() as u64;
    let dump::Counts { unreadable, unsettled, .. } = dump.counts;
    let all = [
        ("unreadable", unreadable, true, "the memory could not be read"),
        ("unsettled", unsettled, true, "never the same in two reads, most likely just born or just ending"),
        ("moving", of(|t| *t == Trace::Moving), false, "ran between each two reads: where is not known"),
        ("no-stack", of(|t| matches!(t, Trace::None { .. })), false, "the stack could not be read"),
    ];
    let gap = |(cause, count, counts, meaning)| Gap { cause, count, counts, meaning };
    all.map(gap).into_iter().filter(|g| g.count > 0).collect()
}

fn gaps_of_session(session: &Snapshot) -> Vec<Gap> {
    // They cost wait times and creation stacks, no goroutine.
    const HARMLESS: [&str; 3] = ["sched-ring-full", "stack-ring-full", "stack-map-full"];
    let loss = |l: &snapshot::Loss| Gap {
        cause: l.cause,
        count: l.count,
        counts: !HARMLESS.contains(&l.cause),
        meaning: l.meaning,
    };
    let unidentified = Gap {
        cause: "born-unidentified",
        count: session.totals.born_unidentified,
        counts: true,
        meaning: "the new goroutine could not be read, so it is followed nowhere",
    };
    let all = session.losses.iter().map(loss).chain([unidentified]);
    all.filter(|g| g.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_code_it_is() {
        let own = [
            "main.f",
            "main.(*t).f",
            "example.com/api/x.F",
            "github.com/a/b.(*C).D",
            "api/x.Map[net/http.T]",
        ];
        for f in own {
            assert!(is_own(f, "api"), "{f}");
        }
        for f in [
            "runtime.gopark",
            "sync.(*Mutex).Lock",
            "net/http.(*conn).serve",
            "slices.Map[a.b/c.T]",
            "memmove",
        ] {
            assert!(!is_own(f, "api") && !is_own(f, ""), "{f}");
        }
        assert_eq!(package("net/http.(*conn).serve"), "net/http");
        assert_eq!(package("gopkg.in/yaml%2ev3.F"), "gopkg.in/yaml%2ev3");
    }

    #[test]
    fn where_one_waits() {
        let at = |f: &str| Position { function: Some(f.into()), ..Position::default() };
        let innermost = |of: &[&str]| super::innermost(of.iter().map(|f| at(f)), "").and_then(|p| p.function);
        let some = |f: &str| Some(f.to_owned());
        assert_eq!(innermost(&["runtime.gopark", "sync.(*Mutex).Lock", "main.f", "main.g"]), some("main.f"));
        assert_eq!(innermost(&["runtime.gopark", "net/http.a", "net/http.b"]), some("net/http.a"));
        assert_eq!(innermost(&["runtime.gopark", "gogo"]), None);
        let poll = "internal/poll.runtime_pollWait";
        for file in ["/go/src/runtime/netpoll.go", "runtime/netpoll.go"] {
            let linked = Position { file: Some(file.into()), ..at(poll) };
            let innermost = super::innermost([linked, at("internal/poll.(*FD).Read")].into_iter(), "");
            assert_eq!(innermost, Some(at("internal/poll.(*FD).Read")));
        }
    }

    #[test]
    fn a_sessions_words_are_a_dumps_words() {
        use crate::dump::Status;
        assert_eq!(state("<system call>"), Status::Syscall.name());
        assert_eq!(state("<running>"), Status::Running.name());
        assert_eq!(state("<runnable>"), Status::Runnable.name());
        assert_eq!(state("<status 17>"), Status::Other(17).name());
        assert_eq!(state("<reason 77>"), "wait reason 77");
        assert_eq!(state("chan send"), "chan send");
    }
}
