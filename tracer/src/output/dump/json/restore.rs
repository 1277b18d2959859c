//! The document's types → the model. Each index is checked, and that what is told twice is told alike.

use super::wire::{self, BrokenKind, ObjectKind, Read, TraceKind};
use super::{Selection, wire::Side};
use crate::dump::{self, Broken, Dump, Fires, Origin, Pc, Place, Places, Since, Status, Trace};
use crate::event::message::{Frame, Note};

/// Of what is wrong, one sentence.
type Result<T> = std::result::Result<T, String>;

pub fn dump(read: Read) -> Result<(Dump, Option<Selection>)> {
    let pcs: Vec<Pc> = read.places.iter().map(|p| Pc { pc: p.pc, exact: p.exact }).collect();
    if pcs.windows(2).any(|w| w[0] >= w[1]) {
        return Err("the places are not in order of their program counters".to_owned());
    }
    let places = read.places.into_iter().zip(&pcs).map(|(p, pc)| (*pc, place(p)));
    let places = Places(places.filter(|(_, place)| *place != Place::default()).collect());
    let stacks = read.stacks.into_iter().map(|s| stack(s, &pcs)).collect::<Result<Vec<_>>>()?;
    let objects = read.objects.into_iter().map(object).collect::<Result<Vec<_>>>()?;
    let sizes = Sizes { stacks: stacks.len(), objects: objects.len(), labels: read.labels.len() };
    let goroutines = read.goroutines.into_iter().map(|g| goroutine(g, &pcs, &sizes));
    let goroutines = goroutines.collect::<Result<Vec<_>>>()?;
    if goroutines.windows(2).any(|w| w[0].goid > w[1].goid) {
        return Err("the goroutines are not in order of their ids".to_owned());
    }
    let cycles = read.cycles.into_iter().map(|c| cycle(c, &sizes)).collect::<Result<_>>()?;
    let wire::Counts { entries, dead, unreadable, unsettled, retries, doubted } = read.counts;
    let dump = Dump {
        about: about(read.about),
        goroutines,
        stacks,
        objects,
        labels: read.labels,
        places,
        wait_reasons: read.wait_reasons,
        notes: read.notes.into_iter().map(|n| Note { code: n.code, text: n.text }).collect(),
        counts: dump::Counts { entries, dead, unreadable, unsettled, retries, doubted },
        cycles,
    };
    Ok((dump, read.selection))
}

struct Sizes {
    stacks: usize,
    objects: usize,
    labels: usize,
}

fn in_range(index: u32, len: usize, what: &str) -> Result<u32> {
    if (index as usize) < len { Ok(index) } else { Err(format!("there is no {what} {index}")) }
}

fn pc_at(index: u32, pcs: &[Pc]) -> Result<Pc> {
    Ok(pcs[in_range(index, pcs.len(), "place")? as usize])
}

fn about(of: wire::About) -> dump::About {
    dump::About {
        pid: of.pid.unwrap_or_default(),
        comm: of.comm.unwrap_or_default(),
        exe: of.exe.unwrap_or_default(),
        go_version: of.go_version.unwrap_or_default(),
        build_id: of.build_id.unwrap_or_default(),
        arch: of.arch.unwrap_or_default(),
        main_package: of.main_package.unwrap_or_default(),
        layout: of.layout.unwrap_or_default(),
        taken_unix_ns: of.taken_unix_ns.unwrap_or_default(),
        took_ns: of.took_ns,
        gostray_version: of.gostray_version.unwrap_or_default(),
        source: of.core.map_or(Origin::Process, |path| Origin::Core { path }),
    }
}

fn place(of: wire::Place) -> Place {
    Place {
        frames: of.frames.into_iter().map(frame).collect(),
        entry: of.entry.unwrap_or_default(),
        wrapper: of.wrapper,
        unknown_because: of.unknown_because.unwrap_or_default(),
        starts: of.starts.map(frame),
    }
}

fn frame(of: wire::Frame) -> Frame {
    Frame {
        function: of.function,
        file: of.file.unwrap_or_default(),
        line: of.line.unwrap_or_default(),
        inlined: of.inlined,
        full_name: of.full_name.unwrap_or_default(),
    }
}

