//! A server with several connections that do anything in any order.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::scene::run);
