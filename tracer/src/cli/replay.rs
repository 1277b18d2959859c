//! `gostray replay`

use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{Show, ShowArgs};
use crate::failure::Failure;

/// Run a recorded session through the same analysis again and print the report that the live run gave
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gostray replay leak.session                  the report
  gostray replay leak.session --live           a line for each change first, as they came
  gostray replay leak.session --events | less  every event as text")]
pub struct Args {
    /// A file that `gostray record` wrote; `-` is the standard input
    file: PathBuf,

    /// Print a line for each change before the report
    #[arg(long, conflicts_with = "events")]
    live: bool,

    /// Print the recorded events as text, one a line, and nothing else
    #[arg(long, conflicts_with_all = ["json", "all", "fail_on"])]
    events: bool,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub file: PathBuf,
    pub live: bool,
    pub events: bool,
    pub show: Show,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { file: a.file, live: a.live, events: a.events, show: a.show.into() }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    let _ = request;
    Err(Failure::new(crate::failure::Class::Internal, "replay is not connected yet"))
}