fn stack(of: wire::Stack, all: &[Pc]) -> Result<dump::Stack> {
    let pcs = of.places.into_iter().map(|i| pc_at(i, all)).collect::<Result<Vec<Pc>>>()?;
    let left_out = of.left_out.map(|l| {
        let after = usize::try_from(l.after).ok().filter(|after| *after <= pcs.len());
        let after =
            after.ok_or_else(|| format!("a stack of {} frames lacks some after {}", pcs.len(), l.after))?;
        let at = l.at.into_iter().map(|at| Ok((pc_at(at.place, all)?, at.count)));
        Ok::<_, String>(dump::LeftOut { after, frames: l.frames, at: at.collect::<Result<_>>()? })
    });
    Ok(dump::Stack { left_out: left_out.transpose()?, pcs })
}

fn goroutine(of: wire::Goroutine, pcs: &[Pc], sizes: &Sizes) -> Result<dump::Goroutine> {
    let who = |what: String| format!("goroutine {}: {what}", of.goid);
    let pc = |index: Option<u32>, exact| {
        let Some(index) = index else { return Ok(0) };
        let pc = pc_at(index, pcs)?;
        // An address that reads back as none would be another goroutine's.
        let fits = pc.exact == exact && pc.pc != 0;
        if fits { Ok(pc.pc) } else { Err(format!("place {index} is of another kind")) }
    };
    let stack = of.stack.map(|s| in_range(s, sizes.stacks, "stack")).transpose().map_err(who)?;
    let broken = of.incomplete.map(broken).transpose().map_err(who)?;
    let trace = match (of.trace, stack, broken) {
        (TraceKind::Whole, Some(stack), None) => Trace::Whole(stack),
        (TraceKind::Partial, Some(stack), Some(because)) => Trace::Partial { stack, because },
        (TraceKind::Running, None, None) => Trace::Running,
        (TraceKind::Moving, None, None) => Trace::Moving,
        (TraceKind::None, None, Some(because)) => Trace::None { because },
        _ => return Err(who("its trace, stack and what is incomplete do not fit".to_owned())),
    };
    let waits_on = of
        .waits_on
        .into_iter()
        .map(|w| Ok(dump::Wait { object: in_range(w.object, sizes.objects, "object")?, side: side(w.side) }));
    Ok(dump::Goroutine {
        goid: of.goid,
        g: of.g,
        parent: of.parent,
        status: status(&of.status).ok_or_else(|| who(format!("there is no status `{}`", of.status)))?,
        reason: of.reason,
        since: match of.waiting {
            None => Since::Unknown,
            Some(wire::Age { ns, at_least: true }) => Since::AtLeast(ns),
            Some(wire::Age { ns, at_least: false }) => Since::Exactly(ns),
        },
        runtime_since: of.runtime_waiting_ns,
        gopc: pc(of.created_at, false).map_err(who)?,
        start_pc: pc(of.start, true).map_err(who)?,
        trace,
        thread: of.thread,
        locked: of.locked,
        labels: of.labels.map(|l| in_range(l, sizes.labels, "set of labels")).transpose().map_err(who)?,
        system: of.system,
        waits_on: waits_on.collect::<Result<_>>().map_err(who)?,
        wait_mark: None,
        on_stack: None,
    })
}

fn cycle(of: wire::Cycle, sizes: &Sizes) -> Result<dump::Cycle> {
    let step = |s: wire::Step| {
        let object = in_range(s.object, sizes.objects, "object")?;
        Ok(dump::cycles::Step { goid: s.goid, object, side: side(s.side), cases: s.cases })
    };
    let cycle = dump::Cycle {
        steps: of.steps.into_iter().map(step).collect::<Result<_>>()?,
        length: of.length,
        goroutines: of.goroutines,
        behind: of.behind,
        others: of.others,
        others_in_all: of.others_in_all,
        unsearched: of.unsearched,
        global: of.global,
        stuck: of.certainty != wire::Certainty::Locks,
    };
    let fits = cycle.is_closed() == (of.certainty == wire::Certainty::Closed);
    if fits { Ok(cycle) } else { Err("how sure a cycle is and what it says do not fit".to_owned()) }
}

