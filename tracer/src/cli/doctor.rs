//! `gostray doctor`

use std::process::ExitCode;

use super::common::ColorChoice;
use crate::failure::{Class, Failure};

/// Say what works here: kernel, permissions, the program's Go version, each planned probe and its cost
///
/// Without a process id only the machine is looked at. The program is not disturbed: no probe is placed in it.
/// The cost of a probe is measured on gostray itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray doctor
  sudo gostray doctor 4242
  sudo gostray doctor 4242 --json")]
pub struct Args {
    /// Process id of a program
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub pid: Option<u32>,
    pub json: bool,
    pub color: ColorChoice,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        Self { pid: a.pid, json: a.json, color: a.color }
    }
}

/// The driver is not connected yet.
pub fn run(_: Request) -> Result<ExitCode, Failure> {
    Err(Failure::new(Class::Internal, "`doctor` is not built into this gostray yet")
        .with_hint("`gostray report FILE` works on recorded sessions"))
}
