//! A stack on a page: a frame a line, the files in a column.

use super::page::Page;
use super::style::Ink;

/// Function names are padded to line up their files, up to here.
const NAME_COLUMN: usize = 44;

/// One line of a stack, made fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Frame {
        name: String,
        /// `file:line`, as much as is known.
        source: Option<String>,
    },
    /// What is missing here, and why.
    Missing(String),
}

/// Innermost frame first.
pub fn write(page: &mut Page, lines: &[Line]) {
    let names = lines.iter().filter_map(|l| match l {
        Line::Frame { name, .. } => Some(name.chars().count()),
        Line::Missing(_) => None,
    });
    let column = names.filter(|n| *n <= NAME_COLUMN).max().unwrap_or(0);
    let style = page.style();
    for line in lines {
        match line {
            Line::Frame { name, source: None } => page.raw(&format!("    {name}")),
            Line::Frame { name, source: Some(source) } => {
                let gap = " ".repeat(column.saturating_sub(name.chars().count()));
                page.raw(&format!("    {name}{gap}  {}", style.paint(Ink::Place, source)));
            }
            Line::Missing(what) => {
                page.raw(&format!("    {}", style.paint(Ink::Faint, &format!("… {what}"))));
            }
        }
    }
}
