//! Where dumps go: standard output or a file, in the form that was asked for.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::super::common::{ColorChoice, Show};
use super::super::print::Reader;
use super::behind::Behind;
use super::redraw::redraw;
use super::{Format, Read, Request};
use crate::failure::{Class, Failure};
use crate::output::Style;
use crate::output::dump::changes::Told;
use crate::output::dump::{folded, go, json, pprof, text};
use crate::record::FileOutput;

pub struct Out<'r> {
    request: &'r Request,
    to: To,
    style: Style,
    /// Each dump is drawn over the last one.
    redraws: bool,
    told: Told,
    dumps: u64,
}

enum To {
    Stdout(BufWriter<StdoutLock<'static>>),
    File(Behind<FileOutput>, PathBuf),
}

impl<'r> Out<'r> {
    /// Creates the file, if there is to be one.
    pub fn new(request: &'r Request) -> Result<Self, Failure> {
        let (to, style) = match &request.output {
            Some(path) => {
                let file = FileOutput::create(path, request.force)?;
                let style = Style { color: request.color == ColorChoice::Always, width: None };
                (To::File(Behind::new(file), path.clone()), style)
            }
            None => {
                let show = Show { json: false, all: request.all, color: request.color, fail_on: None };
                (To::Stdout(BufWriter::with_capacity(1 << 20, io::stdout().lock())), show.style_of_stdout())
            }
        };
        let terminal = request.output.is_none() && io::stdout().is_terminal();
        let redraws = terminal && request.watch.is_some() && request.format == Format::Text;
        Ok(Self { request, to, style, redraws, told: Told::default(), dumps: 0 })
    }

    /// Writes one dump, to its end.
    pub fn show(&mut self, read: &Read) -> Result<Reader, Failure> {
        let done = self.write(read).and_then(|()| match &mut self.to {
            To::Stdout(out) => out.flush(),
            To::File(out, _) => out.flush(),
        });
        self.dumps += 1;
        match done {
            Ok(()) => Ok(Reader::There),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// The file is whole.
    pub fn finish(self) -> Result<(), Failure> {
        let To::File(out, path) = self.to else { return Ok(()) };
        out.into_inner()
            .and_then(FileOutput::complete)
            .map_err(|e| cannot_write(&path.display().to_string(), e))
    }

    fn write(&mut self, read: &Read) -> io::Result<()> {
        let Self { request, to, style, redraws, told, dumps } = self;
        let out: &mut dyn io::Write = match to {
            To::Stdout(out) => out,
            To::File(out, _) => out,
        };
        let Read { dump, selection } = read;
        let which = |g: &crate::dump::Goroutine| request.all || !g.system;
        let parts = matches!(request.format, Format::Text | Format::Go);
        if *dumps > 0 && parts && !*redraws {
            let time = UNIX_EPOCH + Duration::from_nanos(dump.about.taken_unix_ns);
            writeln!(out, "\n=== {} ===\n", humantime::format_rfc3339_seconds(time))?;
        }
        match request.format {
            Format::Text => {
                let shown = text::shown(dump);
                let changes = match request.watch {
                    Some(_) => told.next(dump, &shown, |g| text::title(dump, g)),
                    None => None,
                };
                let options = text::Options {
                    style: *style,
                    all: request.all,
                    table: *redraws,
                    selection: selection.as_ref(),
                    changes: changes.as_ref(),
                };
                match ratatui::crossterm::terminal::size() {
                    Ok((columns, rows)) if *redraws => {
                        let every = request.watch.map(humantime::format_duration);
                        let every = every.map(|e| format!("every {e}, Ctrl-C ends\n\n")).unwrap_or_default();
                        let mut drawn = every.into_bytes();
                        text::write(dump, &shown, &options, &mut drawn)?;
                        out.write_all(redraw(&String::from_utf8_lossy(&drawn), columns, rows).as_bytes())
                    }
                    _ => text::write(dump, &shown, &options, out),
                }
            }
            Format::Go => go::write(dump, which, out),
            Format::Json => json::write(dump, selection.as_ref(), out),
            Format::Pprof => pprof::write(dump, which, out),
            Format::Folded => folded::write(dump, which, out),
        }
    }

    fn failed(&self, e: io::Error) -> Failure {
        match &self.to {
            To::Stdout(_) => cannot_write("standard output", e),
            To::File(_, path) => cannot_write(&path.display().to_string(), e),
        }
    }
}

fn cannot_write(what: &str, e: io::Error) -> Failure {
    let class = if e.kind() == io::ErrorKind::StorageFull { Class::DiskFull } else { Class::CannotWrite };
    let hint = "look at where the output goes, or choose another place with `-o`";
    Failure::because(class, format!("cannot write to {what}: {e}")).with_hint(hint)
}
