//! `gostray replay`

use std::path::PathBuf;
use std::process::ExitCode;

use super::Screen;
use super::common::{Show, ShowArgs};
use super::print::{Reader, Stream, print};
use crate::failure::Failure;
use crate::pipeline::Pipeline;
use crate::session::Session;
use crate::source::replay::Replay;
use crate::source::text;

/// Run a recorded session through the same analysis again and print the report that the live run gave
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gostray replay leak.session                  the report
  gostray replay leak.session --live           a line for each change first, as they came
  gostray replay leak.session --live --json    the same for programs
  gostray replay leak.session --events | less  every event as text (docs/text-scenario.md)")]
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

/// Sends the recorded events through the same pipeline as a live session.
pub fn run(request: Request) -> Result<ExitCode, Failure> {
    let mut replay = Replay::open(&request.file)?;
    if request.events {
        return events(replay);
    }
    let mut pipeline = Pipeline::new();
    let mut screen = if request.live { Screen::lines(request.show) } else { Screen::quiet(request.show) };
    let mut failed = None;
    let mut on_tick = |session: &Session| {
        if screen.wants_updates() && failed.is_none() {
            failed = screen.update(&session.snapshot()).err();
        }
    };
    while let Some(event) = replay.next_event()? {
        pipeline.push_event_with(event, &mut on_tick);
    }
    pipeline.finish_with(&mut on_tick);
    match failed {
        Some(failure) => Err(failure),
        None => screen.finish(&pipeline.snapshot()),
    }
}

/// The text twin: what was recorded, as it came.
fn events(mut replay: Replay) -> Result<ExitCode, Failure> {
    while let Some(event) = replay.next_event()? {
        if print(Stream::Out, &(text::print(&event) + "\n"))? == Reader::Gone {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
