//! Durations of one sort, kept in bounded memory: exact while they are few, an HDR histogram from then on.
//!
//! A histogram of three significant digits takes up to 150 KB; most creation sites have a handful of deaths, so
//! they never need one.

use hdrhistogram::Histogram;

use super::snapshot::Percentiles;

/// How many values are kept one by one.
const FEW: usize = 256;
/// Longer durations count as this one: 2^50 ns, 13 days. Bounds the histogram's size.
const LONGEST_NS: u64 = 1 << 50;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// Durations in nanoseconds.
#[derive(Clone, Debug)]
pub enum Distribution {
    Few(Vec<u64>),
    Many(Box<Histogram<u32>>),
}

impl Default for Distribution {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distribution {
    pub fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    fn record_n(&mut self, ns: u64, n: u32) {
        let ns = ns.min(LONGEST_NS);
        match self {
            Self::Few(values) if values.len() + n as usize <= FEW => {
                values.extend(std::iter::repeat_n(ns, n as usize));
            }
            Self::Few(values) => {
                // `new(3)` resizes by itself and fails only for more than five digits.
                let Ok(mut histogram) = Histogram::<u32>::new(DIGITS) else { return };
                for v in values.drain(..) {
                    // Not `saturating_record`: it clamps to the present range instead of growing.
                    _ = histogram.record(v);
                }
                *self = Self::Many(Box::new(histogram));
                self.record_n(ns, n);
            }
            // Values are at most LONGEST_NS, which an auto-resizing histogram always takes.
            Self::Many(histogram) => _ = histogram.record_n(ns, n),
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            Self::Few(values) => values.len() as u64,
            Self::Many(histogram) => histogram.len(),
        }
    }

    /// Adds what the other holds.
    pub fn merge(&mut self, other: &Self) {
        for (ns, n) in other.steps() {
            self.record_n(ns, u32::try_from(n).unwrap_or(u32::MAX));
        }
    }

    /// Each distinct value with how often it occurred, ascending.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Few(values) => {
                let mut values = values.clone();
                values.sort_unstable();
                values.chunk_by(|a, b| a == b).map(|c| (c[0], c.len() as u64)).collect()
            }
            Self::Many(h) => {
                h.iter_recorded().map(|i| (i.value_iterated_to(), i.count_at_value().into())).collect()
            }
        }
    }

    /// Nearest rank; absent when nothing was recorded.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let quantile: Box<dyn Fn(f64) -> u64> = match self {
            Self::Few(values) => {
                let mut values = values.clone();
                values.sort_unstable();
                let n = values.len();
                if n == 0 {
                    return None;
                }
                Box::new(move |q| values[((q * n as f64).ceil() as usize).clamp(1, n) - 1])
            }
            Self::Many(h) => Box::new(|q| h.value_at_quantile(q)),
        };
        Some(Percentiles {
            count: self.count(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: quantile(1.0),
        })
    }
}

#[cfg(test)]
pub fn of(values: impl IntoIterator<Item = u64>) -> Distribution {
    let mut d = Distribution::default();
    values.into_iter().for_each(|v| d.record(v));
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_exact_and_many_are_within_a_thousandth() {
        assert_eq!(of([]).percentiles(), None);
        let few = of(1..=100).percentiles().unwrap();
        assert_eq!((few.count, few.p50, few.p90, few.p99, few.max), (100, 50, 90, 99, 100));
        let many = of((1..=100_000).map(|v| v * 1000)).percentiles().unwrap();
        assert_eq!(many.count, 100_000);
        for (got, want) in
            [(many.p50, 5e7), (many.p90, 9e7), (many.p99, 9.9e7), (many.p999, 9.99e7), (many.max, 1e8)]
        {
            assert!((got as f64 - want).abs() / want < 0.001, "{got} is not {want}");
        }
    }

    #[test]
    fn the_absurd_is_taken_without_growing() {
        let d = of((0..1000).map(|i| if i % 2 == 0 { u64::MAX } else { 0 }));
        let p = d.percentiles().unwrap();
        assert_eq!(p.count, 1000);
        assert!(p.max >= LONGEST_NS && p.max < LONGEST_NS + (LONGEST_NS >> 9));
    }

    #[test]
    fn the_change_of_form_keeps_the_first_values() {
        let long = 40_000_000_000;
        let d = of(std::iter::repeat_n(long, FEW + 1));
        assert!(matches!(d, Distribution::Many(_)));
        let steps = d.steps();
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert!(steps[0].0.abs_diff(long) < long / 1000 && steps[0].1 == FEW as u64 + 1);
    }

    #[test]
    fn merging_adds_across_the_change_of_form() {
        let (mut a, b) = (of(0..200), of(100..500));
        a.merge(&b);
        assert_eq!(a.count(), 600);
        assert_eq!(a.steps().iter().map(|(_, n)| n).sum::<u64>(), 600);
        assert!(a.steps().is_sorted());
        assert_eq!(a.steps()[100], (100, 2));
    }
}
