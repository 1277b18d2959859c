//! The protobuf messages of the stream. Fields are append-only: tags are never reused.
//!
//! Written as Rust structs (prost derive), so that no protobuf compiler is needed to build.

/// Who was watched, with what, on which machine. The stream's first event and the session file's header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TargetInfo {
    /// Process id in the tracer's PID namespace.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// `/proc/PID/comm`.
    #[prost(string, tag = "2")]
    pub comm: String,
    /// What `/proc/PID/exe` pointed to.
    #[prost(string, tag = "3")]
    pub exe: String,
    /// For instance `go1.26.6`.
    #[prost(string, tag = "4")]
    pub go_version: String,
    /// GNU build id in hex, else Go's build id, else empty.
    #[prost(string, tag = "5")]
    pub build_id: String,
    /// `amd64`.
    #[prost(string, tag = "6")]
    pub arch: String,
    /// Main package's path from the build info, empty when unknown.
    #[prost(string, tag = "7")]
    pub main_package: String,
    /// `uname -r` of the machine.
    #[prost(string, tag = "8")]
    pub kernel: String,
    #[prost(uint32, tag = "9")]
    pub cpus: u32,
    /// Version of the gostray that watched.
    #[prost(string, tag = "10")]
    pub gostray_version: String,
    /// The clock anchor: this `CLOCK_BOOTTIME` …
    #[prost(uint64, tag = "11")]
    pub anchor_boot_ns: u64,
    /// … was this time since the Unix epoch.
    #[prost(uint64, tag = "12")]
    pub anchor_unix_ns: u64,
    /// Traced from its first goroutine (`run`, `record -- CMD`), not attached to later.
    #[prost(bool, tag = "13")]
    pub from_start: bool,
    /// Park, ready and run events are on (`--park on`).
    #[prost(bool, tag = "14")]
    pub park: bool,
    /// How much is added to the ELF's addresses (0 unless position independent).
    #[prost(uint64, tag = "15")]
    pub load_bias: u64,
    /// The limits in force.
    #[prost(message, optional, tag = "16")]
    pub limits: Option<Limits>,
    /// The whole command line is never recorded: it may hold secrets. Only its first word.
    #[prost(string, tag = "17")]
    pub command: String,
    /// When the target started, `CLOCK_BOOTTIME` nanoseconds (from `/proc/PID/stat`, 10 ms grain); 0 unknown.
    #[prost(uint64, tag = "18")]
    pub started_boot_ns: u64,
    /// Which facts about the Go runtime's layout were used and where they come from.
    #[prost(string, tag = "19")]
    pub layout_provenance: String,
    /// No probes were asked for (`--probes off`): all that is known comes from looks.
    #[prost(bool, tag = "20")]
    pub looks_only: bool,
}

/// Limits that bound what a session can know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Limits {
    #[prost(uint64, tag = "1")]
    pub ring_bytes: u64,
    #[prost(uint32, tag = "2")]
    pub kernel_stacks: u32,
    #[prost(uint32, tag = "3")]
    pub max_frames: u32,
    /// Nanoseconds between two looks; 0 when there are none.
    #[prost(uint64, tag = "4")]
    pub look_every_ns: u64,
}

/// What a program counter means. `pc` is as it stands in the stacks (a return address, or an exact pc where
/// `exact` is set).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Symbol {
    #[prost(uint64, tag = "1")]
    pub pc: u64,
    /// Innermost (inlined) first; the last one is the function that the code belongs to. Empty: unknown, see
    /// `unknown_because`.
    #[prost(message, repeated, tag = "2")]
    pub frames: Vec<Frame>,
    /// Why there are no frames; empty when there are.
    #[prost(string, tag = "3")]
    pub unknown_because: String,
    /// The pc is a function's entry or another exact pc, not a return address.
    #[prost(bool, tag = "4")]
    pub exact: bool,
    /// Where the frames are from: empty for Go's function table, which knows all of Go; `dwarf`; `symbol table`, which
    /// knows no lines.
    #[prost(string, tag = "5")]
    pub source: String,
    /// At the entry of a wrapper that the compiler made for `go f(x)` (`main.main.gowrap1`): `f`.
    #[prost(message, optional, tag = "6")]
    pub starts: Option<Frame>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Frame {
    /// As Go writes it: `main.(*server).handle.func1`.
    #[prost(string, tag = "1")]
    pub function: String,
    /// As in the binary (may be trimmed); empty when unknown.
    #[prost(string, tag = "2")]
    pub file: String,
    /// 0 when unknown.
    #[prost(uint32, tag = "3")]
    pub line: u32,
    #[prost(bool, tag = "4")]
    pub inlined: bool,
    /// With the type arguments that `function` leaves out (`main.Map[go.shape.int]` for `main.Map[...]`); else empty.
    #[prost(string, tag = "5")]
    pub full_name: String,
}

