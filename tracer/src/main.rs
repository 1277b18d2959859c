//! The binary: parse, run, tell a failure once, end with its code.

use std::process::ExitCode;

use clap::Parser;
use tracer::cli::{Cli, print_error};

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(failure) => {
            print_error(&failure);
            failure.exit_code().into()
        }
    }
}
