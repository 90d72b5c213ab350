//! Any texts as the rules of an operator, and any client held against them.
#![cfg_attr(feature = "libfuzzer", no_main)]

anabranch_fuzz::target!(anabranch_fuzz::policy::run);
