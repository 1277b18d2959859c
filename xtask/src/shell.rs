//! Running other programs: quietly with their output kept for the error, or as root.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::progress;

/// How much of a failed command's output is worth showing.
const TAIL_LINES: usize = 25;

/// The effective user is root. (`/proc/self` belongs to the effective user, proc(5).)
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Where `PATH` has this program.
pub fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// A command that does not inherit what cargo told *us*: `cargo run` sets variables (among them `RUSTUP_TOOLCHAIN`
/// and a library path into its own toolchain) that would mislead an inner rustup, cargo or rustc.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut cmd = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let from_cargo = text == "CARGO"
            || text == "LD_LIBRARY_PATH"
            || ["CARGO_PKG_", "CARGO_MANIFEST_", "RUSTUP_TOOLCHAIN"].iter().any(|p| text.starts_with(p));
        if from_cargo {
            cmd.env_remove(&name);
        }
    }
    cmd
}

/// Runs to the end; the output appears only when it fails.
pub fn quiet(cmd: &mut Command) -> Result<String> {
    let shown = show(cmd);
    let out = cmd.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !out.status.success() {
        let all = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let lines: Vec<&str> = all.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        bail!("`{shown}` failed ({})\n    {tail}", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs to the end with our own output.
pub fn loud(cmd: &mut Command) -> Result<()> {
    let shown = show(cmd);
    let status = cmd.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command as root: itself when we are root, else through sudo, with these variables (sudo drops all others).
/// Announces sudo, with what for, before it may ask for a password.
pub fn as_root(what_for: &str, program: &OsStr, vars: &[(&str, &OsStr)]) -> Result<Command> {
    if is_root() {
        let mut cmd = command(program);
        cmd.envs(vars.iter().copied());
        return Ok(cmd);
    }
    if which("sudo").is_none() {
        bail!("{what_for} needs root and there is no `sudo`; try: the same command as root");
    }
    progress::note(&format!("{what_for} needs root: calling sudo, which may ask for your password"));
    let mut cmd = command("sudo");
    cmd.arg("env");
    for (name, value) in vars {
        let mut pair = std::ffi::OsString::from(name);
        pair.push("=");
        pair.push(value);
        cmd.arg(pair);
    }
    cmd.arg(program);
    Ok(cmd)
}

/// The command as one would type it.
pub fn show(cmd: &Command) -> String {
    let mut words = vec![cmd.get_program().to_string_lossy()];
    words.extend(cmd.get_args().map(|a| a.to_string_lossy()));
    words.join(" ")
}
