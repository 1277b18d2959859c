//! `run`: a child that is traced from its very first goroutine.
//!
//! The child asks to be traced and executes the program; the kernel stops it behind the exec, with the program mapped
//! and not one instruction of it run. That is the one stop in gostray, and the user asked for it by `run`. The probes are
//! placed there, then the child is let go for good: it is not traced (in the ptrace sense) any more.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum SpawnError {
    #[error("`{command}` cannot be started")]
    Start { command: String, source: std::io::Error },
    #[error("`{command}` did not stop after its start: {found}")]
    NoStop { command: String, found: String },
    #[error("`{command}` cannot be let go")]
    Release { command: String, source: Errno },
}

/// A child stopped before its first instruction. Dropping it kills the child: it never ran.
#[derive(Debug)]
pub struct Stopped {
    child: Option<Child>,
    command: String,
}

/// A child that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Stopped {
    /// Starts `command` and holds it behind its exec.
    pub fn start(command: &OsString, args: &[OsString]) -> Result<Self, SpawnError> {
        let name = command.to_string_lossy().into_owned();
        let mut builder = Command::new(command);
        builder.args(args);
        // SAFETY: between fork and exec only a system call is made; it touches no memory and takes no lock.
        unsafe {
            builder.pre_exec(|| ptrace::traceme().map_err(Into::into));
        }
        let child = builder.spawn().map_err(|source| SpawnError::Start { command: name.clone(), source })?;
        let stopped = Self { child: Some(child), command: name };
        match waitpid(stopped.nix_pid(), Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {
                // Until it is let go it has not run: should we die, it goes with us instead of running unwatched.
                ptrace::setoptions(stopped.nix_pid(), ptrace::Options::PTRACE_O_EXITKILL)
                    .map_err(|source| SpawnError::Release { command: stopped.command.clone(), source })?;
                Ok(stopped)
            }
            found => {
                Err(SpawnError::NoStop { command: stopped.command.clone(), found: format!("{found:?}") })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.pid() as i32)
    }

    /// Lets it run.
    pub fn release(mut self) -> Result<Running, SpawnError> {
        ptrace::detach(self.nix_pid(), None)
            .map_err(|source| SpawnError::Release { command: self.command.clone(), source })?;
        match self.child.take() {
            Some(child) => Ok(Running { child }),
            None => Err(SpawnError::Release { command: self.command.clone(), source: Errno::ESRCH }),
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// The exit code that a shell would show: 128 + signal for a killed one.
pub fn shell_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => (128 + signal) as u8,
        (None, None) => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_child_is_held_before_its_first_instruction_and_then_runs_to_its_end() {
        let stopped = Stopped::start(&"sh".into(), &args(&["-c", "exit 7"])).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", stopped.pid())).unwrap();
        assert!(state.contains(") t "), "{state}");
        let mut running = stopped.release().unwrap();
        assert_eq!(shell_code(running.wait().unwrap()), 7);
    }

    #[test]
    fn a_child_that_is_not_released_is_gone() {
        let stopped = Stopped::start(&"sleep".into(), &args(&["1000"])).unwrap();
        let pid = stopped.pid();
        drop(stopped);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn what_cannot_be_started_says_so() {
        let e = Stopped::start(&"/no/such/program".into(), &[]).unwrap_err();
        assert_eq!(e.to_string(), "`/no/such/program` cannot be started");
    }
}
