//! Any bytes into the chunk reader, control messages applied as they come.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::chunk::run);
