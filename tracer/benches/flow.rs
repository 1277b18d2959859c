//! What an event costs on its way, step by step: `cargo bench -p tracer --bench flow`. What watching a real program and
//! replaying real files costs is measured by `cargo xtask bench flow`.

mod workload;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tracer::event::{Event, StackDef, header};
use tracer::order::Reorder;
use tracer::pipeline::Pipeline;
use tracer::record::Writer;
use tracer::session::Session;
use tracer::source::replay::Replay;
use tracer_common::wire::{Birth, Header, kind};
use workload::{Shape, Workload};

const EVENTS: u64 = 100_000;

fn shape(park: bool) -> Shape {
    Shape { events: EVENTS, rate: 100_000, live: 2_000, park }
}

fn records(shape: Shape) -> Vec<Vec<u8>> {
    let (mut workload, mut record, mut all) = (Workload::new(shape), Vec::new(), Vec::new());
    while workload.next(&mut record) {
        all.push(record.clone());
    }
    all
}

fn decoded(records: &[Vec<u8>]) -> Vec<Event> {
    records.iter().map(|r| Event::decode(r).expect("a record that we made")).collect()
}

fn file_of(records: &[Vec<u8>]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("session");
    let mut writer = Writer::create(&path, false).expect("a file");
    records.iter().for_each(|r| writer.write(r).expect("room on the disk"));
    writer.finish().expect("room on the disk");
    std::fs::read(&path).expect("the file")
}

/// A creation stack for every tenth birth, as at the beginning of a watch.
fn stacks() -> Vec<Event> {
    let mut events = Vec::new();
    for i in 0..10_000u64 {
        let site = i % 1000;
        if i < 1000 {
            let frames = (0..8).map(|depth| 0x47_0000 + site * 4096 + depth * 64).collect();
            events.push(Event::StackDef(StackDef { h: header(kind::STACK_DEF, i), stack: site + 1, frames }));
        }
        let h = Header { goid: i + 20, ..header(kind::BIRTH, i) };
        events.push(Event::Birth(Birth { h, parent_goid: 1, gopc: 2, start_pc: 3, stack: site + 1 }));
    }
    events
}

fn session_of(events: Vec<Event>) -> Session {
    let mut session = Session::new();
    events.into_iter().for_each(|e| session.apply(e));
    session
}

fn flow(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow");
    group.sample_size(20).throughput(Throughput::Elements(EVENTS));
    for (name, park) in [("births and deaths", false), ("parks too", true)] {
        let records = records(shape(park));
        let events = decoded(&records);
        group.bench_function(format!("decode, {name}"), |b| {
            b.iter(|| records.iter().filter(|r| Event::decode(black_box(r)).is_ok()).count());
        });
        group.bench_function(format!("order, {name}"), |b| {
            b.iter_batched(
                || events.clone(),
                |events| {
                    let (mut order, mut n) = (Reorder::default(), 0u64);
                    events.into_iter().for_each(|e| order.push(e, &mut |_| n += 1));
                    order.flush(&mut |_| n += 1);
                    n
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("apply, {name}"), |b| {
            b.iter_batched(|| events.clone(), session_of, BatchSize::LargeInput);
        });
        group.bench_function(format!("write, {name}"), |b| b.iter(|| file_of(black_box(&records)).len()));
        let file = file_of(&records);
        group.bench_function(format!("replay, {name}"), |b| {
            b.iter_batched(
                || file.clone(),
                |file| {
                    let replay = Replay::from_input(Box::new(std::io::Cursor::new(file))).expect("a session");
                    let mut pipeline = Pipeline::new();
                    replay.for_each(|event| pipeline.push_event(event.expect("a whole file")));
                    pipeline.finish();
                    pipeline.now_ns()
                },
                BatchSize::LargeInput,
            );
        });
    }
    let stacks = stacks();
    group.throughput(Throughput::Elements(stacks.len() as u64));
    group.bench_function("intern 1,000 stacks and 10,000 births from them", |b| {
        b.iter_batched(|| stacks.clone(), session_of, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, flow);
criterion_main!(benches);
