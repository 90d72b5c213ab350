//! A server with several connections that do anything in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::scene::run(bytes));
