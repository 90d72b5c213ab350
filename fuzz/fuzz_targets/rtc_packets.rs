//! Pictures of WebRTC in packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::rtc::packets(bytes));
