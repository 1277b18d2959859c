//! Since when goroutines wait.

use super::Goroutine;

/// How long a goroutine has been waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// Not waiting, or nothing is known: a runtime that has not collected garbage since has noted nothing.
    #[default]
    Unknown,
    /// It was waiting already that many nanoseconds before the dump: a garbage collection that ended then had found it so.
    AtLeast(u64),
    /// It began to wait that many nanoseconds before the dump: seen by a probe.
    Exactly(u64),
}

impl Since {
    /// Nanoseconds, exact or the least it can be.
    pub fn ns(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::AtLeast(ns) | Self::Exactly(ns) => Some(ns),
        }
    }
}

/// Tells how long goroutines wait at least, from what the runtime noted of all of them.
///
/// The collector notes for each goroutine that it finds waiting when the collection *before* ended its marking
/// (`work.tstart`; runtime/mgcmark.go markroot, mgc.go gcMark, Go 1.19 to 1.27). So it was found by the one that followed, which had
/// ended at any later time that is noted of another goroutine. Of those with the newest time nothing is known: the
/// collection that found them may still run.
pub fn tell_since(goroutines: &mut [Goroutine], is_sure: impl Fn(&Goroutine) -> bool) {
    let mut noted: Vec<u64> = goroutines.iter().filter_map(|g| g.runtime_since).collect();
    noted.sort_unstable();
    noted.dedup();
    for g in goroutines.iter_mut() {
        let newer = g.runtime_since.and_then(|ns| noted.partition_point(|n| *n < ns).checked_sub(1));
        let least = newer.map(|at| noted[at]).filter(|ns| *ns > 0 && is_sure(g));
        g.since = least.map_or(Since::Unknown, Since::AtLeast);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::nobody;

    fn noted(ns: Option<u64>) -> Goroutine {
        Goroutine { since: Since::Exactly(1), runtime_since: ns, ..nobody(1) }
    }

    #[test]
    fn the_end_of_the_collection_that_found_it_is_what_the_next_one_noted() {
        let mut all: Vec<Goroutine> =
            [Some(90), None, Some(20), Some(50), Some(50), Some(0)].map(noted).into();
        all[3].goid = 7;
        tell_since(&mut all, |g| g.goid != 7);
        let since: Vec<Since> = all.iter().map(|g| g.since).collect();
        // Of 20 only that it is none of the future's is known: nothing newer but the moment itself.
        let [at_least, unknown] = [Since::AtLeast, |_| Since::Unknown];
        assert_eq!(since, [at_least(50), unknown(0), unknown(0), unknown(0), at_least(20), unknown(0)]);
    }
}
