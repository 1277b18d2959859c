//! What a user gets when something does not work: one sentence, one "try:" line, one exit code.
//!
//! The table [`Class`] is the only place that knows exit codes; `docs/exit-codes.md` says the same for users (a test
//! compares them). Each room has its own typed errors; those that can reach a user say here which class they are
//! ([`Fail`]), and `?` turns them into a [`Failure`].

use std::error::Error;
use std::fmt;

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $meaning:literal, $hint:literal;)*) => {
        /// Kinds of failure. Append-only: a code's meaning never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Class {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Class {
            /// All of them, by code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The process's exit code.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Stable name, for JSON and scripts.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One clause.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// What to try, where the error itself knows nothing better.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

classes! {
    Internal = 1, "internal", "something went wrong that should not",
        "run it again with `RUST_LOG=debug` and report what it says";
    /// clap's own code, too.
    Usage = 2, "usage", "the command line makes no sense",
        "`gostray help`";
    /// Not an error: what `--fail-on` asks for.
    LeakFound = 3, "leak-found", "a leak was found and `--fail-on leak` was given, or growth and `--fail-on growth=N`",
        "read the report above";

    NoSuchProcess = 10, "no-such-process", "there is no process with this id",
        "look the id up with `pgrep -a NAME`";
    ThreadId = 11, "thread-id", "the id is a thread's, not a process's",
        "use the id of its process";
    OtherPidNamespace = 12, "other-pid-namespace", "the process lives in a PID namespace that cannot be reached from here",
        "run gostray on the host, or in a container with the host's PID namespace";
    KernelThread = 13, "kernel-thread", "the id is a kernel thread's",
        "use the id of a Go program";
    Zombie = 14, "zombie", "the process has exited and waits for its parent",
        "attach to it while it runs, or start it with `gostray run -- CMD`";
    NotGo = 15, "not-go", "the program is not a Go program",
        "check the id; programs built by gccgo or TinyGo are not supported";
    GoTooOld = 16, "go-too-old", "the program was built with a Go older than supported",
        "build the program with a supported Go";
    GoUnsupported = 17, "go-unsupported", "the program's Go version or architecture is not known to this gostray",
        "use a newer gostray";
    ExitedWhileAttaching = 18, "exited-while-attaching", "the process exited before gostray was attached",
        "start it with `gostray run -- CMD`, which traces it from its first goroutine on";
    Execed = 19, "execed", "the process replaced itself by another program before gostray was attached",
        "attach again";

    NotPermitted = 20, "not-permitted", "not root, or a capability is missing",
        "use `sudo`; without root it needs CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and CAP_SYS_RESOURCE before Linux 5.11; `--probes off` and `gostray dump` need only the right to read the process's memory";
    KernelTooOld = 21, "kernel-too-old", "the kernel is older than 5.10",
        "use a machine with Linux 5.10 or newer, or `--probes off`, which only looks";
    KernelLacks = 22, "kernel-lacks", "the kernel was built without something that is needed",
        "`gostray doctor` says what is missing; `--probes off` only looks and needs none of it";
    KernelRefused = 23, "kernel-refused", "the kernel refused to load or attach a probe",
        "`gostray doctor PID` shows each planned probe; `--probes off` places none and only looks";
    NoSafeSite = 24, "no-safe-site", "no place for a needed probe is provably safe",
        "`gostray doctor PID` shows why each one was refused; `--probes off` places none and only looks";
    LayoutMisfit = 25, "layout-misfit", "what is known of the Go runtime's memory layout does not fit the process",
        "use a newer gostray; if there is none, report the Go version and how the program was built";
    NotBegun = 26, "not-begun", "the process shows no goroutines, or too little of them to check what is known of its memory",
        "attach again once it runs, or start it with `gostray run -- CMD`; if it has run for long, report the Go version";

    OutputExists = 30, "output-exists", "the output file exists",
        "choose another name, or `--force` to replace it";
    DiskFull = 31, "disk-full", "no space is left for the output",
        "make room, or write to another disk with `-o`; what was recorded can be replayed";
    CannotWrite = 32, "cannot-write", "the output cannot be created or written",
        "choose another place with `-o`";
    CannotRead = 33, "cannot-read", "the input cannot be opened or read",
        "check the name and its permissions";
    NotASession = 34, "not-a-session", "the input is not a session file",
        "give it a file that `gostray record` wrote";
    FutureSession = 35, "future-session", "the session file comes from a newer gostray",
        "replay it with the gostray that wrote it, or a newer one";
    DamagedSession = 36, "damaged-session", "the session file is damaged beyond reading",
        "get another copy; a cut off or partly damaged file would have been replayed";
    BadDump = 37, "bad-dump", "the input is no dump in JSON that can be read",
        "give it one dump (`gostray dump PID --format json -o FILE`) or a session file; of a file that `--watch` wrote, one line";
    NotComparable = 38, "not-comparable", "two moments of different programs, or dumps with different filters",
        "check that both are the right ones; `--force` compares them all the same";
    NotACore = 39, "not-a-core", "the input is not a core file of an amd64 process",
        "give it a file that the kernel, `gcore` or `coredumpctl dump` wrote";
    DamagedCore = 40, "damaged-core", "the core file is damaged, or cut off before the goroutines",
        "take it again without a limit (`ulimit -c unlimited`) and with room on the disk; `gcore PID` keeps the program running";
    OtherExecutable = 41, "other-executable", "the core file is not of this executable",
        "name the executable that ran with `--exe FILE`; `file CORE` says where it was";

    CannotStart = 126, "cannot-start", "`run`: the command cannot be started",
        "check that the file is executable";
    CommandNotFound = 127, "command-not-found", "`run`: there is no such command",
        "give the command's path";
    Interrupted = 130, "interrupted", "interrupted before there was anything to report",
        "let it run until it says that it is attached";
}

/// An error that knows its class.
pub trait Fail: Error + Send + Sync + 'static {
    fn class(&self) -> Class;

    /// The "try:" line.
    fn hint(&self) -> String {
        self.class().hint().to_owned()
    }
}

