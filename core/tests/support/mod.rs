//! Code that several tests of this crate use. It does not name the crate itself, so that unit tests can include it too.

// Each test uses a part of it.
#![allow(dead_code)]

pub(crate) mod chunk_writer;
pub(crate) mod fixtures;
pub(crate) mod mutation;
pub(crate) mod recorded;

use std::time::Instant;

/// An instant to begin at. Core takes time as an argument and only compares and adds it, so any instant is fine.
pub(crate) fn any_instant() -> Instant {
    #[allow(clippy::disallowed_methods)] // the only clock of the tests, read once per test
    Instant::now()
}
