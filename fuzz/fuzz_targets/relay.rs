//! Targets, redirects and uplinks: any template and URL, and any bytes of another server.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::relay::run);
