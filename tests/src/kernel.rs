//! What there is in the kernel of eBPF programs and maps, and whose it is.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Ids of everything of eBPF that is loaded, on the whole machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bpf {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
}

impl Bpf {
    pub fn now() -> Result<Self> {
        let programs =
            aya::programs::loaded_programs().map(|p| p.map(|p| p.id())).collect::<Result<_, _>>()?;
        let maps = aya::maps::loaded_maps().map(|m| m.map(|m| m.id())).collect::<Result<_, _>>()?;
        Ok(Self { programs, maps })
    }

    /// What is here and not there, and that no living process holds.
    fn orphans(&self, before: &Self) -> Self {
        let beyond = |now: &BTreeSet<u32>, then: &BTreeSet<u32>| now.difference(then).copied().collect();
        let mut new = Self {
            programs: beyond(&self.programs, &before.programs),
            maps: beyond(&self.maps, &before.maps),
        };
        if new != Self::default() {
            let held = Self::held();
            new.programs.retain(|id| !held.programs.contains(id));
            new.maps.retain(|id| !held.maps.contains(id));
        }
        new
    }

    /// What processes have descriptors of.
    fn held() -> Self {
        let mut held = Self::default();
        let infos = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|process| fs::read_dir(process.path().join("fdinfo")).ok())
            .flatten()
            .flatten()
            .filter_map(|fd| fs::read_to_string(fd.path()).ok());
        for info in infos {
            for line in info.lines() {
                let Some((name, Ok(id))) = line.split_once(':').map(|(n, v)| (n, v.trim().parse())) else {
                    continue;
                };
                match name {
                    "prog_id" => _ = held.programs.insert(id),
                    "map_id" => _ = held.maps.insert(id),
                    _ => {}
                }
            }
        }
        held
    }
}

/// Waits until nothing is left of what was loaded since `before`, but what somebody else who lives still holds: others
/// may trace on this machine too. The kernel frees a little after the last descriptor is closed.
pub fn nothing_left_since(before: &Bpf) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = Bpf::now()?.orphans(before);
        if left == Bpf::default() {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(10) {
            bail!("nobody holds them, and they are there: {left:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Descriptors of a process that have to do with tracing; there are none in a program that is traced.
pub fn tracing_descriptors(pid: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // It may have been closed since.
        let Ok(link) = fs::read_link(entry?.path()) else { continue };
        let link = link.to_string_lossy().into_owned();
        if ["bpf", "perf_event"].iter().any(|word| link.contains(word)) {
            found.push(link);
        }
    }
    Ok(found)
}
