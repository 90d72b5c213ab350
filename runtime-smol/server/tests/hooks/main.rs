//! HTTP hooks, towards a back end that is written to SRS's documentation.

mod backend;
mod failures;
mod many;
mod peer;
mod program;
mod srs;
