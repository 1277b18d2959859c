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
/// - The one that dumps is running in its own dump.
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
        || id == 1 && own.state == "running]"
        || ends_early(go, own, ours)
        || first_100 && own.state == ours.state && cut(&own.frames) == cut(&ours.frames)
}

/// Go 1.19 shows the first 100 frames of a deep stack, the runtime's among them, and does not say that there are more.
fn ends_early(go: &str, own: &Said, ours: &Said) -> bool {
    const ENDS: usize = 50;
    go == "1.19.8"
        && (95..=101).contains(&own.frames.len())
        && (&own.state, &own.frames[..ENDS]) == (&ours.state, ours.frames.get(..ENDS).unwrap_or_default())
        && own.frames.last() == ours.frames.last()
}
