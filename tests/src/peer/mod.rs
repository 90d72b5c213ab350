//! RTMP over TCP, from the client's side.
//!
//! [`ScriptedClient`] says what a test tells it to, to the byte if need be, over a [`Wire`]; [`opening`] has the bytes
//! of clients that say all in one piece. [`Driver`] is core's own client on a socket, for tests of what servers do and
//! not of how they say it. [`WebPlayer`] plays by HTTP.

mod driver;
pub mod opening;
mod scripted;
mod text;
mod web;
mod wire;

pub use driver::{Driver, tag_of};
pub use scripted::ScriptedClient;
pub(crate) use text::{codes, has_line};
pub use web::{UPGRADE, WebPlayer, WebTag};
pub use wire::{End, TIMEOUT, Wire};
