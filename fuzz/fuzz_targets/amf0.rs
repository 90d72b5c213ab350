//! Any bytes as AMF 0.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::amf::amf0);
