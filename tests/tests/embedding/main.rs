//! The servers as libraries: built, asked, told and taken part in by the program they are in. Every test runs on both
//! runtimes.

mod crowd;
mod hooks;
mod lifecycle;
mod log;
mod program_plays;
mod program_publishes;
