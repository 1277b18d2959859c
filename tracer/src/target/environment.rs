//! The machine and ourselves: probed once, shown by `doctor`, passed on as data.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use super::error::TargetError;
use super::proc::PidDir;

/// The oldest kernel that is supported.
pub const KERNEL_FLOOR: KernelVersion = KernelVersion { major: 5, minor: 10, patch: 0 };

/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO` (include/linux/proc_ns.h): the machine's first namespaces.
const INIT_PID_NS: u64 = 0xefff_fffc;
const INIT_USER_NS: u64 = 0xefff_fffd;

/// Numbers of capabilities (include/uapi/linux/capability.h).
mod cap {
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_RESOURCE: u32 = 24;
    pub const PERFMON: u32 = 38;
    pub const BPF: u32 = 39;
}

/// What was found. `None`: it could not be found out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// `uname -r`
    pub kernel_release: String,
    /// Absent if the release does not begin with numbers.
    pub kernel: Option<KernelVersion>,
    /// `uname -m`
    pub machine: String,
    pub effective_uid: u32,
    pub capabilities: Option<Capabilities>,
    /// Type number of the uprobe PMU; absent without `CONFIG_UPROBE_EVENTS`, or where `/sys` is not mounted.
    pub uprobe_pmu: Option<u32>,
    /// The kernel's own BTF is there.
    pub btf: bool,
    pub perf_event_paranoid: Option<i32>,
    /// 0 unprivileged users may load programs, 1 and 2 they may not.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// Yama's restriction of reading other processes' memory, 0 to 3; absent without Yama.
    pub ptrace_scope: Option<i32>,
    /// Kernel lockdown: `none`, `integrity` or `confidentiality` (which forbids BPF to read memory).
    pub lockdown: Option<String>,
    /// Whether a seccomp filter stands over us: it may forbid `bpf` and `perf_event_open`.
    pub seccomp_filter: Option<bool>,
    /// CPUs that are online.
    pub cpus: Option<u32>,
    pub page_size: u64,
    /// We are in the machine's first PID namespace: its process ids are ours.
    pub initial_pid_namespace: Option<bool>,
    /// We are in the machine's first user namespace: our capabilities count for the kernel.
    pub initial_user_namespace: Option<bool>,
    /// `/proc` is of our own PID namespace.
    pub own_proc: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch != 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

impl KernelVersion {
    /// From `uname -r`: `6.1.0-18-amd64`, `5.10-rc3`, `6.18.44-fc-v669`.
    pub fn parse(release: &str) -> Option<Self> {
        let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numbers.split('.').map(str::parse);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().and_then(Result::ok).unwrap_or(0);
        Some(Self { major, minor, patch })
    }
}

/// Our own effective capabilities, those that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// All of them, as in `CapEff`.
    pub effective: u64,
    /// Load programs and make maps.
    pub bpf: bool,
    /// Open uprobes, read memory in programs.
    pub perfmon: bool,
    /// Read the memory of other users' processes.
    pub sys_ptrace: bool,
    /// Stands for the first two, as before kernel 5.8. Since a change of 2025, which went into the long-term kernels too,
    /// placing uprobes asks for it in any case (`kernel/events/core.c`, perf_uprobe_event_init); no version tells.
    pub sys_admin: bool,
    /// Raise the limit on locked memory, which maps need before kernel 5.11.
    pub sys_resource: bool,
}

impl Capabilities {
    pub fn from_bits(effective: u64) -> Self {
        let has = |n: u32| effective & (1 << n) != 0;
        Self {
            effective,
            bpf: has(cap::BPF),
            perfmon: has(cap::PERFMON),
            sys_ptrace: has(cap::SYS_PTRACE),
            sys_admin: has(cap::SYS_ADMIN),
            sys_resource: has(cap::SYS_RESOURCE),
        }
    }

    /// Names of what tracing needs and we have not.
    pub fn missing(&self, kernel: Option<KernelVersion>) -> Vec<&'static str> {
        let before_5_11 = kernel.is_some_and(|k| k < KernelVersion { major: 5, minor: 11, patch: 0 });
        [
            (self.bpf || self.sys_admin, "CAP_BPF"),
            (self.perfmon || self.sys_admin, "CAP_PERFMON"),
            (self.sys_ptrace, "CAP_SYS_PTRACE"),
            (!before_5_11 || self.sys_resource, "CAP_SYS_RESOURCE"),
        ]
        .into_iter()
        .filter_map(|(have, name)| (!have).then_some(name))
        .collect()
    }
}

impl Environment {
    /// Looks around. Changes nothing.
    pub fn probe() -> Self {
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        let kernel_release = text(uname.release());
        let myself = PidDir::open_self().ok().and_then(|dir| dir.status().ok());
        Self {
            kernel: KernelVersion::parse(&kernel_release),
            kernel_release,
            machine: text(uname.machine()),
            effective_uid: rustix::process::geteuid().as_raw(),
            capabilities: myself.as_ref().and_then(|s| s.cap_eff).map(Capabilities::from_bits),
            uprobe_pmu: number("/sys/bus/event_source/devices/uprobe/type"),
            btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok().and_then(|t| chosen(&t)),
            seccomp_filter: myself.and_then(|s| s.seccomp).map(|mode| mode == 2),
            cpus: fs::read_to_string("/sys/devices/system/cpu/online").ok().and_then(|t| count_cpus(&t)),
            page_size: rustix::param::page_size() as u64,
            initial_pid_namespace: namespace("pid").map(|n| n == INIT_PID_NS),
            initial_user_namespace: namespace("user").map(|n| n == INIT_USER_NS),
            own_proc: own_proc(),
        }
    }

    /// Everything that makes tracing impossible here. Empty: nothing is known that does.
    pub fn blockers(&self) -> Vec<TargetError> {
        let mut found = Vec::new();
        if self.kernel.is_some_and(|k| k < KERNEL_FLOOR) {
            found.push(TargetError::KernelTooOld { found: self.kernel_release.clone(), floor: KERNEL_FLOOR });
        }
        if self.initial_user_namespace == Some(false) {
            found.push(TargetError::UserNamespace);
        } else if let Some(missing) = self.capabilities.map(|c| c.missing(self.kernel))
            && !missing.is_empty()
        {
            found.push(TargetError::MissingCapabilities { missing });
        }
        if self.uprobe_pmu.is_none() {
            found.push(TargetError::KernelLacks { what: "uprobes (`/sys/bus/event_source/devices/uprobe`)" });
        }
        if self.lockdown.as_deref() == Some("confidentiality") {
            found.push(TargetError::KernelLacks { what: "leave to read memory: it is locked down" });
        }
        found
    }

    /// The first blocker.
    pub fn check(&self) -> Result<(), TargetError> {
        self.blockers().into_iter().next().map_or(Ok(()), Err)
    }
}

/// `/proc/self` names us by the number that the kernel calls us: this `/proc` is of our namespace.
pub(super) fn own_proc() -> bool {
    let named = fs::read_link("/proc/self").ok();
    named.and_then(|p| p.to_str()?.parse().ok()) == Some(std::process::id())
}

/// Inode number of one of our namespaces.
pub(super) fn namespace(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}")).ok().map(|m| m.ino())
}

/// We are known not to be in the machine's first PID namespace.
pub(super) fn in_nested_pid_namespace() -> bool {
    namespace("pid").is_some_and(|n| n != INIT_PID_NS)
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// How many numbers a list like `0-3,8,10-11` names.
fn count_cpus(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let v = |major, minor, patch| Some(KernelVersion { major, minor, patch });
        assert_eq!(KernelVersion::parse("6.1.0-18-cloud-amd64"), v(6, 1, 0));
        assert_eq!(KernelVersion::parse("5.10-rc3"), v(5, 10, 0));
        assert_eq!(KernelVersion::parse("6.18.44-fc-v669"), v(6, 18, 44));
        assert_eq!(KernelVersion::parse("4.19.0"), v(4, 19, 0));
        assert_eq!(KernelVersion::parse("5.4.300+"), v(5, 4, 300));
        for bad in ["", "x", "6", "-6.1", "99999999999.1"] {
            assert_eq!(KernelVersion::parse(bad), None, "{bad}");
        }
        assert!(v(5, 9, 16) < Some(KERNEL_FLOOR) && v(5, 10, 0) >= Some(KERNEL_FLOOR));
        assert_eq!(KERNEL_FLOOR.to_string(), "5.10");
    }

    fn good() -> Environment {
        Environment {
            kernel_release: "6.1.0".into(),
            kernel: KernelVersion::parse("6.1.0"),
            machine: "x86_64".into(),
            effective_uid: 0,
            capabilities: Some(Capabilities::from_bits(u64::MAX)),
            uprobe_pmu: Some(9),
            btf: true,
            perf_event_paranoid: Some(2),
            unprivileged_bpf_disabled: Some(2),
            ptrace_scope: Some(1),
            lockdown: None,
            seccomp_filter: Some(false),
            cpus: Some(2),
            page_size: 4096,
            initial_pid_namespace: Some(true),
            initial_user_namespace: Some(true),
            own_proc: true,
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        assert!(good().check().is_ok());
        let old =
            Environment { kernel: KernelVersion::parse("5.9.0"), kernel_release: "5.9.0".into(), ..good() };
        assert_eq!(old.check().unwrap_err().to_string(), "kernel `5.9.0` is older than 5.10");
        let none = Environment { capabilities: Some(Capabilities::from_bits(0)), ..good() };
        let said = none.check().unwrap_err().to_string();
        assert_eq!(said, "missing CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE");
        let rootless = Environment { initial_user_namespace: Some(false), ..good() };
        assert!(matches!(rootless.check(), Err(TargetError::UserNamespace)));
        let no_uprobes = Environment { uprobe_pmu: None, ..good() };
        assert!(matches!(no_uprobes.check(), Err(TargetError::KernelLacks { .. })));
        let locked = Environment { lockdown: Some("confidentiality".into()), ..good() };
        assert!(matches!(locked.check(), Err(TargetError::KernelLacks { .. })));
        // What could not be found out stands in nobody's way.
        let unsure = Environment { kernel: None, capabilities: None, initial_user_namespace: None, ..good() };
        assert!(unsure.check().is_ok());
    }

    #[test]
    fn capabilities_by_kernel() {
        let (bpf, perfmon, ptrace, admin, resource) = (1 << 39, 1 << 38, 1 << 19, 1 << 21, 1 << 24);
        let missing = |bits, kernel| Capabilities::from_bits(bits).missing(KernelVersion::parse(kernel));
        assert!(missing(bpf | perfmon | ptrace, "6.1.0").is_empty());
        assert!(missing(admin | ptrace, "6.1.0").is_empty());
        assert_eq!(missing(admin, "6.1.0"), ["CAP_SYS_PTRACE"]);
        assert_eq!(missing(bpf | ptrace, "6.1.0"), ["CAP_PERFMON"]);
        assert_eq!(missing(admin | ptrace, "5.10.0"), ["CAP_SYS_RESOURCE"]);
        assert!(missing(admin | ptrace | resource, "5.10.0").is_empty());
    }

    #[test]
    fn lists_and_choices() {
        assert_eq!(count_cpus("0-3,8,10-11\n"), Some(7));
        assert_eq!(count_cpus("0"), Some(1));
        for bad in ["", "x", "3-1", "0-4294967295,1"] {
            assert_eq!(count_cpus(bad), None, "{bad}");
        }
        assert_eq!(chosen("none [integrity] confidentiality"), Some("integrity".into()));
        assert_eq!(chosen("none"), None);
    }

    /// On this machine, whatever it is: what every Linux has must be found.
    #[test]
    fn here() {
        let here = Environment::probe();
        assert!(here.kernel.is_some() && here.capabilities.is_some() && here.own_proc);
        assert_eq!(here.cpus.map(|c| c > 0), Some(true));
        assert!(here.initial_pid_namespace.is_some() && here.initial_user_namespace.is_some());
        assert_eq!(here.effective_uid, nix::unistd::geteuid().as_raw());
        let json = serde_json::to_value(&here).unwrap();
        assert_eq!(json["kernel_release"], here.kernel_release);
    }
}
