//! WebRTC for live streams, as a pure state machine: datagrams, requests and time go in, datagrams and effects come out.
//!
//! - [`desk`] is the server's side of all peers of one server: requests of WHIP and WHEP, the peers by the names and
//!   addresses of their datagrams, and the streams that are put into packets once for all their viewers.
//! - [`peer`] is what the desk needs of one connection. [`engine`] is that by `str0m`; nothing else here knows that crate,
//!   so that tests and simulations may use plain peers.
//! - [`publication`] makes messages of RTMP of what a publisher sends.
//! - [`rtp`] puts coded pictures into payloads of packets. [`signal`] is what is said over HTTP. [`sound`] puts sound into
//!   another codec.

pub mod desk;
pub mod engine;
pub mod peer;
pub mod publication;
pub mod rtp;
pub mod signal;
pub mod sound;
