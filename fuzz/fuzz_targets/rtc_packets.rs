//! Pictures of WebRTC in packets.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::rtc::packets);
