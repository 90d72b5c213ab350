//! Recording, looked at with FFmpeg and byte by byte.

mod crash;
mod files;
mod media;
// Each test needs something else of it.
#[allow(dead_code)]
#[path = "../support/peer.rs"]
mod peer;
// Each test needs something else of it.
#[allow(dead_code)]
#[path = "../support/program.rs"]
mod program;
