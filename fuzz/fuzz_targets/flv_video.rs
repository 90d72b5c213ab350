//! Any bytes as a video message.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::flv::video(bytes));
