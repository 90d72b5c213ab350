//! One session of a client: any bytes of a server, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::client::run(bytes));