/// What ends the program.
#[derive(Debug)]
pub struct Failure {
    class: Class,
    hint: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure that has no typed error of its own.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self::because(class, message.into())
    }

    /// An error whose class its caller knows.
    pub fn because(class: Class, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class, hint: class.hint().to_owned(), source: source.into() }
    }

    /// With a better "try:" line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn exit_code(&self) -> u8 {
        self.class.code()
    }

    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl<E: Fail> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { class: error.class(), hint: error.hint(), source: Box::new(error) }
    }
}

/// The sentence with its causes; with `{:#}` also the "try:" line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if f.alternate() {
            write!(f, "\ntry: {}", self.hint)?;
        }
        Ok(())
    }
}

impl Fail for crate::record::WriteError {
    fn class(&self) -> Class {
        match self {
            Self::Exists { .. } => Class::OutputExists,
            Self::DiskFull { .. } => Class::DiskFull,
            Self::NotAFile { .. } | Self::Create { .. } | Self::Io { .. } | Self::Failed { .. } => {
                Class::CannotWrite
            }
            Self::RecordTooLong { .. } => Class::Internal,
        }
    }
}

impl Fail for crate::record::ReadError {
    fn class(&self) -> Class {
        match self {
            Self::Open { .. } | Self::Io { .. } => Class::CannotRead,
            Self::NotASession => Class::NotASession,
            Self::FutureVersion { .. } => Class::FutureSession,
            Self::Empty
            | Self::TruncatedHeader { .. }
            | Self::NoSuchVersion { .. }
            | Self::TooDamaged { .. } => Class::DamagedSession,
        }
    }
}

impl Fail for crate::gobin::GoBinError {
    fn class(&self) -> Class {
        match self {
            Self::NotElf | Self::NotExecutable { .. } | Self::DamagedElf { .. } | Self::NotGo => Class::NotGo,
            Self::TooOld { .. } => Class::GoTooOld,
            Self::TooLarge
            | Self::Packed { .. }
            | Self::Obfuscated { .. }
            | Self::NoBuildInfo { .. }
            | Self::NotAmd64 { .. }
            | Self::UnknownVersion { .. }
            | Self::NoPclntab { .. }
            | Self::NoModuledata { .. }
            | Self::UnknownForm { .. } => Class::GoUnsupported,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Packed { .. } => {
                "start the program as the Go linker wrote it: `upx -d FILE` unpacks it".into()
            }
            Self::Obfuscated { .. } => "trace a build of the same program without the obfuscator".into(),
            Self::NoBuildInfo { .. } => {
                "link it so that the section `.go.buildinfo` stays (`--gc-sections` of an external linker drops it)".into()
            }
            Self::UnknownVersion { .. } => {
                "build it with a released Go, and without `-X runtime.buildVersion=…`".into()
            }
            Self::NotAmd64 { .. } => "use a program built for linux/amd64".into(),
            Self::NotElf => "give it a process, or the file of a program".into(),
            _ => self.class().hint().into(),
        }
    }
}

