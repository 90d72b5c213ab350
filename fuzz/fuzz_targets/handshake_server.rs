//! The handshake of a server with any client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::handshake::server(bytes));
