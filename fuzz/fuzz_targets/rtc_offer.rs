//! Offers of peers of WebRTC.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::rtc::offer(bytes));
