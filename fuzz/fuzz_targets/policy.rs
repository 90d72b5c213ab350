//! Any texts as the rules of an operator, and any client held against them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::policy::run(bytes));
