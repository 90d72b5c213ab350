//! Any bytes as AMF 3.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::amf::amf3);
