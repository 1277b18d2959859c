//! What is only known of a memory that stands still: where each thread is, and so the stacks of goroutines that run.
//!
//! A goroutine that runs is where its thread's registers say, if they are within its stack. If not, the thread is on another
//! stack of its own: the system's (`runtime.systemstack`, `mcall` and `morestack` went there, and have noted in `g.sched` where
//! they left the goroutine's), or the signals' (the kernel has put what was interrupted there: `struct rt_sigframe`,
//! arch/x86/include/asm/sigframe.h). Nothing else is believed: `g.sched` of a goroutine that runs on its own stack is an
//! old one. As the runtime itself does it: `runtime/traceback.go`, `unwinder` with `unwindJumpStack`.

use std::collections::HashMap;

use super::super::core::Registers;
use super::super::g::G;
use super::super::walk::{self, Code, Passage, Start, Walked};
use super::super::{MemoryError, ReadMemory, allgs};
use super::{Source, Window, start};
use crate::dump::{Broken, Status};
use crate::event::status;
use crate::gobin::Layout;
use allgs::AllGs;

/// Frames on other stacks than the goroutine's: the runtime's own code, which does not recurse.
const MAX_FRAMES: usize = 1000;
/// A signal can interrupt a signal's handler.
const MAX_SIGNALS: usize = 4;
/// Where in `struct ucontext` the interrupted registers are.
const CONTEXT_SP: u64 = 160;
const CONTEXT_PC: u64 = 168;

/// What is known besides the memory.
pub struct Standing<'a> {
    /// By thread id, as the process itself sees it.
    pub threads: &'a HashMap<u32, Registers>,
    /// It was not earlier than that on `CLOCK_MONOTONIC`, nanoseconds ([`newest_wait`]).
    pub now_at_least: Option<u64>,
}

impl Standing<'_> {
    /// A goroutine's stack, whatever it does.
    pub(super) fn walk(&self, source: &Source<'_>, code: &mut dyn Code, g: &G) -> Walked {
        let found = match g.status() {
            status::RUNNING => self.running(source, code, g),
            // The copy is complete before `g.stack` leads to it, and the old one stays until then.
            status::COPYSTACK => saved(g).ok_or(Broken::OutOfBounds).map(|s| (s, false)),
            _ => start(g).ok_or(Broken::OutOfBounds).map(|s| (s, false)),
        };
        match found {
            Ok((start, exact)) => {
                let mut stack = Window::new(source.memory, start);
                walk::walk_from(code, start, exact, &mut |at| stack.word(at))
            }
            Err(because) => Walked { broken: Some(because), ..Walked::default() },
        }
    }

    /// Where it runs, and whether the instruction there was next.
    fn running(&self, source: &Source<'_>, code: &mut dyn Code, g: &G) -> Result<(Start, bool), Broken> {
        let word = |at: u64| source.memory.read_u64(at).ok();
        let field = |at: u32| word(g.m.checked_add(at.into())?);
        let mut at = field(source.layout.m_procid)
            .filter(|_| field(source.layout.kernel.m_curg) == Some(g.addr))
            .and_then(|id| self.threads.get(&u32::try_from(id).ok()?).copied())
            .ok_or(Broken::NoThread)?;
        for _ in 0..=MAX_SIGNALS {
            if g.lo <= at.sp && at.sp < g.hi {
                if code.passage(at.pc) == Some(Passage::Resume) {
                    return Ok((Start { pc: g.pc, sp: at.sp, lo: g.lo, hi: g.hi }, false));
                }
                return Ok((Start { pc: at.pc, sp: at.sp, lo: g.lo, hi: g.hi }, true));
            }
            match way_back(code, at, &word)? {
                Way::Switched => return saved(g).map(|s| (s, false)).ok_or(Broken::OtherStack),
                Way::Interrupted(registers) => at = registers,
            }
        }
        Err(Broken::OtherStack)
    }
}

enum Way {
    /// The goroutine's stack was left as `g.sched` tells.
    Switched,
    /// A signal's handler was called.
    Interrupted(Registers),
}

/// Walks a thread's other stack to where it was entered.
fn way_back(code: &mut dyn Code, from: Registers, word: &dyn Fn(u64) -> Option<u64>) -> Result<Way, Broken> {
    let Registers { mut pc, mut sp } = from;
    for _ in 0..MAX_FRAMES {
        match code.passage(pc) {
            Some(Passage::Switch | Passage::Resume) => return Ok(Way::Switched),
            Some(Passage::Signal) => {
                let field = |at: u64| sp.checked_add(at).and_then(word).ok_or(Broken::Unreadable);
                return Ok(Way::Interrupted(Registers { pc: field(CONTEXT_PC)?, sp: field(CONTEXT_SP)? }));
            }
            None => {}
        }
        let step = code.step(pc)?;
        let at = sp.checked_add(step.delta.into()).ok_or(Broken::OutOfBounds)?;
        pc = word(at).ok_or(Broken::Unreadable)?;
        sp = at.checked_add(8).ok_or(Broken::OutOfBounds)?;
        // A signal's handler is at the end of its stack, and nonetheless called.
        if step.top && code.passage(pc) != Some(Passage::Signal) {
            return Err(Broken::OtherStack);
        }
    }
    Err(Broken::OtherStack)
}

