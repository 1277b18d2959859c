//! How text may look: colours and width, decided by whoever owns the terminal, never here.

use anstyle::{AnsiColor, Effects, Style as Ansi};

use crate::session::snapshot::VerdictKind;

/// What the place that text goes to can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours may be used.
    pub color: bool,
    /// Columns of a terminal: lines are wrapped to them and trends drawn as spark lines. `None` is a file or a pipe:
    /// one fact a line, numbers only.
    pub width: Option<u16>,
}

/// What a piece of text is, not what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Verdict(VerdictKind),
    /// What the eye should find first.
    Strong,
    /// What most readers skip.
    Faint,
    /// Something was lost or refused.
    Warning,
    /// A source position.
    Place,
}

impl Style {
    /// No colours, no wrapping.
    pub const PLAIN: Self = Self { color: false, width: None };

    /// `text` in `ink`, or as it is without colours.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let look = look(ink);
        format!("{}{text}{}", look.render(), look.render_reset())
    }
}

/// Colours of the 16 that every terminal has, so that they follow the user's own theme.
fn look(ink: Ink) -> Ansi {
    match ink {
        Ink::Verdict(VerdictKind::Leak) => AnsiColor::Red.on_default().effects(Effects::BOLD),
        Ink::Verdict(VerdictKind::Suspect) => AnsiColor::Yellow.on_default().effects(Effects::BOLD),
        Ink::Verdict(VerdictKind::Unknown) => AnsiColor::Magenta.on_default(),
        Ink::Verdict(VerdictKind::Healthy) => AnsiColor::Green.on_default(),
        Ink::Strong => Ansi::new().effects(Effects::BOLD),
        Ink::Faint => Ansi::new().effects(Effects::DIMMED),
        Ink::Warning => AnsiColor::Yellow.on_default(),
        Ink::Place => AnsiColor::Cyan.on_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_without_colour() {
        assert_eq!(Style::PLAIN.paint(Ink::Verdict(VerdictKind::Leak), "leak"), "leak");
        let painted = Style { color: true, width: None }.paint(Ink::Strong, "leak");
        assert_eq!(painted, "\u{1b}[1mleak\u{1b}[0m");
    }
}
