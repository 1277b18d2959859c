//! Lifetimes where deaths were watched for a part of the time only.
//!
//! Everybody whose birth was traced is followed to the end: by a death event, exactly, or by a look, which knows when it
//! still lived for certain and when it no longer did. To take the exact ones alone would leave out most that live longer than a window;
//! to put the others into the middle would lengthen whatever is shorter than the time between two looks. So those are censored at
//! what is certain (Kaplan–Meier), and what the curve leaves over at its end is shared among the middles.

use super::distribution::Distribution;
use super::snapshot::Percentiles;

/// Percentiles of `exact` lifetimes and of those that are only known to lie above a value of `certain`, each with a value of
/// `middle`.
pub fn percentiles(
    exact: &Distribution,
    certain: &Distribution,
    middle: &Distribution,
) -> Option<Percentiles> {
    let curve = curve(&exact.steps(), &certain.steps());
    let left = curve.last().map_or(1.0, |(_, survival)| *survival);
    let tail = middle.steps();
    let tail_count: u64 = tail.iter().map(|(_, n)| n).sum();
    let longest = curve.last().map(|(ns, _)| *ns).max(tail.last().map(|(ns, _)| *ns))?;
    let at = |p: f64| {
        if let Some((ns, _)) = curve.iter().find(|(_, survival)| 1.0 - survival >= p) {
            return *ns;
        }
        let rank = ((p - (1.0 - left)) / left.max(f64::MIN_POSITIVE) * tail_count as f64).ceil() as u64;
        let mut sum = 0;
        let found = tail.iter().find(|(_, n)| {
            sum += n;
            sum >= rank
        });
        // What is longer than anything that was exact is not shorter than it.
        found.map_or(longest, |(ns, _)| (*ns).max(curve.last().map_or(0, |(ns, _)| *ns)))
    };
    let count = exact.count() + middle.count();
    Some(Percentiles { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: longest })
}

/// The Kaplan–Meier estimate: what part lives longer than each lifetime of `deaths`. Both ascending, with counts.
fn curve(deaths: &[(u64, u64)], censored: &[(u64, u64)]) -> Vec<(u64, f64)> {
    let all = |steps: &[(u64, u64)]| steps.iter().map(|(_, n)| n).sum::<u64>();
    let mut at_risk = all(deaths) + all(censored);
    let mut censored = censored.iter().peekable();
    let mut survival = 1.0;
    let mut out = Vec::with_capacity(deaths.len());
    for (ns, n) in deaths {
        while let Some((_, gone)) = censored.next_if(|(at, _)| at < ns) {
            at_risk -= gone;
        }
        survival *= 1.0 - *n as f64 / at_risk.max(1) as f64;
        at_risk -= n;
        out.push((*ns, survival));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::distribution::of;
    use super::*;

    #[test]
    fn the_curve_agrees_with_a_worked_example() {
        // The 6-MP arm of Freireich's leukaemia trial: S(10) = 0.753, S(16) = 0.627, S(23) = 0.448.
        let deaths = of([6, 6, 6, 7, 10, 13, 16, 22, 23]);
        let censored = of([6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]);
        let curve = curve(&deaths.steps(), &censored.steps());
        for (at, want) in [(10, 0.753), (16, 0.627), (23, 0.448)] {
            let (_, survival) = curve.iter().find(|(ns, _)| *ns == at).unwrap();
            assert!((survival - want).abs() < 0.001, "{survival} at {at}");
        }
    }

    #[test]
    fn without_censored_ones_they_are_what_they_are() {
        let exact = of((1..=100).map(|n| n * 10));
        let none = Distribution::default();
        let p = percentiles(&exact, &none, &none).unwrap();
        assert_eq!((p.count, p.p50, p.p90, p.p99, p.max), (100, 500, 900, 990, 1000));
        assert_eq!(percentiles(&none, &none, &none), None);
    }

    #[test]
    fn what_ends_between_looks_is_beyond_the_curve() {
        let (exact, certain, middle) = (of([10; 30]), of([20; 70]), of([500; 70]));
        let p = percentiles(&exact, &certain, &middle).unwrap();
        assert_eq!((p.count, p.p50, p.max), (100, 500, 500), "seven in ten live longer than 20");
        let only = percentiles(&Distribution::default(), &certain, &middle).unwrap();
        assert_eq!((only.p50, only.count), (500, 70));
    }
}
