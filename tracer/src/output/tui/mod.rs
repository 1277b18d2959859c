//! The live table on a terminal. What it looks like is [`draw`], what the keys do is [`ViewState`]; both are pure.
//! [`Tui`] owns the terminal and puts it back, whatever happens.

mod draw;
mod view;

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

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
pub struct Tui {
    terminal: DefaultTerminal,
    view: ViewState,
}

impl Tui {
    /// Takes the terminal on standard output.
    ///
    /// # Errors
    /// When standard output is no terminal or it refuses; nothing is changed then.
    pub fn start(color: bool) -> io::Result<Self> {
        // `try_init` may fail half-way, in raw mode.
        let terminal = ratatui::try_init().inspect_err(|_| restore())?;
        Ok(Self { terminal, view: ViewState::new(color) })
    }

    /// Draws a snapshot. Call it each second and after [`Action::Redraw`].
    pub fn draw(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.view.update(snapshot);
        let view = &self.view;
        self.terminal.draw(|frame| draw(frame, snapshot, view))?;
        Ok(())
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

impl Drop for Tui {
    fn drop(&mut self) {
        restore();
    }
}

/// As much of the terminal as can be restored: an error here has nowhere to go.
fn restore() {
    let _ = ratatui::try_restore();
}

#[cfg(test)]
mod tests;
