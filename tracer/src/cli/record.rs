//! `gostray record`

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{Show, ShowArgs, Watch, WatchArgs};
use super::live::{self, Subject};
use crate::failure::Failure;

/// Watch a program as `attach` or `run` do, and write all that is seen to a file
///
/// The file holds the events, the names behind the addresses and how the session was made: `report` and `replay` need
/// neither the program nor the machine. It is readable by its owner only. Killing gostray loses at most the
/// last second.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray record 4242 -o leak.session --duration 10m
  sudo gostray record -o start.session -- ./server --port 8080
  gostray report leak.session")]
#[command(
    override_usage = "gostray record [OPTIONS] --output <FILE> <PID>\n       gostray record [OPTIONS] --output <FILE> -- <CMD> [ARGS]..."
)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["pid", "command"]))]
pub struct Args {
    /// Process id of the program
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    /// The program to start, and its arguments
    #[arg(last = true, num_args = 1.., value_names = ["CMD", "ARGS"])]
    command: Vec<OsString>,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub subject: Subject,
    pub output: PathBuf,
    pub force: bool,
    pub watch: Watch,
    pub show: Show,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        // The argument group lets exactly one of the two through.
        let subject = a.pid.map_or(Subject::Command(a.command), Subject::Pid);
        Self { subject, output: a.output, force: a.force, watch: a.watch.into(), show: a.show.into() }
    }
}

pub fn run(request: Request) -> Result<ExitCode, Failure> {
    let recording = live::Recording { path: request.output, force: request.force };
    live::watch(request.subject, Some(recording), request.watch, request.show)
}
