//! Load on RTMP servers: thousands of publishers and players from one process, built on core's client role, that check
//! what comes through and measure what it costs.
//!
//! ```text
//! cargo run --release -p anabranch-load -- rtmp://127.0.0.1/live/cam --players 500 --server-pid $(pidof anabranch)
//! ```
//!
//! # How it works
//! A [`ClientPool`] is one event loop with any number of connections; a [`Scenario`] says which are opened and what
//! they do. [`load()`] runs one or several of them: publishers first, then players, and once all are up it measures.
//! The soak test directs a separate pool. Players can be clients by HTTP or WebSocket ([`WebTarget`]), which get
//! FLV, or the segments or parts of HTTP Live Streaming: these are not looked into, and each counts as a frame.
//!
//! Frames look like H.264 and AAC to a server: valid sequence headers, key frames, realistic sizes. In what would be a
//! picture each says which one it is and when it was sent, and all its other bytes follow from that. So players see
//! gaps, a wrong order and damage, and know how long a frame was on the way. Where they share a clock with the
//! publisher, that is, on Linux a machine: elsewhere latencies are left out.
//!
//! # What the machine can do
//! `anabranch-load limit` lets players in and from then on is a bare loop that sends all of them the same bytes: what
//! the writes alone cost, with the same players as any other server. See [`limit`].
//!
//! `anabranch-load webrtc` is the same for viewers of WebRTC, with its own bare loop. See [`webrtc`].
//!
//! # TLS
//! To `rtmps://` clients encrypt; they take any certificate. `anabranch-load cipher` measures what the cipher alone takes
//! for the same stream. See [`cipher`].
//!
//! # What the numbers mean
//! - *latency*: from the moment a frame is handed to the publisher's socket queue until the player has all of it,
//!   this program's own delays included: with one loop, a frame for N players is read N times one after the other.
//!   Frames sent before the player came, which it gets to begin with, do not count.
//! - *first frame*: from the call that connects to the first key frame as a whole.
//! - *delivered*: all bytes that players read, headers of chunks and replies included.
//! - *CPU*: user and system time of a process between the beginning and the end of what is measured, in steps of 10 ms.
//! - *frames missing*: by their numbers, for audio and video apart. A publisher's next run begins a new count.

pub mod cipher;
pub mod client_pool;
mod clock;
mod encryption;
mod frame_check;
mod histogram;
pub mod limit;
mod load;
mod load_scenario;
pub mod media;
pub mod process;
mod random;
mod report;
mod web_target;
pub mod webrtc;

#[doc(inline)]
pub use client_pool::{ClientPool, Scenario};
pub use histogram::Histogram;
pub use load::{Layout, LoadOptions, Progress, load, resolve};
pub use random::Random;
pub use report::{Cost, Report};
pub use web_target::WebTarget;