/// Where it left its stack, as it has noted.
fn saved(g: &G) -> Option<Start> {
    let fits = g.lo <= g.sp && g.sp < g.hi && g.sp.is_multiple_of(8) && g.pc != 0;
    fits.then_some(Start { pc: g.pc, sp: g.sp, lo: g.lo, hi: g.hi })
}

/// The newest time at which the collector found a goroutine waiting (`g.waitsince`): it was that late at least.
pub fn newest_wait(
    memory: &dyn ReadMemory,
    layout: &Layout,
    header: u64,
) -> Result<Option<u64>, MemoryError> {
    let AllGs::Read(addrs) = allgs::addresses(memory, header, &mut Vec::new())? else { return Ok(None) };
    let mut bytes = vec![0; super::g::window(layout)];
    let mut newest = None;
    for addr in addrs {
        if memory.read(addr, &mut bytes).is_ok() {
            let g = G::parse(addr, &bytes, layout);
            let waits =
                matches!(Status::of(g.raw_status), Status::Waiting | Status::Leaked | Status::Syscall);
            // A clock of 64 bits with a sign.
            let since = Some(g.waitsince).filter(|s| waits && *s != 0 && *s <= i64::MAX as u64);
            newest = newest.max(since);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::super::super::walk::Step;
    use super::*;

    /// Functions of 0x100 bytes with frames of a word. 0x2000 switches stacks, 0x3000 is where signals return to, 0x4000 is
    /// at the end of a stack.
    struct Fake;

    impl Code for Fake {
        fn step(&mut self, pc: u64) -> Result<Step, Broken> {
            let known = (0x1000..0x5000).contains(&pc);
            let step = Step {
                delta: 8,
                entry: pc & !0xff,
                args: 0,
                top: pc & !0xff == 0x4000,
                interrupts: false,
                from_c: false,
            };
            known.then_some(step).ok_or(Broken::NoFunction { pc })
        }

        fn passage(&mut self, pc: u64) -> Option<Passage> {
            match pc & !0xff {
                0x2000 => Some(Passage::Switch),
                0x4800 => Some(Passage::Resume),
                0x3000 => Some(Passage::Signal),
                _ => None,
            }
        }
    }

    /// Words at addresses; 0 elsewhere below 0x10000.
    struct Words(HashMap<u64, u64>);

    impl ReadMemory for Words {
        fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
            if addr >= 0x10000 {
                return Err(MemoryError::Unmapped { addr, len: buf.len() });
            }
            for (i, byte) in buf.iter_mut().enumerate() {
                let at = addr + i as u64;
                *byte = self.0.get(&(at & !7)).map_or(0, |w| w.to_le_bytes()[at as usize % 8]);
            }
            Ok(())
        }
    }

    const M: u64 = 0x100;
    const ADDR: u64 = 0x7000;
    const TID: u64 = 77;

    fn source<'a>(memory: &'a Words, layout: &'a Layout) -> Source<'a> {
        Source {
            memory,
            layout,
            allgs: 0,
            now: None,
            standing: None,
            goid_is_late: false,
            labels: super::super::labels::Form::List,
            reasons: &[],
            semtable: None,
            descriptors: None,
            is_system: &|_| false,
        }
    }

    /// What becomes of a goroutine that runs, its stack from 0x8000 to 0x9000, its thread there.
    fn walked(at: Registers, words: &[(u64, u64)], saved: (u64, u64)) -> Walked {
        let layout = crate::gobin::newest_layout().unwrap();
        let mut memory: HashMap<u64, u64> = words.iter().copied().collect();
        memory.insert(M + u64::from(layout.m_procid), TID);
        memory.insert(M + u64::from(layout.kernel.m_curg), ADDR);
        let memory = Words(memory);
        let mut g = G::parse(ADDR, &[], &layout);
        (g.raw_status, g.m, g.lo, g.hi) = (status::RUNNING, M, 0x8000, 0x9000);
        (g.pc, g.sp) = saved;
        let source = source(&memory, &layout);
        let threads = HashMap::from([(TID as u32, at)]);
        Standing { threads: &threads, now_at_least: None }.walk(&source, &mut Fake, &g)
    }

    fn pcs(walked: &Walked) -> Vec<(u64, bool)> {
        walked.stack.pcs.iter().map(|p| (p.pc, p.exact)).collect()
    }

    const NOWHERE: (u64, u64) = (0, 0);

    #[test]
    fn on_its_own_stack_the_registers_tell() {
        let stale = (0x1d00, 0x8800);
        let walked = walked(Registers { pc: 0x1020, sp: 0x8100 }, &[(0x8108, 0x4010)], stale);
        assert_eq!((pcs(&walked), walked.broken), (vec![(0x1020, true), (0x4010, false)], None));
    }

    #[test]
    fn from_the_systems_stack_it_goes_on_where_it_was_left() {
        let words = [(0x6008, 0x2010), (0x8208, 0x4010)];
        let walked = walked(Registers { pc: 0x1020, sp: 0x6000 }, &words, (0x1130, 0x8200));
        assert_eq!((pcs(&walked), walked.broken), (vec![(0x1130, false), (0x4010, false)], None));
    }

    #[test]
    fn one_that_is_being_resumed_is_where_it_goes_on() {
        // Its stack pointer is loaded, and so no longer noted.
        let words = [(0x8108, 0x4010), (0x8208, 0x4020)];
        let loaded = walked(Registers { pc: 0x4810, sp: 0x8100 }, &words, (0x1130, 0));
        assert_eq!((pcs(&loaded), loaded.broken), (vec![(0x1130, false), (0x4010, false)], None));
        // Not yet.
        let before = walked(Registers { pc: 0x4810, sp: 0x6000 }, &words, (0x1130, 0x8200));
        assert_eq!((pcs(&before), before.broken), (vec![(0x1130, false), (0x4020, false)], None));
    }

    #[test]
    fn one_whose_stack_is_being_copied_is_where_it_was_left() {
        let layout = crate::gobin::newest_layout().unwrap();
        let memory = Words(HashMap::from([(0x8208, 0x4010), (0x6208, 0x4020)]));
        let source = source(&memory, &layout);
        let standing = Standing { threads: &HashMap::new(), now_at_least: None };
        let walked = |lo: u64, hi: u64, sp: u64, status: u32| {
            let mut g = G::parse(ADDR, &[], &layout);
            (g.raw_status, g.lo, g.hi, g.sp, g.pc) = (status, lo, hi, sp, 0x1130);
            let walked = standing.walk(&source, &mut Fake, &g);
            (pcs(&walked), walked.broken)
        };
        let copying = status::COPYSTACK;
        let old = (vec![(0x1130, false), (0x4010, false)], None);
        assert_eq!(walked(0x8000, 0x9000, 0x8200, copying), old);
        // By the collector, who has set its bit.
        assert_eq!(walked(0x8000, 0x9000, 0x8200, copying | status::SCAN_BIT), old);
        // It leads to the copy.
        let new = (vec![(0x1130, false), (0x4020, false)], None);
        assert_eq!(walked(0x6000, 0x7000, 0x6200, copying), new);
        // Between the stores of its bounds and of its stack pointer.
        let neither = (vec![], Some(Broken::OutOfBounds));
        assert_eq!(walked(0x6000, 0x7000, 0x8200, copying), neither);
    }

    #[test]
    fn a_signals_handler_leads_to_what_it_interrupted() {
        // The handler is at the end of its stack; a second one interrupted the first.
        let words = [
            (0x5008, 0x4020),
            (0x5018, 0x3000),
            (0x5020 + CONTEXT_PC, 0x1050),
            (0x5020 + CONTEXT_SP, 0x6000),
            (0x6008, 0x4030),
            (0x6018, 0x3000),
            (0x6020 + CONTEXT_PC, 0x1060),
            (0x6020 + CONTEXT_SP, 0x8300),
            (0x8308, 0x4010),
        ];
        let walked = walked(Registers { pc: 0x1020, sp: 0x5000 }, &words, NOWHERE);
        assert_eq!((pcs(&walked), walked.broken), (vec![(0x1060, true), (0x4010, false)], None));
    }

    #[test]
    fn what_is_not_proven_is_not_told() {
        let good = (0x1130, 0x8200);
        let because = |at: (u64, u64), words: &[(u64, u64)], saved| {
            let walked = walked(Registers { pc: at.0, sp: at.1 }, words, saved);
            assert!(walked.stack.pcs.is_empty());
            walked.broken.unwrap()
        };
        // In C code; at the end of a stack that nobody switched to; switched away from a place that is no place.
        assert_eq!(because((0x9999, 0x6000), &[], good), Broken::NoFunction { pc: 0x9999 });
        assert_eq!(because((0x4000, 0x6000), &[], good), Broken::OtherStack);
        assert_eq!(because((0x2000, 0x6000), &[], (0x1130, 0x9200)), Broken::OtherStack);
        assert_eq!(because((0x1000, 0xffff), &[], good), Broken::Unreadable);
        // A thread that runs another goroutine.
        let layout = crate::gobin::newest_layout().unwrap();
        let memory = Words(HashMap::from([(M + u64::from(layout.m_procid), TID)]));
        let mut g = G::parse(ADDR, &[], &layout);
        (g.raw_status, g.m, g.lo, g.hi) = (status::RUNNING, M, 0x8000, 0x9000);
        let threads = HashMap::from([(TID as u32, Registers { pc: 0x1020, sp: 0x8100 })]);
        let standing = Standing { threads: &threads, now_at_least: None };
        let source = source(&memory, &layout);
        assert_eq!(standing.walk(&source, &mut Fake, &g).broken, Some(Broken::NoThread));
    }
}
