//! What several tests of this crate need. It names nothing of the crate itself, so that unit tests can include it too.

// Each test uses a part of it.
#![allow(dead_code)]

pub(crate) mod chunk_writer;
pub(crate) mod fixtures;
pub(crate) mod mutation;
pub(crate) mod recorded;

use std::time::Instant;

/// A moment to begin at. Core takes time as an argument and only ever compares and adds, so that any instant will do.
pub(crate) fn any_instant() -> Instant {
    #[allow(clippy::disallowed_methods)] // the one clock of the tests, read once a test
    Instant::now()
}
