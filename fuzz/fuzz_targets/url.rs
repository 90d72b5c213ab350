//! Any texts as tcUrl, app, stream name and reference.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::url::run);
