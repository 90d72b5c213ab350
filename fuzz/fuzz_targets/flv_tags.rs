//! Any bytes as an FLV file, whole and in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::flv::tags(bytes));
