//! Which goroutines of a dump are wanted: `function=TEXT`, `age>5m` and so on.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Dump, Goroutine, Pc, Trace};
use crate::event::message::Frame;

/// One condition. It holds of what is known: of a goroutine that runs, the frames are not, so it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// As it was given.
    text: String,
    what: What,
    /// It must not hold (`!=`).
    not: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Part of the name of a frame's function, of the start function, or of the function that holds the `go` statement.
    Function(String),
    /// Part of the status or the wait reason.
    State(String),
    /// Part of the wait reason; who does not wait has none.
    Reason(String),
    /// Known to wait for longer, nanoseconds.
    Older(u64),
    /// Not known to wait for so long.
    Younger(u64),
    Label(String, String),
    Id(u64),
    /// Part of the function or the `file:line` of the `go` statement.
    Created(String),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("there is nothing to compare with; it is `KEY=TEXT`, `KEY!=TEXT`, `age>TIME` or `age<TIME`")]
    NoOperator,
    #[error("`{0}` is not known; it is function, state, reason, age, label.KEY, id or created")]
    Key(String),
    #[error("`{key}` is compared by {by}, not by `{op}`")]
    Operator { key: String, by: &'static str, op: &'static str },
    #[error("there is no text after `{0}`")]
    Empty(&'static str),
    #[error("`{0}` is not a time, for instance `90s`, `5m` or `1h30m`")]
    Time(String),
    #[error("`{0}` is not a goroutine's id")]
    Id(String),
    #[error("there is no key after `label.`")]
    Label,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let at = text.find(['=', '!', '<', '>']).ok_or(FilterError::NoOperator)?;
        let (key, rest) = text.split_at(at);
        let op = ["!=", "=", "<", ">"].into_iter().find(|op| rest.starts_with(op));
        let op = op.ok_or(FilterError::NoOperator)?;
        let (key, value) = (key.trim(), rest[op.len()..].trim());
        let only = |ops: &[&str], by| {
            if ops.contains(&op) {
                Ok(())
            } else {
                Err(FilterError::Operator { key: key.to_owned(), by, op })
            }
        };
        let some = || if value.is_empty() { Err(FilterError::Empty(op)) } else { Ok(value.to_owned()) };
        let texts = || only(&["=", "!="], "`=` or `!=`").and_then(|()| some());
        let what = match key {
            "function" => What::Function(texts()?),
            "state" => What::State(texts()?),
            "reason" => What::Reason(texts()?),
            "created" => What::Created(texts()?),
            "age" => {
                only(&["<", ">"], "`<` or `>`")?;
                let time: Duration =
                    humantime::parse_duration(&some()?).map_err(|_| FilterError::Time(value.to_owned()))?;
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                if op == ">" { What::Older(ns) } else { What::Younger(ns) }
            }
            "id" => {
                only(&["="], "`=`")?;
                What::Id(some()?.parse().map_err(|_| FilterError::Id(value.to_owned()))?)
            }
            _ => {
                let label = key.strip_prefix("label.").ok_or_else(|| FilterError::Key(key.to_owned()))?;
                if label.is_empty() {
                    return Err(FilterError::Label);
                }
                only(&["=", "!="], "`=` or `!=`")?;
                // A label may be empty.
                What::Label(label.to_owned(), value.to_owned())
            }
        };
        Ok(Self { text: text.to_owned(), what, not: op == "!=" })
    }
}

/// Keeps the goroutines that all of `filters` hold of, and of stacks, objects, labels and places what they refer to.
pub fn keep(dump: &mut Dump, filters: &[Filter]) {
    if filters.is_empty() {
        return;
    }
    let wanted: Vec<bool> = {
        let matchers: Vec<Matcher<'_>> = filters.iter().map(|f| Matcher::new(dump, f)).collect();
        dump.goroutines.iter().map(|g| matchers.iter().all(|m| m.matches(g))).collect()
    };
    let mut each = wanted.into_iter();
    dump.goroutines.retain(|_| each.next().unwrap_or(false));
    prune(dump);
}

/// A filter with what can be said beforehand for the whole dump: a million goroutines share a few stacks.
struct Matcher<'d> {
    dump: &'d Dump,
    filter: &'d Filter,
    /// Of [`What::Function`]: the program counters of which it holds, and by index the stacks.
    pcs: HashSet<Pc>,
    stacks: Vec<bool>,
}

