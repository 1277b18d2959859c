//! What the user sees while a session runs, and at its end: a table on a terminal, lines in a pipe, or JSON lines.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::common::Show;
use super::print::{Reader, Stream, print};
use crate::failure::{Class, Failure};
use crate::output::changes::Told;
use crate::output::tui::{Action, Tui};
use crate::output::{Style, json, lines, report};
use crate::session::Snapshot;

/// Shows snapshots while they come, then the report.
pub struct Screen {
    show: Show,
    stream: Stream,
    live: Live,
    gone: bool,
}

enum Live {
    Table {
        tui: Box<Tui>,
        last: Option<Box<Snapshot>>,
    },
    Lines(Told),
    Json(Told),
    /// Only the report at the end.
    Quiet,
}

impl Screen {
    /// For a target that does not use our terminal: a table where standard input and output are a terminal, else
    /// lines.
    pub fn live(show: Show) -> Result<Self, Failure> {
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let live = if show.json {
            Live::Json(Told::default())
        } else if terminal {
            let tui = Tui::start(show.style_of_stdout().color).map_err(terminal_failed)?;
            Live::Table { tui: Box::new(tui), last: None }
        } else {
            Live::Lines(Told::default())
        };
        Ok(Self { show, stream: Stream::Out, live, gone: false })
    }

    /// For a target that we started: standard output and the terminal are its own, so lines and report go to standard
    /// error.
    pub fn beside_the_command(show: Show) -> Self {
        let live = if show.json { Live::Json(Told::default()) } else { Live::Lines(Told::default()) };
        Self { show, stream: Stream::Err, live, gone: false }
    }

    /// Lines as they would have come from a live session.
    pub fn lines(show: Show) -> Self {
        let live = if show.json { Live::Json(Told::default()) } else { Live::Lines(Told::default()) };
        Self { show, stream: Stream::Out, live, gone: false }
    }

    /// Nothing but the report.
    pub fn quiet(show: Show) -> Self {
        Self { show, stream: Stream::Out, live: Live::Quiet, gone: false }
    }

    /// The terminal is taken by the live table: nothing else may be written to it.
    pub fn is_table(&self) -> bool {
        matches!(self.live, Live::Table { .. })
    }

    /// Whether [`update`](Self::update) shows anything: without, snapshots need not be made.
    pub fn wants_updates(&self) -> bool {
        !matches!(self.live, Live::Quiet) && !self.gone
    }

    /// Shows a new snapshot. Once a second of stream time.
    pub fn update(&mut self, snapshot: &Snapshot) -> Result<(), Failure> {
        let style = self.style();
        let text = match &mut self.live {
            Live::Table { tui, last } => {
                tui.draw(snapshot).map_err(terminal_failed)?;
                *last = Some(Box::new(snapshot.clone()));
                return Ok(());
            }
            Live::Lines(told) => {
                lines::lines(snapshot, &told.next(snapshot), style).into_iter().map(|l| l + "\n").collect()
            }
            Live::Json(told) => {
                let mut text = String::new();
                for change in told.next(snapshot) {
                    text.push_str(&json::live(snapshot, &change).map_err(json_failed)?);
                    text.push('\n');
                }
                text
            }
            Live::Quiet => return Ok(()),
        };
        self.write(&text)
    }

    /// True when the user has asked for the end: a key of the table, or the reader of our output has gone. Costs a
    /// system call; call it between two drains.
    pub fn wants_end(&mut self) -> Result<bool, Failure> {
        let Live::Table { tui, last } = &mut self.live else { return Ok(self.gone) };
        match tui.poll(Duration::ZERO).map_err(terminal_failed)? {
            Some(Action::Quit) => return Ok(true),
            Some(Action::Redraw) => {
                if let Some(last) = last {
                    tui.draw(last).map_err(terminal_failed)?;
                }
            }
            None => {}
        }
        Ok(false)
    }

    /// Gives the terminal back and prints the report. The code is 0 or that of `--fail-on`.
    pub fn finish(mut self, snapshot: &Snapshot) -> Result<ExitCode, Failure> {
        // Changes since the last second belong to the lines; the table has nothing to add.
        if matches!(self.live, Live::Lines(_) | Live::Json(_)) {
            self.update(snapshot)?;
        }
        let spaced = matches!(self.live, Live::Lines(_));
        self.live = Live::Quiet;
        let mut text = if spaced { "\n".to_owned() } else { String::new() };
        text.push_str(&document(snapshot, &self.show, self.style())?);
        self.write(&text)?;
        Ok(self.show.exit_code(snapshot).into())
    }

    fn style(&self) -> Style {
        match self.stream {
            Stream::Out => self.show.style_of_stdout(),
            Stream::Err => self.show.style_of_stderr(),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if !self.gone && !text.is_empty() {
            self.gone = print(self.stream, text)? == Reader::Gone;
        }
        Ok(())
    }
}

/// The report in the form that was asked for.
fn document(snapshot: &Snapshot, show: &Show, style: Style) -> Result<String, Failure> {
    if show.json {
        return Ok(json::report(snapshot).map_err(json_failed)? + "\n");
    }
    Ok(report::text(snapshot, &report::Options { style, all: show.all, show_time: true }))
}

fn terminal_failed(e: std::io::Error) -> Failure {
    Failure::because(Class::CannotWrite, format!("cannot use the terminal: {e}"))
        .with_hint("`| cat` shows lines instead of the table")
}

fn json_failed(e: serde_json::Error) -> Failure {
    Failure::because(Class::Internal, e)
}
