//! Does the live count rise, steadily, and still?
//!
//! The rule that this replaces (least squares over 12 points of 5 s; alarm when the slope exceeds 1.8 times the median of
//! the site's own past windows in three windows, or 5/s outright) fails in both directions, and the tests show it: a
//! steady leak *is* its own median and never alarms below 5/s, while a saw-tooth's first ramp does. Here the count
//! is looked at on several scales at once, from 10 s to an hour. On one scale growth is *sustained* when
//!
//! - it is more than chance: with `b` births and `d` deaths the net change of a bounded population has a variance of
//!   at most `b + d`, and at most the sum of the live counts at both ends; the change must exceed 3.5 deviations;
//! - each quarter of the scale adds to it, the last one at least a quarter of the average: a jump, a burst and a filled pool
//!   stop growing;
//! - the count never fell, meanwhile, by more than half of what it gained: a saw-tooth does;
//! - it goes on: the last stretch, in which eight more were to be expected, brought at least a third of them.
//!
//! It is *steady* when, besides, the last quarter is not clearly slower than the average: a warm-up slows down.

use super::{SECOND_NS, SiteFacts, seconds};
use crate::session::series::{Count, FINE_POINTS};

/// Scales in seconds: as far as the points of a second reach, and those of five seconds.
const FINE_SCALES: [u64; 8] = [10, 15, 20, 30, 45, 60, 90, 120];
const COARSE_SCALES: [u64; 7] = [180, 300, 600, 900, 1200, 1800, 3600];
/// Deviations that the net change must exceed.
pub const DEVIATIONS: f64 = 3.5;
/// Window of the slope that is shown.
const SLOPE_WINDOW_NS: u64 = 60 * SECOND_NS;
/// Points of the spark line.
const TREND_POINTS: usize = 60;

/// How a site's live count moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Growth {
    /// Least squares over the last 60 s, goroutines per second; absent before there are two points.
    pub slope_per_s: Option<f64>,
    /// Live counts, oldest first.
    pub trend: Vec<u64>,
    /// The longest scale on which growth is sustained.
    pub sustained: Option<Sustained>,
    /// The longest scale on which it is steady as well.
    pub steady: Option<Sustained>,
    /// For how long the count has not risen.
    pub flat_ns: u64,
}

/// Growth on one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sustained {
    pub over_ns: u64,
    pub net: i64,
    /// Net change over its deviation under the assumption that the population is bounded.
    pub deviations: f64,
}

impl Sustained {
    pub fn per_s(&self) -> f64 {
        self.net as f64 / seconds(self.over_ns.max(1))
    }
}

type Point = (u64, Count);

/// Measures growth from the site's points.
pub fn measure(f: &SiteFacts) -> Growth {
    let start_ns = f.now_ns.saturating_sub(f.watched_ns);
    let fine = from_start(&f.points.fine, start_ns, FINE_POINTS);
    let coarse = from_start(&f.points.coarse, start_ns, crate::session::series::COARSE_POINTS);
    let mut growth = Growth {
        slope_per_s: slope(&fine, f.now_ns.saturating_sub(SLOPE_WINDOW_NS)),
        trend: trend(f),
        flat_ns: flat(&fine, f).max(flat(&coarse, f)),
        ..Growth::default()
    };
    let scales = FINE_SCALES.iter().map(|s| (s, &fine)).chain(COARSE_SCALES.iter().map(|s| (s, &coarse)));
    for (scale_s, points) in scales {
        let Some((sustained, steady)) = on_scale(points, scale_s * SECOND_NS, f) else { continue };
        growth.sustained = Some(sustained);
        if steady {
            growth.steady = Some(sustained);
        }
    }
    growth
}

/// Net counts begin at zero when watching begins, so that is a point too, as long as the ring still reaches back.
fn from_start(points: &[Point], start_ns: u64, full: usize) -> Vec<Point> {
    let mut out = Vec::with_capacity(points.len() + 1);
    if points.len() < full && points.first().is_some_and(|p| p.0 > start_ns) {
        out.push((start_ns, Count::default()));
    }
    out.extend_from_slice(points);
    out
}

