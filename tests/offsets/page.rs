//! The page that shows the table.

use std::collections::BTreeSet;

use serde_json::Value;
use tracer::gobin::{Measured, Table};

const HEAD: &str = "# Layouts of Go's runtime

Written by `cargo xtask offsets`: change nothing here by hand. The same numbers are in
`tracer/src/gobin/layout/table.json`, which gostray embeds. Each was read from a program: from the DWARF of an empty one
that a real toolchain built (`CGO_ENABLED=0`), or, where no toolchain can be had, from a published program. The test
`layouts` builds a part of them anew and compares.

A version that was not measured gets what its measured neighbours of the same minor agree on, and what it gets is
compared with the program's own type descriptors, which every Go program has of the structs that its runtime allocates;
every report says so. The fields of `m` that name a lock (`waitlock`, `waitunlockf`) have moved between patch releases,
so beyond the measured ones they come from those descriptors or are not used. Other versions (other minors, pre-releases,
other experiments) are read from the program's own DWARF, or refused by name.

";

pub fn write(table: &Table) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Measured\n\n| version | architecture | layout | read from |\n|---|---|---|---|\n");
    for group in grouped(&table.measured) {
        let first = group[0];
        let arches: Vec<&str> = group.iter().map(|m| m.arch.as_str()).collect();
        let layout = letter(first.layout);
        page.push_str(&format!(
            "| {} | {} | {layout} | {} |\n",
            first.version,
            arches.join(", "),
            first.source
        ));
    }
    page.push_str(
        "\n## Layouts\n\nBytes; a dash where the version has no such field. `size` is the whole struct's.\n",
    );
    let layouts: Vec<Value> =
        table.layouts.iter().map(|l| serde_json::to_value(l).unwrap_or_default()).collect();
    for part in ["g", "m", "sudog", "hchan", "timer", "moduledata"] {
        page.push_str(&format!("\n### runtime.{part}\n\n"));
        columns(&mut page, &layouts, |l| l[part].clone());
    }
    page.push_str(
        "\n### Others\n\n`wrapper_id` is internal/abi's `FuncIDWrapper`, `status_dead_extra` runtime's ",
    );
    page.push_str("`_Gdeadextra`; `semaphores_in_waiting`: a goroutine that waits on a semaphore has it in ");
    page.push_str("`g.waiting`.\n\n");
    columns(&mut page, &layouts, |l| {
        let parts = l.as_object().cloned().unwrap_or_default();
        parts.into_iter().filter(|(_, v)| !v.is_object()).collect()
    });
    page.push_str(
        "\n## Experiments\n\nWith these (`GOEXPERIMENT`) the same toolchain gave the same numbers on amd64. ",
    );
    page.push_str("A program with another one is read from its own DWARF, or refused.\n\n");
    page.push_str("| Go | experiments |\n|---|---|\n");
    for (minor, names) in &table.harmless_experiments {
        page.push_str(&format!("| {minor} | {} |\n", names.join(", ")));
    }
    page
}

/// Architectures of a version that are the same in everything stand in one row.
fn grouped(measured: &[Measured]) -> Vec<Vec<&Measured>> {
    let mut groups: Vec<Vec<&Measured>> = Vec::new();
    for m in measured {
        let same = |o: &Measured| (&o.version, o.layout, &o.source) == (&m.version, m.layout, &m.source);
        match groups.last_mut().filter(|g| same(g[0])) {
            Some(group) => group.push(m),
            None => groups.push(vec![m]),
        }
    }
    groups
}

fn letter(layout: usize) -> char {
    char::from(b'A' + (layout % 26) as u8)
}

fn columns(page: &mut String, layouts: &[Value], part: impl Fn(&Value) -> Value) {
    let parts: Vec<Value> = layouts.iter().map(part).collect();
    let names: BTreeSet<&String> = parts.iter().filter_map(Value::as_object).flat_map(|o| o.keys()).collect();
    let letters: Vec<String> = (0..layouts.len()).map(|i| letter(i).to_string()).collect();
    page.push_str(&format!("| field | {} |\n|---|{}\n", letters.join(" | "), "---|".repeat(layouts.len())));
    for name in names {
        let cell =
            |p: &Value| p.get(name).filter(|v| !v.is_null()).map_or("–".to_owned(), ToString::to_string);
        let cells: Vec<String> = parts.iter().map(cell).collect();
        page.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
}
