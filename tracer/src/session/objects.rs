//! What goroutines wait on, and their labels, as looks told it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::dump::{ObjectKind, Side};
use crate::event::message::WaitOn;
use crate::event::{Labels, Object};

use super::goroutine::{Goroutine, Held};
use super::limits::{Limits, cut};

/// Cases of one `select` that are remembered.
const MAX_CASES: usize = 64;
/// Labels of one set that are remembered.
const MAX_LABELS: usize = 32;

/// Objects that somebody waits on, and sets of labels. Objects go with their last waiter.
#[derive(Debug, Default)]
pub struct Objects {
    by_addr: HashMap<u64, Waited, RandomState>,
    /// What goroutines wait on that wait on more than one, by goid.
    many: HashMap<u64, Box<[WaitOn]>, RandomState>,
    /// Sets of labels by their numbers less one, and the numbers by their ids.
    labels: Vec<Vec<(String, String)>>,
    label_ids: HashMap<u64, u32, RandomState>,
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

    /// What it waits on; nothing when that is not known.
    pub fn on<'a>(&'a self, g: &'a Goroutine) -> impl Iterator<Item = WaitOn> + 'a {
        let (one, many) = match g.on {
            Held::Nothing => (None, None),
            Held::One(side) => (Some(WaitOn { addr: g.on_addr, side: side.tell() }), None),
            Held::Many => (None, self.many.get(&g.goid)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter().copied()))
    }

    /// A goroutine waits on these, and on nothing else. They must be told; of others nothing is kept.
    pub fn enter(&mut self, g: &mut Goroutine, on: Vec<WaitOn>) {
        let mut kept: Vec<WaitOn> = on.into_iter().filter(|on| self.by_addr.contains_key(&on.addr)).collect();
        kept.truncate(MAX_CASES);
        for on in &kept {
            if let Some(waited) = self.by_addr.get_mut(&on.addr) {
                self.unused -= usize::from(waited.senders + waited.others == 0);
                *waited.on(on.side) += 1;
            }
        }
        // The new ones have entered first: an object that is in both stays.
        self.leave(g);
        match kept[..] {
            [] => {}
            [WaitOn { addr, side }] => (g.on, g.on_addr) = (Held::One(Side::told(side)), addr),
            _ => {
                g.on = Held::Many;
                self.many.insert(g.goid, kept.into());
            }
        }
    }

    /// It is no longer where it was: what was known of the wait goes.
    pub fn unblock(&mut self, g: &mut Goroutine) {
        g.blocked = 0;
        self.leave(g);
    }

    /// It waits on nothing.
    pub fn leave(&mut self, g: &mut Goroutine) {
        match std::mem::replace(&mut g.on, Held::Nothing) {
            Held::Nothing => {}
            Held::One(side) => self.one_left(g.on_addr, side.tell()),
            Held::Many => {
                for on in self.many.remove(&g.goid).unwrap_or_default() {
                    self.one_left(on.addr, on.side);
                }
            }
        }
    }

    fn one_left(&mut self, addr: u64, side: u32) {
        if let Some(waited) = self.by_addr.get_mut(&addr) {
            let n = waited.on(side);
            *n = n.saturating_sub(1);
            if waited.senders + waited.others == 0 {
                self.by_addr.remove(&addr);
            }
        }
    }

    pub fn get(&self, addr: u64) -> Option<&Waited> {
        self.by_addr.get(&addr)
    }

    pub fn tell_labels(&mut self, told: Labels, limits: &Limits) -> Result<(), Full> {
        let number = self.label_number(told.id, limits);
        let Some(set) = (number as usize).checked_sub(1).and_then(|i| self.labels.get_mut(i)) else {
            return if told.id == 0 { Ok(()) } else { Err(Full) };
        };
        let mut labels: Vec<_> = told.labels.into_iter().map(|l| (l.key, l.value)).collect();
        labels.truncate(MAX_LABELS);
        labels.shrink_to_fit();
        for text in labels.iter_mut().flat_map(|(key, value)| [key, value]) {
            cut(text, limits.label_bytes);
        }
        *set = labels;
        Ok(())
    }

    /// Of the set of labels with this id, told or not; 0: none, or beyond the limit.
    pub fn label_number(&mut self, id: u64, limits: &Limits) -> u32 {
        if let Some(number) = self.label_ids.get(&id) {
            return *number;
        }
        if id == 0 || self.labels.len() >= limits.label_sets {
            return 0;
        }
        self.labels.push(Vec::new());
        let Ok(number) = u32::try_from(self.labels.len()) else { return 0 };
        self.label_ids.insert(id, number);
        number
    }

    pub fn labels(&self, number: u32) -> &[(String, String)] {
        (number as usize).checked_sub(1).and_then(|i| self.labels.get(i)).map_or(&[], Vec::as_slice)
    }
}

impl Waited {
    fn on(&mut self, side: u32) -> &mut u64 {
        if Side::told(side) == Side::Send { &mut self.senders } else { &mut self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::super::goroutine::{Activity, Born, Doing};
    use super::*;
    use tracer_common::wire::side;

    fn goroutine(goid: u64) -> Goroutine {
        let activity = Activity { doing: Doing::NotSeen, since_ns: 0, at_least: true };
        Goroutine::new(goid, 0, Born::Before(0), activity)
    }

    fn channel(addr: u64, len: u64) -> Object {
        ObjectKind::Channel { len, cap: 4, closed: false, elem_size: 8, timer: None }.tell(addr)
    }

    #[test]
    fn an_object_goes_with_its_last_waiter() {
        let (mut objects, limits) = (Objects::default(), Limits::default());
        assert!(objects.tell(channel(1, 0), &limits).is_ok() && objects.tell(channel(2, 0), &limits).is_ok());
        let on = |addr, side| WaitOn { addr, side };
        let (mut first, mut second) = (goroutine(5), goroutine(6));
        objects.enter(&mut first, vec![on(1, side::SEND), on(2, side::RECEIVE), on(3, side::SEND)]);
        assert_eq!(objects.on(&first).count(), 2, "3 was never told");
        objects.enter(&mut second, vec![on(1, side::RECEIVE)]);
        assert_eq!(objects.on(&second).collect::<Vec<_>>(), [on(1, side::RECEIVE)]);
        assert!(objects.tell(channel(1, 3), &limits).is_ok());
        let waited = objects.get(1).expect("it was told");
        assert_eq!((waited.senders, waited.others, objects.unused), (1, 1, 0));
        assert_eq!(
            waited.kind,
            ObjectKind::Channel { len: 3, cap: 4, closed: false, elem_size: 8, timer: None }
        );
        objects.leave(&mut first);
        assert!(objects.get(1).is_some() && objects.get(2).is_none());
        objects.unblock(&mut second);
        assert!(objects.by_addr.is_empty() && objects.many.is_empty());
        assert_eq!(objects.on(&first).chain(objects.on(&second)).count(), 0);
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
        let kept = objects.labels(objects.label_ids[&1]);
        assert_eq!((kept.len(), kept[0].0.as_str()), (MAX_LABELS, "kkkk…"));
        assert_eq!((objects.label_number(2, &limits), objects.labels(0).len()), (0, 0));
    }
}
