//! What a proxy puts in front of the handshake.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::preface::run);
