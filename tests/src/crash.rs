//! What a program's runtime prints of all goroutines when a signal kills it (SIGQUIT, SIGABRT), and our dump in the same form.
//!
//! A runtime that throws prints all that it knows, whatever `GOTRACEBACK` says: its own goroutines, its own frames, the
//! address of each frame of the machine's stack. Of our forms JSON has as much.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::gostray::gostray;

/// A goroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    pub state: String,
    /// Address of its g, where it is told (Go 1.23 on).
    pub g: Option<u64>,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Before this frame some are left out.
    pub cut: Option<usize>,
    /// How many, where that is told (Go 1.21 on).
    pub left_out: Option<u64>,
    pub created_by: Option<Creator>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub function: String,
    /// `file:line`
    pub place: String,
    /// Of the machine's frames, not of inlined calls.
    pub pc: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creator {
    pub function: String,
    pub place: String,
    /// Told from Go 1.21 on.
    pub goroutine: Option<u64>,
}

pub type All = BTreeMap<u64, Printed>;

/// The goroutines of what a runtime has printed; what stands around them is cut off, the signal before and the registers behind.
/// The thread that got the signal may have been on its own stack: that one, called goroutine 0, is nobody's.
pub fn parse(text: &str) -> Result<All> {
    let from = text.find("\n\ngoroutine ").context("no goroutines")? + 2;
    let to = text.rfind("\nrax ").context("no registers")?;
    let mut all = BTreeMap::new();
    for block in text[from..to].split("\n\n").filter(|b| !b.trim().is_empty()) {
        let (id, printed) = goroutine(block).with_context(|| block.to_owned())?;
        ensure!(all.insert(id, printed).is_none(), "goroutine {id} twice");
    }
    all.remove(&0);
    Ok(all)
}

fn goroutine(block: &str) -> Result<(u64, Printed)> {
    let mut lines = block.trim_start().lines().peekable();
    let head = lines.next().and_then(|l| l.strip_prefix("goroutine ")).context("no header")?;
    let (who, state) = head.split_once(" [").context("no state")?;
    let (state, _) = state.split_once(']').context("no end of the state")?;
    // For how long it waits goes on to count; the collector may look at its stack.
    let words = state.split(", ").filter(|w| !w.ends_with(" minutes"));
    let state = words.collect::<Vec<_>>().join(", ").replace(" (scan)", "");
    let id = who.split(' ').next().unwrap_or(who).parse()?;
    let g = who.split(' ').find_map(|w| u64::from_str_radix(w.strip_prefix("gp=0x")?, 16).ok());
    let mut printed = Printed { state, g, frames: Vec::new(), cut: None, left_out: None, created_by: None };
    while let Some(line) = lines.next() {
        if line.contains("frames elided...") {
            printed.cut = Some(printed.frames.len());
            let many = line.strip_prefix("...").and_then(|l| l.split(' ').next());
            printed.left_out = many.and_then(|n| n.parse().ok());
            continue;
        }
        // Else it is said that there is none, `goroutine running on other thread`.
        let Some(at) = lines.next_if(|l| l.starts_with('\t')) else { continue };
        let at = at.trim();
        let end = [" +0x", " fp=0x"].iter().filter_map(|word| at.find(word)).min().unwrap_or(at.len());
        let (place, rest) = at.split_at(end);
        let place = place.to_owned();
        if let Some(creator) = line.strip_prefix("created by ") {
            let (function, goroutine) = match creator.split_once(" in goroutine ") {
                Some((function, id)) => (function, Some(id.parse()?)),
                None => (creator, None),
            };
            printed.created_by = Some(Creator { function: function.to_owned(), place, goroutine });
        } else {
            let function = line.rfind('(').map_or(line, |at| &line[..at]).to_owned();
            let pc = rest.split(' ').find_map(|w| u64::from_str_radix(w.strip_prefix("pc=0x")?, 16).ok());
            printed.frames.push(Frame { function, place, pc });
        }
    }
    Ok((id, printed))
}

