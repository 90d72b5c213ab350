//! A live stream of any kind on its way into segments and playlists.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch_fuzz::formats::segmenter(bytes));
