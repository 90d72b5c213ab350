//! Tests of Anabranch that need more than one crate, with what tests of every crate are built from.
//!
//! Nothing here sleeps and hopes: every wait is for something that can be seen (a line in a log, bytes on a socket, a
//! file that grows, an exit), and panics with the name of what did not come. What a process printed is shown when its
//! test fails.
//!
//! | module | holds |
//! |---|---|
//! | [`program`] | a program under test or beside it: started with settings on a free port, its log, API, metrics, end |
//! | [`embedded`] | a server as a library, in a thread of the test |
//! | [`peer`] | RTMP over TCP: a scripted client, exact to the byte, and core's own client |
//! | [`media`] | files to publish, ffmpeg and rtmpdump, what arrived and whether it is the same |
//! | [`browser`] | Chromium and Firefox: pages opened, looked into and photographed |
//! | [`backend`] | an HTTP server that hooks call |
//! | [`rtc`] | WebRTC over UDP and TCP: a client that publishes by WHIP or plays by WHEP |
//! | [`redis`] | Redis and its Sentinels, and a link that can be cut |
//! | [`Lossy`] | a way for datagrams that loses some |
//! | [`Folder`], [`Authority`] | a folder for one test, certificates |
//! | [`wait_for`] | the one way to wait |
//! | [`sim`] | the simulator, a separate crate so that it can be optimized: core on simulated links with a virtual clock |
//! | [`conformance`] | the cases that run on every server |

/// README, so that its code is compiled as it is printed there.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod authority;
pub mod backend;
pub mod browser;
pub mod conformance;
pub mod embedded;
mod folder;
mod lossy;
pub mod media;
pub mod peer;
pub mod program;
pub mod redis;
pub mod rtc;
mod wait;

pub use anabranch_sim as sim;
pub use authority::Authority;
pub use folder::Folder;
pub use lossy::{Lossy, free_udp_port};
pub use wait::{TIMEOUT, wait_for};
