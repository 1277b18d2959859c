//! What gostray itself takes of the machine.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Processor time of all our threads since we were started, nanoseconds.
pub fn cpu_ns() -> u64 {
    let ns = |t: TimeVal| t.tv_sec() as u64 * 1_000_000_000 + t.tv_usec() as u64 * 1_000;
    // Fails for no other argument than a wrong one.
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| ns(usage.user_time()) + ns(usage.system_time()))
}

/// Memory of ours that is resident now, bytes; 0 where `/proc` is not ours.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_takes_time_and_memory() {
        let before = cpu_ns();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while cpu_ns() == before && begun.elapsed().as_secs() < 20 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_ns() > before);
        assert!((1 << 20..1 << 40).contains(&resident_bytes()));
    }
}
