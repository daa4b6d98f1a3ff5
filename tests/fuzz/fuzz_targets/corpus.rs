#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| autointerp_fuzz::targets::corpus(input));
