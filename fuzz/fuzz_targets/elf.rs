//! Any bytes as an ELF file: must end in an answer or a named error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::watch::count(fuzz::ask::everything(data)));
