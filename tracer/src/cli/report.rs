//! `gostray report`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::common::{LookArgs, Show};
use super::replay;
use crate::failure::Failure;

/// Print the report of a recorded session
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gostray report leak.session
  gostray report leak.session --all
  gostray report leak.session --format json | jq '.sites[0].created_at'
  gostray report leak.session --fail-on leak >/dev/null || echo leaking")]
pub struct Args {
    /// A file that `gostray record` wrote; `-` is the standard input
    file: PathBuf,

    /// Form of the report (docs/json.md describes the JSON)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,

    #[command(flatten)]
    look: LookArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub file: PathBuf,
    pub show: Show,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        let LookArgs { all, color, fail_on } = a.look;
        Self { file: a.file, show: Show { json: a.format == Format::Json, all, color, fail_on } }
    }
}

/// A replay of which only the end is shown.
pub fn run(request: Request) -> Result<ExitCode, Failure> {
    replay::run(replay::Request { file: request.file, live: false, events: false, show: request.show })
}
