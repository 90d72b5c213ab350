//! Any bytes as an FLV file, whole and in pieces.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::flv::tags);
