//! A dump as a profile for `go tool pprof`: `perftools.profiles.Profile` (github.com/google/pprof, `proto/profile.proto`),
//! compressed with gzip as that tool wants it.
//!
//! Goroutines that stand at the same place, come from the same place, and have the same state and labels are one sample.
//! Frames are whole, the runtime's own too.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::super::words;
use crate::dump::{Dump, Goroutine, Pc, Trace};

/// Messages of `profile.proto`, as far as they are used. Numbers in `i64` that are called names are indices into
/// [`Profile::string_table`](proto::Profile::string_table).
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub function: Vec<Function>,
        /// The first one is empty.
        #[prost(string, repeated, tag = "6")]
        pub string_table: Vec<String>,
        /// Nanoseconds since the Unix epoch.
        #[prost(int64, tag = "9")]
        pub time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub period: i64,
        #[prost(int64, repeated, tag = "13")]
        pub comment: Vec<i64>,
        #[prost(int64, tag = "14")]
        pub default_sample_type: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct ValueType {
        #[prost(int64, tag = "1")]
        pub r#type: i64,
        #[prost(int64, tag = "2")]
        pub unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sample {
        /// Innermost first.
        #[prost(uint64, repeated, tag = "1")]
        pub location_id: Vec<u64>,
        /// One of each sample type.
        #[prost(int64, repeated, tag = "2")]
        pub value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(int64, tag = "1")]
        pub key: i64,
        #[prost(int64, tag = "2")]
        pub str: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Mapping {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "5")]
        pub filename: i64,
        #[prost(int64, tag = "6")]
        pub build_id: i64,
        #[prost(bool, tag = "7")]
        pub has_functions: bool,
        #[prost(bool, tag = "8")]
        pub has_filenames: bool,
        #[prost(bool, tag = "9")]
        pub has_line_numbers: bool,
        #[prost(bool, tag = "10")]
        pub has_inline_frames: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Location {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(uint64, tag = "2")]
        pub mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub address: u64,
        /// Innermost (inlined) first.
        #[prost(message, repeated, tag = "4")]
        pub line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Line {
        #[prost(uint64, tag = "1")]
        pub function_id: u64,
        #[prost(int64, tag = "2")]
        pub line: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Function {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "2")]
        pub name: i64,
        #[prost(int64, tag = "3")]
        pub system_name: i64,
        #[prost(int64, tag = "4")]
        pub filename: i64,
    }
}

/// The one mapping: the executable.
const EXECUTABLE: u64 = 1;

/// All goroutines for which `which` holds.
pub fn write(dump: &Dump, which: impl Fn(&Goroutine) -> bool, out: &mut dyn Write) -> io::Result<()> {
    let bytes = profile(dump, which).encode_to_vec();
    let mut packed = GzEncoder::new(out, Compression::default());
    packed.write_all(&bytes)?;
    packed.finish().map(drop)
}

/// What the goroutines of a sample have in common.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// In place of a stack: what there is none for.
    place: Result<u32, &'static str>,
    because: Option<String>,
    gopc: u64,
    state: String,
    reason: Option<String>,
    labels: Option<u32>,
}

#[derive(Default)]
struct Sum {
    count: i64,
    waited_ns: i64,
}

fn profile(dump: &Dump, which: impl Fn(&Goroutine) -> bool) -> proto::Profile {
    // In order: the same dump gives the same bytes.
    let mut samples: BTreeMap<Key, Sum> = BTreeMap::new();
    let (mut all, mut waits) = (0u64, 0u64);
    for g in dump.goroutines.iter().filter(|g| which(g)) {
        let sum = samples.entry(key(dump, g)).or_default();
        sum.count += 1;
        all += 1;
        if let Some(ns) = g.since.ns() {
            waits += 1;
            sum.waited_ns = sum.waited_ns.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX));
        }
    }
    let mut build = Builder::new(dump);
    for (key, sum) in &samples {
        build.sample(key, sum);
    }
    build.finish(all, waits)
}

fn key(dump: &Dump, g: &Goroutine) -> Key {
    let (place, because) = match &g.trace {
        Trace::Whole(stack) => (Ok(*stack), None),
        Trace::Partial { stack, because } => (Ok(*stack), Some(because.to_string())),
        Trace::Running => (Err("running: its stack cannot be read"), None),
        Trace::Moving => (Err("moving: its stack changed each time it was read"), None),
        Trace::None { because } => (Err("no stack"), Some(because.to_string())),
    };
    // The main goroutine is made by the runtime's start code, which says nothing to a reader.
    let gopc = if g.goid == 1 { 0 } else { g.gopc };
    let labels = g.labels;
    Key { place, because, gopc, state: g.status.name(), reason: dump.reason(g), labels }
}

struct Builder<'d> {
    dump: &'d Dump,
    profile: proto::Profile,
    strings: HashMap<String, i64>,
    /// By name, full name and file.
    functions: HashMap<(String, String, String), u64>,
    locations: HashMap<Pc, u64>,
    /// What stands in the place of frames, by its text.
    markers: HashMap<String, u64>,
}

