//! Targets, redirects and uplinks: any template and URL, and any bytes of another server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::relay::run(bytes));
