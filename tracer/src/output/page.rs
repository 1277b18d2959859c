//! A text page: labelled fields, wrapped on a terminal, one line each in a file.

use super::style::{Ink, Style};

/// Where the text of a labelled field begins.
const COLUMN: usize = 14;
/// Narrower terminals get lines that the terminal itself breaks.
const NARROWEST: u16 = 40;

pub struct Page {
    style: Style,
    text: String,
}

impl Page {
    pub fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    pub fn style(&self) -> Style {
        self.style
    }

    pub fn finish(self) -> String {
        self.text
    }

    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line as it is, never wrapped: stacks, tables.
    pub fn raw(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A paragraph from the left edge.
    pub fn paragraph(&mut self, text: &str) {
        self.wrapped(text, "", "  ");
    }

    /// `  label     text`, continued below the text.
    pub fn field(&mut self, label: &str, text: &str) {
        let gap = " ".repeat(COLUMN.saturating_sub(2 + label.chars().count()).max(1));
        let lead = format!("  {}{gap}", self.style.paint(Ink::Faint, label));
        self.wrapped(text, &lead, &" ".repeat(COLUMN));
    }

    /// One more line under the last [`field`](Self::field).
    pub fn more(&mut self, text: &str) {
        let lead = " ".repeat(COLUMN);
        self.wrapped(text, &lead, &format!("{lead}  "));
    }

    fn wrapped(&mut self, text: &str, first: &str, next: &str) {
        let Some(width) = self.style.width.filter(|w| *w >= NARROWEST) else {
            self.raw(&format!("{first}{text}"));
            return;
        };
        // textwrap gives no line at all for no text.
        if text.is_empty() {
            self.raw(first);
            return;
        }
        // Paths must stay whole: they are there to be copied.
        let options = textwrap::Options::new(usize::from(width))
            .initial_indent(first)
            .subsequent_indent(next)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(false);
        for line in textwrap::wrap(text, options) {
            self.raw(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_on_a_terminal_only_and_keeps_paths_whole() {
        let text = "the goroutines of /a/very/long/path/that/does/not/fit/anywhere/at/all.go:57 never end";
        let mut page = Page::new(Style { color: false, width: Some(40) });
        page.field("why", text);
        let wrapped = page.finish();
        assert_eq!(
            wrapped,
            "  why         the goroutines of\n              \
             /a/very/long/path/that/does/not/fit/anywhere/at/all.go:57\n              never end\n"
        );
        let mut page = Page::new(Style::PLAIN);
        page.field("why", text);
        assert_eq!(page.finish(), format!("  why         {text}\n"));
    }

    #[test]
    fn colour_takes_no_columns() {
        let draw = |color| {
            let mut page = Page::new(Style { color, width: Some(50) });
            page.field("label", &"word ".repeat(30));
            page.finish()
        };
        assert_eq!(draw(true).lines().count(), draw(false).lines().count());
    }
}
