//! The handshake of a client with any server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::handshake::client(bytes));
