//! Any request for a playlist, and any name of a segment.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::formats::playlist);
