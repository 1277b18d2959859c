//! Who waits on which semaphore, where the goroutine itself does not tell (before Go 1.26), and what a semaphore is part of.
//!
//! Layouts, the same in Go 1.19 to 1.27 unless said (`runtime/sema.go`, `sync/*.go`): `semtable` has 251 entries of a cache
//! line each, `{lock, treap *sudog, nwait}`; a treap's node has its children in `prev` and `next`, and others that wait on
//! the same address behind `waitlink`. `sync.Mutex{state, sema}`, `sync.RWMutex{w Mutex, writerSem, readerSem, readerCount,
//! readerWait}`, `sync.WaitGroup{state u64, sema}`, `sync.Cond{L, notify}`, `notifyList{wait, notify, lock, head, tail}`.

use std::collections::{HashMap, HashSet};

use super::super::{MemoryError, ReadMemory};
use super::waits::{bytes, word};
use crate::dump::ObjectKind;
use crate::gobin::SudogLayout;

const ENTRIES: u64 = 251;
const ENTRY: u64 = 64;
const TREAP: u64 = 8;
/// `sync.Cond.notify`, and `notifyList.head` in it, behind which `tail` is.
const NOTIFY: u64 = 16;
const HEAD: u64 = 16;
/// More waiters than that are not looked for: a list that is changed meanwhile, or a hostile one, may go in circles.
const MAX_WAITERS: usize = 1 << 21;
/// How far above its stack pointer a goroutine in `Cond.Wait` keeps the list and its sudog: frames of gopark and
/// notifyListWait.
const COND_FRAMES: u64 = 512;

/// The semaphore that each goroutine (by the address of its g) waits on, as `semtable` lists them now.
pub fn waiters(
    memory: &dyn ReadMemory,
    layout: &SudogLayout,
    semtable: u64,
) -> Result<HashMap<u64, u64>, MemoryError> {
    let mut found = HashMap::new();
    let Some(table) = bytes(memory, semtable, (ENTRIES * ENTRY) as u32)? else { return Ok(found) };
    let mut seen = HashSet::new();
    for entry in 0..ENTRIES {
        let mut nodes = vec![word(&table, (entry * ENTRY + TREAP) as u32)];
        while let Some(node) = nodes.pop() {
            if node == 0 || seen.len() >= MAX_WAITERS || !seen.insert(node) {
                continue;
            }
            let Some(sudog) = bytes(memory, node, layout.size)? else { continue };
            let field = |offset: u32| word(&sudog, offset);
            found.insert(field(layout.g), field(layout.elem));
            nodes.extend([field(layout.prev), field(layout.next), field(layout.waitlink)]);
        }
    }
    Ok(found)
}

/// Lists of conditions, each walked once.
#[derive(Default)]
pub struct Lists {
    /// The `notifyList` that each sudog stands in.
    of: HashMap<u64, u64>,
    /// Addresses that were taken for a `notifyList`.
    walked: HashSet<u64>,
    /// Sudogs met in all.
    met: usize,
}

impl Lists {
    /// Finds the `notifyList` of a goroutine that is parked in `Cond.Wait` with its stack from `sp` to `hi`: an address on
    /// the stack whose list holds the goroutine's own sudog. True of the time when the list was walked.
    pub fn cond_of(
        &mut self,
        memory: &dyn ReadMemory,
        l: &SudogLayout,
        (g, sp, hi): (u64, u64, u64),
    ) -> Result<Option<u64>, MemoryError> {
        let len = hi.saturating_sub(sp).min(COND_FRAMES) & !7;
        let Some(stack) = bytes(memory, sp, len as u32)? else { return Ok(None) };
        let words: Vec<u64> = (0..len).step_by(8).map(|at| word(&stack, at as u32)).collect();
        let mut candidates: Vec<u64> = words.into_iter().filter(|w| w % 8 == 0 && *w > 1 << 16).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut own = None;
        for at in &candidates {
            let Some(sudog) = bytes(memory, *at, l.size)? else { continue };
            if word(&sudog, l.g) == g && word(&sudog, l.c) == 0 {
                own = Some(*at);
            }
        }
        let Some(own) = own else { return Ok(None) };
        for list in &candidates {
            if !self.of.contains_key(&own) {
                self.walk(memory, l, *list)?;
            }
        }
        Ok(self.of.get(&own).copied().filter(|list| candidates.contains(list)))
    }

