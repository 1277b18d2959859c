//! Reads the probe programs that `cargo xtask offsets` built and writes the table and the page that shows it:
//! `offsets DIR TABLE PAGE`. An example, because it uses gostray's own reader, which `xtask` cannot depend on.

#[path = "../offsets/measure.rs"]
mod measure;
#[path = "../offsets/page.rs"]
mod page;

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, table_path, page_path] = &args[..] else { bail!("usage: offsets DIR TABLE PAGE") };
    let table = measure::table(dir)?;
    if table.measured.is_empty() {
        bail!("`{}` holds no probe program; try: cargo xtask offsets", dir.display());
    }
    let json = measure::json(&table)?;
    fs::write(table_path, json).with_context(|| format!("cannot write `{}`", table_path.display()))?;
    let page = page::write(&table);
    fs::write(page_path, page).with_context(|| format!("cannot write `{}`", page_path.display()))?;
    println!("{} measurements, {} different layouts", table.measured.len(), table.layouts.len());
    Ok(())
}
