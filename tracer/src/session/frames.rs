//! Frames of the snapshot, and how much room they may take.
//!
//! A stream can say in a few bytes what takes many to draw: one symbol may hold many inlined frames, a stack names it 64
//! times, and each row draws its stack. So all frames of one snapshot share a [`Room`]; rows are drawn
//! worst verdict first, and those for which none is left show their `go` statement alone and say so.

use std::borrow::Cow;

use tracer_common::wire::stack_end;

use crate::event::message;

use super::Session;
use super::limits::cut;
use super::snapshot::{Frame, Stack};
use super::symbols::Known;

/// What a frame takes in JSON besides its strings.
const FRAME_BYTES: usize = 96;
/// Bytes of each string of a frame when there is no room left.
const BRIEF_BYTES: usize = 128;

/// What is left for frames, in bytes of JSON.
pub struct Room {
    left: usize,
}

impl Room {
    pub fn new(session: &Session) -> Self {
        Self { left: session.limits.picture_bytes }
    }

    /// Takes what a frame needs. None is left: the frame is not to be drawn.
    fn take(&mut self, frame: &Frame) -> bool {
        let more = [&frame.unknown_because, &frame.file, &frame.full_name, &frame.wrapper, &frame.source];
        let more = more.into_iter().flatten().map(|text| in_json(text) + 16).sum::<usize>();
        let need = FRAME_BYTES + in_json(&frame.function) + more;
        let enough = need <= self.left;
        // Once something did not fit nothing more does: shorter stacks of healthier sites do not slip in.
        self.left = if enough { self.left - need } else { 0 };
        enough
    }

    /// As it is, or shortened when there is no room.
    fn fit(&mut self, mut frame: Frame) -> Frame {
        if !self.take(&frame) {
            let strings = [
                Some(&mut frame.function),
                frame.file.as_mut(),
                frame.unknown_because.as_mut(),
                frame.full_name.as_mut(),
                frame.wrapper.as_mut(),
                frame.source.as_mut(),
            ];
            for text in strings.into_iter().flatten() {
                // A byte takes six at most in JSON.
                let bytes = if in_json(text) > BRIEF_BYTES { BRIEF_BYTES / 6 } else { BRIEF_BYTES };
                cut(text, bytes);
            }
        }
        frame
    }
}

/// Bytes of a string in JSON.
fn in_json(text: &str) -> usize {
    let escaped = text.bytes().map(|b| match b {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    });
    escaped.sum()
}

/// The stack of these return addresses, inlined frames too, innermost first; its first frame in any case.
/// `incomplete_because`: why it is not whole already.
pub fn stack(session: &Session, pcs: &[u64], incomplete_because: Option<String>, room: &mut Room) -> Stack {
    let mut reasons: Vec<String> = incomplete_because.into_iter().collect();
    let (mut out, mut left_out) = (Vec::with_capacity(pcs.len()), false);
    'stack: for &pc in pcs {
        for frame in at_return(session, pc, &mut left_out) {
            if out.is_empty() {
                out.push(room.fit(frame));
            } else if room.take(&frame) {
                out.push(frame);
            } else {
                reasons.push(format!(
                    "stacks are drawn up to {} MiB, worst verdict first: the outer frames are left out",
                    session.limits.picture_bytes >> 20
                ));
                break 'stack;
            }
        }
    }
    if left_out {
        let max = session.limits.symbol_frames;
        reasons.push(format!("more than {max} frames are inlined at one address: some are left out"));
    }
    Stack { frames: out, incomplete_because: (!reasons.is_empty()).then(|| reasons.join("; ")) }
}

/// The frames at a return address. Where the session kept not all of them, a frame without a function stands for the rest.
fn at_return<'a>(session: &'a Session, pc: u64, left_out: &mut bool) -> Box<dyn Iterator<Item = Frame> + 'a> {
    match session.symbols.at_return(pc) {
        Err(why) => Box::new(std::iter::once(unknown(pc, why))),
        Ok(Known { frames, left_out: 0, source, .. }) => Box::new(frames.iter().map(|f| frame(f, source))),
        Ok(Known { frames, left_out: n, source, .. }) => {
            *left_out = true;
            let (outermost, inner) = frames.split_last().map_or((None, &frames[..]), |(o, i)| (Some(o), i));
            let gap = unknown(pc, &format!("{n} inlined frames at this address are left out"));
            let frame = |f| frame(f, source);
            Box::new(inner.iter().map(frame).chain([gap]).chain(outermost.map(frame)))
        }
    }
}

/// The function whose entry this is.
pub fn entry(session: &Session, pc: u64, room: &mut Room) -> Frame {
    room.fit(match session.symbols.at_entry(pc) {
        // At a function's entry the function itself is wanted, not what was inlined into its first instruction.
        Ok(Known { frames, starts, source, .. }) => match (frames.last(), starts) {
            (Some(wrapper), Some(starts)) => {
                let inlined = false;
                Frame { wrapper: Some(wrapper.function.clone()), inlined, ..frame(starts, source) }
            }
            (Some(f), None) => frame(f, source),
            (None, _) => Frame::default(),
        },
        Err(why) => unknown(pc, why),
    })
}

/// The name of [`entry`].
pub fn entry_name(session: &Session, pc: u64) -> Cow<'_, str> {
    match session.symbols.at_entry(pc) {
        Ok(known) => known.frames.last().map_or("", |f| &f.function).into(),
        Err(_) => format!("{pc:#x}").into(),
    }
}

/// Why a stack whose walk ended so is not whole.
pub fn end_of_walk(flags: u8) -> Option<String> {
    match flags {
        stack_end::COMPLETE => None,
        stack_end::TOO_DEEP => Some(format!(
            "it has more than {} frames: the outer ones are missing",
            tracer_common::wire::MAX_FRAMES
        )),
        stack_end::OUT_OF_BOUNDS => {
            Some("a frame pointer led out of the stack: the outer frames are missing".to_owned())
        }
        _ => Some("a read of the stack failed: the outer frames are missing".to_owned()),
    }
}

fn frame(f: &message::Frame, source: &str) -> Frame {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    Frame {
        function: f.function.clone(),
        file: (!f.file.is_empty()).then(|| f.file.clone()),
        line: (f.line != 0).then_some(f.line),
        inlined: f.inlined,
        unknown_because: f.function.is_empty().then(|| "the symbol has no function name".to_owned()),
        full_name: text(&f.full_name),
        wrapper: None,
        source: text(source),
    }
}

fn unknown(pc: u64, why: &str) -> Frame {
    Frame { function: format!("{pc:#x}"), unknown_because: Some(why.to_owned()), ..Frame::default() }
}
