//! What the events of a chunk lead one to expect of the next one. The same for packing and unpacking.

use tracer_common::wire::kind;

use super::bits::{unzigzag, zigzag};
use super::{KINDS, column};

/// Where values go, or come from. Unpacking ignores what it is given and returns what was written.
pub trait Way {
    fn byte(&mut self, column: usize, value: u8) -> u8;
    /// Any number; small ones are cheap.
    fn number(&mut self, column: usize, value: u64) -> u64;
    fn word(&mut self, value: u64) -> u64;

    /// Which known thing this is. Only asked of the packing side: the other one is told.
    fn slot_of_g(&self, g: u64) -> Option<u32>;
    fn slot_of_goid(&self, goid: u64) -> Option<u32>;
    fn site_of(&self, words: &[u64; 3]) -> Option<u32>;
    fn wait_of(&self, words: &[u64; 3]) -> Option<u32>;
    /// Something new has this number from now on.
    fn new_slot(&mut self, g: u64, slot: u32);
    fn new_goid(&mut self, goid: u64, slot: u32);
    fn new_site(&mut self, words: &[u64; 3], site: u32);
    fn new_wait(&mut self, words: &[u64; 3], wait: u32);
}

/// An event of a kind that is taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub kind: u8,
    pub time_ns: u64,
    pub goid: u64,
    pub g: u64,
    pub tid: u32,
    pub cpu: u16,
    /// Of births; of parks the first three.
    pub parent: u64,
    pub words: [u64; 3],
}

/// A `runtime.g` that was met.
#[derive(Debug)]
struct Slot {
    g: u64,
    /// Who had it last.
    goid: u64,
    alive: bool,
    /// What came next on its thread when this one was last met, by kind.
    after: [u32; KINDS],
    /// Parent of who had it last, the site it last started one from, how it last waited.
    parent: u64,
    site: u32,
    wait: u32,
}

#[derive(Debug)]
struct Thread {
    tid: u32,
    cpu: u16,
    /// Whose event came last, who was last run.
    last: u32,
    running: u32,
    /// Born or made ready here and not yet run; freed here and not yet used again.
    fresh: Vec<u32>,
    free: Vec<u32>,
    /// Last goid born here, and its parent.
    goid: u64,
    parent: u64,
}

const NONE: u32 = u32::MAX;
/// How many guesses of the `g` there are; then: known, but none of these; new.
const GUESSES: usize = 5;
const KNOWN: u8 = GUESSES as u8;
const NEW: u8 = KNOWN + 1;
const MAX_THREADS: usize = 200;
/// A byte that says that a number follows.
const MORE: u8 = u8::MAX;

/// Of one chunk.
#[derive(Debug, Default)]
pub struct Model {
    time_ns: u64,
    slots: Vec<Slot>,
    /// The one met last comes first.
    threads: Vec<Thread>,
    sites: Vec<[u64; 3]>,
    waits: Vec<[u64; 3]>,
    new_g: u64,
    goid: u64,
    greatest_goid: u64,
    last: u32,
}

/// The columns contradict themselves.
#[derive(Debug)]
pub struct Contradiction;

impl Model {
    pub fn clear(&mut self) {
        let Self { time_ns, slots, threads, sites, waits, new_g, goid, greatest_goid, last } = self;
        (*time_ns, *new_g, *goid, *greatest_goid, *last) = (0, 0, 0, 0, NONE);
        slots.clear();
        threads.clear();
        sites.clear();
        waits.clear();
    }

    /// Passes one event in either direction; its kind must be right already.
    pub fn event(&mut self, way: &mut impl Way, e: &mut Fields) -> Result<(), Contradiction> {
        let kind_at = usize::from(e.kind);
        let since = zigzag(e.time_ns.wrapping_sub(self.time_ns));
        e.time_ns = self.time_ns.wrapping_add(unzigzag(way.number(column::TIME + kind_at, since)));
        self.time_ns = e.time_ns;
        self.thread(way, e)?;
        let slot = self.slot(way, e)?;
        if e.kind == kind::BIRTH {
            self.birth(way, e, slot)?;
        } else {
            let was = self.slots[slot as usize].goid;
            e.goid =
                was.wrapping_add(unzigzag(way.number(column::NEW_GOID, zigzag(e.goid.wrapping_sub(was)))));
            if e.goid != was {
                way.new_goid(e.goid, slot);
            }
        }
        if e.kind == kind::PARK {
            self.park(way, e, slot)?;
        }
        self.goid = e.goid;
        self.greatest_goid = self.greatest_goid.max(e.goid);
        self.happened(e, slot);
        Ok(())
    }