impl Fail for crate::gobin::LayoutError {
    fn class(&self) -> Class {
        match self {
            Self::TooOld { .. } => Class::GoTooOld,
            Self::Unknown { .. } | Self::Contradiction { .. } => Class::GoUnsupported,
            Self::Table => Class::Internal,
        }
    }
}

impl Fail for crate::memory::MemoryError {
    fn class(&self) -> Class {
        match self {
            Self::Gone => Class::ExitedWhileAttaching,
            Self::Forbidden => Class::NotPermitted,
            Self::Unmapped { .. } | Self::Other { .. } => Class::Internal,
        }
    }
}

impl Fail for crate::source::live::PrepareError {
    fn class(&self) -> Class {
        match self {
            Self::Layout(e) => e.class(),
            Self::NothingToWatchWith { .. } => Class::GoUnsupported,
        }
    }
}

impl Fail for crate::source::live::LiveError {
    fn class(&self) -> Class {
        use crate::probe::load::LoadError;
        match self {
            Self::Load(LoadError::NoObject | LoadError::Missing { .. }) => Class::Internal,
            Self::Load(_) => Class::KernelRefused,
            Self::NoSites { .. } => Class::NoSafeSite,
            Self::Misfit { .. } => Class::LayoutMisfit,
            Self::NotBegun { .. } => Class::NotBegun,
            Self::Exe(_) | Self::Thread(_) => Class::Internal,
            Self::Look(e) => e.class(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotBegun { pid, stopped: true, .. } => {
                format!("let it go on (`kill -CONT {pid}`, or its debugger's `continue`), then attach again")
            }
            _ => self.class().hint().to_owned(),
        }
    }
}

impl Fail for crate::source::live::spawn::SpawnError {
    fn class(&self) -> Class {
        match self {
            Self::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Class::CommandNotFound
            }
            Self::Start { .. } => Class::CannotStart,
            Self::NoStop { .. } | Self::Release { .. } => Class::Internal,
        }
    }
}

impl Fail for crate::drive::DriveError {
    fn class(&self) -> Class {
        match self {
            Self::Live(e) => e.class(),
            Self::Wait(_) => Class::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/exit-codes.md");

    /// Rows of the document's tables whose first cell is a number.
    fn rows() -> Vec<Vec<&'static str>> {
        DOCUMENT
            .lines()
            .filter(|l| l.starts_with("| "))
            .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
            .filter(|cells| cells[0].parse::<u8>().is_ok())
            .collect()
    }

    #[test]
    fn the_document_says_what_the_code_does() {
        let documented = rows();
        assert_eq!(documented[0][..2], ["0", "ok"]);
        let documented: Vec<_> = documented.into_iter().skip(1).collect();
        let expected: Vec<Vec<String>> = Class::ALL
            .iter()
            .map(|c| {
                vec![c.code().to_string(), format!("`{}`", c.name()), c.meaning().into(), c.hint().into()]
            })
            .collect();
        assert_eq!(documented, expected);
    }

    #[test]
    fn codes_and_names_are_unique_and_leave_the_shells_alone() {
        let mut codes: Vec<_> = Class::ALL.iter().map(|c| c.code()).collect();
        let mut names: Vec<_> = Class::ALL.iter().map(|c| c.name()).collect();
        assert!(codes.is_sorted());
        codes.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((codes.len(), names.len()), (Class::ALL.len(), Class::ALL.len()));
        assert!(!codes.contains(&0));
    }

    #[test]
    fn one_sentence_its_causes_and_a_try_line() {
        let cause = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let failure = Failure::from(crate::record::WriteError::DiskFull { path: "x".into(), source: cause });
        assert_eq!(failure.exit_code(), 31);
        let shown = format!("{failure:#}");
        let (sentence, hint) = shown.split_once("\ntry: ").unwrap();
        assert!(sentence.starts_with("no space is left for `x`"), "{sentence}");
        assert!(sentence.ends_with(": No space left on device (os error 28)"), "{sentence}");
        assert_eq!(hint, Class::DiskFull.hint());
        let better = Failure::new(Class::Usage, "no").with_hint("yes");
        assert_eq!(format!("{better:#}"), "no\ntry: yes");
    }
}
