//! `cargo xtask vm [5.10|6.1|…]`: boots old kernels in an emulated machine and has gostray do its work on each.
//!
//! Neither root nor KVM is needed. The machine has no disk: kernel, gostray with its libraries and the Go programs are
//! in its memory, its first process is `init.sh`, and what happened is read from its serial console.

mod check;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::debian::{self, Program};
use crate::ebpf::Choice;
use crate::kernel::Kernel;
use crate::setup::{self, Scope};
use crate::{demo, golang, progress, shell, workspace};

const BIRTHS: u64 = 2000;
const DEATHS: u64 = 1000;
/// The growth rule's shortest alarm takes three samples of 5 s.
const WATCH: &str = "16s";
/// Half a minute is usual; an emulated processor on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(300);
/// Lines of the console that a failure shows.
const TAIL: usize = 30;

const QEMU: &str = "qemu-system-x86_64";
/// Unpacked, not installed: as a package it would replace the `busybox` that a machine's own initramfs is made with.
const BUSYBOX: Program =
    Program { package: "busybox-static", path: "bin/busybox", what_for: "the shell in the virtual machine" };

/// Tries each of `kernels`; one that fails does not keep the next from being tried.
pub fn run(kernels: &[Kernel], gostray: Option<PathBuf>) -> Result<()> {
    setup::run(Scope::Demo, Choice::Auto)?;
    tools()?;
    for kernel in kernels {
        let name = format!("Linux {}", kernel.series);
        match kernel.find()? {
            Some(_) => progress::already(&name),
            None => progress::part(&name, || kernel.fetch())?,
        }
    }
    let gostray = match gostray {
        Some(path) => path,
        None => progress::part("gostray (release build)", || workspace::build(true))?,
    };
    let dir = workspace::target_dir().join("vm");
    let initramfs = progress::part("the machine's files", || pack(&dir, &gostray))?;
    let leak = demo::leak()?;
    let mut failed = Vec::new();
    for kernel in kernels {
        let name = format!("gostray on Linux {}", kernel.series);
        match progress::part(&name, || one(*kernel, &dir, &initramfs, &leak)) {
            Ok(told) => told.iter().for_each(|line| progress::note(line)),
            Err(e) => failed.push(format!("Linux {}: {e:#}", kernel.series)),
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

fn tools() -> Result<()> {
    let missing: Vec<&str> = [(QEMU, "qemu-system-x86"), ("cpio", "cpio"), ("strip", "binutils")]
        .into_iter()
        .filter(|(program, _)| shell::which(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if !missing.is_empty() {
        progress::part(&format!("Debian packages {}", missing.join(" ")), || debian::install(&missing))?;
    }
    if BUSYBOX.executable()?.is_file() {
        progress::already("busybox");
        return Ok(());
    }
    progress::part("busybox", || BUSYBOX.fetch())
}

/// Packs the machine's first file system.
fn pack(dir: &Path, gostray: &Path) -> Result<PathBuf> {
    let root = dir.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove `{}`", root.display()))?;
    }
    for sub in ["bin", "dev", "proc", "sys", "tmp"] {
        let path = root.join(sub);
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
    }
    copy(&BUSYBOX.executable()?, &root.join("bin/busybox"))?;
    // Debug information is most of it, and of no use there.
    shell::quiet(shell::command("strip").arg("-o").arg(root.join("bin/gostray")).arg(gostray))?;
    let needed = shell::quiet(shell::command("ldd").arg(gostray))?;
    for library in libraries(&needed) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    for program in ["exact", "demo"] {
        let how = golang::Build { program, go: golang::DEFAULT, flags: &[], cgo: false };
        copy(&golang::build(&how)?, &root.join("bin").join(program))?;
    }
    let init = include_str!("init.sh")
        .replace("$BIRTHS", &BIRTHS.to_string())
        .replace("$DEATHS", &DEATHS.to_string())
        .replace("$WATCH", WATCH);
    fs::write(root.join("init"), init)?;
    shell::quiet(shell::command("chmod").arg("755").arg(root.join("init")))?;
    let packed = dir.join("initramfs");
    let mut cpio = shell::command("sh");
    cpio.args(["-c", "find . | cpio --quiet -o -H newc -R 0:0 > \"$1\"", "sh"])
        .arg(&packed)
        .current_dir(&root);
    shell::quiet(&mut cpio)?;
    Ok(packed)
}

/// Copies what a path leads to, with its permissions.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("the root is no file")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy `{}`", from.display()))?;
    Ok(())
}

/// The files among what `ldd` says: `NAME => FILE (ADDRESS)`, `FILE (ADDRESS)`; the vdso has none.
fn libraries(ldd: &str) -> Vec<&str> {
    ldd.lines().filter_map(|l| l.split_whitespace().find(|word| word.starts_with('/'))).collect()
}

/// Boots one kernel, and judges.
fn one(kernel: Kernel, dir: &Path, initramfs: &Path, leak: &str) -> Result<Vec<String>> {
    let image = kernel.find()?.context("the kernel is not there")?;
    let console = dir.join(format!("console-{}", kernel.series));
    let result = boot(&image, initramfs, &console);
    let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let expected = check::Expected { series: kernel.series, births: BIRTHS, deaths: DEATHS, leak };
    result.and_then(|()| check::check(&check::Console::parse(&text), &expected)).with_context(|| {
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].iter().map(|l| shorten(l)).collect::<Vec<_>>();
        format!(
            "it failed; the console (all of it is in `{}`) ends with\n    {}\nthe reason",
            console.display(),
            tail.join("\n    ")
        )
    })
}

/// A console's line can be a whole report.
fn shorten(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Runs the machine until it turns itself off.
fn boot(image: &Path, initramfs: &Path, console: &Path) -> Result<()> {
    let out = File::create(console).with_context(|| format!("cannot write `{}`", console.display()))?;
    let mut cmd: Command = shell::command(QEMU);
    // Not KVM, which many machines have but cannot use. Not cmpxchg16b: QEMU 7.2 sometimes leaves wrong flags behind it,
    // and kernels from 6.4 on allocate memory with it.
    cmd.args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-m", "1024", "-smp", "2"]);
    cmd.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    // After a panic it reboots at once, which ends QEMU.
    cmd.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    cmd.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    cmd.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let mut machine = cmd.spawn().with_context(|| format!("cannot start `{QEMU}`"))?;
    let start = Instant::now();
    loop {
        if let Some(status) = machine.try_wait()? {
            if !status.success() {
                bail!("`{QEMU}` failed ({status})");
            }
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let _ = machine.kill();
            let _ = machine.wait();
            bail!("the machine was not done after {}", progress::seconds(PATIENCE));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_file() {
        let said = "\tlinux-vdso.so.1 (0x7f1e)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f1d)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f1c)\n";
        assert_eq!(libraries(said), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
