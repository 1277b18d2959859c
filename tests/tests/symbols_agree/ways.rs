//! The three ways from a program counter to function, file and line.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use iced_x86::{Decoder, DecoderOptions, FlowControl};
use tracer::gobin::GoBinary;

use crate::build::{Build, go};

/// Why an address is in the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Entry,
    Prologue,
    /// One byte before the return address of a call, where a stack's frame is looked up.
    Call,
    Inlined,
    Anywhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// Addresses in every function, the same in every run.
pub fn sample(binary: &GoBinary<'_>) -> Vec<(u64, Kind)> {
    let table = binary.functions();
    // The bigger the program the fewer of each function.
    let more = (24_000 / table.len().max(1)).max(1);
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut pcs = Vec::new();
    for f in table.iter() {
        let Some(end) = table.code_end(&f) else { continue };
        let Some(code) = binary.bytes(f.entry, (end - f.entry) as usize) else { continue };
        let mut starts = Vec::new();
        let mut calls = Vec::new();
        for i in &mut Decoder::with_ip(64, code, f.entry, DecoderOptions::NONE) {
            starts.push(i.ip());
            if matches!(i.flow_control(), FlowControl::Call | FlowControl::IndirectCall) && i.next_ip() < end
            {
                calls.push(i.next_ip() - 1);
            }
        }
        let mut pick = |from: &[u64]| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from.get((seed >> 33) as usize % from.len().max(1)).copied()
        };
        pcs.push((f.entry, Kind::Entry));
        pcs.extend(pick(&starts[..starts.len().min(4)]).map(|pc| (pc, Kind::Prologue)));
        for _ in 0..more.div_ceil(2) {
            pcs.extend(pick(&calls).map(|pc| (pc, Kind::Call)));
            pcs.extend(pick(&starts).map(|pc| (pc, Kind::Anywhere)));
        }
        let inlined: Vec<u64> = (0..8)
            .filter_map(|_| pick(&starts))
            .filter(|pc| binary.frames(*pc, true).is_ok_and(|frames| frames.len() > 1))
            .take(more)
            .collect();
        pcs.extend(inlined.into_iter().map(|pc| (pc, Kind::Inlined)));
    }
    pcs.sort_unstable();
    pcs.dedup_by_key(|pc| pc.0);
    pcs
}

pub fn from_table(binary: &GoBinary<'_>, pcs: &[(u64, Kind)]) -> Vec<Vec<Place>> {
    pcs.iter()
        .map(|(pc, _)| {
            let frames = binary.frames(*pc, true).unwrap_or_default().into_iter();
            frames.map(|f| Place { function: f.function, file: f.file, line: f.line }).collect()
        })
        .collect()
}

pub fn from_dwarf(binary: &GoBinary<'_>, pcs: &[(u64, Kind)]) -> Result<Vec<Vec<Place>>> {
    let sections = binary.debug_sections()?;
    let context = addr2line::Context::from_dwarf(sections.dwarf())?;
    pcs.iter()
        .map(|(pc, _)| {
            let mut places = Vec::new();
            let mut frames = context.find_frames(*pc).skip_all_loads()?;
            while let Some(frame) = frames.next()? {
                let name = frame.function.as_ref().map(|f| f.raw_name()).transpose()?;
                let location = frame.location.as_ref();
                places.push(Place {
                    function: name.unwrap_or_default().into_owned(),
                    file: location.and_then(|l| l.file).unwrap_or_default().to_owned(),
                    line: location.and_then(|l| l.line).unwrap_or(0),
                });
            }
            Ok(places)
        })
        .collect()
}

/// Name of the outer function, and `file:line` of the innermost one: that is all Go's tool says.
pub fn from_tool(build: &Build, pcs: &[(u64, Kind)]) -> Result<Vec<(String, String)>> {
    let mut child = go(build.go)?
        .args(["tool", "addr2line"])
        .arg(&build.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let questions: String = pcs.iter().map(|(pc, _)| format!("{pc:#x}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let out = child.wait_with_output()?;
    writer.join().expect("the writer ends")?;
    let text = String::from_utf8(out.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    let answers: Vec<_> =
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    ensure!(answers.len() == pcs.len(), "`go tool addr2line` answered {} of {}", answers.len(), pcs.len());
    Ok(answers)
}
