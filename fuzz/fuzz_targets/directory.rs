//! What a Redis sends to a server of a cluster.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::directory::run);
