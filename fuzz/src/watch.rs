//! Says how deep a run of the fuzzer gets: a line each time the number of inputs has doubled.

use std::sync::Mutex;

use super::ask::Reached;

static SEEN: Mutex<(u64, Option<Reached>)> = Mutex::new((0, None));

pub fn count(reached: Reached) {
    let mut seen = SEEN.lock().unwrap_or_else(|e| e.into_inner());
    seen.0 += 1;
    *seen.1.get_or_insert_default() += reached;
    if seen.0 >= 1024 && seen.0.is_power_of_two() {
        eprintln!("reached: {} inputs, {:?}", seen.0, seen.1.unwrap_or_default());
    }
}
