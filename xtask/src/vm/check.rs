//! Reads what the machine said on its console, and judges it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A console's text by section.
pub struct Console(BTreeMap<String, String>);

impl Console {
    pub fn parse(text: &str) -> Self {
        let mut sections = BTreeMap::new();
        let mut current: Option<&mut String> = None;
        for line in text.lines().map(|l| l.trim_end_matches('\r')) {
            // The firmware leaves its escape sequences on the line where the first section begins.
            if let Some((_, name)) = line.split_once("@@ ") {
                current = Some(sections.entry(name.to_owned()).or_default());
            } else if let Some(section) = current.as_deref_mut() {
                section.push_str(line);
                section.push('\n');
            }
        }
        Self(sections)
    }

    pub fn get(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the machine did not get as far as `{name}`"))
    }
}

/// What a machine must have said.
pub struct Expected<'a> {
    /// The kernel's series.
    pub series: &'a str,
    pub births: u64,
    pub deaths: u64,
    /// File and line of the demo's leak.
    pub leak: &'a str,
}

/// The findings worth telling; the error is the first thing that is wrong.
pub fn check(console: &Console, expected: &Expected) -> Result<Vec<String>> {
    let kernel = console.get("kernel")?.trim();
    let of_series = kernel.strip_prefix(expected.series).is_some_and(|rest| rest.starts_with(['.', '-']));
    ensure!(of_series, "the machine runs Linux `{kernel}` where {} was wanted", expected.series);
    let mut told = vec![format!("Linux {kernel}")];
    told.push(doctor(console.get("doctor")?)?);
    told.push(counts(&report(console, "run")?, console.get("exact")?, expected)?);
    told.push(leak(&report(console, "attach")?, console.get("demo")?, expected.leak)?);
    // It said all that, and could turn itself off.
    console.get("end")?;
    Ok(told)
}

fn doctor(text: &str) -> Result<String> {
    let said: Value =
        serde_json::from_str(text).with_context(|| format!("doctor says no JSON but:\n{text}"))?;
    let list = |name: &str| said[name].as_array().with_context(|| format!("doctor says no `{name}`"));
    let blockers = list("blockers")?;
    ensure!(blockers.is_empty(), "doctor says that tracing does not work: {}", said["blockers"]);
    let unknown = &said["kernel_programs_unknown_because"];
    ensure!(unknown.is_null(), "the kernel does not take the eBPF object: {unknown}");
    let programs = list("kernel_programs")?;
    ensure!(!programs.is_empty(), "doctor had no program verified");
    for program in programs {
        let refused = &program["refused_because"];
        ensure!(refused.is_null(), "the kernel refuses {}: {refused}", program["name"]);
    }
    let (emulated, stepped) = (said["trap"]["emulated_ns"].as_f64(), said["trap"]["stepped_ns"].as_f64());
    let (Some(emulated), Some(stepped)) = (emulated, stepped) else {
        bail!("doctor could not measure a trap: {}", said["trap_unknown_because"]);
    };
    let work: Vec<String> = programs
        .iter()
        .filter_map(|p| Some(format!("{} {}", p["name"].as_str()?, p["verified_instructions"].as_u64()?)))
        .collect();
    let work = if work.is_empty() {
        String::new()
    } else {
        format!(" (instructions verified: {})", work.join(", "))
    };
    let count = programs.len();
    Ok(format!(
        "{count} programs taken{work}; a trap costs {emulated:.0} ns emulated, {stepped:.0} ns stepped"
    ))
}

/// The report among the JSON lines of a section.
fn report(console: &Console, name: &str) -> Result<Value> {
    let text = console.get(name)?;
    let found = text
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .find(|v| v["schema"] == "gostray.report/1");
    found.with_context(|| format!("`{name}` gave no report but:\n{text}"))
}

