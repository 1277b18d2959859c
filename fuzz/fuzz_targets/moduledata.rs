//! Any module data, relocations and program headers in an otherwise sound program.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| fuzz::watch::count(fuzz::ask::everything(&fuzz::targets::moduledata(data))));
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::recipe::mutate(data, size, max_size, seed, fuzzer_mutate)
});
