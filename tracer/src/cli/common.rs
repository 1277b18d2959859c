//! Flags that several subcommands share, and what they mean.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::failure::Class;
use crate::output::Style;
use crate::session::Snapshot;
use crate::session::snapshot::VerdictKind;

/// BPF ring buffers are a power of two of whole pages; below this a burst of a few hundred births is lost.
const RING_MIN: u32 = 64 << 10;
const RING_MAX: u32 = 1 << 30;
/// Per cent of a core. Less than that buys a few hundred events in ten seconds; `--probes off` costs nothing.
const BUDGET_MIN: f64 = 0.01;
const BUDGET_MAX: f64 = 1_000.0;
/// Looks happen on the session's ticks, which come once a second.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// How to watch a live program.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Stop after this long, for instance `45s` or `1h 30m` [default: until Ctrl-C or the program's end]
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub duration: Option<Duration>,

    /// Trace each wait too: exact waiting times, at a cost that grows with the program's scheduling rate
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::Off, hide_possible_values = true)]
    pub park: Switch,

    /// `off`: no probes, only looks. Needs no BPF, and no root for a process of your own; misses whoever comes and goes
    /// between two looks
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::On, hide_possible_values = true)]
    pub probes: Switch,

    /// How often to read every goroutine's state from memory, at least 1s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = look_every)]
    pub look_every: Duration,

    /// What the probes may take from the program over any ten seconds, in per cent of one core's time (estimated): near it, watching
    /// becomes coarser, down to looks alone, and finer again when there is room; `off` never does [for example: 0.1%, 5%, off]
    #[arg(long, value_name = "PERCENT|off", default_value = "1%", value_parser = budget)]
    pub budget: Budget,

    /// Size of the buffer between kernel and gostray, a power of two from 64K to 1G
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = ring_size)]
    pub ring_size: u32,

    /// Look for the program's separate debug file here first; may be given several times (docs/symbols.md)
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub debug_dir: Vec<PathBuf>,
}

/// Nanoseconds of each second, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Option<u64>);

/// What to show and how to end.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct ShowArgs {
    /// Print JSON, one object a line (docs/json.md)
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub look: LookArgs,
}

/// [`ShowArgs`] without `--json`, for commands that choose their format otherwise.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct LookArgs {
    /// Show every creation site in full, healthy ones and the runtime's own too
    #[arg(long)]
    pub all: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,

    /// End with exit code 3 when there is such a verdict
    #[arg(long, value_name = "VERDICT", value_enum)]
    pub fail_on: Option<FailOn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Leak,
}

/// How to watch, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// `None`: until the user or the target ends it.
    pub duration: Option<Duration>,
    pub park: bool,
    /// False: looks alone.
    pub probes: bool,
    pub look_every: Duration,
    /// What the target may lose of each second, nanoseconds; nothing: whatever it costs.
    pub budget: Option<u64>,
    /// Bytes, a power of two.
    pub ring_bytes: u32,
    /// Where separate debug files may be.
    pub debug_dirs: Vec<PathBuf>,
}

/// What to show, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    pub json: bool,
    pub all: bool,
    pub color: ColorChoice,
    pub fail_on: Option<FailOn>,
}

impl From<WatchArgs> for Watch {
    fn from(a: WatchArgs) -> Self {
        Self {
            duration: a.duration,
            park: a.park == Switch::On,
            probes: a.probes == Switch::On,
            look_every: a.look_every,
            budget: a.budget.0,
            ring_bytes: a.ring_size,
            debug_dirs: a.debug_dir,
        }
    }
}

impl From<ShowArgs> for Show {
    fn from(a: ShowArgs) -> Self {
        Self { json: a.json, all: a.look.all, color: a.look.color, fail_on: a.look.fail_on }
    }
}

impl Show {
    /// The exit code that the verdicts ask for: 0, or the one of `--fail-on`.
    pub fn exit_code(&self, snapshot: &Snapshot) -> u8 {
        match self.fail_on {
            Some(FailOn::Leak) if snapshot.sites.iter().any(|s| s.verdict.kind == VerdictKind::Leak) => {
                Class::LeakFound.code()
            }
            _ => 0,
        }
    }

