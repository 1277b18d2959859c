//! What Go's own tools and tracebacks say.

use std::io::Write;
use std::process::Stdio;

use object::{Object, ObjectSymbol};

use crate::build::{Build, go};

#[derive(Debug)]
pub struct NmSymbol {
    pub address: u64,
    pub size: u64,
    pub kind: String,
    pub name: String,
}

/// `go tool nm -size`
pub fn nm(build: &Build) -> Vec<NmSymbol> {
    let out = go(&build.toolchain).args(["tool", "nm", "-size"]).arg(&build.path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let symbols = text.lines().filter_map(|line| {
        // Undefined ones have no address.
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let size = words.next()?.parse().ok()?;
        let kind = words.next()?.to_owned();
        let name = words.collect::<Vec<_>>().join(" ");
        Some(NmSymbol { address, size, kind, name })
    });
    symbols.collect()
}

/// `go tool addr2line`: outer function, and `file:line` of the innermost one.
pub fn addr2line(build: &Build, pcs: &[u64]) -> Vec<(String, String)> {
    let mut child = go(&build.toolchain)
        .args(["tool", "addr2line"])
        .arg(&build.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text: String = pcs.iter().map(|pc| format!("{pc:#x}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// One physical frame of a printed stack: where its return address lies, and the frames it stands for.
pub struct Call {
    pub function: String,
    pub offset: u64,
    /// (function, file, line), innermost inlined one first.
    pub frames: Vec<(String, String, u32)>,
}

/// Reads what `debug.Stack` prints: inlined frames come without the `+0x…` that physical ones have.
pub fn parse_stack(lines: &[String]) -> Vec<Call> {
    let (mut calls, mut frames) = (Vec::new(), Vec::new());
    for pair in lines[1..].chunks_exact(2) {
        let function = match pair[0].strip_prefix("created by ") {
            Some(creator) => creator.split(" in goroutine ").next().unwrap(),
            None => &pair[0][..pair[0].rfind('(').unwrap()],
        };
        let mut place = pair[1].trim().split(" +0x");
        let (file, line) = place.next().unwrap().rsplit_once(':').unwrap();
        frames.push((function.to_owned(), file.to_owned(), line.parse().unwrap()));
        if let Some(offset) = place.next() {
            let offset = u64::from_str_radix(offset, 16).unwrap();
            calls.push(Call { function: function.to_owned(), offset, frames: std::mem::take(&mut frames) });
        }
    }
    calls
}

/// Changes a symbol's value in the file.
pub fn move_symbol(data: &mut [u8], name: &str, value: u64) {
    let old = {
        let file = object::File::parse(&*data).unwrap();
        let symbol = file.symbols().find(|s| s.name() == Ok(name)).unwrap();
        symbol.address()
    };
    let symtab = {
        use object::ObjectSection;
        let file = object::File::parse(&*data).unwrap();
        file.section_by_name(".symtab").unwrap().file_range().unwrap()
    };
    let (start, len) = (symtab.0 as usize, symtab.1 as usize);
    let mut changed = 0;
    for entry in data[start..start + len].chunks_exact_mut(24) {
        if entry[8..16] == old.to_le_bytes() {
            entry[8..16].copy_from_slice(&value.to_le_bytes());
            changed += 1;
        }
    }
    assert!(changed >= 1, "`{name}` is in the symbol table");
}
