//! `gostray diff`

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::common::{ColorChoice, Show};
use super::print::{Stream, print};
use crate::diff::{Census, Diff, Refusal, diff, refusal};
use crate::failure::{Class, Fail, Failure};
use crate::output::diff::{json, text};
use crate::output::dump::json as dump_json;
use crate::pipeline::Pipeline;
use crate::record::{self, ReadError};
use crate::source::replay::{Replay, ReplayError};

/// Say which `go` statements have more or fewer living goroutines at a second moment than at a first one
///
/// Each moment is a dump (`gostray dump PID --format json -o FILE`) or a session (`gostray record`), of which the end counts. They
/// need not be of the same process: restarted and rebuilt programs are matched by their source. docs/dump.md explains each word.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gostray dump 4242 --format json -o a.json      one moment
  sudo gostray dump 4242 --format json -o b.json      … and a later one
  gostray diff a.json b.json                          what changed, the largest growth first
  gostray diff a.json leak.session                    … up to the end of a recorded session
  sudo gostray dump 4242 --format json | gostray diff a.json -
  gostray diff a.json b.json --fail-on growth=10      exit code 3 when a site grew by 10 or more
  gostray diff a.json b.json --json | jq '.sites[] | select(.growth > 0)'")]
pub struct Args {
    /// The first moment: a dump in JSON or a session file; `-` is the standard input
    before: PathBuf,

    /// The second moment, likewise
    after: PathBuf,

    /// Compare even different programs, and dumps of different filters
    #[arg(long)]
    force: bool,

    /// Print JSON, one object (docs/json.md)
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Show what stayed and the runtime's own goroutines too
    #[arg(long, help_heading = "Output")]
    all: bool,

    /// Use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, help_heading = "Output")]
    color: ColorChoice,

    /// End with exit code 3 when one of the program's own `go` statements has at least N more goroutines
    #[arg(long, value_name = "growth=N", value_parser = growth, help_heading = "Output")]
    fail_on: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub before: PathBuf,
    pub after: PathBuf,
    pub force: bool,
    pub show: Show,
    /// Growth of one site that is a failure.
    pub fail_on: Option<u64>,
}

impl From<Args> for Request {
    fn from(a: Args) -> Self {
        let show = Show { json: a.json, all: a.all, color: a.color, fail_on: None };
        Self { before: a.before, after: a.after, force: a.force, show, fail_on: a.fail_on }
    }
}

/// `growth=N`
fn growth(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("growth=").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    number.ok_or_else(|| "growth=N with a number of at least 1, for instance growth=10".to_owned())
}

/// A file that is no moment to be compared.
#[derive(Debug, thiserror::Error)]
enum MomentError {
    #[error("`{0}` is neither a dump in JSON nor a session file")]
    Neither(String),
    #[error("`{name}` cannot be read as a dump")]
    Dump { name: String, source: dump_json::ReadError },
    #[error("`{name}` cannot be read as a session")]
    Session { name: String, source: ReplayError },
    #[error("cannot read `{name}`")]
    Read { name: String, source: std::io::Error },
}

impl Fail for MomentError {
    fn class(&self) -> Class {
        match self {
            Self::Neither(_) => Class::BadDump,
            Self::Dump { source: dump_json::ReadError::Json(e), .. } if e.is_io() => Class::CannotRead,
            Self::Dump { .. } => Class::BadDump,
            Self::Session { source, .. } => source.class(),
            Self::Read { .. } => Class::CannotRead,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Session { source, .. } => source.hint(),
            _ => self.class().hint().to_owned(),
        }
    }
}

impl Fail for Refusal {
    fn class(&self) -> Class {
        Class::NotComparable
    }
}

/// Reads both, compares them, prints what changed.
pub fn run(request: Request) -> Result<ExitCode, Failure> {
    if request.before.as_os_str() == "-" && request.after.as_os_str() == "-" {
        return Err(Failure::new(Class::Usage, "the standard input can be one of the two moments, not both")
            .with_hint("write one of them to a file"));
    }
    let (before, after) = (census(&request.before)?, census(&request.after)?);
    if let Some(refused) = refusal(&before, &after).filter(|_| !request.force) {
        return Err(refused.into());
    }
    let diff = diff(&before, &after);
    let shown = if request.show.json {
        json::json(&diff).map_err(|e| Failure::because(Class::Internal, e))? + "\n"
    } else {
        let style = request.show.style_of_stdout();
        text::text(&diff, &text::Options { style, all: request.show.all })
    };
    print(Stream::Out, &shown)?;
    match request.fail_on.and_then(|by| grown(&diff, by)) {
        Some(message) => Err(Failure::new(Class::LeakFound, message)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The sentence that names what has grown by at least so much.
fn grown(diff: &Diff<'_>, by: u64) -> Option<String> {
    const NAMED: usize = 5;
    let grown: Vec<_> = diff.grown(by).collect();
    let name = |row: &&crate::diff::Row<'_>| {
        let at = row.site().map(|s| &s.created);
        let function = at.and_then(|p| p.function.as_deref()).unwrap_or("unknown functions");
        let source = match at.map(|p| (p.file.as_deref(), p.line)) {
            Some((Some(file), Some(line))) => format!(" {file}:{line}"),
            _ => String::new(),
        };
        let doubt = if row.within_gaps { ", not more than what may be missing" } else { "" };
        format!("{:+} at {function}{source}{doubt}", row.growth())
    };
    let mut named: Vec<String> = grown.iter().take(NAMED).map(name).collect();
    if grown.len() > NAMED {
        named.push(format!("{} more", grown.len() - NAMED));
    }
    (!named.is_empty()).then(|| format!("grown by {by} or more: {}", named.join("; ")))
}

/// A dump begins with a brace; what else there is may be a session.
fn census(path: &Path) -> Result<Census, Failure> {
    let name = if path.as_os_str() == "-" { "-".to_owned() } else { path.display().to_string() };
    let mut input = record::open(path)?;
    let mut head = Vec::new();
    if let Err(source) = input.by_ref().take(1).read_to_end(&mut head) {
        return Err(MomentError::Read { name, source }.into());
    }
    let is_dump = head == b"{";
    let input: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(input));
    if is_dump {
        let (dump, selection) =
            dump_json::read(input).map_err(|source| MomentError::Dump { name, source })?;
        return Ok(Census::of_dump(&dump, &selection.unwrap_or_default().filters));
    }
    session(input).map_err(|e| match e {
        ReplayError::Read(ReadError::NotASession) => MomentError::Neither(name).into(),
        source => MomentError::Session { name, source }.into(),
    })
}

/// The end of a session.
fn session(input: Box<dyn Read + Send>) -> Result<Census, ReplayError> {
    let mut replay = Replay::from_input(input)?;
    let mut pipeline = Pipeline::new();
    while let Some(event) = replay.next_event()? {
        pipeline.push_event(event);
    }
    pipeline.finish();
    Ok(Census::of_session(&pipeline.snapshot()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_number_is_a_growth() {
        assert_eq!(growth("growth=1"), Ok(1));
        assert_eq!(growth("growth=120"), Ok(120));
        for bad in ["", "leak", "growth", "growth=", "growth=0", "growth=-1", "growth=1.5", "growth=1 ", "10"]
        {
            assert!(growth(bad).is_err(), "{bad}");
        }
    }
}
