//! What the living wait for, and how soon that may be called stuck.
//!
//! Not every wait says as much. Nobody is *meant* to stand in a channel send for long; a receiver may be an idle worker;
//! a reader of a socket is at home there. So the same growth convinces sooner or later, by where they stand.

use super::{SECOND_NS, SiteFacts};

/// Where a goroutine stands, by how much it says. The order is that of the time needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nothing can ever wake it: a nil channel.
    NilChannel,
    /// Nothing can ever wake it: a select without cases; some park a goroutine so on purpose.
    NoCases,
    /// A channel send: workers do not idle there.
    Send,
    /// A lock, a semaphore or a WaitGroup: held for a while, not for good.
    Lock,
    /// A receive, select or condition: where idle workers stand.
    Idle,
    /// It runs, sleeps, is not yet seen, or anything unknown.
    Other,
    /// A network wait or system call: the other side decides.
    Outside,
}

impl Place {
    /// `word`: the runtime's word for the wait. Those of `testing/synctest` carry a suffix.
    pub fn of(word: &str) -> Self {
        let word = word.trim_end_matches(" (durable)").trim_end_matches(" (synctest)");
        match word {
            "chan receive (nil chan)" | "chan send (nil chan)" => Self::NilChannel,
            "select (no cases)" => Self::NoCases,
            "chan send" => Self::Send,
            "semacquire"
            | "sync.Mutex.Lock"
            | "sync.RWMutex.RLock"
            | "sync.RWMutex.Lock"
            | "sync.WaitGroup.Wait" => Self::Lock,
            "chan receive" | "select" | "sync.Cond.Wait" | "coroutine" => Self::Idle,
            "IO wait" | "<system call>" => Self::Outside,
            _ => Self::Other,
        }
    }

    /// How long growth must last, with nobody ending, before it is called a leak.
    pub fn needed_ns(self) -> u64 {
        SECOND_NS
            * match self {
                Self::NilChannel | Self::NoCases => 10,
                Self::Send => 15,
                Self::Lock => 30,
                Self::Idle => 45,
                Self::Other => 90,
                Self::Outside => 300,
            }
    }

    /// How many that have stood there all the time, born before we watched, are suspicious. An idle pool of hundreds is
    /// nothing unusual; hundreds of senders are.
    fn many(self) -> Option<u64> {
        match self {
            Self::NilChannel | Self::NoCases => Some(1),
            Self::Send | Self::Lock => Some(100),
            Self::Idle => Some(1000),
            Self::Other | Self::Outside => None,
        }
    }
}

/// What a site's living goroutines wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck {
    /// The place that decides how long growth must last: of those where a fifth or more of them stand, the one that
    /// says least.
    pub place: Place,
    /// The most frequent word, and how many.
    pub word: String,
    pub count: u64,
    /// Of all the living: who was seen at nothing else since known.
    pub unbroken: u64,
    /// In waits that nothing can end: on a nil channel, and in a select without cases.
    pub nil_channel: u64,
    pub no_cases: u64,
    /// Enough of them have stood in one place all the time to be suspicious: how many and how long at least.
    pub crowd: Option<Crowd>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Crowd {
    pub word: String,
    pub count: u64,
    pub for_ns: u64,
}

/// For how long a crowd must have stood.
const CROWD_NS: u64 = 30 * SECOND_NS;
/// For how long a wait that cannot end must have lasted.
const FOREVER_NS: u64 = 5 * SECOND_NS;

/// Measures what a site's goroutines wait for.
pub fn measure(f: &SiteFacts) -> Stuck {
    let live = f.live.max(1);
    let forever = |place| {
        let there = f.waits.iter().filter(|w| Place::of(&w.word) == place && w.longest_ns >= FOREVER_NS);
        there.map(|w| w.count).sum()
    };
    let top = f.waits.iter().max_by(|a, b| (a.count, &b.word).cmp(&(b.count, &a.word)));
    let unbroken: u64 = f.waits.iter().map(|w| w.unbroken).sum();
    let mut place = f
        .waits
        .iter()
        .filter(|w| w.count.saturating_mul(5) >= live)
        .map(|w| Place::of(&w.word))
        .max()
        .unwrap_or(Place::Other);
    // Who moves about is not stuck in one place, wherever it stands now.
    if unbroken.saturating_mul(5) < live.saturating_mul(4) {
        place = place.max(Place::Other);
    }
    let crowd = f
        .waits
        .iter()
        .filter(|w| {
            w.longest_ns >= CROWD_NS && Place::of(&w.word).many().is_some_and(|many| w.unbroken >= many)
        })
        .max_by_key(|w| (w.unbroken, std::cmp::Reverse(&w.word)))
        .map(|w| Crowd { word: w.word.clone(), count: w.unbroken, for_ns: w.longest_ns });
    Stuck {
        place,
        word: top.map_or_else(|| "<nothing known>".to_owned(), |w| w.word.clone()),
        count: top.map_or(0, |w| w.count),
        unbroken,
        nil_channel: forever(Place::NilChannel),
        no_cases: forever(Place::NoCases),
        crowd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_place() {
        for (word, place) in [
            ("chan send", Place::Send),
            ("chan send (nil chan)", Place::NilChannel),
            ("chan receive (durable)", Place::Idle),
            ("select (synctest)", Place::Idle),
            ("select (no cases)", Place::NoCases),
            ("sync.WaitGroup.Wait (durable)", Place::Lock),
            ("IO wait", Place::Outside),
            ("sleep", Place::Other),
            ("<reason 42>", Place::Other),
        ] {
            assert_eq!(Place::of(word), place, "{word}");
        }
    }
}
