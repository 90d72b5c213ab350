//! Any bytes as an aggregate, and as an FLV file.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::flv::aggregate);
