//! Any bytes into the chunk reader, control messages applied as they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::chunk::run(bytes));
