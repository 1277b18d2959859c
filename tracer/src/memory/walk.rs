//! Walks a goroutine's stack the way the runtime does: by how far each function says it has moved the stack pointer
//! (pclntab, `pcsp`), from frame to frame. Frame pointers only check that ([`Chain`]): they leave out callers of functions
//! that were preempted in their prologue or have no frame, and hand-written assembly uses their register for other things.
//!
//! Rules as in `runtime/traceback.go` (`unwinder`; Go 1.19 to 1.27): the return address is at `sp + delta`, the
//! caller's stack pointer 8 bytes above it (amd64); the stack ends at a function marked as one that ends stacks.

use foldhash::HashMap;

use crate::dump::{Broken, LeftOut, Pc, Stack};
use crate::gobin::GoBinary;

/// Frames kept at the inner end of a stack, and as many at its outer end. Go's own dumps show 50 and 50.
pub const KEPT: usize = 100;
/// Frames walked at most: the largest stack that Go allows (1 GB) with frames of 32 bytes.
pub const MAX_WALKED: u64 = 1 << 25;
/// Distinct program counters counted among those left out; recursion has few.
const MAX_COUNTED: usize = 4096;

/// What a program counter says of the frame that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes from the stack pointer to the return address.
    pub delta: u32,
    /// Entry of the function, as it stands in the process.
    pub entry: u64,
    /// Bytes of its caller's frame, behind the return address, that are its own: arguments, results, and room for those
    /// that came in registers.
    pub args: u32,
    /// A stack ends here.
    pub top: bool,
    /// It was not called: a signal put it above code that was at any instruction, which is what its return address names.
    pub interrupts: bool,
    /// C code has called it: its caller's frame pointer is whatever that had in its register.
    pub from_c: bool,
}

/// A way from a thread's other stacks back to the goroutine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The function left the goroutine's stack and has noted in `g.sched` where.
    Switch,
    /// The function is about to go on where `g.sched.pc` says; it loads the stack pointer before it jumps.
    Resume,
    /// The kernel called a signal's handler, to return here. What was interrupted is told above.
    Signal,
}

/// Knows the program's functions.
pub trait Code {
    fn step(&mut self, pc: u64) -> Result<Step, Broken>;

    fn passage(&mut self, pc: u64) -> Option<Passage>;
}

/// The functions of one executable, loaded somewhere. Remembers its answers: stacks are alike.
pub struct Functions<'b, 'd> {
    binary: &'b GoBinary<'d>,
    load_bias: u64,
    known: HashMap<u64, Result<Step, Broken>>,
}

/// More program counters than that are not remembered: a hostile process has any number.
const MAX_KNOWN: usize = 1 << 18;

impl<'b, 'd> Functions<'b, 'd> {
    pub fn new(binary: &'b GoBinary<'d>, load_bias: u64) -> Self {
        Self { binary, load_bias, known: HashMap::default() }
    }

    fn look_up(&self, pc: u64) -> Result<Step, Broken> {
        let linked = pc.wrapping_sub(self.load_bias);
        let functions = self.binary.functions();
        let f = functions.by_pc(linked).ok_or(Broken::NoFunction { pc })?;
        let delta = functions.sp_delta(&f, linked).and_then(|d| u32::try_from(d).ok());
        Ok(Step {
            delta: delta.filter(|d| d % 8 == 0).ok_or(Broken::NoFrame { pc })?,
            entry: f.entry.wrapping_add(self.load_bias),
            args: functions.args(&f),
            top: f.is_top_frame(),
            interrupts: matches!(f.name, "runtime.asyncPreempt" | "runtime.sigpanic" | "runtime.debugCallV2"),
            from_c: f.name == "runtime.cgocallback",
        })
    }
}

impl Code for Functions<'_, '_> {
    fn step(&mut self, pc: u64) -> Result<Step, Broken> {
        if let Some(known) = self.known.get(&pc) {
            return *known;
        }
        let step = self.look_up(pc);
        if self.known.len() < MAX_KNOWN {
            self.known.insert(pc, step);
        }
        step
    }

    fn passage(&mut self, pc: u64) -> Option<Passage> {
        let linked = pc.wrapping_sub(self.load_bias);
        let f = self.binary.functions().by_pc(linked)?;
        match f.name {
            "runtime.systemstack" | "runtime.mcall" | "runtime.morestack" => Some(Passage::Switch),
            // The former without its package, as assembly has it (`runtime/asm_amd64.s`, `gogo<>`).
            "gogo" | "runtime.gogo" => Some(Passage::Resume),
            // The latter up to Go 1.19.
            "runtime.sigreturn__sigaction" | "runtime.sigreturn" if f.entry == linked => {
                Some(Passage::Signal)
            }
            _ => None,
        }
    }
}

