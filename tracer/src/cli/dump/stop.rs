//! The user's wish to end a watch, without leaving a dump half written.

use std::os::fd::AsFd as _;
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::{Class, Failure};

/// What ends a watch.
const WATCHED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// The dump that is being written may take so long, milliseconds; then, or when it is asked for again, the end comes anyhow:
/// where we write to, nobody may read.
const GRACE: u16 = 5_000;

pub struct Stop {
    asked: Receiver<()>,
}

impl Stop {
    /// From here on the signals do not end the process by themselves.
    pub fn listen() -> Result<Self, Failure> {
        let failed = |e: nix::Error| Failure::because(Class::Internal, e);
        let set: SigSet = WATCHED.into_iter().collect();
        set.thread_block().map_err(failed)?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
        let (tell, asked) = channel();
        let work = move || {
            if !matches!(signals.read_signal(), Ok(Some(_))) || tell.send(()).is_err() {
                return;
            }
            let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], GRACE);
            process::exit(Class::Interrupted.code().into());
        };
        let thread = Builder::new().name("gostray-signals".to_owned()).spawn(work);
        thread.map_err(|e| Failure::because(Class::Internal, e))?;
        Ok(Self { asked })
    }

    /// Whether the end is asked for, now or within that time.
    pub fn comes_within(&self, time: Duration) -> bool {
        !matches!(self.asked.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}
