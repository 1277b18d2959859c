//! What goroutines wait on, and their labels, as looks told it.

use std::collections::HashMap;

use crate::dump::{ObjectKind, Side};
use crate::event::message::WaitOn;
use crate::event::{Labels, Object};

use super::limits::{Limits, cut};

/// Cases of one `select` that are remembered.
const MAX_CASES: usize = 64;
/// Labels of one set that are remembered.
const MAX_LABELS: usize = 32;

/// What one goroutine waits on; empty when it is not known.
pub type On = Box<[WaitOn]>;

/// Objects that somebody waits on, and sets of labels. Objects go with their last waiter.
#[derive(Debug, Default)]
pub struct Objects {
    by_addr: HashMap<u64, Waited>,
    labels: HashMap<u64, Vec<(String, String)>>,
    /// Told, and nobody was said to wait on them yet.
    unused: usize,
}

/// An object and who waits on it.
#[derive(Clone, Debug)]
pub struct Waited {
    pub kind: ObjectKind,
    pub senders: u64,
    /// All but those that send.
    pub others: u64,
}

/// Beyond a limit.
pub struct Full;

impl Objects {
    pub fn tell(&mut self, object: Object, limits: &Limits) -> Result<(), Full> {
        let addr = object.addr;
        let Some(mut kind) = ObjectKind::told(object) else { return Ok(()) };
        if let ObjectKind::Descriptor { peer: Some(peer), .. } = &mut kind {
            cut(peer, limits.name_bytes);
        }
        if let Some(known) = self.by_addr.get_mut(&addr) {
            known.kind = kind;
            return Ok(());
        }
        if self.unused >= limits.goroutines {
            return Err(Full);
        }
        self.unused += 1;
        self.by_addr.insert(addr, Waited { kind, senders: 0, others: 0 });
        Ok(())
    }

    /// A goroutine waits on these. They must be told; of others nothing is kept.
    pub fn enter(&mut self, on: Vec<WaitOn>) -> On {
        let mut kept: Vec<WaitOn> = on.into_iter().filter(|on| self.by_addr.contains_key(&on.addr)).collect();
        kept.truncate(MAX_CASES);
        for on in &kept {
            if let Some(waited) = self.by_addr.get_mut(&on.addr) {
                self.unused -= usize::from(waited.senders + waited.others == 0);
                *waited.on(on.side) += 1;
            }
        }
        kept.into()
    }

    /// It does no more.
    pub fn leave(&mut self, on: On) {
        for on in on {
            if let Some(waited) = self.by_addr.get_mut(&on.addr) {
                let n = waited.on(on.side);
                *n = n.saturating_sub(1);
                if waited.senders + waited.others == 0 {
                    self.by_addr.remove(&on.addr);
                }
            }
        }
    }

    pub fn get(&self, addr: u64) -> Option<&Waited> {
        self.by_addr.get(&addr)
    }

    pub fn tell_labels(&mut self, told: Labels, limits: &Limits) -> Result<(), Full> {
        if !self.labels.contains_key(&told.id) && self.labels.len() >= limits.label_sets {
            return Err(Full);
        }
        let mut labels: Vec<_> = told.labels.into_iter().map(|l| (l.key, l.value)).collect();
        labels.truncate(MAX_LABELS);
        labels.shrink_to_fit();
        for text in labels.iter_mut().flat_map(|(key, value)| [key, value]) {
            cut(text, limits.label_bytes);
        }
        self.labels.insert(told.id, labels);
        Ok(())
    }

    pub fn labels(&self, id: u64) -> &[(String, String)] {
        self.labels.get(&id).map_or(&[], Vec::as_slice)
    }
}

impl Waited {
    fn on(&mut self, side: u32) -> &mut u64 {
        if Side::told(side) == Side::Send { &mut self.senders } else { &mut self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::wire::side;

    fn channel(addr: u64, len: u64) -> Object {
        ObjectKind::Channel { len, cap: 4, closed: false, elem_size: 8, timer: None }.tell(addr)
    }

    #[test]
    fn an_object_goes_with_its_last_waiter() {
        let (mut objects, limits) = (Objects::default(), Limits::default());
        assert!(objects.tell(channel(1, 0), &limits).is_ok() && objects.tell(channel(2, 0), &limits).is_ok());
        let on = |addr, side| WaitOn { addr, side };
        let first = objects.enter(vec![on(1, side::SEND), on(2, side::RECEIVE), on(3, side::SEND)]);
        assert_eq!(first.len(), 2, "3 was never told");
        let second = objects.enter(vec![on(1, side::RECEIVE)]);
        assert!(objects.tell(channel(1, 3), &limits).is_ok());
        let waited = objects.get(1).expect("it was told");
        assert_eq!((waited.senders, waited.others, objects.unused), (1, 1, 0));
        assert_eq!(
            waited.kind,
            ObjectKind::Channel { len: 3, cap: 4, closed: false, elem_size: 8, timer: None }
        );
        objects.leave(first);
        assert!(objects.get(1).is_some() && objects.get(2).is_none());
        objects.leave(second);
        assert!(objects.by_addr.is_empty());
    }

    #[test]
    fn objects_that_nobody_waits_on_and_labels_are_bounded() {
        let limits = Limits { goroutines: 2, label_sets: 1, label_bytes: 4, ..Limits::default() };
        let mut objects = Objects::default();
        let told: Vec<bool> = (1..5).map(|addr| objects.tell(channel(addr, 0), &limits).is_ok()).collect();
        assert_eq!(told, [true, true, false, false]);
        let label = |n: usize| crate::event::message::Label { key: "k".repeat(n), value: String::new() };
        let labels = |id, n| Labels { id, labels: vec![label(n); 40] };
        assert!(objects.tell_labels(labels(1, 9), &limits).is_ok());
        assert!(objects.tell_labels(labels(2, 1), &limits).is_err());
        assert_eq!((objects.labels(1).len(), objects.labels(1)[0].0.as_str()), (MAX_LABELS, "kkkk…"));
        assert!(objects.labels(2).is_empty());
    }
}
