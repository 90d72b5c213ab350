//! One session of a server: any bytes, cut anywhere, requests granted or refused.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::session::run);
