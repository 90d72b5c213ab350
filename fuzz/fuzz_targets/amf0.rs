//! Any bytes as AMF 0.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::amf::amf0(bytes));
