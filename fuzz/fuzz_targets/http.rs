//! Requests by HTTP, and the frames of a WebSocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::http::run(bytes));