/// Each chain of the program `exact` was seen with exactly the births and deaths that it says it had.
fn counts(report: &Value, exact: &str, expected: &Expected) -> Result<String> {
    let done = format!("done {} {}", expected.births, expected.deaths);
    ensure!(exact.lines().any(|l| l == done), "`exact` did not get to its end, it said:\n{exact}");
    // By SIGTERM from us, when all was done, and by nothing before.
    let end = &report["end"];
    ensure!(end["reason"] == "target-exited" && end["wait_status"] == 15, "`exact` ended otherwise: {end}");
    no_losses(report)?;
    let mut chains = 0;
    for line in exact.lines().filter_map(|l| l.strip_prefix("chain ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, births, deaths] = words[..] else { bail!("`exact` said `chain {line}`") };
        let (births, deaths): (u64, u64) = (births.parse()?, deaths.parse()?);
        let stack = exact.lines().find_map(|l| l.strip_prefix(&format!("stack {name} ")));
        let mut stack = stack.with_context(|| format!("`exact` did not say where `{name}` is"))?.split(' ');
        let at: u64 = stack.next().unwrap_or("").parse()?;
        let function = stack.next().unwrap_or("");
        let site =
            sites(report).find(|s| s["created_at"]["function"] == function && s["created_at"]["line"] == at);
        let site = site.with_context(|| format!("no site at {function}, line {at}"))?;
        ensure!(
            site["born"] == births && site["died"] == deaths,
            "{function} started {births} and {deaths} ended, but seen were {} and {}",
            site["born"],
            site["died"]
        );
        chains += 1;
    }
    ensure!(chains > 0, "`exact` named no chain");
    let totals = &report["totals"];
    ensure!(
        totals["kernel_births"] == totals["born"] && totals["kernel_deaths"] == totals["died"],
        "the kernel side counted otherwise: {totals}"
    );
    Ok(format!(
        "{} births and {} deaths at {chains} sites, all exact, no losses",
        expected.births, expected.deaths
    ))
}

fn leak(report: &Value, demo: &str, place: &str) -> Result<String> {
    ensure!(
        demo.lines().any(|l| l.starts_with("served ") && l.ends_with(", failed 0")),
        "the demo did not live on unharmed, it said:\n{demo}"
    );
    no_losses(report)?;
    let named = sites(report).find(|s| {
        let at = &s["created_at"];
        let here = format!("{}:{}", at["file"].as_str().unwrap_or(""), at["line"]);
        here.ends_with(place) && (s["verdict"]["kind"] == "leak" || s["verdict"]["kind"] == "suspect")
    });
    let named = named.with_context(|| format!("the leak at {place} is not named"))?;
    let verdict = named["verdict"]["kind"].as_str().unwrap_or("");
    Ok(format!("the demo's leak is named ({verdict}, {} alive), and the demo lived on", named["live"]))
}

fn no_losses(report: &Value) -> Result<()> {
    let losses = report["losses"].as_array().context("the report says nothing of losses")?;
    ensure!(losses.is_empty(), "events were lost: {}", report["losses"]);
    Ok(())
}

fn sites(report: &Value) -> impl Iterator<Item = &Value> {
    report["sites"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected =
        Expected { series: "5.10", births: 4, deaths: 3, leak: "tests/go/demo/main.go:150" };

    /// A console on which all is well.
    fn good() -> String {
        [
            "firmware \u{1b}[2J@@ kernel\r",
            "5.10.0-46-cloud-amd64\r",
            "@@ doctor\r",
            r#"{"blockers": [], "kernel_programs_unknown_because": null, "kernel_programs": [{"name": "create","#,
            r#" "verified_instructions": null, "refused_because": null}],"#,
            r#" "trap": {"emulated_ns": 2000.4, "stepped_ns": 20000.0}}"#,
            "@@ exact",
            "stack plain 14 main.plain3 main.main",
            "chain plain 4 3",
            "done 4 3",
            "@@ run",
            r#"{"schema":"gostray.live/1"}"#,
            r#"{"schema":"gostray.report/1","end":{"reason":"target-exited","wait_status":15},"losses":[],"totals":{"born":5,"died":3,"kernel_births":5,"kernel_deaths":3},"sites":[{"created_at":{"function":"main.plain3","file":"/x/chains.go","line":14},"born":4,"died":3}]}"#,
            "@@ demo",
            "ready",
            "served 3451, failed 0",
            "@@ attach",
            r#"{"schema":"gostray.report/1","losses":[],"sites":[{"created_at":{"function":"f","file":"/x/tests/go/demo/main.go","line":150},"verdict":{"kind":"leak"},"live":132}]}"#,
            "@@ end",
        ]
        .join("\n")
    }

    fn judge(text: &str) -> Result<Vec<String>> {
        check(&Console::parse(text), &EXPECTED)
    }

    #[test]
    fn a_good_console_is_told() {
        let told = judge(&good()).unwrap();
        assert_eq!(told[0], "Linux 5.10.0-46-cloud-amd64");
        assert_eq!(told[1], "1 programs taken; a trap costs 2000 ns emulated, 20000 ns stepped");
        assert!(told[3].contains("leak, 132 alive"), "{told:?}");
    }

    #[test]
    fn each_fault_is_found() {
        for (from, to, says) in [
            ("5.10.0-46", "5.100.0-46", "where 5.10 was wanted"),
            (r#""blockers": []"#, r#""blockers": [{"what":"x"}]"#, "does not work"),
            (
                r#""refused_because": null"#,
                r#""refused_because": "too large""#,
                "refuses \"create\": \"too large\"",
            ),
            (r#"{"emulated_ns": 2000.4, "stepped_ns": 20000.0}"#, "null", "could not measure"),
            ("done 4 3", "", "did not get to its end"),
            (r#""wait_status":15"#, r#""wait_status":11"#, "ended otherwise"),
            (r#""born":4"#, r#""born":3"#, "started 4 and 3 ended, but seen were 3 and 3"),
            (r#""line":14"#, r#""line":15"#, "no site at main.plain3, line 14"),
            (r#""kernel_births":5"#, r#""kernel_births":6"#, "counted otherwise"),
            (r#""losses":[],"totals""#, r#""losses":[{"cause":"ring-full"}],"totals""#, "lost"),
            ("failed 0", "failed 1", "did not live on"),
            (r#""kind":"leak""#, r#""kind":"healthy""#, "is not named"),
            (r#""line":150"#, r#""line":15"#, "is not named"),
            ("@@ end", "", "did not get as far as `end`"),
        ] {
            let text = good();
            assert!(text.contains(from), "{from}");
            let error = format!("{:#}", judge(&text.replace(from, to)).unwrap_err());
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
    }
}
