//! What the user sees while a session runs, and at its end: a table on a terminal, lines in a pipe, or JSON lines.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::common::Show;
use super::outlet::Outlet;
use super::print::{Reader, Stream, print, print_bytes};
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
    /// While a target is watched, nothing waits for who reads; without it, all is written as it comes.
    outlet: Option<Outlet>,
    gone: bool,
}

/// A report that is on its way out.
#[must_use]
pub struct Closing {
    outlet: Option<Outlet>,
    code: ExitCode,
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
        Ok(Self { show, stream: Stream::Out, live, outlet: Some(outlet(Stream::Out)), gone: false })
    }

    /// For a target that we started: standard output and the terminal are its own, so lines and report go to standard
    /// error.
    pub fn beside_the_command(show: Show) -> Self {
        let live = if show.json { Live::Json(Told::default()) } else { Live::Lines(Told::default()) };
        Self { show, stream: Stream::Err, live, outlet: Some(outlet(Stream::Err)), gone: false }
    }

    /// Lines as they would have come from a live session.
    pub fn lines(show: Show) -> Self {
        let live = if show.json { Live::Json(Told::default()) } else { Live::Lines(Told::default()) };
        Self { show, stream: Stream::Out, live, outlet: None, gone: false }
    }

    /// Nothing but the report.
    pub fn quiet(show: Show) -> Self {
        Self { show, stream: Stream::Out, live: Live::Quiet, outlet: None, gone: false }
    }

    /// The terminal is taken by the live table: nothing else may be written to it.
    pub fn is_table(&self) -> bool {
        matches!(self.live, Live::Table { .. })
    }

    /// Whether [`update`](Self::update) shows anything: without, snapshots need not be made.
    pub fn wants_updates(&self) -> bool {
        !matches!(self.live, Live::Quiet) && !self.gone
    }

    /// Shows a new snapshot. Once a second of stream time. While a target is watched it does not wait for the reader:
    /// what finds no room is left out, and said to be.
    pub fn update(&mut self, snapshot: &Snapshot) -> Result<(), Failure> {
        let style = self.style();
        let mut lines = match &mut self.live {
            Live::Table { last, .. } => {
                *last = Some(Box::new(snapshot.clone()));
                return self.draw();
            }
            Live::Lines(told) => lines::lines(snapshot, &told.next(snapshot), style),
            Live::Json(told) => told
                .next(snapshot)
                .iter()
                .map(|change| json::live(snapshot, change))
                .collect::<Result<_, _>>()
                .map_err(json_failed)?,
            Live::Quiet => return Ok(()),
        };
        for line in &mut lines {
            line.push('\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        let notice = self.notice(snapshot)?;
        match &mut self.outlet {
            Some(outlet) => {
                outlet.offer(notice, &lines);
                Ok(())
            }
            None => self.write(&lines.concat()),
        }
    }

    /// True when the user has asked for the end: a key of the table, or the reader of our output has gone. Costs a
    /// system call; call it between two drains.
    pub fn wants_end(&mut self) -> Result<bool, Failure> {
        if let Some(outlet) = &self.outlet {
            self.gone |= outlet.reader()? == Reader::Gone;
        }
        let Live::Table { tui, .. } = &mut self.live else { return Ok(self.gone) };
        match tui.poll(Duration::ZERO).map_err(terminal_failed)? {
            Some(Action::Quit) => return Ok(true),
            Some(Action::Redraw) => self.draw()?,
            None => {}
        }
        Ok(self.gone)
    }

    /// Gives the terminal back and prints the report. The code is 0 or that of `--fail-on`. Waits for the reader; see
    /// [`Closing::wait`].
    pub fn finish(self, snapshot: &Snapshot) -> Result<ExitCode, Failure> {
        self.report(snapshot)?.wait()
    }

    /// [`finish`](Self::finish) that does not wait for the reader of a live session's report: what must be done in any
    /// case can be done before [`Closing::wait`].
    pub fn report(mut self, snapshot: &Snapshot) -> Result<Closing, Failure> {
        // Changes since the last second belong to the lines; the table has nothing to add.
        if matches!(self.live, Live::Lines(_) | Live::Json(_)) {
            self.update(snapshot)?;
        }
        let mut text = self.notice(snapshot)?.unwrap_or_default();
        if matches!(self.live, Live::Lines(_)) {
            text.push('\n');
        }
        text.push_str(&document(snapshot, &self.show, self.style())?);
        let code = self.show.exit_code(snapshot).into();
        if self.outlet.is_none() {
            self.write(&text)?;
            return Ok(Closing { outlet: None, code });
        }
        Ok(Closing { outlet: self.close(&text), code })
    }

    /// The outlet, closed, with the terminal's screen given back and then `text` as the last that goes through it.
    fn close(&mut self, text: &str) -> Option<Outlet> {
        let mut last = match std::mem::replace(&mut self.live, Live::Quiet) {
            Live::Table { tui, .. } => tui.leave(),
            _ => Vec::new(),
        };
        last.extend_from_slice(text.as_bytes());
        let mut outlet = self.outlet.take();
        if let Some(outlet) = &mut outlet {
            outlet.close(last);
        }
        outlet
    }

    /// Draws what was shown last, unless the terminal has not taken the frame before: then the next one tells all.
    fn draw(&mut self) -> Result<(), Failure> {
        if let Live::Table { tui, last: Some(last) } = &mut self.live
            && let Some(outlet) = &mut self.outlet
            && outlet.is_idle()
        {
            outlet.offer_bytes(tui.draw(last).map_err(terminal_failed)?);
        }
        Ok(())
    }

    /// The line about lines that found no room, with its newline, when there are any.
    fn notice(&self, snapshot: &Snapshot) -> Result<Option<String>, Failure> {
        let count = self.outlet.as_ref().map_or(0, Outlet::left_out);
        if count == 0 {
            return Ok(None);
        }
        let line = match self.live {
            Live::Json(_) => json::left_out(snapshot, count).map_err(json_failed)?,
            _ => lines::left_out(snapshot, count, self.style()),
        };
        Ok(Some(line + "\n"))
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

impl Drop for Screen {
    /// A session that failed has no report, but what was queued is written and the terminal given back.
    fn drop(&mut self) {
        drop(self.close(""));
    }
}

impl Closing {
    /// Waits until all is written. When nobody reads, SIGINT, SIGTERM, SIGHUP or SIGQUIT end the process here, also
    /// where they were blocked to be read from a descriptor.
    pub fn wait(self) -> Result<ExitCode, Failure> {
        if let Some(mut outlet) = self.outlet {
            outlet.wait()?;
        }
        Ok(self.code)
    }
}

fn outlet(stream: Stream) -> Outlet {
    Outlet::start(move |bytes| print_bytes(stream, bytes))
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
