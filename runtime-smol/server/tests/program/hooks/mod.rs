//! HTTP hooks, towards a back end that is written to SRS's documentation.

mod failures;
mod many;
mod srs;
