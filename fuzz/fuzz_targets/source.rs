//! Any frames into one source, read by cursors of every speed.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::source::run);
