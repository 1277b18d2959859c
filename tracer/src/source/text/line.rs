//! A line's event. The names of events and end reasons are shared with printing.

use tracer_common::wire::{self, Header, kind};

use super::fields::{Field, Fields, Value, duration, number, shown};
use super::{MAX_REPEAT, Reason};
use crate::event::message::{Frame, Label, Limits, WaitOn};
use crate::event::{
    Event, Labels, Note, Object, ProbeSite, StackDef, Symbol, TargetInfo, WaitReasons, Waits,
};
use crate::session::loss_ledger::cause_by_name;
use crate::session::watch::{LEVELS, WHYS};

/// Words for `end.reason`, in the order of their numbers.
pub const END_REASONS: [&str; 5] = ["asked", "duration", "target-exited", "target-execed", "output-failed"];

/// The names of the events and their kinds.
pub const EVENTS: [(&str, u8); 26] = [
    ("birth", kind::BIRTH),
    ("death", kind::DEATH),
    ("park", kind::PARK),
    ("ready", kind::READY),
    ("run", kind::RUN),
    ("coro-switch", kind::CORO_SWITCH),
    ("stack", kind::STACK_DEF),
    ("seen", kind::SEEN),
    ("state", kind::STATE),
    ("look-begin", kind::LOOK_BEGIN),
    ("look-end", kind::LOOK_END),
    ("tick", kind::TICK),
    ("loss", kind::LOSS),
    ("totals", kind::TOTALS),
    ("end", kind::END),
    ("blocked", kind::BLOCKED),
    ("cost", kind::COST),
    ("level", kind::LEVEL),
    ("target", kind::TARGET),
    ("symbol", kind::SYMBOL),
    ("probe-site", kind::PROBE_SITE),
    ("wait-reasons", kind::WAIT_REASONS),
    ("note", kind::NOTE),
    ("object", kind::OBJECT),
    ("waits", kind::WAITS),
    ("labels", kind::LABELS),
];

/// Events that one line stands for: one, or a `repeat`ed one.
#[derive(Debug)]
pub struct Repeat {
    event: Event,
    left: u64,
    every_ns: u64,
    begun: bool,
}

impl Iterator for Repeat {
    type Item = Result<Event, Reason>;

    /// Each time later by `every`, with the next goid.
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if std::mem::replace(&mut self.begun, true) {
            let h = header_mut(&mut self.event);
            let next = h.time_ns.checked_add(self.every_ns);
            let goid = if h.goid == 0 { Some(0) } else { h.goid.checked_add(1) };
            let (Some(time_ns), Some(goid)) = (next, goid) else {
                self.left = 0;
                return Some(Err(Reason::RepeatRange));
            };
            (h.time_ns, h.goid) = (time_ns, goid);
        }
        Some(Ok(self.event.clone()))
    }
}

