//! A live RTMP server as a pure state machine: bytes and events go in, actions come out.

pub mod amf;
pub mod chunk;
pub mod command;
pub mod conn;
pub mod flv;
pub mod handshake;
pub mod hub;
pub mod message;
pub mod session;
pub mod source;
pub mod url;
