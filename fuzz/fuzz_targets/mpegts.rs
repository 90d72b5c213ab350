//! Any configurations and payloads in a transport stream.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::formats::mpegts);
