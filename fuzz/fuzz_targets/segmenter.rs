//! A live stream of any kind on its way into segments and playlists.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::formats::segmenter);
