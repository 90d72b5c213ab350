//! What a proxy puts in front of the handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::preface::run(bytes));
