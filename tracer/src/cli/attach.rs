//! `gostray attach`

use std::process::ExitCode;

use super::common::{Show, ShowArgs, Watch, WatchArgs};
use super::live;
use crate::failure::Failure;

/// Watch a running Go program, then report which `go` statements leak
///
/// The program is neither changed nor restarted: gostray places a few probes in its runtime functions and reads its
/// memory from outside. Detaching leaves no trace.
///
/// On a terminal a live table is shown; in a pipe, a line for each change. Ctrl-C, `q`, the end of `--duration` and the end of
/// the program all end the watch and print the report.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray attach 4242
  sudo gostray attach 4242 --duration 45s --fail-on leak
  sudo gostray attach $(pgrep -o server) --json | jq 'select(.verdict == \"leak\")'")]
pub struct Args {
    /// Process id of the program
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub pid: u32,
    pub watch: Watch,
    pub show: Show,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { pid: a.pid, watch: a.watch.into(), show: a.show.into() }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    live::watch(live::Subject::Pid(request.pid), None, request.watch, request.show)
}