/// A place where a probe stands, or was refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProbeSite {
    /// `create`, `exit`, `park`, `ready`, `run`, `coro`.
    #[prost(string, tag = "1")]
    pub role: String,
    /// Runtime function, for instance `runtime.newproc1`.
    #[prost(string, tag = "2")]
    pub function: String,
    /// Bytes from the function's entry.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// The instruction, disassembled.
    #[prost(string, tag = "4")]
    pub instruction: String,
    /// `emulated`, `stepped` or `free`.
    #[prost(string, tag = "5")]
    pub cost_class: String,
    /// Empty when the probe stands; else why it was refused.
    #[prost(string, tag = "6")]
    pub refused_because: String,
    /// File offset of the instruction.
    #[prost(uint64, tag = "7")]
    pub file_offset: u64,
}

/// The target's own table of wait reasons, read from its memory.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaitReasons {
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

/// Something a reader of the report should know: a limit, a fallback, a surprise.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    /// Stable name, for instance `lock-layout-unknown`.
    #[prost(string, tag = "1")]
    pub code: String,
    /// One sentence.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// Something that goroutines wait on, as a look found it. It is what it is until it is told anew.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Object {
    /// Where it is; with `kind` its identity. 0 for nil channels.
    #[prost(uint64, tag = "1")]
    pub addr: u64,
    /// `channel`, `forever`, `mutex`, `rw-mutex`, `wait-group`, `cond`, `semaphore`, `timer` or `descriptor`.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// Of a channel: buffered elements, room for them, closed, bytes of an element.
    #[prost(uint64, tag = "3")]
    pub len: u64,
    #[prost(uint64, tag = "4")]
    pub cap: u64,
    #[prost(bool, tag = "5")]
    pub closed: bool,
    #[prost(uint32, tag = "6")]
    pub elem_size: u32,
    /// Of a mutex.
    #[prost(bool, tag = "7")]
    pub locked: bool,
    #[prost(bool, tag = "8")]
    pub starving: bool,
    /// Of a mutex, wait group, condition: as it counts them itself.
    #[prost(uint32, tag = "9")]
    pub waiters: u32,
    /// Of a readers/writer mutex; negative: a writer has it or waits.
    #[prost(sint32, tag = "10")]
    pub readers: i32,
    #[prost(bool, tag = "11")]
    pub writer: bool,
    #[prost(sint32, tag = "12")]
    pub waiting_for_readers: i32,
    /// Of a wait group.
    #[prost(sint32, tag = "13")]
    pub counter: i32,
    /// Of a semaphore.
    #[prost(uint32, tag = "14")]
    pub value: u32,
    /// Of a timer, and of a channel that one sends to, when it fires: `fires` (in `in_ns`), `stopped` (or has fired),
    /// `unknown`; else empty.
    #[prost(string, tag = "18")]
    pub timer: String,
    /// Nanoseconds from the look until it fires; negative: it should have.
    #[prost(sint64, tag = "15")]
    pub in_ns: i64,
    /// Of a descriptor; `peer` as `/proc/PID/net` tells it, else empty.
    #[prost(uint32, tag = "16")]
    pub fd: u32,
    #[prost(string, tag = "17")]
    pub peer: String,
}

/// What the goroutine of the header waits on, since it is parked as it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Waits {
    #[prost(message, repeated, tag = "1")]
    pub on: Vec<WaitOn>,
    /// Cases of a `select` beyond the first ones, which stand in `on`.
    #[prost(uint64, tag = "2")]
    pub more: u64,
    /// Id of its [`Labels`]; 0: it has none.
    #[prost(uint64, tag = "3")]
    pub labels: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WaitOn {
    /// The [`Object`]'s address.
    #[prost(uint64, tag = "1")]
    pub addr: u64,
    /// `wire::side`
    #[prost(uint32, tag = "2")]
    pub side: u32,
}

/// A set of pprof labels, each key once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Labels {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(message, repeated, tag = "2")]
    pub labels: Vec<Label>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}
