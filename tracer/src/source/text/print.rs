//! An event's line.

use std::fmt::Write as _;

use tracer_common::wire::kind;

use super::line::{END_REASONS, EVENTS};
use crate::event::{Event, Object, Symbol, TargetInfo};
use crate::session::loss_ledger::cause_name;
use crate::session::watch::{LEVELS, WHYS};

/// The line that [`parse`](super::parse) gives the same event for. Fields that are 0 or empty are left out.
pub fn print(event: &Event) -> String {
    let h = event.header();
    let name = EVENTS.iter().find(|e| e.1 == kind_of(event)).map_or("?", |e| e.0);
    let mut line = Line(format!("@{}.{:09}s {name}", h.time_ns / 1_000_000_000, h.time_ns % 1_000_000_000));
    line.dec("goid", h.goid).hex("g", h.g).dec("tid", h.tid.into()).dec("cpu", h.cpu.into());
    line.dec("flags", h.flags.into());
    match event {
        Event::Birth(e) => line
            .dec("parent", e.parent_goid)
            .hex("gopc", e.gopc)
            .hex("start", e.start_pc)
            .hex("stack", e.stack),
        Event::Death(_) | Event::Ready(_) | Event::Run(_) | Event::Tick(_) => &mut line,
        Event::Park(e) => line.hex("lock", e.lock).hex("unlockf", e.unlockf).dec("reason", e.reason),
        Event::CoroSwitch(e) => line.hex("to-g", e.to_g).dec("to", e.to_goid),
        Event::StackDef(e) => line.hex("stack", e.stack).list("frames", &e.frames, |n| format!("{n:#x}")),
        Event::Seen(e) | Event::State(e) => line
            .dec("parent", e.parent_goid)
            .hex("gopc", e.gopc)
            .hex("start", e.start_pc)
            .dec("wait-since", e.wait_since)
            .dec("status", e.status.into())
            .dec("reason", e.reason.into()),
        Event::LookBegin(e) | Event::LookEnd(e) => {
            line.dec("seq", e.seq).dec("read", e.read).dec("unreadable", e.unreadable)
        }
        Event::Loss(e) => {
            let cause = cause_name(e.cause).map_or_else(|| e.cause.to_string(), str::to_owned);
            line.word("cause", &cause).dec("count", e.count).dec("from", e.from_ns)
        }
        Event::Totals(e) => line.list("counts", &e.counts, u64::to_string),
        Event::End(e) => line.word("reason", &named(&END_REASONS, e.reason)).dec("code", e.code),
        Event::Blocked(e) => line.hex("stack", e.stack),
        Event::Cost(e) => line
            .dec("target", e.target_ns)
            .dec("own", e.own_cpu_ns)
            .dec("bytes", e.own_bytes)
            .dec("delivered", e.delivered)
            .list("prices", &e.prices, u64::to_string),
        Event::Level(e) => line
            .word("from", &named(&LEVELS, e.from))
            .word("to", &named(&LEVELS, e.to))
            .word("why", &named(&WHYS, e.why))
            .dec("load", e.load_ns)
            .dec("budget", e.budget_ns),
        Event::Target(_, t) => print_target(&mut line, t),
        Event::Symbol(_, s) => print_symbol(&mut line, s),
        Event::ProbeSite(_, p) => line
            .text("role", &p.role)
            .text("function", &p.function)
            .dec("offset", p.offset)
            .text("instruction", &p.instruction)
            .text("cost", &p.cost_class)
            .text("refused", &p.refused_because)
            .hex("file-offset", p.file_offset),
        Event::WaitReasons(_, w) => w.names.iter().fold(&mut line, |l, n| l.always_text("name", n)),
        Event::Note(_, n) => line.text("code", &n.code).text("text", &n.text),
        Event::Object(_, o) => print_object(&mut line, o),
        Event::Waits(_, w) => {
            let on: Vec<u64> = w.on.iter().map(|on| on.addr).collect();
            let sides: Vec<u64> = w.on.iter().map(|on| on.side.into()).collect();
            line.list("on", &on, |n| format!("{n:#x}")).list("sides", &sides, u64::to_string);
            line.dec("more", w.more).hex("labels", w.labels)
        }
        Event::Labels(_, l) => {
            line.hex("id", l.id);
            for label in &l.labels {
                line.always_text("key", &label.key).always_text("value", &label.value);
            }
            &mut line
        }
    };
    line.0
}