    /// The thread, which then stands first, and its processor.
    fn thread(&mut self, way: &mut impl Way, e: &mut Fields) -> Result<(), Contradiction> {
        let at = self.threads.iter().position(|t| t.tid == e.tid).unwrap_or(self.threads.len());
        let at = usize::from(way.byte(column::THREAD, at as u8));
        if at == self.threads.len() {
            // Of more than so many the one that was met longest ago is forgotten; that also bounds the search.
            self.threads.truncate(MAX_THREADS - 1);
            let before = self.threads.first().map_or(0, |t| u64::from(t.tid));
            let tid = before.wrapping_add(unzigzag(
                way.number(column::NEW_TID, zigzag(u64::from(e.tid).wrapping_sub(before))),
            ));
            let tid = u32::try_from(tid).map_err(|_| Contradiction)?;
            self.threads.insert(
                0,
                Thread {
                    tid,
                    cpu: 0,
                    last: NONE,
                    running: NONE,
                    fresh: Vec::new(),
                    free: Vec::new(),
                    goid: self.greatest_goid,
                    parent: 0,
                },
            );
        } else {
            self.threads.get_mut(..=at).ok_or(Contradiction)?.rotate_right(1);
        }
        let thread = &mut self.threads[0];
        e.tid = thread.tid;
        let other = e.cpu ^ thread.cpu;
        let other = match way.byte(column::CPU, u8::try_from(other).unwrap_or(MORE)) {
            MORE => u16::try_from(way.number(column::NEW_TID, other.into())).map_err(|_| Contradiction)?,
            short => short.into(),
        };
        thread.cpu ^= other;
        e.cpu = thread.cpu;
        Ok(())
    }

    /// Whose event it is.
    fn slot(&mut self, way: &mut impl Way, e: &mut Fields) -> Result<u32, Contradiction> {
        let slots = &self.slots;
        let alive = |slot: &u32| slots.get(*slot as usize).is_some_and(|s| s.alive);
        let thread = &mut self.threads[0];
        while thread.fresh.pop_if(|s| !alive(s)).is_some() {}
        while thread.free.pop_if(|s| alive(s)).is_some() {}
        let kind_at = usize::from(e.kind);
        let after = slots.get(thread.last as usize).map_or(NONE, |s| s.after[kind_at]);
        let newest = |stack: &Vec<u32>| stack.last().copied().unwrap_or(NONE);
        let guesses = [thread.running, newest(&thread.fresh), newest(&thread.free), after, self.last];
        let is = way.slot_of_g(e.g);
        let held = match is {
            None => NEW,
            Some(is) => guesses.iter().position(|g| *g == is).map_or(KNOWN, |at| at as u8),
        };
        let slot = match way.byte(column::WHO + kind_at, held) {
            NEW => {
                let far = zigzag(e.g.wrapping_sub(self.new_g));
                let g = self.new_g.wrapping_add(unzigzag(way.number(column::NEW_G, far)));
                let slot = u32::try_from(slots.len()).map_err(|_| Contradiction)?;
                let parent = thread.parent;
                let after = [NONE; KINDS];
                self.slots.push(Slot { g, goid: self.goid, alive: true, after, parent, site: 0, wait: 0 });
                way.new_slot(g, slot);
                self.new_g = g;
                slot
            }
            KNOWN => self.far_slot(way, is)?,
            held => *guesses.get(usize::from(held)).ok_or(Contradiction)?,
        };
        e.g = self.slots.get(slot as usize).ok_or(Contradiction)?.g;
        Ok(slot)
    }

    /// A slot by its age.
    fn far_slot(&self, way: &mut impl Way, is: Option<u32>) -> Result<u32, Contradiction> {
        let newest = self.slots.len().checked_sub(1).ok_or(Contradiction)?;
        let age = way.number(column::SLOT, is.map_or(0, |is| newest as u64 - u64::from(is)));
        let at = usize::try_from(age).ok().and_then(|age| newest.checked_sub(age));
        at.and_then(|at| u32::try_from(at).ok()).ok_or(Contradiction)
    }

