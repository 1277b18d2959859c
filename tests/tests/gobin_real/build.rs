//! Builds the oracle program with every toolchain at hand, in every way that changes what its file looks like.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// How a file differs from what a plain `go build` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Stripped,
    Pie,
    PieStripped,
    /// `PieStripped` without its section headers: nothing but what the kernel needs.
    PieBare,
    /// C code inside, linked by the system's linker.
    Cgo,
    CgoPieStripped,
    /// `-gcflags=all=-N -l`, as for a debugger: nothing inlined, everything on the stack.
    Unoptimized,
    Race,
}

impl Mode {
    const ALL: [Self; 9] = [
        Self::Plain,
        Self::Stripped,
        Self::Pie,
        Self::PieStripped,
        Self::PieBare,
        Self::Cgo,
        Self::CgoPieStripped,
        Self::Unoptimized,
        Self::Race,
    ];

    fn stripped(self) -> bool {
        matches!(self, Self::Stripped | Self::PieStripped | Self::PieBare | Self::CgoPieStripped)
    }

    pub fn pie(self) -> bool {
        matches!(self, Self::Pie | Self::PieStripped | Self::PieBare | Self::CgoPieStripped)
    }

    /// The DWARF describes Go code only, at fixed addresses.
    pub fn has_go_dwarf(self) -> bool {
        matches!(self, Self::Plain | Self::Unoptimized)
    }

    pub fn inlines(self) -> bool {
        self != Self::Unoptimized
    }

    fn cgo(self) -> bool {
        matches!(self, Self::Cgo | Self::CgoPieStripped)
    }

    /// Has a symbol table.
    pub fn has_symbols(self) -> bool {
        !self.stripped()
    }
}

pub struct Build {
    pub toolchain: PathBuf,
    pub mode: Mode,
    pub path: PathBuf,
    pub data: Vec<u8>,
}

impl Build {
    pub fn name(&self) -> String {
        let version = std::fs::read_to_string(self.toolchain.join("VERSION")).unwrap_or_default();
        format!("{} {:?}", version.lines().next().unwrap_or("?"), self.mode)
    }
}

/// `GOSTRAY_TEST_GO`: GOROOT directories, separated by colons; without it, the `go` in the path.
fn toolchains() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("GOSTRAY_TEST_GO") {
        return std::env::split_paths(&list).map(|p| p.canonicalize().unwrap_or(p)).collect();
    }
    let out = Command::new("go").args(["env", "GOROOT"]).output();
    let out = out.expect("no `go` in the path: set GOSTRAY_TEST_GO to GOROOT directories");
    vec![PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())]
}

pub fn go(toolchain: &Path) -> Command {
    let mut go = Command::new(toolchain.join("bin/go"));
    go.env("GOROOT", toolchain).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
    go
}

/// All of them, built once for all tests, under `target/tmp`; the next run overwrites them.
pub static BUILDS: LazyLock<Vec<Build>> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gobin_real");
    let toolchains = toolchains();
    assert!(!toolchains.is_empty(), "GOSTRAY_TEST_GO names no toolchain");
    let mut builds = Vec::new();
    for (i, toolchain) in toolchains.iter().enumerate() {
        for mode in Mode::ALL {
            let path = dir.join(format!("{i}-{mode:?}"));
            build(toolchain, mode, &dir.join(format!("src-{i}-{}", mode.cgo())), &path);
            let data = std::fs::read(&path).unwrap();
            builds.push(Build { toolchain: toolchain.clone(), mode, path, data });
        }
    }
    builds
});

fn build(toolchain: &Path, mode: Mode, source: &Path, out: &Path) {
    std::fs::create_dir_all(source).unwrap();
    std::fs::write(source.join("go.mod"), "module example.com/oracle\n\ngo 1.19\n").unwrap();
    std::fs::write(source.join("main.go"), include_str!("oracle.go")).unwrap();
    if mode.cgo() {
        std::fs::write(source.join("cgo.go"), include_str!("cgo.go")).unwrap();
    }
    // Uncompressed, so that the DWARF can be read as it is.
    let mut flags = String::from("-compressdwarf=false");
    if mode.stripped() {
        flags.push_str(" -s -w");
    }
    if mode.cgo() {
        flags.push_str(" -linkmode=external");
    }
    let mut command = go(toolchain);
    command
        .current_dir(source)
        .env("CGO_ENABLED", if mode.cgo() || mode == Mode::Race { "1" } else { "0" })
        .arg("build");
    if mode.pie() {
        command.arg("-buildmode=pie");
    }
    match mode {
        Mode::Unoptimized => _ = command.arg("-gcflags=all=-N -l"),
        // The oracle reads its own memory at will, which `-race` would check.
        Mode::Race => _ = command.args(["-race", "-gcflags=-d=checkptr=0"]),
        _ => {}
    }
    let status = command.arg("-ldflags").arg(&flags).arg("-o").arg(out).arg(".").status().unwrap();
    assert!(status.success(), "go build of {mode:?} with {}", toolchain.display());
    if mode == Mode::PieBare {
        let mut data = std::fs::read(out).unwrap();
        data[40..48].fill(0); // e_shoff
        data[58..64].fill(0); // e_shentsize, e_shnum, e_shstrndx
        std::fs::write(out, data).unwrap();
    }
}
