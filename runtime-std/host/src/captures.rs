use std::fmt;
use std::net::SocketAddr;

use anabranch_core::capture::Tap;
use anabranch_core::conn::Role;
use anabranch_core::url::StreamKey;

/// Chooses which connections are captured, and where to. [`Tap`] says what a capture holds;
/// [`replay`](anabranch_core::replay::run) runs one again.
///
/// The threads that serve connections call this; it must not block.
pub trait Captures: fmt::Debug + Send + Sync + 'static {
    /// The destination of a new connection's records; `None` if it is not captured. If it depends on what the client
    /// does, the tap may keep the first records, and decide at [`Tap::names`] or [`Tap::client_address`].
    fn tap(&self, arriving: Arriving) -> Option<Box<dyn Tap>>;

    /// A connection begins to publish or play a stream. If it is to be captured from now on and is not captured yet,
    /// this returns the destination of its records.
    fn attaches(&self, connection: u64, role: Role, key: &StreamKey) -> Option<Box<dyn Tap>> {
        let _ = (connection, role, key);
        None
    }
}

/// A connection that was just accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arriving {
    /// The address of the TCP connection.
    pub peer: SocketAddr,
    /// True if a trusted proxy has that address, so that the client's own address may follow.
    pub is_proxy: bool,
}