    fn birth(&mut self, way: &mut impl Way, e: &mut Fields, slot: u32) -> Result<(), Contradiction> {
        let thread = &self.threads[0];
        let base = thread.goid;
        let guesses = [base.wrapping_add(1), self.greatest_goid.wrapping_add(1)];
        let held = guesses.iter().position(|goid| *goid == e.goid).unwrap_or(guesses.len()) as u8;
        e.goid = match way.byte(column::GOID, held) {
            held @ 0..=1 => guesses[usize::from(held)],
            _ => base.wrapping_add(unzigzag(way.number(column::NEW_GOID, zigzag(e.goid.wrapping_sub(base))))),
        };
        way.new_goid(e.goid, slot);

        let goid_of = |slot: u32| self.slots.get(slot as usize).map_or(0, |s| s.goid);
        let guesses = [
            goid_of(thread.running),
            thread.parent,
            self.slots[slot as usize].parent,
            goid_of(thread.last),
            0,
        ];
        let known = way.slot_of_goid(e.parent).filter(|slot| goid_of(*slot) == e.parent);
        let held = guesses
            .iter()
            .position(|goid| *goid == e.parent)
            .map_or_else(|| if known.is_some() { KNOWN } else { NEW }, |at| at as u8);
        e.parent = match way.byte(column::PARENT, held) {
            NEW => {
                let far = zigzag(e.parent.wrapping_sub(self.greatest_goid));
                self.greatest_goid.wrapping_add(unzigzag(way.number(column::NEW_GOID, far)))
            }
            KNOWN => goid_of(self.far_slot(way, known)?),
            held => *guesses.get(usize::from(held)).ok_or(Contradiction)?,
        };

        let guess = self.slots[slot as usize].site;
        let (site, new) = word_of(way, column::SITE, guess, &self.sites, e.words, |w| w.site_of(&e.words))?;
        if new {
            way.new_site(&site.1, site.0);
            self.sites.push(site.1);
        }
        e.words = site.1;
        let entry = &mut self.slots[slot as usize];
        (entry.site, entry.parent) = (site.0, e.parent);
        Ok(())
    }

    fn park(&mut self, way: &mut impl Way, e: &mut Fields, slot: u32) -> Result<(), Contradiction> {
        let guess = self.slots[slot as usize].wait;
        let (wait, new) = word_of(way, column::WAIT, guess, &self.waits, e.words, |w| w.wait_of(&e.words))?;
        if new {
            way.new_wait(&wait.1, wait.0);
            self.waits.push(wait.1);
        }
        e.words = wait.1;
        self.slots[slot as usize].wait = wait.0;
        Ok(())
    }

    /// Draws the conclusions.
    fn happened(&mut self, e: &Fields, slot: u32) {
        let thread = &mut self.threads[0];
        if let Some(before) = self.slots.get_mut(thread.last as usize) {
            before.after[usize::from(e.kind)] = slot;
        }
        thread.last = slot;
        self.last = slot;
        let entry = &mut self.slots[slot as usize];
        entry.goid = e.goid;
        entry.alive = e.kind != kind::DEATH;
        match e.kind {
            kind::BIRTH => {
                thread.fresh.push(slot);
                (thread.goid, thread.parent) = (e.goid, e.parent);
            }
            kind::DEATH => thread.free.push(slot),
            kind::READY => thread.fresh.push(slot),
            kind::RUN => {
                thread.running = slot;
                thread.fresh.pop_if(|s| *s == slot);
            }
            _ => {}
        }
    }
}

/// Three words that come again and again: as guessed, or by number, or new.
fn word_of<W: Way>(
    way: &mut W,
    column: usize,
    guess: u32,
    known: &[[u64; 3]],
    words: [u64; 3],
    find: impl Fn(&W) -> Option<u32>,
) -> Result<((u32, [u64; 3]), bool), Contradiction> {
    const OTHER: u8 = 1;
    let len = u32::try_from(known.len()).map_err(|_| Contradiction)?;
    let is = find(way).unwrap_or(len);
    // A byte: as guessed, or the number; beyond them a number follows.
    let held = if is == guess && is < len {
        0
    } else {
        u8::try_from(is).ok().and_then(|b| b.checked_add(OTHER)).unwrap_or(MORE)
    };
    let at = match way.byte(column, held) {
        0 => guess,
        MORE => u32::try_from(way.number(column::SLOT, is.into())).map_err(|_| Contradiction)?,
        short => u32::from(short - OTHER),
    };
    if at == len {
        let mut new = words;
        for word in &mut new {
            *word = way.word(*word);
        }
        return Ok(((at, new), true));
    }
    known.get(at as usize).map(|words| ((at, *words), false)).ok_or(Contradiction)
}
