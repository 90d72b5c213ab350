//! Any texts as tcUrl, app, stream name and reference.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::url::run(bytes));
