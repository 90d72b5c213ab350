//! The servers as libraries: the program around a server builds it, answers its questions, controls it, publishes and
//! plays. Every test runs on both runtimes.

mod backups;
mod capturing;
mod crowd;
mod hooks;
mod lifecycle;
mod log;
mod names;
mod program_plays;
mod program_publishes;
mod relays;
