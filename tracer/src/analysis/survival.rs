//! Do those born here end, or does a part of them stay for good?
//!
//! Lifetimes are censored data: who is still alive has lived *at least* until now. Kaplan–Meier takes both: deaths
//! from the histogram of lifetimes, the living as right-censored at their age. Those alive before watching began
//! entered at an age nobody knows, so they have no place on the age axis (left truncation with an unknown entry); what is
//! known of them, how many are gone since, is counted beside the curve and never mixed into it.
//!
//! A curve that falls to zero is a worker. A plateau is the part that never comes home. A plateau must be told from a
//! curve that merely has not fallen yet: if those past the last death died at the rate seen before it, how many deaths
//! would there be by now? When that is five or more and there was none (or next to none), the rest stays.

use super::{SECOND_NS, SiteFacts, seconds};

/// Births needed before survival says anything.
pub const ENOUGH_BORN: u64 = 10;
/// With no death at all: how old the oldest must be.
const OLD_ENOUGH_NS: u64 = 8 * SECOND_NS;
/// Deaths that should have been, before none of them tells.
const EXPECTED_DEATHS: f64 = 5.0;
/// The rate of death past the knee over the rate before it, at most, for a plateau.
const PLATEAU_RATE: f64 = 0.05;
/// Living ones past the knee, for a plateau.
const ENOUGH_STAY: u64 = 10;
/// At risk, at least, for the curve to be read.
const AT_RISK: u64 = 5;

/// What the curve says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    /// Too few births, or all too young.
    TooEarly,
    /// This part of those born here stays (1: nobody ever ended).
    Stay { part: f64 },
    /// They end.
    End,
    /// Some end, and it cannot be told yet whether the rest will.
    Slow,
}

/// Survival at a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survival {
    pub says: Says,
    /// The Kaplan–Meier estimate at the greatest age with enough at risk; absent without births.
    pub at_horizon: Option<f64>,
    pub horizon_ns: u64,
    /// The living past the knee: older than (nearly) all who ended.
    pub overdue: u64,
    pub knee_ns: u64,
    pub oldest_ns: u64,
}

/// Measures survival of those born while watched.
pub fn measure(f: &SiteFacts) -> Survival {
    let deaths = f.lifetimes.steps();
    let died: u64 = deaths.iter().map(|d| d.1).sum();
    let alive = f.ages.len() as u64;
    let oldest_ns = f.ages.last().copied().unwrap_or(0);
    let (at_horizon, horizon_ns) = kaplan_meier(&deaths, f.ages);
    // The knee: the age that 99 of 100 who ended did not pass. Few deaths: the last one.
    let knee_ns = if died >= 100 { rank(&deaths, died - died / 100) } else { rank(&deaths, died) };
    let overdue = older_than(f.ages, knee_ns);
    let mut s = Survival { says: Says::TooEarly, at_horizon, horizon_ns, overdue, knee_ns, oldest_ns };
    if died + alive < ENOUGH_BORN {
        return s;
    }
    if died == 0 {
        if oldest_ns >= OLD_ENOUGH_NS {
            s.says = Says::Stay { part: 1.0 };
        }
        return s;
    }
    let (mut lived_before, mut lived_past, mut died_past) = (0.0, 0.0, 0);
    let all = deaths.iter().copied().chain(f.ages.iter().map(|a| (*a, 0)));
    for (ns, n) in all {
        // `n` is 0 for one living goroutine, which has lived but not died.
        let who = n.max(1) as f64;
        lived_before += seconds(ns.min(knee_ns)) * who;
        lived_past += seconds(ns.saturating_sub(knee_ns)) * who;
        died_past += if ns > knee_ns { n } else { 0 };
    }
    // Lifetimes below a microsecond do not exist; this keeps the division sane.
    let rate = (died - died_past) as f64 / lived_before.max(1e-6);
    let expected = rate * lived_past;
    let rate_past = (died_past + 1) as f64 / lived_past.max(1e-6);
    let part = overdue as f64 / (died + alive) as f64;
    s.says = if overdue >= ENOUGH_STAY && expected >= EXPECTED_DEATHS && rate_past <= PLATEAU_RATE * rate {
        Says::Stay { part: at_horizon.unwrap_or(part) }
    } else if overdue < ENOUGH_STAY && died * 4 >= alive {
        Says::End
    } else {
        Says::Slow
    };
    s
}

/// The estimate at the greatest age at which enough are at risk, and that age.
/// `deaths`: lifetimes with counts, ascending; `ages`: of the living, ascending.
fn kaplan_meier(deaths: &[(u64, u64)], ages: &[u64]) -> (Option<f64>, u64) {
    let mut at_risk: u64 = deaths.iter().map(|d| d.1).sum::<u64>() + ages.len() as u64;
    if at_risk == 0 {
        return (None, 0);
    }
    let (mut survival, mut horizon) = (1.0, 0);
    let mut censored = 0;
    for &(ns, n) in deaths {
        // Who was alive at a younger age than this is no longer at risk.
        while ages.get(censored).is_some_and(|a| *a < ns) {
            censored += 1;
            at_risk -= 1;
        }
        if at_risk < AT_RISK {
            return (Some(survival), horizon);
        }
        survival *= 1.0 - n as f64 / at_risk as f64;
        at_risk -= n;
        horizon = ns;
    }
    // After the last death the curve is flat, to the age at which too few of the living are left.
    let flat_to = ages.len().checked_sub(AT_RISK as usize).and_then(|i| ages.get(i)).copied().unwrap_or(0);
    (Some(survival), horizon.max(flat_to))
}

fn rank(deaths: &[(u64, u64)], rank: u64) -> u64 {
    let mut sum = 0;
    deaths
        .iter()
        .find(|(_, n)| {
            sum += n;
            sum >= rank
        })
        .map_or(0, |d| d.0)
}

fn older_than(ages: &[u64], ns: u64) -> u64 {
    (ages.len() - ages.partition_point(|a| *a <= ns)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kaplan_meier_agrees_with_a_worked_example() {
        // Deaths at 6 (three), 7, 10, 13, 16, 22, 23; censored at 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35: the
        // 6-MP arm of Freireich's leukaemia trial, the textbook example; S(10) = 0.753, S(16) = 0.627, S(23) = 0.448.
        let deaths = [(6, 3), (7, 1), (10, 1), (13, 1), (16, 1), (22, 1), (23, 1)];
        let ages = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35];
        let at = |n: usize| {
            let upto = deaths[n - 1].0;
            // Everybody who died later is censored here.
            let mut rest: Vec<u64> = ages.to_vec();
            rest.extend(deaths[n..].iter().flat_map(|d| std::iter::repeat_n(d.0.max(upto), d.1 as usize)));
            rest.sort_unstable();
            kaplan_meier(&deaths[..n], &rest).0.unwrap()
        };
        for (n, want) in [(1, 0.857), (3, 0.753), (5, 0.627), (7, 0.448)] {
            assert!((at(n) - want).abs() < 0.001, "{} is not {want}", at(n));
        }
        assert_eq!(kaplan_meier(&[], &[]), (None, 0));
    }
}
