//! What `gostray doctor PID` says before a watch, and how long a watch takes to its first probe, seen from outside: a
//! breakpoint stands in the target's memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::gostray::{Background, gostray};
use crate::probes::BREAKPOINT;

/// Between two looks for a breakpoint: the error of a measured time.
const POLL: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(20);

/// The program as doctor sees it.
pub struct Doctor {
    pub program: Value,
    pid: u32,
    memory: File,
}

/// An instruction to be probed, and its first byte without a probe.
#[derive(Clone, Copy, Debug)]
struct Spot {
    addr: u64,
    byte: u8,
}

impl Doctor {
    pub fn of(pid: u32) -> Result<Self> {
        let output = gostray(&["doctor", &pid.to_string(), "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
        let program = all["program"].clone();
        ensure!(program.is_object(), "doctor knows no program: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { program, pid, memory: File::open(format!("/proc/{pid}/mem"))? })
    }

    pub fn go_version(&self) -> &str {
        self.program["go_version"].as_str().unwrap_or_default()
    }

    /// Every site with its cost class, or why it is refused; in the order of the roles' places in the plan.
    pub fn sites(&self) -> Vec<(&str, &str, Option<&str>)> {
        let sites = self.program["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
        sites
            .iter()
            .map(|s| {
                let text = |name: &str| s[name].as_str();
                (text("role").unwrap_or("?"), text("cost_class").unwrap_or("?"), text("refused_because"))
            })
            .collect()
    }

    /// Where births and deaths will be probed, as they stand now. Fails where a breakpoint stands already.
    fn spots(&self) -> Result<Vec<Spot>> {
        let sites = self.program["sites"].as_array().context("no sites")?;
        let always = ["create", "exit", "coro"];
        let placed = sites.iter().filter(|s| {
            s["refused_because"].is_null() && s["role"].as_str().is_some_and(|r| always.contains(&r))
        });
        placed
            .map(|s| {
                let addr = s["address"].as_u64().context("no address")?;
                let byte = self.byte(addr)?;
                ensure!(byte != BREAKPOINT, "a breakpoint stands at {addr:#x} already");
                Ok(Spot { addr, byte })
            })
            .collect()
    }

    fn byte(&self, addr: u64) -> Result<u8> {
        let mut byte = [0];
        self.memory.read_exact_at(&mut byte, addr).context("the target's memory cannot be read")?;
        Ok(byte[0])
    }

    /// Starts `gostray COMMAND PID …` and returns when all its probes for births and deaths stand and work: a breakpoint is
    /// there a moment before its program is.
    pub fn watched(&self, command: &str, more: &[&str]) -> Result<Watched<'_>> {
        let spots = self.spots()?;
        ensure!(spots.len() >= 2, "there are {} places to probe", spots.len());
        let pid = self.pid.to_string();
        let mut args = vec![command, &pid, "--json", "--budget", "off"];
        args.extend(more);
        let start = Instant::now();
        let mut gostray = Background::start(&args);
        let mut first = None;
        loop {
            let standing = spots.iter().filter(|s| self.byte(s.addr).is_ok_and(|b| b == BREAKPOINT)).count();
            if standing > 0 && first.is_none() {
                first = Some((start.elapsed(), Memory::of(gostray.pid())));
            }
            if let Some((time, memory)) = first
                && standing == spots.len()
            {
                gostray.until_printed("word that it watches", |line| line.contains("watching "));
                return Ok(Watched { gostray, time, memory, doctor: self, spots });
            }
            if start.elapsed() > PATIENCE || gostray.has_ended() {
                let output = gostray.kill();
                bail!(
                    "{standing} of {} probes: {}",
                    spots.len(),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The most it has ever had resident.
    pub peak: u64,
    pub anonymous: u64,
    /// Pages of files, and the ring buffer, which is mapped twice.
    pub of_files: u64,
}

impl Memory {
    /// As `/proc/PID/status` has it; zeroes for a process that is gone.
    pub fn of(pid: i32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Self { peak: value("VmHWM"), anonymous: value("RssAnon"), of_files: value("RssFile") }
    }
}

/// A watch with its probes in place.
pub struct Watched<'d> {
    pub gostray: Background,
    /// From its start until the first probe stood; at most [`POLL`] and a time slice too long.
    pub time: Duration,
    /// gostray's, when the first probe stood.
    pub memory: Memory,
    doctor: &'d Doctor,
    spots: Vec<Spot>,
}

impl Watched<'_> {
    /// Ends the watch as Ctrl-C does; no probe may be left.
    pub fn end(self) -> Result<std::process::Output> {
        let output = self.gostray.end();
        for spot in &self.spots {
            let now = self.doctor.byte(spot.addr)?;
            ensure!(now == spot.byte, "{now:#x} is left at {:#x}, where {:#x} was", spot.addr, spot.byte);
        }
        Ok(output)
    }
}
