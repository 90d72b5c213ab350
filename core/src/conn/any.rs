use std::net::SocketAddr;
use std::time::Instant;

use super::{Action, Batches, Conn, Output, Report, Share};
use crate::client::ClientCloseReason;
use crate::hub::StreamId;
use crate::relay::{Uplink, UplinkAction, UplinkOutput, UplinkReport};
use crate::session::{CloseReason, Outbound, Wait, WrongConnection};
use crate::stats::ConnStatsView;

/// A connection of a server, for an adapter that serves both kinds: one that a client has opened, or one that the server
/// has opened to another server for a relay. The calls are those of [`Conn`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // nearly every connection is a client's: a box would cost each of them a look-up
pub enum AnyConn {
    /// A client opened it.
    Client(Conn),
    /// This server opened it.
    Uplink(Box<Uplink>),
}

/// What [`AnyConn::poll`] returns.
#[derive(Debug)]
pub enum AnyOutput {
    /// Something to do; poll again afterwards. An uplink has only [`Subscribe`](Action::Subscribe),
    /// [`Unsubscribe`](Action::Unsubscribe), [`Wake`](Action::Wake) and [`Finish`](Action::Finish).
    Action(Action),
    /// Nothing to do until one of these events happens.
    Wait(Wait),
    /// The connection is over: close the socket.
    Closed(Ended),
}

/// A summary of a connection of either kind.
#[derive(Debug)]
pub enum Ended {
    /// A client's connection.
    Client(Report),
    /// A connection to another server.
    Uplink(UplinkReport),
}

impl From<Conn> for AnyConn {
    fn from(conn: Conn) -> Self {
        AnyConn::Client(conn)
    }
}

impl From<Uplink> for AnyConn {
    fn from(uplink: Uplink) -> Self {
        AnyConn::Uplink(Box::new(uplink))
    }
}

impl AnyConn {
    /// The connection's number; one server never uses the same twice.
    pub fn id(&self) -> u64 {
        match self {
            AnyConn::Client(conn) => conn.id(),
            AnyConn::Uplink(uplink) => uplink.id(),
        }
    }

    /// The client's connection, if it is one.
    pub fn as_client(&mut self) -> Option<&mut Conn> {
        match self {
            AnyConn::Client(conn) => Some(conn),
            AnyConn::Uplink(_) => None,
        }
    }

    /// The connection to another server, if it is one.
    pub fn as_uplink(&mut self) -> Option<&mut Uplink> {
        match self {
            AnyConn::Client(_) => None,
            AnyConn::Uplink(uplink) => Some(uplink),
        }
    }

    /// Takes bytes from the peer, cut anywhere.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        match self {
            AnyConn::Client(conn) => conn.handle_input(now, bytes),
            AnyConn::Uplink(uplink) => uplink.handle_input(now, bytes),
        }
    }

    /// Acts on what was due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            AnyConn::Client(conn) => conn.handle_timeout(now),
            AnyConn::Uplink(uplink) => uplink.handle_timeout(now),
        }
    }

    /// The peer closed its side, or the connection broke.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        match self {
            AnyConn::Client(conn) => conn.handle_disconnect(now, reason),
            AnyConn::Uplink(uplink) => uplink.handle_disconnect(
                now,
                match reason {
                    CloseReason::PeerClosed => ClientCloseReason::PeerClosed,
                    CloseReason::PeerLost(words) | CloseReason::Tls(_, words) => ClientCloseReason::PeerLost(words),
                    other => ClientCloseReason::PeerLost(other.to_string()),
                },
            ),
        }
    }

    /// Closes the connection by order of the server. An uplink says goodbye; its relay goes on with another connection if
    /// it still has a reason to.
    pub fn close(&mut self, reason: CloseReason) {
        match self {
            AnyConn::Client(conn) => conn.close(reason),
            AnyConn::Uplink(uplink) => uplink.close(),
        }
    }

    /// Closes because the server is going down. Uplinks are ended by [`Relays::close`](crate::relay::Relays::close).
    pub fn shutdown(&mut self) {
        match self {
            AnyConn::Client(conn) => conn.shutdown(),
            AnyConn::Uplink(uplink) => uplink.close(),
        }
    }

    /// Releases all it holds, and sends nothing more, see [`Conn::abandon`].
    pub fn abandon(&mut self) -> Vec<StreamId> {
        match self {
            AnyConn::Client(conn) => conn.abandon(),
            AnyConn::Uplink(uplink) => uplink.abandon(),
        }
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            AnyConn::Client(conn) => conn.peer(),
            AnyConn::Uplink(uplink) => Some(uplink.peer()),
        }
    }

    /// Bytes, frames, rates, drops and lag.
    pub fn stats(&self) -> ConnStatsView {
        match self {
            AnyConn::Client(conn) => conn.stats(),
            AnyConn::Uplink(uplink) => uplink.stats(),
        }
    }

    /// When the connection was made.
    pub fn start(&self) -> Instant {
        match self {
            AnyConn::Client(conn) => conn.start(),
            AnyConn::Uplink(uplink) => uplink.start(),
        }
    }

    /// See [`Conn::has_large_queue`].
    pub fn has_large_queue(&self) -> bool {
        match self {
            AnyConn::Client(conn) => conn.has_large_queue(),
            AnyConn::Uplink(uplink) => uplink.has_large_queue(),
        }
    }

    /// Bytes to write to the peer: write some of them, then advance the buffer by what was written, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        match self {
            AnyConn::Client(conn) => conn.outbound(),
            AnyConn::Uplink(uplink) => uplink.outbound(),
        }
    }

    /// The batch to write to this connection now, see [`Batches::share`].
    pub fn share(&mut self, batches: &mut Batches) -> Option<Share> {
        match self {
            AnyConn::Client(conn) => batches.share(conn),
            AnyConn::Uplink(uplink) => batches.share_uplink(uplink),
        }
    }

    /// So many bytes of a share were written, see [`Conn::wrote`].
    ///
    /// # Errors
    /// The share is of another connection: nothing is changed.
    ///
    /// # Panics
    /// If the share has fewer bytes.
    pub fn wrote(&mut self, now: Instant, share: Share, count: usize) -> Result<bool, WrongConnection<Share>> {
        match self {
            AnyConn::Client(conn) => conn.wrote(now, share, count),
            AnyConn::Uplink(uplink) => uplink.wrote(now, share, count),
        }
    }

    /// What to do next, see [`Conn::poll`].
    pub fn poll(&mut self, now: Instant) -> AnyOutput {
        match self {
            AnyConn::Client(conn) => match conn.poll(now) {
                Output::Action(action) => AnyOutput::Action(action),
                Output::Wait(wait) => AnyOutput::Wait(wait),
                Output::Closed(report) => AnyOutput::Closed(Ended::Client(report)),
            },
            AnyConn::Uplink(uplink) => match uplink.poll(now) {
                UplinkOutput::Action(UplinkAction::Subscribe(stream)) => AnyOutput::Action(Action::Subscribe(stream)),
                UplinkOutput::Action(UplinkAction::Unsubscribe(stream)) => {
                    AnyOutput::Action(Action::Unsubscribe(stream))
                }
                UplinkOutput::Action(UplinkAction::Wake(stream)) => AnyOutput::Action(Action::Wake(stream)),
                UplinkOutput::Action(UplinkAction::Finish) => AnyOutput::Action(Action::Finish),
                UplinkOutput::Wait(wait) => AnyOutput::Wait(wait),
                UplinkOutput::Closed(report) => AnyOutput::Closed(Ended::Uplink(report)),
            },
        }
    }
}
