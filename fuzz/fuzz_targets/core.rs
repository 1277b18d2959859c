//! Any bytes as a core file: must end in a dump or a named error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::watch::count(fuzz::targets::core(data)));
