//! One connection of a server with its hub: any bytes, cut anywhere, under any policy.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::connection::run(bytes));
