//! Any bytes as a decoder configuration of any codec.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::flv::config);
