use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pull::Pull;
use super::push::Push;
use super::relay::Relay;
use super::slow_path::{Made, SlowPath};
use super::{AttemptId, RelayError, RelayId, RelayKind};
use crate::client::{Client, ClientClose, ClientCloseReason};
use crate::endpoint::{Outbound, Wait, WrongConnection};
use crate::fast_path::{Batches, FastPath, Share};
use crate::hub::StreamId;
use crate::source::Gap;
use crate::stats::ConnStatsView;
use crate::url::StreamKey;

/// Bytes of an uplink and its relay, without names and what the limits of a client bound.
pub(crate) const STATE: usize =
    size_of::<Uplink>() + size_of::<Push>() + size_of::<Pull>() + size_of::<Relay>() + (4 << 10);
/// One connection of a relay to another server. An adapter drives it like a [`Conn`](crate::conn::Conn), in any order of
/// calls: after every call and every wake-up of its stream it polls until it gets `Wait` or `Closed`.
pub struct Uplink {
    path: FastPath<SlowPath>,
}

/// What [`Uplink::poll`] returns.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // the report comes once
pub enum UplinkOutput {
    /// Something to do; poll again afterwards.
    Action(UplinkAction),
    /// Nothing to do until one of these events happens.
    Wait(Wait),
    /// The connection is over: close the socket.
    Closed(UplinkReport),
}

/// What the adapter must do for an uplink: a part of what [`Action`](crate::conn::Action) has for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkAction {
    /// From now on poll this connection whenever the stream is woken.
    Subscribe(StreamId),
    /// Do not poll this connection for the stream any more.
    Unsubscribe(StreamId),
    /// Poll all connections subscribed to the stream: it has something new for them.
    Wake(StreamId),
    /// Nothing more is sent: shut down the sending side of the connection, and go on to read.
    Finish,
}

/// A summary of an uplink at its end. `Display` gives a line for the log, without secrets.
#[derive(Debug, Clone)]
pub struct UplinkReport {
    /// The relay.
    pub relay: RelayId,
    /// What the relay does.
    pub kind: RelayKind,
    /// The stream here.
    pub key: StreamKey,
    /// The target or origin, without secrets.
    pub target: Arc<str>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Why, at what stage and after how many bytes it ended.
    pub close: ClientClose,
    /// What the peer or the relay said about it, if that says more than the close.
    pub error: Option<RelayError>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// How long it was open.
    pub duration: Duration,
    /// What a push missed because the target was slow.
    pub missed: Gap,
    /// Bytes that were queued for the peer and dropped.
    pub given_up: u64,
}

impl fmt::Display for UplinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UplinkReport { kind, target, close, received, sent, duration, missed, .. } = self;
        let (key, target, duration) = (self.key.shown(), crate::url::quoted(target), duration.as_secs_f64());
        write!(f, "{kind} of {key}, {target} at {}: {} ({})", self.peer, close.reason, close.reason.name())?;
        if let Some(error) = &self.error {
            write!(f, ", {error} ({})", error.name)?;
        }
        write!(f, " in phase {}; received {received} bytes, sent {sent} bytes in {duration:.3} s", close.phase)?;
        if missed.frames > 0 {
            write!(f, "; missed {} frames, {} bytes, {} ms", missed.frames, missed.bytes, missed.milliseconds)?;
        }
        if self.given_up > 0 {
            write!(f, "; {} bytes queued and not sent", self.given_up)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Uplink");
        shown.field("id", &self.id()).field("facts", &self.inner().facts).field("phase", &self.client().phase());
        shown.finish_non_exhaustive()
    }
}

impl Batches {
    /// The same for a connection to another server, see [`share`](Self::share).
    pub fn share_uplink(&mut self, uplink: &mut Uplink) -> Option<Share> {
        self.share_with(&mut uplink.path)
    }
}

/// Calls that change anything go through `slow_path`, which first brings the state up to date with what the fast path
/// wrote.
impl Uplink {
    pub(super) fn new(made: Made) -> Self {
        Uplink { path: FastPath::new(SlowPath::new(made)) }
    }

    fn inner(&self) -> &SlowPath {
        self.path.inner()
    }

    /// The connection's number. It is one of those of [`Conn::id`](crate::conn::Conn::id): one server never uses the same
    /// twice.
    pub fn id(&self) -> u64 {
        self.inner().id
    }

    /// The relay that it belongs to.
    pub fn relay(&self) -> RelayId {
        self.inner().facts.relay
    }

    /// What the relay does.
    pub fn kind(&self) -> RelayKind {
        self.inner().facts.kind
    }

    /// The attempt that it was made for.
    pub fn attempt(&self) -> AttemptId {
        self.inner().facts.attempt
    }

    /// The stream here.
    pub fn key(&self) -> &StreamKey {
        &self.inner().facts.key
    }

    /// The target or origin, without secrets.
    pub fn target(&self) -> &Arc<str> {
        self.inner().facts.target.shown()
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.inner().peer
    }

    /// When the connection was made.
    pub fn start(&self) -> Instant {
        self.inner().start()
    }

    /// The client's side of the connection.
    pub fn client(&self) -> &Client {
        self.inner().client()
    }

    /// Bytes, frames, rates, drops and lag. They can be read at any time without this connection.
    pub fn stats(&self) -> ConnStatsView {
        self.inner().stats()
    }

    /// Takes bytes from the peer, cut anywhere. Errors in them appear in [`UplinkOutput::Closed`].
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.path.slow_path().handle_input(now, bytes);
    }

    /// Acts on what was due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.path.slow_path().handle_timeout(now);
    }

    /// The peer closed its side, or the connection broke.
    pub fn handle_disconnect(&mut self, now: Instant, reason: ClientCloseReason) {
        self.path.slow_path().handle_disconnect(now, reason);
    }

    /// Ends the connection in good order: what is published is unpublished, then the connection is closed. The relay goes
    /// on with another connection if it still has a reason to.
    pub fn close(&mut self) {
        self.path.slow_path().close();
    }

    /// True if its queue, or the share of it that is out, is so large that it may keep frames in memory after their
    /// streams have dropped them: poll it when its stream goes on, even if nothing can be written.
    pub fn has_large_queue(&self) -> bool {
        self.path.has_large_queue()
    }

    /// Releases all it holds, and sends nothing more: for a caller that caught a panic during its work. Returns the
    /// streams it published here: wake their players. Afterwards only drop the uplink.
    pub fn abandon(&mut self) -> Vec<StreamId> {
        self.path.slow_path().abandon()
    }

    /// Bytes to write to the peer: write some of them, then advance the buffer by what was written, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        self.path.outbound()
    }

    /// So many bytes of a share were written, see [`Conn::wrote`](crate::conn::Conn::wrote).
    ///
    /// # Errors
    /// The share is of another connection: nothing is changed.
    ///
    /// # Panics
    /// If the share has fewer bytes.
    pub fn wrote(&mut self, now: Instant, share: Share, count: usize) -> Result<bool, WrongConnection<Share>> {
        self.path.wrote(now, share, count)
    }

    /// What to do next. Call it after every other call and after every wake-up, until it returns a `Wait` or `Closed`.
    pub fn poll(&mut self, now: Instant) -> UplinkOutput {
        let output = self.path.slow_path().poll(now);
        if let UplinkOutput::Wait(wait) = &output {
            self.path.waits(now, wait);
        }
        output
    }
}
