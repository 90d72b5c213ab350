//! Any bytes as the body of a message that is no command: control, data, shared object.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::message::any(bytes));
