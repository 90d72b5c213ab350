//! Any bytes as a decoder configuration of any codec.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::flv::config(bytes));
