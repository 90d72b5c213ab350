//! Any frames into one source, read by cursors of every speed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::source::run(bytes));