/// What we say of it.
pub fn ours(pid: u32) -> Result<All> {
    let output = gostray(&["dump", &pid.to_string(), "--format", "json"]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump: Value = serde_json::from_slice(&output.stdout)?;
    let mut all = BTreeMap::new();
    for g in dump["goroutines"].as_array().context("goroutines")? {
        let id = g["goid"].as_u64().context("an id")?;
        all.insert(id, of_json(&dump, g).with_context(|| g.to_string())?);
    }
    Ok(all)
}

fn of_json(dump: &Value, g: &Value) -> Result<Printed> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    let index = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let at = |frame: &Value| {
        let line = frame["line"].as_u64().context("a line")?;
        anyhow::Ok(format!("{}:{line}", frame["file"].as_str().context("a file")?))
    };
    let mut state = match index(&g["reason"]) {
        Some(reason) => text(&dump["wait_reasons"][reason])?,
        None => text(&g["status"])?,
    };
    if g["status"] == "leaked" {
        state.push_str(" (leaked)");
    }
    if g["locked"] == true {
        state.push_str(", locked to thread");
    }
    if g["trace"] != "whole" && g["trace"] != "running" {
        state.push_str(&format!(", {}", g["trace"]));
    }
    let stack = index(&g["stack"]).map(|i| &dump["stacks"][i]);
    let (mut frames, mut cut) = (Vec::new(), None);
    let after = stack.and_then(|s| index(&s["left_out"]["after"]));
    let left_out = stack.and_then(|s| s["left_out"]["frames"].as_u64());
    let places = stack.and_then(|s| s["places"].as_array()).map_or(&[][..], |p| p);
    for (i, place) in places.iter().enumerate() {
        if after == Some(i) {
            cut = Some(frames.len());
        }
        let place = &dump["places"][index(place).context("a place")?];
        let inlined = place["frames"].as_array().context("frames")?;
        for (i, frame) in inlined.iter().enumerate() {
            let function = match text(&frame["function"])?.as_str() {
                // So Go calls it for people.
                "runtime.gopanic" => "panic".to_owned(),
                other => other.to_owned(),
            };
            let pc = place["pc"].as_u64().filter(|_| i + 1 == inlined.len());
            frames.push(Frame { function, place: at(frame)?, pc });
        }
    }
    let creator = index(&g["created_at"]).and_then(|i| dump["places"][i]["frames"].as_array());
    let created_by = match creator.map(|frames| (frames.first(), frames.last())) {
        // The function that holds the `go` statement, and the statement's own line.
        Some((Some(inner), Some(outer))) => Some(Creator {
            function: text(&outer["function"])?,
            place: at(inner)?,
            goroutine: g["parent"].as_u64(),
        }),
        _ => None,
    };
    Ok(Printed { state, g: g["g"].as_u64(), frames, cut, left_out, created_by })
}

/// Each frame that the runtime has printed is ours, and where it has left some out, what stands around them.
pub fn same(own: &Printed, ours: &Printed) -> bool {
    let mut rest = ours.clone();
    rest.g = own.g.and(ours.g);
    let (own, mut ours) = (own.clone(), rest);
    let cut = own.cut.unwrap_or(own.frames.len());
    let (inner, outer) = own.frames.split_at(cut.min(own.frames.len()));
    // Ours leaves out frames of deeper stacks only, never as far as those ends.
    let all = |p: &Printed| p.frames.len() as u64 + p.left_out.unwrap_or(0);
    let as_many = own.cut.is_some() && own.left_out.is_none() || all(&own) == all(&ours);
    if !as_many || !ours.frames.starts_with(inner) || !ours.frames.ends_with(outer) {
        return false;
    }
    ours.frames.clone_from(&own.frames);
    (ours.cut, ours.left_out) = (own.cut, own.left_out);
    own == ours
}
