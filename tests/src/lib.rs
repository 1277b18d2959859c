//! What the tests that need Go, root or the kernel share. The tests themselves are in `tests/tests`, each ignored
//! with the words `needs root and the kernel: cargo xtask test`, so that plain `cargo test` needs neither.

pub mod chains;
pub mod counts;
pub mod crash;
pub mod dump;
pub mod events;
pub mod first;
pub mod fixtures;
pub mod gostray;
pub mod http;
pub mod kernel;
pub mod load;
pub mod modes;
pub mod own_dump;
pub mod probes;
pub mod real;
pub mod rows;
pub mod truth;
pub mod values;

pub use fixtures::{Fixture, Running, root_only};

/// How long a test that can go on for long does: what `$GOSTRAY_SOAK` says, for instance `10m`, else this.
pub fn soak(otherwise: std::time::Duration) -> anyhow::Result<std::time::Duration> {
    let Ok(text) = std::env::var("GOSTRAY_SOAK") else { return Ok(otherwise) };
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        _ => anyhow::bail!("GOSTRAY_SOAK=`{text}`; try: `10m` or `30s`"),
    };
    Ok(std::time::Duration::from_secs(number.parse::<u64>()? * seconds))
}

/// User and system time of all threads of a process.
pub fn processor_time(pid: u32) -> anyhow::Result<std::time::Duration> {
    use anyhow::Context as _;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Counted from the state on, which follows the name (proc_pid_stat(5)).
    let mut fields = stat.rsplit(") ").next().context("no fields")?.split(' ').skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("no times")?.parse::<u64>()?);
    // The kernel tells them in hundredths, whatever its own tick is.
    Ok(std::time::Duration::from_millis((ticks()? + ticks()?) * 10))
}
