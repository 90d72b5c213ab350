//! What a Redis sends to a server of a cluster.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::directory::run(bytes));