    /// How text on standard output may look.
    pub fn style_of_stdout(&self) -> Style {
        self.style(std::io::stdout().is_terminal())
    }

    /// How text on standard error may look.
    pub fn style_of_stderr(&self) -> Style {
        self.style(std::io::stderr().is_terminal())
    }

    fn style(&self, terminal: bool) -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let width = terminal
            .then(|| ratatui::crossterm::terminal::size().ok())
            .flatten()
            .map(|(columns, _)| columns)
            .filter(|columns| *columns > 0);
        Style { color: self.color.decide(terminal, set("NO_COLOR"), dumb), width }
    }
}

impl ColorChoice {
    /// `no_color`: the variable is set and not empty (no-color.org).
    pub fn decide(self, terminal: bool, no_color: bool, dumb: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !no_color && !dumb,
        }
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("it must be longer than nothing".into()) } else { Ok(duration) }
}

pub(super) fn look_every(text: &str) -> Result<Duration, String> {
    let every = positive_duration(text)?;
    if every < LOOK_MIN { Err("at least 1s".into()) } else { Ok(every) }
}

/// `1%`, `0.5%`, `off`; the sign may be left out.
fn budget(text: &str) -> Result<Budget, String> {
    if text == "off" {
        return Ok(Budget(None));
    }
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "per cent of one core, as in `1%`, or `off`".to_owned())?;
    if !(BUDGET_MIN..=BUDGET_MAX).contains(&percent) {
        return Err(format!("from {BUDGET_MIN}% to {BUDGET_MAX}% of one core, or `off`"));
    }
    Ok(Budget(Some((percent * 1e7).round() as u64)))
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() { Ok(path) } else { Err("there is no such directory".into()) }
}

/// `8M`, `512K`, `1G` or bytes.
fn ring_size(text: &str) -> Result<u32, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u32 = digits.parse().map_err(|_| "a number, or one with K, M or G".to_owned())?;
    let bytes = u32::try_from(u64::from(number) << shift).unwrap_or(u32::MAX);
    if !(RING_MIN..=RING_MAX).contains(&bytes) || !bytes.is_power_of_two() {
        return Err("a power of two from 64K to 1G".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture::{fixture, healthy};

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("8M"), Ok(8 << 20));
        assert_eq!(ring_size("64k"), Ok(64 << 10));
        assert_eq!(ring_size("65536"), Ok(65536));
        assert_eq!(ring_size("1G"), Ok(1 << 30));
        for bad in ["", "M", "3M", "2G", "4294967295G", "32K", "-8M", "8MiB", "µ"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn budgets() {
        for (text, ns) in
            [("1%", 10_000_000), ("0.5", 5_000_000), ("250 %", 2_500_000_000), ("0.01%", 100_000)]
        {
            assert_eq!(budget(text), Ok(Budget(Some(ns))), "{text}");
        }
        assert_eq!(budget("off"), Ok(Budget(None)));
        for bad in ["", "%", "0", "0%", "-1%", "0.001%", "1001%", "NaN", "inf", "1%%", "one", "OFF", "1e9"] {
            assert!(budget(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(positive_duration("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(positive_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "45", "0s", "-1s", "99999999999999999999s"] {
            assert!(positive_duration(bad).is_err(), "{bad}");
        }
        assert!(look_every("999ms").is_err());
        assert_eq!(look_every("1s"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn colours() {
        let auto = ColorChoice::Auto;
        assert!(auto.decide(true, false, false));
        assert!(
            !auto.decide(false, false, false)
                && !auto.decide(true, true, false)
                && !auto.decide(true, false, true)
        );
        assert!(
            ColorChoice::Always.decide(false, true, true) && !ColorChoice::Never.decide(true, false, false)
        );
    }

    #[test]
    fn only_a_leak_fails_and_only_when_asked() {
        let show = |fail_on| Show { json: false, all: false, color: ColorChoice::Never, fail_on };
        assert_eq!(show(None).exit_code(&fixture()), 0);
        assert_eq!(show(Some(FailOn::Leak)).exit_code(&fixture()), 3);
        assert_eq!(show(Some(FailOn::Leak)).exit_code(&healthy()), 0);
    }
}
