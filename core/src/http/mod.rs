//! HTTP as bytes and values: requests, answers, WebSocket frames, and how the body of a live stream is framed. No
//! connections and no streams: [`session`](crate::session) has the connection.
//!
//! - [`RequestReader`] reads requests, cut anywhere, within [`Limits`]. What could be understood in two ways is refused.
//! - [`LivePath`] is the stream that a path such as `/live/cam.flv` means, [`SegmentPath`] a part of one.
//! - [`Answer`] is the answer to a request, with a body of known length.
//! - [`Framing`] is how the body of a live stream is framed: in chunks, up to the end of the connection, or as messages
//!   of a WebSocket.
//! - [`websocket`] has the handshake and the frames of a WebSocket (RFC 6455).

mod answer;
mod date;
mod error;
mod framing;
mod path;
mod reader;
mod request;
mod settings;
pub mod websocket;

pub use answer::Answer;
pub(crate) use date::{calendar, date_line};
pub use error::HttpError;
pub use framing::{Framing, Head};
pub use path::{Container, LivePath, SegmentPath, decoded_path, encoded, is_application};
pub use reader::RequestReader;
pub use request::{Request, Upgrade};
pub use settings::{Limits, Origins, Settings};

/// Tells a client to send the body that it has announced.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests;
