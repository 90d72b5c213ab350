//! Any configurations and payloads in a transport stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::formats::mpegts(bytes));
