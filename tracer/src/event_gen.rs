//! Any event at all, for property tests. Small numbers often, so that goids and stacks meet.

use proptest::prelude::*;
use tracer_common::wire::{self, Header, kind};

use crate::event::message::{Frame, Label, Limits, WaitOn};
use crate::event::{
    Event, Labels, Note, Object, ProbeSite, StackDef, Symbol, TargetInfo, WaitReasons, Waits,
};

fn number() -> BoxedStrategy<u64> {
    prop_oneof![6 => 0u64..12, 2 => 0u64..100_000_000_000, 1 => any::<u64>()].boxed()
}

fn small() -> BoxedStrategy<u32> {
    prop_oneof![6 => 0u32..13, 1 => any::<u32>()].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![2 => Just(String::new()), 2 => "[a-z.\"\\\\ #=]{0,12}", 1 => any::<String>()].boxed()
}

prop_compose! {
    fn header(kind: u8)(
        time_ns in number(), goid in number(), g in number(), tid in small(), cpu in any::<u16>(), flags in 0u8..20,
    ) -> Header {
        Header { time_ns, goid, g, tid, cpu, kind, flags }
    }
}

prop_compose! {
    fn frame()(t in prop::array::uniform3(text()), line in small(), inlined in any::<bool>()) -> Frame {
        let [function, file, full_name] = t;
        Frame { function, file, line, inlined, full_name }
    }
}

prop_compose! {
    fn target()(
        texts in prop::array::uniform10(text()), n in prop::array::uniform5(number()), pid in small(), cpus in small(),
        (from_start, park, looks_only) in any::<(bool, bool, bool)>(),
        limits in prop::option::of((number(), small(), small(), number())),
    ) -> TargetInfo {
        let [comm, exe, go_version, build_id, arch, main_package, kernel, gostray_version, command, layout] = texts;
        TargetInfo {
            pid, comm, exe, go_version, build_id, arch, main_package, kernel, cpus, gostray_version,
            anchor_boot_ns: n[0], anchor_unix_ns: n[1], from_start, park, load_bias: n[2],
            limits: limits.map(|(ring_bytes, kernel_stacks, max_frames, look_every_ns)| {
                Limits { ring_bytes, kernel_stacks, max_frames, look_every_ns }
            }),
            command, started_boot_ns: n[3], layout_provenance: layout, looks_only,
        }
    }
}

prop_compose! {
    fn object()(
        kind in prop_oneof![4 => Just("channel".to_owned()), 1 => Just("mutex".to_owned()), 1 => text()], peer in text(), timer in text(),
        n in prop::array::uniform3(number()), m in prop::array::uniform4(small()),
        signed in any::<(i32, i32, i32, i64)>(), flags in any::<[bool; 4]>(),
    ) -> Object {
        let [addr, len, cap] = n;
        let [elem_size, waiters, value, fd] = m;
        let [closed, locked, starving, writer] = flags;
        let (readers, waiting_for_readers, counter, in_ns) = signed;
        Object {
            addr, kind, len, cap, closed, elem_size, locked, starving, waiters, readers, writer,
            waiting_for_readers, counter, value, timer, in_ns, fd, peer,
        }
    }
}

fn seen(kind: u8) -> impl Strategy<Value = wire::Seen> {
    (header(kind), prop::array::uniform4(number()), small(), small()).prop_map(|(h, n, status, reason)| {
        wire::Seen { h, parent_goid: n[0], gopc: n[1], start_pc: n[2], wait_since: n[3], status, reason }
    })
}

fn edge(kind: u8) -> impl Strategy<Value = wire::LookEdge> {
    (header(kind), number(), number(), number()).prop_map(|(h, seq, read, unreadable)| wire::LookEdge {
        h,
        seq,
        read,
        unreadable,
    })
}

