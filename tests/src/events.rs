//! A recording's events, as `gostray replay --events` prints them (docs/text-scenario.md).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::gostray::gostray;

/// One event with its plain fields; those in quotes are in `line` only.
#[derive(Clone, Debug)]
pub struct Event {
    pub time_ns: u64,
    pub name: String,
    pub line: String,
    fields: BTreeMap<String, u64>,
}

impl Event {
    /// A field's number; 0 where it is left out, as the format has it.
    pub fn number(&self, field: &str) -> u64 {
        self.fields.get(field).copied().unwrap_or(0)
    }
}

/// The recording's events in order of their times; equal times in the order of the file.
pub fn read(session: &Path) -> Result<Vec<Event>> {
    let output = gostray(&["replay", "--events", &session.to_string_lossy()]);
    ensure!(output.status.success(), "`replay --events` ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut events: Vec<Event> =
        text.lines().map(|l| event(l).with_context(|| l.to_owned())).collect::<Result<_>>()?;
    events.sort_by_key(|e| e.time_ns);
    Ok(events)
}

/// The target's names of wait reasons, by index.
pub fn wait_reasons(events: &[Event]) -> Vec<String> {
    let line = events.iter().find(|e| e.name == "wait-reasons").map_or("", |e| &e.line);
    line.split("name=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn event(line: &str) -> Result<Event> {
    let mut words = line.split_ascii_whitespace();
    let time = words.next().and_then(|w| w.strip_prefix('@')).context("no time")?;
    let name = words.next().context("no name")?.to_owned();
    let fields = words
        .filter_map(|w| {
            let (field, value) = w.split_once('=')?;
            let number = match value.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => value.parse(),
            };
            Some((field.to_owned(), number.ok()?))
        })
        .collect();
    Ok(Event { time_ns: nanoseconds(time)?, name, line: line.to_owned(), fields })
}

/// A decimal number of seconds, milliseconds, microseconds or nanoseconds.
fn nanoseconds(text: &str) -> Result<u64> {
    let units = [("ns", 0), ("us", 3), ("ms", 6), ("s", 9)];
    let (number, digits) =
        units.iter().find_map(|(u, d)| Some((text.strip_suffix(u)?, *d))).context("no unit")?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    ensure!(part.len() <= digits, "more digits than nanoseconds");
    Ok(format!("{whole}{part:0<digits$}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        for (text, ns) in [("0s", 0), ("1.5s", 1_500_000_000), ("5591.980414639s", 5_591_980_414_639)] {
            assert_eq!(nanoseconds(text).unwrap(), ns);
        }
        assert_eq!(nanoseconds("2.25ms").unwrap(), 2_250_000);
        assert!(nanoseconds("1.5ns").is_err() && nanoseconds("7").is_err());
    }

    #[test]
    fn fields_are_read() {
        let e = event("@1s park goid=7 lock=0x10 reason=14").unwrap();
        assert_eq!(["goid", "lock", "reason", "g"].map(|f| e.number(f)), [7, 16, 14, 0]);
        assert_eq!((e.name.as_str(), e.time_ns), ("park", 1_000_000_000));
    }
}
