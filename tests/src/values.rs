//! Several measured values of one thing, as the benches show them.

/// Of an odd number there is a middle one; sorts them.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// `3.2 (1.0 to 9.9)` with so many digits behind the point: the median, the least and the most.
pub fn spread(mut values: Vec<f64>, digits: usize) -> String {
    let middle = median(&mut values);
    format!("{middle:.digits$} ({:.digits$} to {:.digits$})", values[0], values[values.len() - 1])
}
