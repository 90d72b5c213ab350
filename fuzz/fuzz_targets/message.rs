//! Any bytes as the body of a message that is no command: control, data, shared object.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::message::any);