impl<'d> Builder<'d> {
    fn new(dump: &'d Dump) -> Self {
        let mut build = Self {
            dump,
            profile: proto::Profile { string_table: vec![String::new()], ..Default::default() },
            strings: HashMap::from([(String::new(), 0)]),
            functions: HashMap::new(),
            locations: HashMap::new(),
            markers: HashMap::new(),
        };
        let about = &dump.about;
        let goroutines = proto::ValueType { r#type: build.string("goroutines"), unit: build.string("count") };
        let wait = proto::ValueType { r#type: build.string("wait"), unit: build.string("nanoseconds") };
        let mapping = proto::Mapping {
            id: EXECUTABLE,
            filename: build.string(&about.exe),
            build_id: build.string(&about.build_id),
            // All that can be known is here: nothing is to be looked up in the file.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        };
        let profile = &mut build.profile;
        profile.sample_type = vec![goroutines, wait];
        profile.default_sample_type = goroutines.r#type;
        profile.period_type = Some(goroutines);
        profile.period = 1;
        profile.mapping.push(mapping);
        profile.time_nanos = i64::try_from(about.taken_unix_ns).unwrap_or(i64::MAX);
        profile.duration_nanos = i64::try_from(about.took_ns).unwrap_or(i64::MAX);
        build
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn function(&mut self, name: &str, full_name: &str, file: &str) -> u64 {
        let key = (name.to_owned(), full_name.to_owned(), file.to_owned());
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        let full_name = if full_name.is_empty() { name } else { full_name };
        let (name, system_name, filename) = (self.string(name), self.string(full_name), self.string(file));
        self.profile.function.push(proto::Function { id, name, system_name, filename });
        self.functions.insert(key, id);
        id
    }

    /// An address that nothing is known of has no lines.
    fn location(&mut self, pc: Pc) -> u64 {
        if let Some(id) = self.locations.get(&pc) {
            return *id;
        }
        let frames = self.dump.places.at(pc).map_or(&[][..], |place| &place.frames);
        let line = frames.iter().map(|f| proto::Line {
            function_id: self.function(&f.function, &f.full_name, &f.file),
            line: i64::from(f.line),
        });
        let line = line.collect();
        // That of the call, as the runtime's own profiles have it.
        let address = if pc.exact { pc.pc } else { pc.pc.saturating_sub(1) };
        let id = self.push(proto::Location { id: 0, mapping_id: EXECUTABLE, address, line });
        self.locations.insert(pc, id);
        id
    }

    /// `text` in parentheses in the place of frames.
    fn marker(&mut self, text: &str) -> u64 {
        if let Some(id) = self.markers.get(text) {
            return *id;
        }
        let function_id = self.function(&format!("({text})"), "", "");
        let line = vec![proto::Line { function_id, line: 0 }];
        let id = self.push(proto::Location { id: 0, mapping_id: 0, address: 0, line });
        self.markers.insert(text.to_owned(), id);
        id
    }

    fn push(&mut self, location: proto::Location) -> u64 {
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(proto::Location { id, ..location });
        id
    }

    fn sample(&mut self, key: &Key, sum: &Sum) {
        let mut location_id = Vec::new();
        let stack = key.place.ok().and_then(|s| self.dump.stacks.get(s as usize));
        if let Some(stack) = stack {
            for i in 0..=stack.pcs.len() {
                if let Some(left) = stack.left_out.as_ref().filter(|l| l.after == i) {
                    location_id.push(self.marker(&format!("{} frames left out", left.frames)));
                }
                location_id.extend(stack.pcs.get(i).map(|pc| self.location(*pc)));
            }
        }
        match (key.place, &key.because) {
            (Ok(_), None) => {}
            (Ok(_), Some(why)) => location_id.push(self.marker(&format!("stack incomplete: {why}"))),
            (Err(what), None) => location_id.push(self.marker(what)),
            (Err(what), Some(why)) => location_id.push(self.marker(&format!("{what}: {why}"))),
        }
        let mut label = Vec::new();
        let mut tell = |build: &mut Self, key: &str, text: &str| {
            label.push(proto::Label { key: build.string(key), str: build.string(text) });
        };
        tell(self, "state", &key.state);
        if let Some(reason) = &key.reason {
            tell(self, "wait reason", reason);
        }
        if let Some(frame) = self.dump.places.creation(key.gopc) {
            let created = match (frame.file.as_str(), frame.line) {
                ("", _) => frame.function.clone(),
                (file, line) => format!("{} {file}:{line}", frame.function),
            };
            tell(self, "created by", &created);
        }
        for (key, value) in key.labels.and_then(|l| self.dump.labels.get(l as usize)).into_iter().flatten() {
            tell(self, key, value);
        }
        self.profile.sample.push(proto::Sample { location_id, value: vec![sum.count, sum.waited_ns], label });
    }

    fn finish(mut self, all: u64, waits: u64) -> proto::Profile {
        let about = &self.dump.about;
        let mut comments = vec![
            format!("gostray {}: process {}, {}", about.gostray_version, about.pid, about.go_version),
            format!(
                "wait: known of {waits} of {}; of most it is the least it can be",
                words::count(all, "goroutine")
            ),
        ];
        comments.extend(self.dump.notes.iter().map(|n| n.text.clone()));
        for comment in comments {
            let comment = self.string(&comment);
            self.profile.comment.push(comment);
        }
        self.profile
    }
}

#[cfg(test)]
mod tests;
