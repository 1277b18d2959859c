//! A text drawn over the one before, from the terminal's first line on.

/// `text` cut to what fits into so many lines of so many columns, with a word of what is missing, and the moves of the cursor
/// that put it in the place of the last one.
pub fn redraw(text: &str, columns: u16, rows: u16) -> String {
    let (columns, rows) = (usize::from(columns.max(1)), usize::from(rows.max(2)));
    let mut out = String::from("\u{1b}[H");
    let mut line = |text: &str| {
        out.push_str(text);
        // What was longer there goes.
        out.push_str("\u{1b}[K\n");
    };
    let lines: Vec<&str> = text.lines().collect();
    // The last row stays empty: a newline there would scroll.
    let mut room = rows - 1;
    let whole = lines.iter().map(|l| height(l, columns)).sum::<usize>() <= room;
    let mut shown = 0;
    if !whole {
        room -= 1;
    }
    for l in &lines {
        let Some(rest) = room.checked_sub(height(l, columns)) else { break };
        room = rest;
        shown += 1;
        line(l);
    }
    if !whole {
        line(&format!(
            "… {} more lines (a larger terminal, `--filter` or a pipe shows them)",
            lines.len() - shown
        ));
    }
    out.push_str("\u{1b}[J");
    out
}

/// Lines of a terminal that `line` takes.
fn height(line: &str, columns: usize) -> usize {
    textwrap::core::display_width(line).div_ceil(columns).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands on the screen, without the moves.
    fn plain(drawn: &str) -> Vec<String> {
        let text = drawn.strip_prefix("\u{1b}[H").unwrap().strip_suffix("\u{1b}[J").unwrap();
        text.lines().map(|l| l.strip_suffix("\u{1b}[K").unwrap().to_owned()).collect()
    }

    #[test]
    fn what_fits_is_whole() {
        assert_eq!(plain(&redraw("a\n\nb\n", 80, 4)), ["a", "", "b"]);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_to_be() {
        let drawn = plain(&redraw("a\nb\nc\nd\n", 80, 4));
        assert_eq!(drawn[..2], ["a", "b"]);
        assert!(drawn[2].starts_with("… 2 more lines") && drawn.len() == 3);
    }

    #[test]
    fn long_lines_take_several_and_colours_none() {
        let long = "x".repeat(21);
        assert_eq!(height(&long, 10), 3);
        assert_eq!(height(&format!("\u{1b}[1m{}\u{1b}[0m", "x".repeat(10)), 10), 1);
        assert_eq!(plain(&redraw(&format!("{long}\nb\nc\n"), 10, 5)).len(), 2);
    }
}
