//! What was watched when. Probes go one after another: what they meet while others are gone already, or not there yet, is left
//! out, so that births and deaths stay in step.

use std::collections::VecDeque;

use tracer_common::wire::{kind, total};

use super::annotate::time_of;
use super::counted_in;
use crate::govern::Standing;

/// The ring buffer is in order of time but for less than this.
const DISORDER_NS: u64 = 1_000_000_000;

/// The changes that records still to come may fall between.
#[derive(Debug, Default)]
pub struct Watched {
    /// From when on what was watched.
    from: VecDeque<(u64, Standing)>,
    outside: [u64; total::COUNT],
}

impl Watched {
    pub fn change(&mut self, time_ns: u64, standing: Standing) {
        self.from.push_back((time_ns, standing));
    }

    /// Whether a record of the kernel side is of what was watched at its time.
    pub fn passes(&mut self, record: &[u8]) -> bool {
        let time = time_of(record);
        while self.from.get(1).is_some_and(|(next, _)| next.saturating_add(DISORDER_NS) < time) {
            self.from.pop_front();
        }
        // What came before the first change belongs to it: probes were being placed.
        let at = self.from.iter().rev().find(|(from, _)| *from <= time).or(self.from.front());
        let Some((_, standing)) = at else { return true };
        let passes = match record.get(30) {
            Some(&(kind::BIRTH | kind::DEATH | kind::CORO_SWITCH)) => standing.lives,
            Some(&(kind::PARK | kind::READY | kind::RUN)) => standing.waits,
            _ => true,
        };
        if !passes {
            counted_in(record).for_each(|sort| self.outside[sort] += 1);
        }
        passes
    }

    /// How many did not pass, by sort.
    pub fn outside(&self) -> &[u64; total::COUNT] {
        &self.outside
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::decode::bytes_of;
    use tracer_common::wire::{Death, Run};

    use super::*;
    use crate::event::header;

    const ALL: Standing = Standing { lives: true, waits: true };
    const LIVES: Standing = Standing { lives: true, waits: false };
    const NONE: Standing = Standing { lives: false, waits: false };

    #[test]
    fn records_pass_while_their_probes_were_meant_to_stand() {
        let mut watched = Watched::default();
        let death = |t: u64| bytes_of(&Death { h: header(kind::DEATH, t) }).to_vec();
        let run = |t: u64| bytes_of(&Run { h: header(kind::RUN, t) }).to_vec();
        assert!(watched.passes(&run(1)), "nothing is known yet");
        for (time, standing) in [(10, ALL), (20, LIVES), (30, NONE), (40, LIVES)] {
            watched.change(time, standing);
        }
        for (time, lives, waits) in
            [(5, true, true), (20, true, false), (29, true, false), (30, false, false)]
        {
            assert_eq!((watched.passes(&death(time)), watched.passes(&run(time))), (lives, waits), "{time}");
        }
        assert!(watched.passes(&death(40)) && !watched.passes(&death(39)), "out of order, too");
        assert_eq!((watched.outside()[total::DEATHS], watched.outside()[total::RUNS]), (2, 3));
        assert!(
            watched.passes(&death(10_000_000_000)) && watched.from.len() == 1,
            "what is long past is forgotten"
        );
    }
}
