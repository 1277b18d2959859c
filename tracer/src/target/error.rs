//! Why a process cannot be watched.

use std::io;

use thiserror::Error;

use super::environment::KernelVersion;
use crate::failure::{Class, Fail};

#[derive(Debug, Error)]
pub enum TargetError {
    #[error("there is no process `{pid}`")]
    NoSuchProcess {
        pid: i32,
        /// We are ourselves in a PID namespace other than the machine's first one.
        nested: bool,
    },
    /// The number is what a process calls itself, inside its own namespace.
    #[error(
        "there is no process `{pid}` here; inside its own PID namespace `{comm}` has that id, here it is `{here}`"
    )]
    InnerPid { pid: i32, here: i32, comm: String },
    /// `/proc` speaks of other processes than the kernel does when we name an id.
    #[error("process `{pid}` cannot be looked up: `/proc` belongs to another PID namespace than gostray")]
    ForeignProc { pid: i32 },
    #[error("`{tid}` is a thread of process `{pid}` (`{comm}`)")]
    ThreadId { tid: i32, pid: i32, comm: String },
    #[error("`{pid}` (`{comm}`) is a kernel thread")]
    KernelThread { pid: i32, comm: String },
    #[error("process `{pid}` (`{comm}`) has exited already and waits for its parent")]
    Zombie { pid: i32, comm: String },
    #[error("process `{pid}` exited while it was looked at")]
    Exited { pid: i32 },
    #[error("process `{pid}` replaced itself by another program while it was looked at")]
    Execed { pid: i32 },
    #[error("`{path}` may not be read")]
    NotPermitted { path: String, source: io::Error },
    #[error("cannot read `{path}`")]
    Read { path: String, source: io::Error },
    #[error("`{path}` is not as the kernel writes it")]
    Malformed { path: String },
    #[error("`{path}` is longer than the {limit} bytes that are read")]
    TooLong { path: String, limit: usize },
    #[error("kernel `{found}` is older than {floor}")]
    KernelTooOld { found: String, floor: KernelVersion },
    #[error("missing {}", .missing.join(", "))]
    MissingCapabilities { missing: Vec<&'static str> },
    #[error(
        "gostray runs in a user namespace of its own, where no capability counts for the kernel's probes"
    )]
    UserNamespace,
    #[error("the kernel has no {what}")]
    KernelLacks { what: &'static str },
}

impl Fail for TargetError {
    fn class(&self) -> Class {
        match self {
            Self::NoSuchProcess { .. } => Class::NoSuchProcess,
            Self::InnerPid { .. } | Self::ForeignProc { .. } => Class::OtherPidNamespace,
            Self::ThreadId { .. } => Class::ThreadId,
            Self::KernelThread { .. } => Class::KernelThread,
            Self::Zombie { .. } => Class::Zombie,
            Self::Exited { .. } => Class::ExitedWhileAttaching,
            Self::Execed { .. } => Class::Execed,
            Self::NotPermitted { .. } | Self::MissingCapabilities { .. } | Self::UserNamespace => {
                Class::NotPermitted
            }
            Self::KernelTooOld { .. } => Class::KernelTooOld,
            Self::KernelLacks { .. } => Class::KernelLacks,
            Self::Read { .. } | Self::Malformed { .. } | Self::TooLong { .. } => Class::Internal,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoSuchProcess { nested: true, .. } => {
                "gostray runs in a PID namespace of its own, where the machine's ids do not count: use the id as \
                 it is here, or run gostray in the host's PID namespace (`hostPID: true`, `--pid=host`)"
                    .into()
            }
            Self::InnerPid { here, .. } => format!("use `{here}`"),
            Self::ForeignProc { .. } => {
                "mount a `/proc` of gostray's own PID namespace, or run it in the host's (`hostPID: true`, \
                 `--pid=host`)"
                    .into()
            }
            Self::ThreadId { pid, .. } => format!("use `{pid}`"),
            Self::UserNamespace => {
                "run gostray as root of the machine, not of a rootless container".into()
            }
            _ => self.class().hint().into(),
        }
    }
}
