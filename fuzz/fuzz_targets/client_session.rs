//! One session of a client: any bytes of a server, cut anywhere.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::client::run);
