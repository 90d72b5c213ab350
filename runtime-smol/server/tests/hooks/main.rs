//! HTTP hooks, towards a back end that is written to SRS's documentation.

mod backend;
mod failures;
mod many;
// Each test needs something else of it.
#[allow(dead_code)]
#[path = "../support/peer.rs"]
mod peer;
// Each test needs something else of it.
#[allow(dead_code)]
#[path = "../support/program.rs"]
mod program;
mod srs;
