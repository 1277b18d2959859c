//! The command line: one file per subcommand. Each parses into a plain request, which a driver runs to an exit code or
//! a [`Failure`].

pub mod attach;
pub mod common;
mod core;
pub mod diff;
pub mod doctor;
pub mod dump;
mod executable;
pub mod live;
mod outlet;
mod print;
pub mod record;
pub mod replay;
pub mod report;
pub mod run;
mod screen;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

pub use print::{note, print, print_error};
pub use screen::{Closing, Screen};

const AFTER_HELP: &str = "\
Examples:
  sudo gostray attach 4242                  watch a running program until Ctrl-C, then report
  sudo gostray attach 4242 --duration 45s   … for 45 seconds
  sudo gostray run -- ./server --port 8080  start a program, watch it from its first goroutine
  sudo gostray record 4242 -o leak.session  write what is seen to a file
  gostray report leak.session               read it again, on any machine

Exit codes: 0 done, 2 usage, 3 leak or growth found (with `--fail-on`); others are in docs/exit-codes.md.";

/// Finds the goroutines that never come home, in a Go program that nobody changed, rebuilt or restarted.
#[derive(Debug, Parser)]
#[command(name = "gostray", version, after_help = AFTER_HELP, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Attach(attach::Args),
    Run(run::Args),
    Record(record::Args),
    Replay(replay::Args),
    Report(report::Args),
    Dump(dump::Args),
    Diff(diff::Args),
    Doctor(doctor::Args),
}

impl Command {
    /// Runs it to its end.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Attach(args) => attach::run(args.into()),
            Self::Run(args) => run::run(args.into()),
            Self::Record(args) => record::run(args.into()),
            Self::Replay(args) => replay::run(args.into()),
            Self::Report(args) => report::run(args.into()),
            Self::Dump(args) => dump::run(args.into()),
            Self::Diff(args) => diff::run(args.into()),
            Self::Doctor(args) => doctor::run(args.into()),
        }
    }
}

#[cfg(test)]
mod tests;