    fn walk(&mut self, memory: &dyn ReadMemory, l: &SudogLayout, list: u64) -> Result<(), MemoryError> {
        if self.met >= MAX_WAITERS || !self.walked.insert(list) {
            return Ok(());
        }
        let Some(ends) = bytes(memory, list.wrapping_add(HEAD), 16)? else { return Ok(()) };
        let (mut at, tail) = (word(&ends, 0), word(&ends, 8));
        let mut met = Vec::new();
        while at != 0 && self.met < MAX_WAITERS {
            let Some(sudog) = bytes(memory, at, l.size)? else { break };
            // A list holds sudogs of conditions only.
            if word(&sudog, l.c) != 0 {
                break;
            }
            met.push(at);
            self.met += 1;
            at = word(&sudog, l.next);
        }
        // Anything on a stack may look like the begin of a list, but not like its end, too.
        if at == 0 && met.last() == Some(&tail) {
            self.of.extend(met.into_iter().map(|sudog| (sudog, list)));
        }
        Ok(())
    }
}

/// What a semaphore belongs to, as the functions tell that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Mutex,
    RwMutexReader,
    RwMutexWriter,
    /// A second writer waits for the first one at the mutex inside, which comes first.
    RwMutexQueue,
    WaitGroup,
    Cond,
    Unknown,
}

impl Owner {
    /// `functions` are those of the blocked stack, innermost first.
    pub fn of<'f>(functions: impl Iterator<Item = &'f str>) -> Self {
        let mut owner = Self::Unknown;
        for f in functions {
            // Where the wait leaves `sync`, its owner is known.
            let Some(method) = f.strip_prefix("internal/sync.").or_else(|| f.strip_prefix("sync.")) else {
                if f.starts_with("runtime.") || f.starts_with("internal/runtime/") {
                    continue;
                }
                break;
            };
            owner = match method {
                "(*RWMutex).RLock" => Self::RwMutexReader,
                "(*RWMutex).Lock" if owner == Self::Mutex => Self::RwMutexQueue,
                "(*RWMutex).Lock" => Self::RwMutexWriter,
                "(*WaitGroup).Wait" => Self::WaitGroup,
                "(*Cond).Wait" if owner == Self::Unknown => Self::Cond,
                _ if method.starts_with("(*Mutex).") => Self::Mutex,
                _ => owner,
            };
            if !matches!(owner, Self::Unknown | Self::Mutex) {
                break;
            }
        }
        owner
    }

    /// The object whose semaphore (of a condition: whose list) is at `at`: its address and state. Nothing where its memory
    /// cannot be read.
    pub fn describe(
        self,
        memory: &dyn ReadMemory,
        at: u64,
    ) -> Result<Option<(u64, ObjectKind)>, MemoryError> {
        let (before, len) = match self {
            Self::Mutex => (4, 8),
            Self::RwMutexQueue => (4, 24),
            Self::RwMutexReader => (12, 24),
            Self::RwMutexWriter => (8, 24),
            Self::WaitGroup => (8, 12),
            Self::Cond => (NOTIFY, NOTIFY as u32 + 8),
            Self::Unknown => (0, 4),
        };
        let base = at.wrapping_sub(before);
        let Some(bytes) = bytes(memory, base, len)? else { return Ok(None) };
        let half = |offset: u32| word(&bytes, offset) as u32;
        Ok(Some((
            base,
            match self {
                Self::Mutex => mutex(half(0)),
                Self::RwMutexReader | Self::RwMutexWriter | Self::RwMutexQueue => {
                    rw_mutex(half(16) as i32, half(20) as i32)
                }
                Self::WaitGroup => {
                    // From Go 1.25 on the low half's highest bit says whether it is in a synctest bubble.
                    ObjectKind::WaitGroup { counter: half(4) as i32, waiters: half(0) & 0x7fff_ffff }
                }
                Self::Cond => {
                    ObjectKind::Cond { waiters: half(NOTIFY as u32).wrapping_sub(half(NOTIFY as u32 + 4)) }
                }
                Self::Unknown => ObjectKind::Semaphore { value: half(0) },
            },
        )))
    }
}

