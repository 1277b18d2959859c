//! The full dump (`debug=2`) that a program writes of itself, and how ours may differ from it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::Running;
use super::gostray::gostray;

/// A goroutine as a text dump has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub state: String,
    /// Function, file, line and offset of each frame, innermost first; the creator last.
    pub frames: Vec<String>,
}

/// Goroutines by id. Arguments, which only the program itself knows, are left out.
pub fn parse(text: &str) -> Result<BTreeMap<u64, Said>> {
    let mut all = BTreeMap::new();
    for block in text.split("\n\n").filter(|b| !b.trim().is_empty()) {
        let (head, rest) = block.split_once('\n').unwrap_or((block, ""));
        let id = head.strip_prefix("goroutine ").context("a header")?;
        let (id, state) = id.split_once(" [").context("a state")?;
        let state = state.strip_suffix(':').context("a header's end")?.to_owned();
        let mut frames = Vec::new();
        let mut lines = rest.lines().peekable();
        while let Some(line) = lines.next() {
            let function = match line.rfind('(') {
                Some(at) if line.ends_with(')') => &line[..at],
                _ => line,
            };
            let place = lines.next_if(|l| l.starts_with('\t')).unwrap_or_default().trim();
            frames.push(format!("{function} {place}"));
        }
        ensure!(all.insert(id.parse()?, Said { state, frames }).is_none(), "goroutine {id} twice");
    }
    Ok(all)
}

/// What the program says of itself.
pub fn own(program: &mut Running) -> Result<BTreeMap<u64, Said>> {
    let file = tempfile::NamedTempFile::new()?;
    program.say(file.path().to_str().context("a name")?)?;
    program.wait_for("dumped")?;
    parse(&fs::read_to_string(file.path())?)
}

/// What we say of it.
pub fn ours(pid: u32) -> Result<BTreeMap<u64, Said>> {
    let output = gostray(&["dump", &pid.to_string(), "--format", "go"]);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&String::from_utf8(output.stdout)?)
}

/// Our dump between two of its own.
#[derive(Debug)]
pub struct Between {
    /// The same in both of its own.
    pub at_rest: BTreeMap<u64, Said>,
    pub before: BTreeMap<u64, Said>,
    pub ours: BTreeMap<u64, Said>,
    pub after: BTreeMap<u64, Said>,
}

impl Between {
    /// Takes the three; `own` gives the program's own.
    pub fn take(pid: u32, mut own: impl FnMut() -> Result<BTreeMap<u64, Said>>) -> Result<Self> {
        let before = own()?;
        let ours = ours(pid)?;
        let after = own()?;
        let stays = |(id, said): &(&u64, &Said)| after.get(id) == Some(*said);
        let at_rest = before.iter().filter(stays).map(|(id, said)| (*id, said.clone())).collect();
        Ok(Self { at_rest, before, ours, after })
    }

    /// Those at rest of which we say something else, or nothing.
    pub fn differences(&self, go: &str) -> Vec<(u64, &Said, Option<&Said>)> {
        let at_rest = self.at_rest.iter().map(|(id, own)| (*id, own, self.ours.get(id)));
        at_rest.filter(|(id, own, ours)| ours.is_none_or(|ours| !explained(go, *id, own, ours))).collect()
    }

    /// Those that only we have: the program's own dumps had not begun with them, or they had ended.
    pub fn only_ours(&self) -> Vec<(u64, &Said)> {
        let only = |id: &u64| !self.before.contains_key(id) && !self.after.contains_key(id);
        self.ours.iter().filter(|(id, _)| only(id)).map(|(id, said)| (*id, said)).collect()
    }
}

/// The same, or differs as it must:
/// - The one that dumps is running in its own dump, further in than where it waits to be asked. Where it began is the same.
/// - Before Go 1.21 a dump shows the first 100 frames of a deep stack; ours shows 50 of each end, as later ones do.
pub fn explained(go: &str, id: u64, own: &Said, ours: &Said) -> bool {
    const ENDS: usize = 50;
    let cut = |frames: &[String]| {
        let innermost = frames.get(..ENDS)?;
        let creator = frames.last().filter(|f| f.starts_with("created by "))?;
        frames.iter().any(|f| f.contains("frames elided")).then(|| (innermost.to_vec(), creator.clone()))
    };
    let first_100 = own.frames.iter().any(|f| f.starts_with("...additional frames elided..."));
    own == ours
        || id == 1 && own.state == "running]" && begins_as(own, ours)
        || ends_early(go, own, ours)
        || first_100 && own.state == ours.state && cut(&own.frames) == cut(&ours.frames)
}

/// The outermost function is the same, and who created it, if that is said.
fn begins_as(own: &Said, ours: &Said) -> bool {
    let creator = |said: &Said| said.frames.last().filter(|f| f.starts_with("created by ")).cloned();
    // Its name and file; it may be in another line.
    let outermost = |said: &Said| {
        let frame = said.frames.iter().rfind(|f| !f.starts_with("created by "))?;
        Some(frame.rsplit_once(':')?.0.to_owned())
    };
    let known = ["syscall]", "IO wait]", "running]", "runnable]"].contains(&ours.state.as_str());
    known && creator(own) == creator(ours) && outermost(own).is_some_and(|o| Some(o) == outermost(ours))
}

/// Go 1.19 shows the first 100 frames of a deep stack, the runtime's among them, and does not say that there are more.
fn ends_early(go: &str, own: &Said, ours: &Said) -> bool {
    const ENDS: usize = 50;
    go == "1.19.8"
        && (95..=101).contains(&own.frames.len())
        && (&own.state, &own.frames[..ENDS]) == (&ours.state, ours.frames.get(..ENDS).unwrap_or_default())
        && own.frames.last() == ours.frames.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(state: &str, frames: &[&str]) -> Said {
        Said { state: state.to_owned(), frames: frames.iter().map(|f| (*f).to_owned()).collect() }
    }

    #[test]
    fn the_one_that_dumps_may_differ_further_in_than_where_it_began() {
        let own = said("running]", &["main.dump /a/main.go:9 +0x4", "main.main /a/main.go:30 +0x12"]);
        let waits = |state, began| {
            said(state, &["syscall.Read /s/syscall.go:1", "os.(*File).Read /s/os.go:2", began])
        };
        let began = "main.main /a/main.go:25 +0x9";
        assert!(explained("1.26.6", 1, &own, &waits("syscall]", began)));
        assert!(!explained("1.26.6", 2, &own, &waits("syscall]", began)));
        assert!(!explained("1.26.6", 1, &own, &waits("syscall, moving]", began)));
        assert!(!explained("1.26.6", 1, &own, &waits("syscall]", "main.other /a/main.go:25 +0x9")));
        assert!(!explained("1.26.6", 1, &own, &waits("syscall]", "main.main /b/main.go:25 +0x9")));
        let created = "created by main.other /a/main.go:1 +0x1";
        assert!(!explained("1.26.6", 1, &own, &said("syscall]", &[began, created])));
    }
}
