//! One session of a server: any bytes, cut anywhere, requests granted or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::session::run(bytes));
