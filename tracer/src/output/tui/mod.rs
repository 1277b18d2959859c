//! The live table on a terminal. What it looks like is [`draw`], what the keys do is [`ViewState`]; both are pure.
//! [`Tui`] owns the terminal and puts it back, whatever happens.

mod draw;
mod view;

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{LeaveAlternateScreen, disable_raw_mode};

use crate::session::Snapshot;

pub use draw::draw;
pub use view::{Sort, ViewState};

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End tracing and print the report.
    Quit,
    /// Nothing for the caller but to draw again: a selection moved, the window has another size.
    Redraw,
}

/// The terminal while the table is on it: alternate screen, raw mode. Dropping it gives the terminal back; so does
/// the panic hook that [`start`](Self::start) installs, before the panic's message is printed.
///
/// What it draws it gives to its caller as bytes: a terminal that takes none must hold up a thread that has nothing else
/// to do.
pub struct Tui {
    terminal: Terminal<CrosstermBackend<Frame>>,
    frame: Frame,
    view: ViewState,
    left: bool,
}

/// What was drawn and not yet taken.
#[derive(Clone, Default)]
struct Frame(Rc<RefCell<Vec<u8>>>);

impl Write for Frame {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tui {
    /// Takes the terminal on standard output.
    ///
    /// # Errors
    /// When standard output is no terminal or it refuses; nothing is changed then.
    pub fn start(color: bool) -> io::Result<Self> {
        // `try_init` may fail half-way, in raw mode.
        let start = || {
            ratatui::try_init()?;
            let frame = Frame::default();
            let terminal = Terminal::new(CrosstermBackend::new(frame.clone()))?;
            Ok(Self { terminal, frame, view: ViewState::new(color), left: false })
        };
        start().inspect_err(|_| restore())
    }

    /// Draws a snapshot: the bytes that make the terminal show it once it has had those of all earlier calls. Call it
    /// each second and after [`Action::Redraw`].
    pub fn draw(&mut self, snapshot: &Snapshot) -> io::Result<Vec<u8>> {
        self.view.update(snapshot);
        let view = &self.view;
        self.terminal.draw(|frame| draw(frame, snapshot, view))?;
        Ok(self.frame.0.take())
    }

    /// Waits at most `timeout` for a key (`Duration::ZERO` only looks) and takes what is there. `None`: nothing that
    /// concerns the caller.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<Option<Action>> {
        let mut action = None;
        let mut wait = timeout;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            let new = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => self.view.key(key),
                Event::Resize(..) => Some(Action::Redraw),
                _ => None,
            };
            if new == Some(Action::Quit) {
                return Ok(new);
            }
            action = new.or(action);
        }
        Ok(action)
    }
}

impl Tui {
    /// Gives the terminal's modes back at once, and its screen with the bytes that are returned.
    pub fn leave(mut self) -> Vec<u8> {
        self.left = true;
        // Neither has anywhere to tell an error, and writing to memory makes none.
        let _ = disable_raw_mode();
        let mut bytes = self.frame.0.take();
        let _ = queue!(bytes, LeaveAlternateScreen, Show);
        bytes
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        if !self.left {
            restore();
            // The table hides it.
            let _ = ratatui::crossterm::execute!(io::stdout(), Show);
        }
    }
}

/// As much of the terminal as can be restored: an error here has nowhere to go.
fn restore() {
    let _ = ratatui::try_restore();
}

#[cfg(test)]
mod tests;
