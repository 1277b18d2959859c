//! Signals as data, with the one thing that decides whether `run` passes them on: who sent them.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// A signal that came for us.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    pub signal: Signal,
    /// It came from the terminal, so the target in our process group has had it too.
    pub from_terminal: bool,
}

/// The signals that end a session or are passed on.
const WATCHED: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
];

/// Keeps the watched signals back until there is a [`Signals`] to read them: one that comes while a child is being
/// started must reach it, not end us between the two.
pub fn hold_signals() -> io::Result<()> {
    Ok(WATCHED.into_iter().collect::<SigSet>().thread_block()?)
}

/// The watched signals, blocked for this thread and read from a descriptor.
pub struct Signals {
    fd: AsyncFd<SignalFd>,
}

impl Signals {
    pub fn new() -> io::Result<Self> {
        let set: SigSet = WATCHED.into_iter().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd: super::watch(fd)? })
    }

    pub async fn next(&mut self) -> io::Result<Caught> {
        loop {
            let mut guard = self.fd.readable().await?;
            if let Some(info) = guard.get_inner().read_signal()? {
                let signal = Signal::try_from(info.ssi_signo as i32)?;
                // `siginfo_t.si_code`: SI_KERNEL for the terminal's, SI_USER and below for a process's.
                return Ok(Caught { signal, from_terminal: info.ssi_code > 0 });
            }
            guard.clear_ready();
        }
    }
}