/// Every kind of event, with the kind in its header.
pub fn any_event() -> BoxedStrategy<Event> {
    let kernel =
        prop_oneof![
            (header(kind::BIRTH), prop::array::uniform4(number())).prop_map(|(h, n)| Event::Birth(
                wire::Birth { h, parent_goid: n[0], gopc: n[1], start_pc: n[2], stack: n[3] }
            )),
            header(kind::DEATH).prop_map(|h| Event::Death(wire::Death { h })),
            (header(kind::PARK), number(), number(), number())
                .prop_map(|(h, lock, unlockf, reason)| Event::Park(wire::Park { h, lock, unlockf, reason })),
            header(kind::READY).prop_map(|h| Event::Ready(wire::Ready { h })),
            header(kind::RUN).prop_map(|h| Event::Run(wire::Run { h })),
            (header(kind::CORO_SWITCH), number(), number())
                .prop_map(|(h, to_g, to_goid)| Event::CoroSwitch(wire::CoroSwitch { h, to_g, to_goid })),
            (header(kind::STACK_DEF), number(), prop::collection::vec(number(), 0..=wire::MAX_FRAMES))
                .prop_map(|(h, stack, frames)| Event::StackDef(StackDef { h, stack, frames })),
        ];
    let user = prop_oneof![
        seen(kind::SEEN).prop_map(Event::Seen),
        seen(kind::STATE).prop_map(Event::State),
        edge(kind::LOOK_BEGIN).prop_map(Event::LookBegin),
        edge(kind::LOOK_END).prop_map(Event::LookEnd),
        header(kind::TICK).prop_map(Event::Tick),
        (header(kind::LOSS), number(), number(), number())
            .prop_map(|(h, from_ns, count, cause)| Event::Loss(wire::Loss { h, from_ns, count, cause })),
        (header(kind::TOTALS), prop::array::uniform8(number()))
            .prop_map(|(h, counts)| Event::Totals(Box::new(wire::Totals { h, counts }))),
        (header(kind::END), number(), number()).prop_map(|(h, reason, code)| Event::End(wire::End {
            h,
            reason,
            code
        })),
        (header(kind::BLOCKED), number()).prop_map(|(h, stack)| Event::Blocked(wire::Blocked { h, stack })),
        (header(kind::COST), prop::array::uniform4(number()), prop::array::uniform8(number())).prop_map(
            |(h, n, prices)| Event::Cost(Box::new(wire::Cost {
                h,
                target_ns: n[0],
                own_cpu_ns: n[1],
                own_bytes: n[2],
                delivered: n[3],
                prices
            }))
        ),
        (
            header(kind::LEVEL),
            0..=wire::level::LOOKS,
            0..=wire::level::LOOKS,
            prop::array::uniform3(number())
        )
            .prop_map(|(h, from, to, n)| Event::Level(wire::Level {
                h,
                from,
                to,
                why: n[0],
                load_ns: n[1],
                budget_ns: n[2]
            })),
    ];
    let message = prop_oneof![
        (header(kind::TARGET), target()).prop_map(|(h, t)| Event::Target(h, Box::new(t))),
        (
            header(kind::SYMBOL),
            number(),
            prop::collection::vec(frame(), 0..4),
            text(),
            any::<bool>(),
            text(),
            prop::option::of(frame())
        )
            .prop_map(|(h, pc, frames, unknown_because, exact, source, starts)| {
                Event::Symbol(h, Box::new(Symbol { pc, frames, unknown_because, exact, source, starts }))
            }),
        (header(kind::PROBE_SITE), prop::array::uniform5(text()), number(), number()).prop_map(
            |(h, t, offset, file_offset)| {
                let [role, function, instruction, cost_class, refused_because] = t;
                let site = ProbeSite {
                    role,
                    function,
                    offset,
                    instruction,
                    cost_class,
                    refused_because,
                    file_offset,
                };
                Event::ProbeSite(h, Box::new(site))
            }
        ),
        (header(kind::WAIT_REASONS), prop::collection::vec(text(), 0..5))
            .prop_map(|(h, names)| Event::WaitReasons(h, WaitReasons { names })),
        (header(kind::OBJECT), object()).prop_map(|(h, object)| Event::Object(h, Box::new(object))),
        (
            header(kind::WAITS),
            prop::collection::vec((number(), 0u32..5).prop_map(|(addr, side)| WaitOn { addr, side }), 0..4),
            number(),
            number(),
        )
            .prop_map(|(h, on, more, labels)| Event::Waits(h, Waits { on, more, labels })),
        (
            header(kind::LABELS),
            number(),
            prop::collection::vec((text(), text()).prop_map(|(key, value)| Label { key, value }), 0..3),
        )
            .prop_map(|(h, id, labels)| Event::Labels(h, Labels { id, labels })),
        (header(kind::NOTE), text(), text()).prop_map(|(h, code, text)| Event::Note(h, Note { code, text })),
    ];
    prop_oneof![4 => kernel.boxed(), 4 => user.boxed(), 1 => message.boxed()].boxed()
}
