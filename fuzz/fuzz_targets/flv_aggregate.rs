//! Any bytes as an aggregate, and as an FLV file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::flv::aggregate(bytes));
