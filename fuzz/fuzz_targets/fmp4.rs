//! Any configurations and samples in fragmented MP4.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::formats::fmp4(bytes));
