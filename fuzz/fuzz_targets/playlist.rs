//! Any request for a playlist, and any name of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::formats::playlist(bytes));
