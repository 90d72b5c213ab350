//! Any configurations and samples in fragmented MP4.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::formats::fmp4);