fn print_target<'a>(line: &'a mut Line, t: &TargetInfo) -> &'a mut Line {
    line.dec("pid", t.pid.into()).text("comm", &t.comm).text("exe", &t.exe).text("go", &t.go_version);
    line.text("build-id", &t.build_id).text("arch", &t.arch).text("main-package", &t.main_package);
    line.text("kernel", &t.kernel).dec("cpus", t.cpus.into()).text("gostray", &t.gostray_version);
    line.dec("anchor-boot", t.anchor_boot_ns).dec("anchor-unix", t.anchor_unix_ns);
    line.flag("from-start", t.from_start).flag("park", t.park).hex("load-bias", t.load_bias);
    if let Some(l) = &t.limits {
        line.flag("limits", true)
            .dec("ring-bytes", l.ring_bytes)
            .dec("kernel-stacks", l.kernel_stacks.into());
        line.dec("max-frames", l.max_frames.into()).dec("look-every", l.look_every_ns);
    }
    line.text("command", &t.command).dec("started", t.started_boot_ns).text("layout", &t.layout_provenance);
    line.flag("looks-only", t.looks_only)
}

fn print_symbol<'a>(line: &'a mut Line, s: &Symbol) -> &'a mut Line {
    line.hex("pc", s.pc).flag("exact", s.exact).text("unknown", &s.unknown_because).text("source", &s.source);
    for (name, f) in s.frames.iter().map(|f| ("frame", f)).chain(s.starts.iter().map(|f| ("starts", f))) {
        line.always_text(name, &f.function).text("file", &f.file).dec("line", f.line.into());
        line.flag("inlined", f.inlined).text("full", &f.full_name);
    }
    line
}

fn print_object<'a>(line: &'a mut Line, o: &Object) -> &'a mut Line {
    line.hex("addr", o.addr).text("kind", &o.kind).dec("len", o.len).dec("cap", o.cap);
    line.flag("closed", o.closed).dec("elem-size", o.elem_size.into());
    line.flag("locked", o.locked).flag("starving", o.starving).dec("waiters", o.waiters.into());
    line.signed("readers", o.readers.into()).flag("writer", o.writer);
    line.signed("waiting-for-readers", o.waiting_for_readers.into()).signed("counter", o.counter.into());
    line.dec("value", o.value.into())
        .text("timer", &o.timer)
        .signed("in", o.in_ns)
        .dec("fd", o.fd.into())
        .text("peer", &o.peer)
}

/// The word for a number, or the number where there is none.
fn named(words: &[&str], number: u64) -> String {
    let word = usize::try_from(number).ok().and_then(|i| words.get(i));
    word.map_or_else(|| number.to_string(), |w| (*w).to_owned())
}

struct Line(String);

impl Line {
    fn word(&mut self, name: &str, value: &str) -> &mut Self {
        // Writing to a `String` cannot fail.
        _ = write!(self.0, " {name}={value}");
        self
    }

    fn dec(&mut self, name: &str, value: u64) -> &mut Self {
        if value == 0 { self } else { self.word(name, &value.to_string()) }
    }

    fn signed(&mut self, name: &str, value: i64) -> &mut Self {
        if value == 0 { self } else { self.word(name, &value.to_string()) }
    }

    fn hex(&mut self, name: &str, value: u64) -> &mut Self {
        if value == 0 { self } else { self.word(name, &format!("{value:#x}")) }
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        if value {
            self.0.push(' ');
            self.0.push_str(name);
        }
        self
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() { self } else { self.always_text(name, value) }
    }

    fn always_text(&mut self, name: &str, value: &str) -> &mut Self {
        self.word(name, &serde_json::Value::from(value).to_string())
    }

    fn list(&mut self, name: &str, values: &[u64], show: impl Fn(&u64) -> String) -> &mut Self {
        if values.is_empty() {
            return self;
        }
        self.word(name, &values.iter().map(show).collect::<Vec<_>>().join(","))
    }
}

fn kind_of(event: &Event) -> u8 {
    match event {
        Event::Birth(_) => kind::BIRTH,
        Event::Death(_) => kind::DEATH,
        Event::Park(_) => kind::PARK,
        Event::Ready(_) => kind::READY,
        Event::Run(_) => kind::RUN,
        Event::CoroSwitch(_) => kind::CORO_SWITCH,
        Event::StackDef(_) => kind::STACK_DEF,
        Event::Seen(_) => kind::SEEN,
        Event::State(_) => kind::STATE,
        Event::LookBegin(_) => kind::LOOK_BEGIN,
        Event::LookEnd(_) => kind::LOOK_END,
        Event::Tick(_) => kind::TICK,
        Event::Loss(_) => kind::LOSS,
        Event::Totals(_) => kind::TOTALS,
        Event::End(_) => kind::END,
        Event::Blocked(_) => kind::BLOCKED,
        Event::Cost(_) => kind::COST,
        Event::Level(_) => kind::LEVEL,
        Event::Target(..) => kind::TARGET,
        Event::Symbol(..) => kind::SYMBOL,
        Event::ProbeSite(..) => kind::PROBE_SITE,
        Event::WaitReasons(..) => kind::WAIT_REASONS,
        Event::Note(..) => kind::NOTE,
        Event::Object(..) => kind::OBJECT,
        Event::Waits(..) => kind::WAITS,
        Event::Labels(..) => kind::LABELS,
    }
}