fn on_scale(points: &[Point], scale_ns: u64, f: &SiteFacts) -> Option<(Sustained, bool)> {
    let (first, last) = (points.first()?, points.last()?);
    let from = last.0.checked_sub(scale_ns)?;
    // Half a second of grace: ticks are not exact.
    if first.0 > from.saturating_add(SECOND_NS / 2) {
        return None;
    }
    let at = |q: u64| net_at(points, from + scale_ns / 4 * q);
    let begin = at(0);
    let end = last.1.net as f64;
    let net = end - begin;
    let gone = (last.1.gone - gone_at(points, from).min(last.1.gone)) as f64;
    let live = |net: f64| (f.before as f64 + net).max(0.0);
    let variance = (net + 2.0 * gone).min(live(begin) + live(end));
    if net <= 0.0 || variance <= 0.0 {
        return None;
    }
    let deviations = net / variance.sqrt();
    let quarters = [at(1) - begin, at(2) - at(1), at(3) - at(2), end - at(3)];
    let average = net / 4.0;
    let fell = drawdown(points, from);
    let recent_ns = ((8.0 * scale_ns as f64 / net) as u64).clamp(scale_ns / 8, scale_ns / 4);
    let recent = end - net_at(points, last.0 - recent_ns);
    let expected = net * recent_ns as f64 / scale_ns as f64;
    let sustained = deviations >= DEVIATIONS
        && quarters.iter().all(|q| *q > 0.0)
        && quarters[3] >= 0.25 * average
        && fell <= 0.5 * net
        && recent >= expected / 3.0;
    // Not clearly slower: at least 70 % of the average, give or take one and a half deviations of a count.
    let steady = quarters[3] + 1.5 * average.sqrt() >= 0.7 * average && quarters[3] >= 0.4 * average;
    sustained.then_some((Sustained { over_ns: scale_ns, net: net as i64, deviations }, steady))
}

/// The count at a time, between two points on the line that joins them.
fn net_at(points: &[Point], t: u64) -> f64 {
    let i = points.partition_point(|p| p.0 <= t);
    let before = i.checked_sub(1).and_then(|i| points.get(i));
    match (before, points.get(i)) {
        (Some(a), Some(b)) => {
            let part = (t - a.0) as f64 / (b.0 - a.0).max(1) as f64;
            a.1.net as f64 + (b.1.net - a.1.net) as f64 * part
        }
        (Some(only), None) | (None, Some(only)) => only.1.net as f64,
        (None, None) => 0.0,
    }
}

fn gone_at(points: &[Point], t: u64) -> u64 {
    let i = points.partition_point(|p| p.0 <= t);
    points.get(i.saturating_sub(1)).map_or(0, |p| p.1.gone)
}

/// The greatest fall from a point to a later one.
fn drawdown(points: &[Point], from: u64) -> f64 {
    let mut top = i64::MIN;
    let mut fall = 0;
    for p in points.iter().filter(|p| p.0 >= from) {
        top = top.max(p.1.net);
        fall = fall.max(top.saturating_sub(p.1.net));
    }
    fall as f64
}

/// For how long the count has not risen by more than two or a twentieth.
fn flat(points: &[Point], f: &SiteFacts) -> u64 {
    let Some(last) = points.last() else { return 0 };
    let slack = (f.live / 20).max(2) as i64;
    let since = points.iter().rev().take_while(|p| last.1.net.saturating_sub(p.1.net) <= slack).last();
    since.map_or(0, |p| last.0.saturating_sub(p.0))
}

/// Least squares.
fn slope(points: &[Point], from: u64) -> Option<f64> {
    let points: Vec<_> = points.iter().filter(|p| p.0 >= from).collect();
    let origin = points.first()?.0;
    let n = points.len() as f64;
    let xs = points.iter().map(|p| seconds(p.0 - origin));
    let ys = points.iter().map(|p| p.1.net as f64);
    let (mx, my) = (xs.clone().sum::<f64>() / n, ys.clone().sum::<f64>() / n);
    let (mut sxx, mut sxy) = (0.0, 0.0);
    for (x, y) in xs.zip(ys) {
        sxx += (x - mx) * (x - mx);
        sxy += (x - mx) * (y - my);
    }
    (sxx > 0.0).then(|| sxy / sxx)
}

fn trend(f: &SiteFacts) -> Vec<u64> {
    // Seconds while two minutes hold everything, five seconds after that.
    let points = if f.points.coarse.len() <= 24 { &f.points.fine } else { &f.points.coarse };
    let live = |p: &Point| u64::try_from((f.before as i64).saturating_add(p.1.net)).unwrap_or(0);
    points[points.len().saturating_sub(TREND_POINTS)..].iter().map(live).collect()
}
