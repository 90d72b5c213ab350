//! One connection of a server with its hub: any bytes, cut anywhere, under any policy.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::connection::run);
