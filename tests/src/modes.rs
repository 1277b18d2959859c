//! The ways in which a Go program can be built that change what gostray finds.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectKind};
use xtask::golang;

use crate::Fixture;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Stripped,
    Trimpath,
    NoSections,
    Pie,
    /// Before Go 1.26 it has no section for its function table.
    PieStripped,
    PieNoSections,
    StaticPie,
    Cgo,
    External,
    Race,
    Unoptimized,
    Profiled,
}

impl Mode {
    pub const ALL: [Self; 13] = [
        Self::Plain,
        Self::Stripped,
        Self::Trimpath,
        Self::NoSections,
        Self::Pie,
        Self::PieStripped,
        Self::PieNoSections,
        Self::StaticPie,
        Self::Cgo,
        Self::External,
        Self::Race,
        Self::Unoptimized,
        Self::Profiled,
    ];

    /// As the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripped => "`-s -w`",
            Self::Trimpath => "`-trimpath`",
            Self::NoSections => "`-s -w`, no section headers",
            Self::Pie => "PIE",
            Self::PieStripped => "PIE, `-s -w`",
            Self::PieNoSections => "PIE, `-s -w`, no section headers",
            Self::StaticPie => "static PIE",
            Self::Cgo => "cgo, dynamic libc, `-s -w`",
            Self::External => "external linking",
            Self::Race => "`-race`",
            Self::Unoptimized => "`-N -l`",
            Self::Profiled => "PGO",
        }
    }

    /// Why there is nothing to trace with this Go; made sure of where it can be.
    pub fn impossible(self, go: &str) -> Result<Option<String>> {
        if go != golang::OLDEST {
            return Ok(None);
        }
        match self {
            Self::Profiled => Ok(Some("Go 1.19 has no PGO".to_owned())),
            Self::StaticPie => {
                let status = Command::new(self.build(go)?)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()?;
                ensure!(status.signal().is_some(), "it runs after all, and ended with {status}");
                Ok(Some(format!("untraced too, a static PIE of Go 1.19 ends as it starts ({status})")))
            }
            _ => Ok(None),
        }
    }

    /// Its packages are compiled for other builds too.
    pub fn is_cheap(self) -> bool {
        !matches!(self, Self::Trimpath | Self::Race | Self::Unoptimized | Self::Profiled)
    }

    fn is_pie(self) -> bool {
        matches!(self, Self::Pie | Self::PieStripped | Self::PieNoSections | Self::StaticPie)
    }

    fn is_stripped(self) -> bool {
        matches!(
            self,
            Self::Stripped | Self::NoSections | Self::PieStripped | Self::PieNoSections | Self::Cgo
        )
    }

    fn has_sections(self) -> bool {
        !matches!(self, Self::NoSections | Self::PieNoSections)
    }

    /// `tests/go/exact` built that way; the file is made sure to be what it is called.
    pub fn build(self, go: &str) -> Result<PathBuf> {
        let exact = Fixture::new("exact").go(go);
        let fixture = match self {
            Self::Plain => exact,
            Self::Stripped => exact.stripped(),
            Self::Trimpath => exact.flag("-trimpath"),
            Self::NoSections => exact.stripped().bare(),
            Self::Pie => exact.pie(),
            Self::PieStripped => exact.pie().stripped(),
            Self::PieNoSections => exact.pie().stripped().bare(),
            Self::StaticPie => exact.pie().cgo().flag("-ldflags=-linkmode=external -extldflags=-static-pie"),
            Self::Cgo => exact.cgo().flag("-tags=withc").stripped(),
            Self::External => exact.cgo().flag("-ldflags=-linkmode=external"),
            Self::Race => exact.cgo().flag("-race"),
            Self::Unoptimized => exact.flag("-gcflags=all=-N -l"),
            Self::Profiled => exact.flag(&format!("-pgo={}", profile(go)?.display())),
        };
        let built = fixture.build()?;
        self.verify(&built).with_context(|| format!("`{}` is not {self:?}", built.display()))?;
        Ok(built)
    }

    fn verify(self, path: &std::path::Path) -> Result<()> {
        let data = fs::read(path)?;
        let elf = object::read::elf::ElfFile64::<object::Endianness>::parse(&*data)?;
        ensure!((elf.kind() == ObjectKind::Dynamic) == self.is_pie(), "it is {:?}", elf.kind());
        ensure!((elf.sections().next().is_some()) == self.has_sections(), "its sections are another's");
        ensure!(elf.symbols().next().is_none() == self.is_stripped(), "its symbols are another's");
        let dynamic = elf
            .elf_program_headers()
            .iter()
            .any(|p| p.p_type.get(object::Endianness::Little) == object::elf::PT_INTERP);
        let needs_libc = matches!(self, Self::Cgo | Self::External | Self::Race);
        if needs_libc || matches!(self, Self::StaticPie | Self::Plain) {
            ensure!(
                dynamic == needs_libc,
                "it is {} linked",
                if dynamic { "dynamically" } else { "statically" }
            );
        }
        Ok(())
    }
}

/// A CPU profile of a program that does little else than what gostray probes, so that the compiler inlines there.
/// Taken once for each Go: another would make another program.
fn profile(go: &str) -> Result<PathBuf> {
    let spawner = Fixture::new("spawner").go(go).build()?;
    let profile = spawner.with_extension("pprof");
    if !profile.is_file() {
        let partial = spawner.with_extension("pprof.new");
        let status = Command::new(&spawner).arg(&partial).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "`spawner` ended with {status}");
        fs::rename(&partial, &profile)?;
    }
    Ok(profile)
}
