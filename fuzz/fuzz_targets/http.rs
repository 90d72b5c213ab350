//! Requests by HTTP, and the frames of a WebSocket.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::http::run);
