//! The kernel side of a session: programs, probes, and what the ring buffer delivers.

use std::fs::File;

use tracer_common::wire::{kind, loss, total};

use super::guard::Guard;
use super::hands::Hands;
use super::own::Own;
use super::watched::Watched;
use super::{Choice, LiveError, Sink, boot_ns, emit};
use crate::event::{Event, Note, ProbeSite, header};
use crate::gobin::{GoBinary, Layout};
use crate::govern::{Governor, Level, Prices};
use crate::probe::load::{Events, Loaded, Options};
use crate::probe::{Plan, Role};
use tracer_common::decode::bytes_of;

/// Probes in place, and who keeps them within the budget; dropping it removes every one.
pub struct Kernel {
    guard: Guard,
    pub events: Events,
    pub watched: Watched,
    drops: [u64; loss::KERNEL_COUNT],
}

/// The process to probe.
pub struct Target<'t> {
    pub pid: u32,
    /// The file that `binary` was read from: the kernel is given this very inode, so that an exec between the comparison and
    /// the probe cannot bring another file under it.
    pub exe: &'t File,
    pub binary: &'t GoBinary<'t>,
    pub layout: &'t Layout,
    pub load_bias: u64,
    /// Goroutines can be looked at: without probes something is left.
    pub looks: bool,
}

impl Kernel {
    /// Loads the programs, confirms every site against the process's memory and places the probes: deaths before
    /// births, so that whoever is born under the probe also dies under it. Writes what became of each.
    pub fn start(
        target: &Target<'_>,
        plan: Plan,
        choice: &Choice,
        sink: &mut Sink<'_>,
    ) -> Result<Self, LiveError> {
        let options = Options {
            ring_bytes: choice.ring_bytes,
            stacks: choice.stacks,
            layout: target.layout.kernel,
            diagnostics: choice.diagnostics,
        };
        let mut loaded = Loaded::load(&options)?;
        let events = loaded.take_events()?;
        let Plan { sites, mut refused, warnings } = plan;
        for text in warnings {
            note("inlined-copy", text, sink);
        }
        for site in &sites {
            loaded.ready(site)?;
        }
        let mut hands = Hands::new(loaded, target)?;
        let traps = hands.price(&sites);
        if let Some(why) = traps.assumed_because {
            let text = format!("what a trap costs could not be measured, so it is assumed: {why}");
            note("trap-assumed", text, sink);
        }
        for site in sites {
            let file = target.binary.bytes(site.entry, (site.end - site.entry) as usize);
            match hands.add(&site, file)? {
                Ok(()) => {
                    let e = ProbeSite {
                        role: site.role.name().to_owned(),
                        function: site.function,
                        offset: site.addr - site.entry,
                        instruction: site.instruction,
                        cost_class: site.cost.to_string(),
                        refused_because: String::new(),
                        file_offset: site.file_offset,
                    };
                    emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), Box::new(e)), sink);
                }
                Err(refusal) => refused.push((site.role, refusal)),
            }
        }
        for (role, refusal) in &refused {
            let e = ProbeSite {
                role: role.name().to_owned(),
                refused_because: refusal.to_string(),
                ..ProbeSite::default()
            };
            emit(&Event::ProbeSite(header(kind::PROBE_SITE, boot_ns()), Box::new(e)), sink);
        }
        if ![Role::Create, Role::Exit].iter().all(|role| hands.has(*role)) {
            let because = refused.iter().map(|(_, r)| r.to_string()).collect::<Vec<_>>().join("; ");
            return Err(LiveError::NoSites { because });
        }
        let now = boot_ns();
        let top = if hands.has_waits() { Level::Waits } else { Level::Lives };
        // Without looks nobody would know who is alive while nothing is probed.
        let budget = choice.budget.filter(|_| target.looks);
        if budget != choice.budget {
            note(
                "budget-not-held",
                "the budget is not held: without looks nothing would be left to see with",
                sink,
            );
        }
        let governor = Governor::new(Prices::new(traps.of, traps.slower), budget, top, now, now);
        let guard = Guard::start(hands, governor)?;
        Ok(Self { guard, events, watched: Watched::default(), drops: [0; loss::KERNEL_COUNT] })
    }

    /// Takes the probes away; what they have delivered can still be read.
    pub fn remove_probes(&mut self) {
        self.guard.stop();
    }

    /// What was lost since this was asked last: cause and number.
    pub fn new_losses(&mut self) -> Result<Vec<(u64, u64)>, LiveError> {
        let drops = self.guard.hands().drops()?;
        let pairs = drops.iter().zip(&self.drops).enumerate();
        let new =
            pairs.filter(|(_, (new, old))| new > old).map(|(cause, (new, old))| (cause as u64, new - old));
        let new = new.collect();
        self.drops = drops;
        Ok(new)
    }

    /// What was met, delivered or not, since the probes were first placed.
    pub fn totals(&self) -> Result<[u64; total::COUNT], LiveError> {
        Ok(self.guard.hands().totals()?)
    }

    pub fn flush_diagnostics(&mut self) {
        self.guard.hands().flush_diagnostics();
    }

    /// What an event is taken to cost the target, and what so many have cost it.
    pub fn cost(&self, met: &[u64; total::COUNT]) -> (Prices, u64) {
        let prices = self.guard.prices();
        (prices, prices.cost(met).saturating_add(self.guard.uncounted_ns()))
    }

    /// Hears what the guard has changed since this was asked last. Costs next to nothing when that is nothing.
    pub fn hear(&mut self, own: &mut Own) {
        for (time, standing, record) in self.guard.news() {
            self.watched.change(time, standing);
            own.insert(time, bytes_of(&record));
        }
    }
}

fn note(code: &str, text: impl Into<String>, sink: &mut Sink<'_>) {
    let note = Note { code: code.to_owned(), text: text.into() };
    emit(&Event::Note(header(kind::NOTE, boot_ns()), note), sink);
}