impl<'d> Matcher<'d> {
    fn new(dump: &'d Dump, filter: &'d Filter) -> Self {
        let (mut pcs, mut stacks) = (HashSet::new(), Vec::new());
        if let What::Function(text) = &filter.what {
            let named = |f: &Frame| f.function.contains(text) || f.full_name.contains(text);
            let places = dump.places.0.iter();
            pcs.extend(
                places.filter(|(_, p)| p.frames.iter().chain(&p.starts).any(named)).map(|(pc, _)| *pc),
            );
            let left_out = |s: &super::Stack| {
                s.left_out.as_ref().is_some_and(|l| l.at.iter().any(|(pc, _)| pcs.contains(pc)))
            };
            let holds = |s: &super::Stack| s.pcs.iter().any(|pc| pcs.contains(pc)) || left_out(s);
            stacks = dump.stacks.iter().map(holds).collect();
        }
        Self { dump, filter, pcs, stacks }
    }

    fn matches(&self, g: &Goroutine) -> bool {
        let dump = self.dump;
        let holds = match &self.filter.what {
            What::Function(_) => {
                let of_its_own = [Pc { pc: g.gopc, exact: false }, Pc { pc: g.start_pc, exact: true }];
                of_its_own.iter().any(|pc| self.pcs.contains(pc))
                    || g.trace.stack().is_some_and(|s| self.stacks.get(s as usize).copied().unwrap_or(false))
            }
            What::State(text) => g.status.name().contains(text.as_str()) || dump.state(g).contains(text),
            What::Reason(text) => dump.reason(g).is_some_and(|reason| reason.contains(text)),
            What::Older(ns) => g.since.ns().is_some_and(|since| since > *ns),
            What::Younger(ns) => g.since.ns().is_none_or(|since| since < *ns),
            What::Label(key, value) => {
                dump.labels(g).and_then(|l| l.get(key)).is_some_and(|have| have == value)
            }
            What::Id(id) => g.goid == *id,
            What::Created(text) => dump.places.get(g.gopc, false).is_some_and(|place| {
                place.frames.iter().any(|f| {
                    f.function.contains(text.as_str()) || format!("{}:{}", f.file, f.line).contains(text)
                })
            }),
        };
        holds != self.filter.not
    }
}

/// Leaves out what no goroutine refers to; of circles those without a goroutine that is left.
fn prune(dump: &mut Dump) {
    let Dump { goroutines, stacks, objects, labels, places, cycles, .. } = dump;
    let mut kept = Kept::default();
    cycles.retain(|c| c.steps.iter().any(|s| goroutines.binary_search_by_key(&s.goid, |g| g.goid).is_ok()));
    for step in cycles.iter_mut().flat_map(|c| &mut c.steps) {
        step.object = kept.objects.renumber(step.object);
    }
    for g in goroutines.iter_mut() {
        if let Trace::Whole(stack) | Trace::Partial { stack, .. } = &mut g.trace {
            *stack = kept.stacks.renumber(*stack);
        }
        g.labels = g.labels.map(|l| kept.labels.renumber(l));
        for wait in &mut g.waits_on {
            wait.object = kept.objects.renumber(wait.object);
        }
    }
    *stacks = kept.stacks.pick(stacks);
    *labels = kept.labels.pick(labels);
    *objects = kept.objects.pick(objects);
    let mut used: HashSet<Pc> = HashSet::new();
    for stack in stacks.iter() {
        used.extend(&stack.pcs);
        used.extend(stack.left_out.iter().flat_map(|l| l.at.iter().map(|(pc, _)| *pc)));
    }
    for g in goroutines.iter() {
        used.insert(Pc { pc: g.gopc, exact: false });
        used.insert(Pc { pc: g.start_pc, exact: true });
    }
    places.0.retain(|pc, _| used.contains(pc));
}

#[derive(Default)]
struct Kept {
    stacks: Numbers,
    objects: Numbers,
    labels: Numbers,
}

/// New indices by old ones, in the order in which they are first met.
#[derive(Default)]
struct Numbers(BTreeMap<u32, u32>);

impl Numbers {
    fn renumber(&mut self, old: u32) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(old).or_insert(next)
    }

    /// Those that were met, by their new indices.
    fn pick<T: Clone>(&self, from: &[T]) -> Vec<T> {
        let mut by_new: Vec<(u32, u32)> = self.0.iter().map(|(old, new)| (*new, *old)).collect();
        by_new.sort_unstable();
        by_new.iter().filter_map(|(_, old)| from.get(*old as usize).cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