/// Parses a line; an empty one and a comment give nothing.
pub fn parse(line: &str) -> Result<Option<Repeat>, Reason> {
    let mut line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (mut left, mut every_ns) = (1, 0);
    if let Some(rest) = line.strip_prefix("repeat ") {
        let mut words = rest.splitn(4, ' ');
        let mut word = || words.next().unwrap_or("");
        left = number(word()).filter(|n| *n <= MAX_REPEAT).ok_or(Reason::Repeat)?;
        if word() != "every" {
            return Err(Reason::Repeat);
        }
        every_ns = duration(word()).ok_or(Reason::Repeat)?;
        line = word().trim_start();
    }
    let (time, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let time_ns = time.strip_prefix('@').and_then(duration).ok_or_else(|| Reason::Time(time.to_owned()))?;
    let rest = rest.trim_start();
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if name.is_empty() || name.starts_with('#') {
        return Err(Reason::NoEvent);
    }
    let (name, kind) =
        EVENTS.into_iter().find(|e| e.0 == name).ok_or_else(|| Reason::UnknownEvent(name.to_owned()))?;
    let event = event(time_ns, kind, Fields::split(name, rest)?)?;
    Ok(Some(Repeat { event, left, every_ns, begun: false }))
}

fn event(time_ns: u64, kind: u8, mut f: Fields) -> Result<Event, Reason> {
    let names: Vec<String> = f.clone().rest().into_iter().map(|f| f.name).collect();
    let h = Header {
        time_ns,
        kind,
        goid: f.number("goid")?,
        g: f.number("g")?,
        tid: f.number("tid")?,
        cpu: f.number("cpu")?,
        flags: f.number("flags")?,
    };
    let event = match kind {
        kind::BIRTH => Event::Birth(wire::Birth {
            h,
            parent_goid: f.number("parent")?,
            gopc: f.number("gopc")?,
            start_pc: f.number("start")?,
            stack: f.number("stack")?,
        }),
        kind::DEATH => Event::Death(wire::Death { h }),
        kind::PARK => Event::Park(wire::Park {
            h,
            lock: f.number("lock")?,
            unlockf: f.number("unlockf")?,
            reason: f.number("reason")?,
        }),
        kind::READY => Event::Ready(wire::Ready { h }),
        kind::RUN => Event::Run(wire::Run { h }),
        kind::CORO_SWITCH => {
            Event::CoroSwitch(wire::CoroSwitch { h, to_g: f.number("to-g")?, to_goid: f.number("to")? })
        }
        kind::STACK_DEF => {
            let frames = f.numbers("frames")?;
            if frames.len() > wire::MAX_FRAMES {
                return Err(Reason::TooManyFrames);
            }
            Event::StackDef(StackDef { h, stack: f.number("stack")?, frames })
        }
        kind::SEEN | kind::STATE => {
            let seen = wire::Seen {
                h,
                parent_goid: f.number("parent")?,
                gopc: f.number("gopc")?,
                start_pc: f.number("start")?,
                wait_since: f.number("wait-since")?,
                status: f.number("status")?,
                reason: f.number("reason")?,
            };
            if kind == kind::SEEN { Event::Seen(seen) } else { Event::State(seen) }
        }
        kind::LOOK_BEGIN | kind::LOOK_END => {
            let edge = wire::LookEdge {
                h,
                seq: f.number("seq")?,
                read: f.number("read")?,
                unreadable: f.number("unreadable")?,
            };
            if kind == kind::LOOK_BEGIN { Event::LookBegin(edge) } else { Event::LookEnd(edge) }
        }
        kind::TICK => Event::Tick(h),
        kind::LOSS => Event::Loss(wire::Loss {
            h,
            from_ns: f.number("from")?,
            count: f.number("count")?,
            cause: f.named("cause", cause_by_name)?,
        }),
        kind::TOTALS => Event::Totals(Box::new(wire::Totals { h, counts: of_each_sort(&mut f, "counts")? })),
        kind::COST => Event::Cost(Box::new(wire::Cost {
            h,
            target_ns: f.number("target")?,
            own_cpu_ns: f.number("own")?,
            own_bytes: f.number("bytes")?,
            delivered: f.number("delivered")?,
            prices: of_each_sort(&mut f, "prices")?,
        })),
        kind::LEVEL => {
            let at =
                |words: &'static [&str]| move |w: &str| words.iter().position(|l| *l == w).map(|i| i as u64);
            let mut level = |name: &str| match f.named(name, at(&LEVELS))? {
                level if level <= wire::level::LOOKS => Ok(level),
                other => Err(Reason::Value(name.to_owned(), other.to_string())),
            };
            let (from, to) = (level("from")?, level("to")?);
            Event::Level(wire::Level {
                h,
                from,
                to,
                why: f.named("why", at(&WHYS))?,
                load_ns: f.number("load")?,
                budget_ns: f.number("budget")?,
            })
        }
        kind::END => {
            let by_name = |w: &str| END_REASONS.iter().position(|r| *r == w).map(|i| i as u64);
            Event::End(wire::End { h, reason: f.named("reason", by_name)?, code: f.number("code")? })
        }
        kind::BLOCKED => Event::Blocked(wire::Blocked { h, stack: f.number("stack")? }),
        kind::TARGET => Event::Target(h, Box::new(target(&mut f)?)),
        kind::SYMBOL => Event::Symbol(h, Box::new(symbol(&mut f)?)),
        kind::PROBE_SITE => Event::ProbeSite(
            h,
            Box::new(ProbeSite {
                role: f.text("role")?,
                function: f.text("function")?,
                offset: f.number("offset")?,
                instruction: f.text("instruction")?,
                cost_class: f.text("cost")?,
                refused_because: f.text("refused")?,
                file_offset: f.number("file-offset")?,
            }),
        ),
        kind::WAIT_REASONS => {
            let names = f.rest().into_iter().map(|field| match (field.name.as_str(), field.value) {
                ("name", Value::Text(text) | Value::Word(text)) => Ok(text),
                _ => Err(f.unknown(&field.name)),
            });
            Event::WaitReasons(h, WaitReasons { names: names.collect::<Result<_, _>>()? })
        }
        kind::OBJECT => Event::Object(h, Box::new(object(&mut f)?)),
        kind::WAITS => Event::Waits(h, waits(&mut f)?),
        kind::LABELS => Event::Labels(h, labels(&mut f)?),
        // EVENTS holds no other kind than `note`.
        _ => Event::Note(h, Note { code: f.text("code")?, text: f.text("text")? }),
    };
    f.done(&names)?;
    Ok(event)
}

fn target(f: &mut Fields) -> Result<TargetInfo, Reason> {
    let limits = f.flag("limits")?;
    Ok(TargetInfo {
        pid: f.number("pid")?,
        comm: f.text("comm")?,
        exe: f.text("exe")?,
        go_version: f.text("go")?,
        build_id: f.text("build-id")?,
        arch: f.text("arch")?,
        main_package: f.text("main-package")?,
        kernel: f.text("kernel")?,
        cpus: f.number("cpus")?,
        gostray_version: f.text("gostray")?,
        anchor_boot_ns: f.number("anchor-boot")?,
        anchor_unix_ns: f.number("anchor-unix")?,
        from_start: f.flag("from-start")?,
        park: f.flag("park")?,
        load_bias: f.number("load-bias")?,
        limits: limits
            .then(|| {
                Ok(Limits {
                    ring_bytes: f.number("ring-bytes")?,
                    kernel_stacks: f.number("kernel-stacks")?,
                    max_frames: f.number("max-frames")?,
                    look_every_ns: f.number("look-every")?,
                })
            })
            .transpose()?,
        command: f.text("command")?,
        started_boot_ns: f.number("started")?,
        layout_provenance: f.text("layout")?,
        looks_only: f.flag("looks-only")?,
    })
}

fn symbol(f: &mut Fields) -> Result<Symbol, Reason> {
    let mut symbol = Symbol {
        pc: f.number("pc")?,
        exact: f.flag("exact")?,
        unknown_because: f.text("unknown")?,
        source: f.text("source")?,
        ..Symbol::default()
    };
    for Field { name, value } in f.rest() {
        if name == "frame" || name == "starts" {
            let (Value::Text(function) | Value::Word(function)) = value else {
                return Err(Reason::Value(name, String::new()));
            };
            let frame = Frame { function, ..Frame::default() };
            if name == "frame" {
                symbol.frames.push(frame);
            } else {
                symbol.starts = Some(frame);
            }
            continue;
        }
        if !matches!(name.as_str(), "file" | "line" | "inlined" | "full") {
            return Err(f.unknown(&name));
        }
        let last = symbol.starts.as_mut().or(symbol.frames.last_mut());
        let Some(frame) = last else { return Err(Reason::NoFrame(name)) };
        match (name.as_str(), &value) {
            ("file", Value::Text(text) | Value::Word(text)) => frame.file.clone_from(text),
            ("full", Value::Text(text) | Value::Word(text)) => frame.full_name.clone_from(text),
            ("inlined", Value::Flag) => frame.inlined = true,
            ("line", Value::Word(word)) => {
                let line = number(word).and_then(|n| u32::try_from(n).ok());
                frame.line = line.ok_or_else(|| Reason::Value(name.clone(), word.clone()))?;
            }
            _ => return Err(Reason::Value(name, shown(&value))),
        }
    }
    Ok(symbol)
}

/// A number for each sort of event that the kernel side counts; those left out are 0.
fn of_each_sort(f: &mut Fields, name: &str) -> Result<[u64; wire::total::COUNT], Reason> {
    let given = f.numbers(name)?;
    let mut all = [0; wire::total::COUNT];
    if given.len() > all.len() {
        return Err(Reason::Value(name.to_owned(), format!("{} numbers", given.len())));
    }
    all[..given.len()].copy_from_slice(&given);
    Ok(all)
}

fn object(f: &mut Fields) -> Result<Object, Reason> {
    Ok(Object {
        addr: f.number("addr")?,
        kind: f.text("kind")?,
        len: f.number("len")?,
        cap: f.number("cap")?,
        closed: f.flag("closed")?,
        elem_size: f.number("elem-size")?,
        locked: f.flag("locked")?,
        starving: f.flag("starving")?,
        waiters: f.number("waiters")?,
        readers: f.signed("readers")?,
        writer: f.flag("writer")?,
        waiting_for_readers: f.signed("waiting-for-readers")?,
        counter: f.signed("counter")?,
        value: f.number("value")?,
        timer: f.text("timer")?,
        in_ns: f.signed("in")?,
        fd: f.number("fd")?,
        peer: f.text("peer")?,
    })
}

fn waits(f: &mut Fields) -> Result<Waits, Reason> {
    let (on, sides) = (f.numbers("on")?, f.numbers("sides")?);
    let side =
        |side: u64| u32::try_from(side).map_err(|_| Reason::Value("sides".to_owned(), side.to_string()));
    if on.len() != sides.len() {
        return Err(Reason::Value("sides".to_owned(), format!("{} for {} objects", sides.len(), on.len())));
    }
    let on = on.into_iter().zip(sides).map(|(addr, s)| Ok(WaitOn { addr, side: side(s)? }));
    Ok(Waits { on: on.collect::<Result<_, _>>()?, more: f.number("more")?, labels: f.number("labels")? })
}

fn labels(f: &mut Fields) -> Result<Labels, Reason> {
    let mut labels = Labels { id: f.number("id")?, labels: Vec::new() };
    for Field { name, value } in f.rest() {
        let (Value::Text(text) | Value::Word(text)) = value else {
            return Err(Reason::Value(name, String::new()));
        };
        match (name.as_str(), labels.labels.last_mut()) {
            ("key", _) => labels.labels.push(Label { key: text, value: String::new() }),
            ("value", Some(label)) => label.value = text,
            _ => return Err(f.unknown(&name)),
        }
    }
    Ok(labels)
}

fn header_mut(event: &mut Event) -> &mut Header {
    match event {
        Event::Birth(e) => &mut e.h,
        Event::Death(e) => &mut e.h,
        Event::Park(e) => &mut e.h,
        Event::Ready(e) => &mut e.h,
        Event::Run(e) => &mut e.h,
        Event::CoroSwitch(e) => &mut e.h,
        Event::StackDef(e) => &mut e.h,
        Event::Seen(e) | Event::State(e) => &mut e.h,
        Event::LookBegin(e) | Event::LookEnd(e) => &mut e.h,
        Event::Loss(e) => &mut e.h,
        Event::Totals(e) => &mut e.h,
        Event::End(e) => &mut e.h,
        Event::Blocked(e) => &mut e.h,
        Event::Cost(e) => &mut e.h,
        Event::Level(e) => &mut e.h,
        Event::Tick(h)
        | Event::Target(h, _)
        | Event::Symbol(h, _)
        | Event::ProbeSite(h, _)
        | Event::WaitReasons(h, _)
        | Event::Note(h, _)
        | Event::Object(h, _)
        | Event::Waits(h, _)
        | Event::Labels(h, _) => h,
    }
}
