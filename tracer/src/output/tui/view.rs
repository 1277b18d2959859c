//! What the user has chosen to see, and what the keys change about it.

use std::cmp::Reverse;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Action;
use crate::session::Snapshot;
use crate::session::snapshot::Site;

/// Rows that PageUp and PageDown move by.
const PAGE: usize = 10;

/// Order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The report's order: worst verdict first.
    #[default]
    Worst,
    Live,
    Slope,
    Oldest,
    Born,
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Live => "live",
            Self::Slope => "slope",
            Self::Oldest => "oldest",
            Self::Born => "born",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Worst => Self::Live,
            Self::Live => Self::Slope,
            Self::Slope => Self::Oldest,
            Self::Oldest => Self::Born,
            Self::Born => Self::Worst,
        }
    }
}

/// Choices, kept by site id so that they survive a new order of the rows.
#[derive(Clone, Debug, Default)]
pub struct ViewState {
    pub color: bool,
    pub sort: Sort,
    /// The runtime's own sites too.
    pub system: bool,
    /// The selected site's stack is open.
    pub open: bool,
    selected: Option<String>,
    /// Ids of the rows as last drawn, for the arrow keys.
    rows: Vec<String>,
}

impl ViewState {
    pub fn new(color: bool) -> Self {
        Self { color, ..Self::default() }
    }

    /// The rows to draw, in order.
    pub fn rows<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Site> {
        let mut rows: Vec<&Site> = snapshot.sites.iter().filter(|s| self.system || !s.system).collect();
        // All sorts are stable: equal rows stay in the snapshot's order.
        match self.sort {
            Sort::Worst => {}
            Sort::Live => rows.sort_by_key(|s| Reverse(s.live)),
            Sort::Slope => rows.sort_by(|a, b| {
                let slope = |s: &Site| s.slope_per_s.unwrap_or(f64::NEG_INFINITY);
                slope(b).total_cmp(&slope(a))
            }),
            Sort::Oldest => rows.sort_by_key(|s| Reverse(s.oldest.map(|a| a.ns))),
            Sort::Born => rows.sort_by_key(|s| Reverse(s.born)),
        }
        rows
    }

    /// Which of `rows` is selected: the first one until a key says otherwise, or when the selected one is gone.
    pub fn selected(&self, rows: &[&Site]) -> usize {
        let id = self.selected.as_deref();
        rows.iter().position(|s| Some(s.id.as_str()) == id).unwrap_or(0)
    }

    /// Remembers the rows of a snapshot that is about to be drawn.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.rows = self.rows(snapshot).iter().map(|s| s.id.clone()).collect();
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Some(Action::Quit),
            KeyCode::Char(_) if control => return None,
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-(PAGE as isize)),
            KeyCode::PageDown => self.step(PAGE as isize),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => self.open = !self.open,
            KeyCode::Esc => self.open = false,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('a') => self.system = !self.system,
            _ => return None,
        }
        Some(Action::Redraw)
    }

    fn step(&mut self, by: isize) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let id = self.selected.as_deref();
        let now = self.rows.iter().position(|row| Some(row.as_str()) == id).unwrap_or(0);
        self.selected = Some(self.rows[now.saturating_add_signed(by).min(last)].clone());
    }
}
