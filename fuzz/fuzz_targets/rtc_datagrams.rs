//! Datagrams and packets of peers of WebRTC.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::rtc::datagrams);