/// Where a walk begins, and between which addresses the stack lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub pc: u64,
    pub sp: u64,
    pub lo: u64,
    pub hi: u64,
}

/// What a walk came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Right as far as it goes.
    pub stack: Stack,
    /// Why it did not come to the stack's end.
    pub broken: Option<Broken>,
    /// A frame pointer leads elsewhere than to a frame that was walked.
    pub doubted: bool,
}

/// Walks from `start` outwards. `word` gives the word at an address of the stack.
pub fn walk(code: &mut dyn Code, start: Start, word: &mut dyn FnMut(u64) -> Option<u64>) -> Walked {
    walk_from(code, start, false, word)
}

/// [`walk`]. `exact`: the instruction at `start` was next, where it stands otherwise behind a call.
pub fn walk_from(
    code: &mut dyn Code,
    start: Start,
    exact: bool,
    word: &mut dyn FnMut(u64) -> Option<u64>,
) -> Walked {
    let mut frames = Frames::default();
    let mut chain = Chain::default();
    let broken = frames_from(code, start, exact, word, &mut frames, &mut chain).err();
    Walked { stack: frames.finish(), broken, doubted: chain.differs }
}

/// The frame pointers that functions save below their return addresses: each leads to where a caller has saved its own.
/// Not each function saves one, so a pointer may lead past frames; never to a place between them.
#[derive(Debug, Default)]
struct Chain {
    /// Where the next one should be; absent where it is not known.
    next: Option<u64>,
    differs: bool,
}

impl Chain {
    /// A frame has its return address at `at`, and below it a word that may be its caller's frame pointer.
    fn frame(&mut self, at: u64, hi: u64, word: &mut dyn FnMut(u64) -> Option<u64>) {
        let slot = at - 8;
        match self.next {
            Some(next) if slot < next => return,
            Some(next) if slot > next => self.differs = true,
            _ => {}
        }
        // 0 where a stack begins; anything where C has called.
        self.next = word(slot).filter(|next| slot < *next && *next < hi && next.is_multiple_of(8));
    }
}

fn frames_from(
    code: &mut dyn Code,
    start: Start,
    mut interrupted: bool,
    word: &mut dyn FnMut(u64) -> Option<u64>,
    frames: &mut Frames,
    chain: &mut Chain,
) -> Result<(), Broken> {
    let Start { mut pc, mut sp, lo, hi } = start;
    loop {
        let step = code.step(pc)?;
        // At its very first instruction nothing was called yet.
        frames.push(Pc { pc, exact: interrupted || pc == step.entry });
        if step.top {
            return Ok(());
        }
        if frames.walked == MAX_WALKED {
            return Err(Broken::TooDeep { limit: MAX_WALKED });
        }
        let at = sp.checked_add(step.delta.into()).ok_or(Broken::OutOfBounds)?;
        if at < lo || at.checked_add(8).is_none_or(|end| end > hi) || at % 8 != 0 {
            return Err(Broken::OutOfBounds);
        }
        if step.delta > 0 {
            chain.frame(at, hi, word);
        }
        if step.from_c {
            chain.next = None;
        }
        pc = word(at).ok_or(Broken::Unreadable)?;
        sp = at + 8;
        interrupted = step.interrupts;
    }
}

/// The frames at both ends of a stack, and a count of those between.
#[derive(Default)]
struct Frames {
    inner: Vec<Pc>,
    /// A ring of the last ones.
    outer: Vec<Pc>,
    walked: u64,
    /// Of those that have left the ring.
    left_out: HashMap<Pc, u64>,
    left_out_in_all: u64,
}

impl Frames {
    fn push(&mut self, pc: Pc) {
        let i = self.walked;
        self.walked += 1;
        if self.inner.len() < KEPT {
            self.inner.push(pc);
        } else if self.outer.len() < KEPT {
            self.outer.push(pc);
        } else {
            let at = (i - KEPT as u64) as usize % KEPT;
            let left = std::mem::replace(&mut self.outer[at], pc);
            self.left_out_in_all += 1;
            if self.left_out.len() < MAX_COUNTED || self.left_out.contains_key(&left) {
                *self.left_out.entry(left).or_default() += 1;
            }
        }
    }

    fn finish(mut self) -> Stack {
        if self.left_out_in_all == 0 {
            self.inner.append(&mut self.outer);
            return Stack { pcs: self.inner, left_out: None };
        }
        let after = self.inner.len();
        let oldest = (self.walked - KEPT as u64) as usize % KEPT;
        self.inner.extend_from_slice(&self.outer[oldest..]);
        self.inner.extend_from_slice(&self.outer[..oldest]);
        let mut at: Vec<(Pc, u64)> = self.left_out.into_iter().collect();
        at.sort_unstable();
        Stack { pcs: self.inner, left_out: Some(LeftOut { after, frames: self.left_out_in_all, at }) }
    }
}

#[cfg(test)]
mod tests;
