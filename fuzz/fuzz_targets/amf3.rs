//! Any bytes as AMF 3.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::amf::amf3(bytes));