/// By the names that [`Status::name`] gives.
fn status(name: &str) -> Option<Status> {
    const NAMED: [Status; 10] = [
        Status::Idle,
        Status::Runnable,
        Status::Running,
        Status::Syscall,
        Status::Waiting,
        Status::Dead,
        Status::CopyStack,
        Status::Preempted,
        Status::Leaked,
        Status::DeadExtra,
    ];
    let number = || name.strip_prefix("status ")?.parse().ok().map(Status::Other);
    NAMED.into_iter().find(|s| s.name() == name).or_else(number)
}

fn broken(of: wire::Broken) -> Result<Broken> {
    Ok(match (of.kind, of.pc, of.limit) {
        (BrokenKind::NoFunction, Some(pc), None) => Broken::NoFunction { pc },
        (BrokenKind::NoFrame, Some(pc), None) => Broken::NoFrame { pc },
        (BrokenKind::OutOfBounds, None, None) => Broken::OutOfBounds,
        (BrokenKind::Unreadable, None, None) => Broken::Unreadable,
        (BrokenKind::TooDeep, None, Some(limit)) => Broken::TooDeep { limit },
        (BrokenKind::NoThread, None, None) => Broken::NoThread,
        (BrokenKind::OtherStack, None, None) => Broken::OtherStack,
        _ => return Err("what is incomplete and its numbers do not fit".to_owned()),
    })
}

fn side(of: Side) -> dump::Side {
    match of {
        Side::Send => dump::Side::Send,
        Side::Receive => dump::Side::Receive,
        Side::Wait => dump::Side::Wait,
        Side::Unknown => dump::Side::Unknown,
    }
}

fn fires(of: wire::Timer) -> Result<Fires> {
    match (of.in_ns, of.stopped) {
        (Some(ns), false) => Ok(Fires::In(ns)),
        (None, true) => Ok(Fires::Not),
        (None, false) => Ok(Fires::Unknown),
        (Some(_), true) => Err("a timer is stopped and fires".to_owned()),
    }
}

fn object(of: wire::Object) -> Result<dump::Object> {
    let given = [
        of.channel.is_some(),
        of.mutex.is_some(),
        of.rw_mutex.is_some(),
        of.wait_group.is_some(),
        of.cond.is_some(),
        of.semaphore.is_some(),
        of.timer.is_some(),
        of.descriptor.is_some(),
    ];
    let given = given.into_iter().filter(|g| *g).count();
    let kind = match of.kind {
        ObjectKind::Channel => match of.channel {
            Some(c) => Some(dump::ObjectKind::Channel {
                len: c.len,
                cap: c.cap,
                closed: c.closed,
                elem_size: c.elem_size,
                timer: c.timer.map(fires).transpose()?,
            }),
            None => None,
        },
        ObjectKind::Forever => Some(dump::ObjectKind::Forever),
        ObjectKind::Mutex => of.mutex.map(|m| dump::ObjectKind::Mutex {
            locked: m.locked,
            starving: m.starving,
            waiters: m.waiters,
        }),
        ObjectKind::RwMutex => of.rw_mutex.map(|m| dump::ObjectKind::RwMutex {
            readers: m.readers,
            writer: m.writer,
            waiting_for_readers: m.waiting_for_readers,
        }),
        ObjectKind::WaitGroup => {
            of.wait_group.map(|w| dump::ObjectKind::WaitGroup { counter: w.counter, waiters: w.waiters })
        }
        ObjectKind::Cond => of.cond.map(|c| dump::ObjectKind::Cond { waiters: c.waiters }),
        ObjectKind::Semaphore => of.semaphore.map(|s| dump::ObjectKind::Semaphore { value: s.value }),
        ObjectKind::Timer => of.timer.map(fires).transpose()?.map(|fires| dump::ObjectKind::Timer { fires }),
        ObjectKind::Descriptor => {
            of.descriptor.map(|d| dump::ObjectKind::Descriptor { fd: d.fd, peer: d.peer })
        }
    };
    let wanted = usize::from(of.kind != ObjectKind::Forever);
    let kind = kind.filter(|_| given == wanted);
    Ok(dump::Object {
        addr: of.addr.unwrap_or_default(),
        kind: kind.ok_or_else(|| format!("an object of the kind {:?} has not what such one has", of.kind))?,
        receivers: of.receivers,
        senders: of.senders,
        holders: of.holders,
        holders_in_all: of.holders_in_all,
    })
}
