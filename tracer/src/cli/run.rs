//! `gostray run`

use std::ffi::OsString;
use std::process::ExitCode;

use super::common::{Show, ShowArgs, Watch, WatchArgs};
use super::live;
use crate::failure::Failure;

/// Start a Go program and watch it from its very first goroutine
///
/// The program keeps standard input and output for itself: gostray's lines and report go to standard error.
/// Signals are passed on to the program, and its exit status is gostray's (unless `--fail-on` says otherwise).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray run -- ./server --port 8080
  sudo gostray run --duration 1m --fail-on leak -- ./server
  sudo gostray run --json -- ./job 2>leaks.jsonl")]
pub struct Args {
    /// The program and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_names = ["CMD", "ARGS"])]
    command: Vec<OsString>,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The program, then its arguments; never empty.
    pub command: Vec<OsString>,
    pub watch: Watch,
    pub show: Show,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { command: a.command, watch: a.watch.into(), show: a.show.into() }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    live::watch(live::Subject::Command(request.command), None, request.watch, request.show)
}
