//! Rows as Markdown: one table of real programs, one of our own for each Go, and the holes' reasons under each.

use std::fmt::Write as _;

use super::{Cell, Column, Kind, Row};

const HEAD: &str = "\
# Binaries

What gostray was seen to do with real programs and with our own test program in each way of building it. Written by
`cargo xtask table`; every cell was measured, and a hole says why it was not.

- **recognised:** the Go version that `gostray doctor PID` names; it is the one that Go's own `go version FILE` names.
- **self-check:** how many invariants of the runtime's structures hold in the live process, and of how many nothing in it
  showed whether they do (docs/json.md names them).
- **sites:** the instructions that births, deaths, parks, ready and run are probed at, by the price of a trap: *emulated* costs
  one exception, *stepped* two (`gostray doctor` measures both).
- **counts:** of our own program, the births and deaths that it says it had and the report has, on each of five call chains, with
  every creation stack compared. Of others, four times: the goroutines that the program itself says it has (`go_goroutines`, or
  the head of its goroutine profile), and after the colon the fewest and the most that the session counts while that answer
  is made (answering takes goroutines, too).
- **depth:** frames of the creation stacks, inlined ones too: median / most, of how many sites; those that are not whole are
  counted (64 physical frames are kept).
- **first probe:** from the start of a release build of gostray until the first breakpoint stands in the process's memory, seen
  from outside, once, on a machine that may do other work too (docs/costs.md has it measured with care).
";

/// The whole page.
pub fn of(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    let programs: Vec<&Row> = rows.iter().filter(|r| r.kind == Kind::Program).collect();
    section(&mut page, "Real programs", "program", &programs);
    let fixtures: Vec<&Row> = rows.iter().filter(|r| r.kind == Kind::Fixture).collect();
    let mut versions: Vec<&str> = fixtures.iter().map(|r| r.go.as_str()).collect();
    versions.dedup();
    for version in versions {
        let rows: Vec<&Row> = fixtures.iter().copied().filter(|r| r.go == version).collect();
        section(&mut page, &format!("Our own program, {version}"), "build", &rows);
    }
    page
}

fn section(page: &mut String, title: &str, first: &str, rows: &[&Row]) {
    let mut reasons: Vec<&str> = Vec::new();
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n## {title}\n");
    let titles = Column::ALL.map(Column::title).join(" | ");
    let _ = writeln!(page, "| {first} | {titles} |\n|---|{}", "---|".repeat(Column::ALL.len()));
    for row in rows {
        let _ = write!(page, "| {} |", escaped(&row.name));
        for column in Column::ALL {
            let text = match row.cells.get(&column) {
                Some(Cell::Measured(text)) => escaped(text),
                Some(Cell::Hole(why)) => hole(&mut reasons, why),
                None => hole(&mut reasons, "not measured"),
            };
            let _ = write!(page, " {text} |");
        }
        page.push('\n');
    }
    for (i, why) in reasons.iter().enumerate() {
        let _ = writeln!(page, "{}({}) {}", if i == 0 { "\n" } else { "" }, i + 1, escaped(why).trim());
    }
}

/// The number of the reason.
fn hole<'r>(reasons: &mut Vec<&'r str>, why: &'r str) -> String {
    let at = reasons.iter().position(|r| *r == why).unwrap_or_else(|| {
        reasons.push(why);
        reasons.len() - 1
    });
    format!("– ({})", at + 1)
}

fn escaped(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Recognised => "recognised",
            Self::SelfCheck => "self-check",
            Self::Sites => "sites",
            Self::Counts => "counts",
            Self::Depth => "depth",
            Self::FirstProbe => "first probe",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_measured_or_names_its_reason() {
        let mut row = Row::new(Kind::Fixture, "plain", "go1.26.6");
        row.measured(Column::Recognised, "yes");
        row.hole(Column::Depth, "no goroutine\nwas born");
        let mut other = Row::new(Kind::Program, "a|b", "go1.19");
        other.holes("it does not start");
        let page = of(&[row, other]);
        assert!(page.contains("| plain | yes | – (1) | – (1) | – (1) | – (2) | – (1) |\n"), "{page}");
        assert!(page.contains("\n(1) not measured\n(2) no goroutine was born\n"), "{page}");
        assert!(page.contains("| a\\|b |") && page.contains("\n(1) it does not start\n"), "{page}");
    }
}
