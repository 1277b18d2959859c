//! Building and starting the Go programs of `tests/go`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use xtask::golang;

/// A program that has not said what was waited for by then never will.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A Go program of `tests/go`, to be built in some way.
#[derive(Clone, Debug)]
pub struct Fixture {
    program: String,
    go: String,
    flags: Vec<String>,
    cgo: bool,
    bare: bool,
}

impl Fixture {
    /// With the default Go, symbols and debug information, without cgo (but the program `cgo` with).
    pub fn new(program: &str) -> Self {
        let go = golang::DEFAULT.into();
        Self { program: program.into(), go, flags: Vec::new(), cgo: program == "cgo", bare: false }
    }

    /// With another Go, for instance `1.21.13`.
    pub fn go(mut self, version: &str) -> Self {
        self.go = version.into();
        self
    }

    /// Without symbol table and debug information, as distributions ship.
    pub fn stripped(self) -> Self {
        self.flag("-ldflags=-s -w")
    }

    /// Position independent.
    pub fn pie(self) -> Self {
        self.flag("-buildmode=pie")
    }

    /// One more flag for `go build`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    pub fn cgo(mut self) -> Self {
        self.cgo = true;
        self
    }

    /// Without section headers: nothing but what the kernel needs to start it.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// The executable; built once for each way and content.
    pub fn build(&self) -> Result<PathBuf> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let how = golang::Build { program: &self.program, go: &self.go, flags: &flags, cgo: self.cgo };
        let built = golang::build(&how)?;
        if self.bare { without_sections(&built) } else { Ok(built) }
    }

    /// Builds it, starts it, and waits until it is ready.
    pub fn start(&self, args: &[&str]) -> Result<Running> {
        Running::start(&self.build()?, args)
    }
}

/// A copy beside the executable.
fn without_sections(executable: &Path) -> Result<PathBuf> {
    let bare = executable.with_extension("bare");
    if bare.is_file() {
        return Ok(bare);
    }
    let partial = executable.with_extension(format!("bare.{}", std::process::id()));
    // With its owner and run bits.
    fs::copy(executable, &partial)?;
    let owner = fs::metadata(executable)?;
    chown(&partial, Some(owner.uid()), Some(owner.gid()))?;
    let file = fs::File::options().write(true).open(&partial)?;
    file.write_all_at(&[0; 8], 40)?; // e_shoff
    file.write_all_at(&[0; 6], 58)?; // e_shentsize, e_shnum, e_shstrndx
    drop(file);
    fs::rename(&partial, &bare)?;
    Ok(bare)
}

/// Builds a program in the plain way.
pub fn build(program: &str, go: &str) -> Result<PathBuf> {
    Fixture::new(program).go(go).build()
}

/// The `go` command of a version that `cargo xtask setup` installed.
pub fn go_toolchain(version: &str) -> Result<PathBuf> {
    golang::find(version)
}

/// A started program. Killed when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it has printed so far, as far as anyone has waited for it.
    pub said: Vec<String>,
}

impl Running {
    /// Starts an executable and waits until it has printed `ready`.
    pub fn start(executable: &Path, args: &[&str]) -> Result<Self> {
        let mut running = Self::start_silent(Command::new(executable).args(args))?;
        running.wait_for("ready")?;
        Ok(running)
    }

    /// Starts a program that does not say `ready`. Its stdout is read all along, so that it never blocks on it.
    pub fn start_silent(cmd: &mut Command) -> Result<Self> {
        let name = cmd.get_program().to_string_lossy().into_owned();
        let mut child = cmd
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the program has no stdout")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    // Nobody listens any more; go on reading, the program must not notice.
                    continue;
                }
            }
        });
        Ok(Self { child, stdin, lines, said: Vec::new() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with this word and returns what follows the word.
    pub fn wait_for(&mut self, word: &str) -> Result<String> {
        self.wait_for_within(word, PATIENCE)
    }

    /// [`Self::wait_for`] with a patience of one's own.
    pub fn wait_for_within(&mut self, word: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if let Some(rest) = line.strip_prefix(word)
                        && (rest.is_empty() || rest.starts_with(' '))
                    {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no `{word}` within {patience:?}, only {:?}", self.said)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the program ended ({}) without `{word}`: {:?}", self.child.wait()?, self.said)
                }
            }
        }
    }

    /// What it said after this word, if it has been waited for.
    pub fn heard(&self, word: &str) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    /// Sends an empty line: programs started with `-wait` begin then.
    pub fn go(&mut self) -> Result<()> {
        self.say("")
    }

    /// Sends it a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the program's stdin is closed")?;
        let sent = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
        sent.context("the program does not read its stdin")
    }

    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: kill(2) takes two integers and touches no memory of ours; the child was not waited for, so the pid
        // is still its own.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot signal the program");
        }
        Ok(())
    }

    /// True while it has not ended.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it with SIGTERM and returns how it ended; what it said last is in `said`.
    pub fn stop(mut self) -> Result<(ExitStatus, Vec<String>)> {
        if self.is_alive()? {
            self.signal(libc::SIGTERM)?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.is_alive()? {
            if Instant::now() > deadline {
                bail!("the program does not end on SIGTERM");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait()?;
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.said.push(line);
        }
        Ok((status, std::mem::take(&mut self.said)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; both then do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Proves that a test may run here, or ends it with the reason: such tests are ignored unless asked for, and who asks
/// for them without root gets a failure, not a silent pass.
pub fn root_only() -> Result<()> {
    if !xtask::shell::is_root() {
        bail!("this test needs root; try: cargo xtask test");
    }
    Ok(())
}