/// `mutexLocked`, `mutexStarving` and the waiters above them (`internal/sync/mutex.go`, before Go 1.24 `sync/mutex.go`).
fn mutex(state: u32) -> ObjectKind {
    ObjectKind::Mutex { locked: state & 1 != 0, starving: state & 4 != 0, waiters: state >> 3 }
}

/// A writer subtracts `rwmutexMaxReaders` from the count of readers while it waits or has the lock.
fn rw_mutex(count: i32, waiting_for: i32) -> ObjectKind {
    const MAX_READERS: i32 = 1 << 30;
    let writer = count < 0;
    let readers = if writer { count.wrapping_add(MAX_READERS) } else { count };
    ObjectKind::RwMutex { readers, writer, waiting_for_readers: waiting_for }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_off_the_blocked_stack() {
        let of = |functions: &[&str]| Owner::of(functions.iter().copied());
        let lock = ["runtime.gopark", "runtime.semacquire1", "internal/sync.runtime_SemacquireMutex"];
        let with = |more: &[&'static str]| of(&[&lock[..], more].concat());
        assert_eq!(
            with(&[
                "internal/sync.(*Mutex).lockSlow",
                "internal/sync.(*Mutex).Lock",
                "sync.(*Mutex).Lock",
                "main.f"
            ]),
            Owner::Mutex
        );
        assert_eq!(with(&["sync.(*RWMutex).RLock", "main.f"]), Owner::RwMutexReader);
        assert_eq!(with(&["sync.(*RWMutex).Lock", "main.f"]), Owner::RwMutexWriter);
        assert_eq!(
            with(&["sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "main.f"]),
            Owner::RwMutexQueue
        );
        assert_eq!(with(&["sync.(*WaitGroup).Wait", "main.f"]), Owner::WaitGroup);
        assert_eq!(with(&["sync.(*Mutex).lockSlow", "sync.(*Once).doSlow", "main.f"]), Owner::Mutex);
        assert_eq!(
            of(&["runtime.gopark", "sync.runtime_notifyListWait", "sync.(*Cond).Wait", "main.f"]),
            Owner::Cond
        );
        // After a condition was signalled its lock is taken again.
        assert_eq!(
            with(&["sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "sync.(*Cond).Wait", "main.f"]),
            Owner::Mutex
        );
        assert_eq!(with(&["internal/poll.(*fdMutex).rwlock", "sync.(*Mutex).Lock"]), Owner::Unknown);
        assert_eq!(of(&[]), Owner::Unknown);
    }

    #[test]
    fn states_are_what_go_means_by_them() {
        assert_eq!(mutex(1), ObjectKind::Mutex { locked: true, starving: false, waiters: 0 });
        assert_eq!(mutex(3 << 3 | 5), ObjectKind::Mutex { locked: true, starving: true, waiters: 3 });
        assert_eq!(rw_mutex(2, 0), ObjectKind::RwMutex { readers: 2, writer: false, waiting_for_readers: 0 });
        let waiting = ObjectKind::RwMutex { readers: 2, writer: true, waiting_for_readers: 2 };
        assert_eq!(rw_mutex(2 - (1 << 30), 2), waiting);
    }
}
