//! What an adapter drives: a connection with the streams it publishes and plays, the rules for it, and the actions for
//! the adapter. The [crate's first page](crate) has the loop.
//!
//! A [`Core`] holds what all connections share; [`Core::connect_from`] makes a [`Conn`] for each. The adapter feeds
//! it bytes and time and asks [`Conn::poll`] what to do: [`Action`]s, then a [`Wait`](crate::session::Wait), at the end
//! `Closed` with a [`Report`].
//!
//! This module connects the parts below, each of which can be used alone: the events of a [`Session`] become questions
//! to the [`policy`](crate::policy), and calls of a [`Hub`](crate::hub::Hub). The rules and settings of a connection
//! come from one [`VhostConfig`], chosen by the host name in `connect`; [`Config`] has them all.
//!
//! # Questions to the back end
//! If [`Asks`] says so, a `connect`, `publish` or `play` is granted only after the program around the server, or its
//! back end, has allowed it. The connection returns [`Action::Ask`] with the facts and a deadline; until the verdict it
//! grants nothing and wants no more input. Hand the verdict to [`Conn::answer`] at any time, then poll. A verdict that
//! comes too late, or for a connection that has ended, has no effect. When what was allowed is over, the connection
//! returns one [`Action::Notify`].
//!
//! # At the end
//! A connection returns `Closed` only after it has released everything: streams are detached, players woken, and the
//! back end has its notices. So poll until then, also after [`Conn::handle_disconnect`]. The [`Report`] has the reason,
//! and counts what was missed, left out and ignored.

mod action;
mod agreement;
mod allowance;
mod any;
mod application;
mod ask;
mod asking;
mod bandwidth;
mod budget;
mod capturing;
mod config;
mod enter;
mod fast_path;
mod grant;
mod local;
mod player;
mod publisher;
mod react;
mod reading;
mod reconfigure;
mod refused;
mod reserve;
mod rules;
mod shared;
mod slow_path;
mod vhost;

use std::net::SocketAddr;
use std::time::Instant;

pub use crate::fast_path::{Batches, Share};
pub use crate::session::{Accepts, Admission, Delivery, WebRequest};
pub use action::{Action, Attachment, LeftOut, Output, Remark, Report, Role};
pub use agreement::Agreement;
pub use any::{AnyConn, AnyOutput, Ended};
pub use ask::{Ask, AskId, ClientFacts, Closed, Notice, StreamFacts, Subject};
pub use budget::{Budget, Scope, Term};
pub use capturing::NotCaptured;
pub(crate) use capturing::{in_words, returned};
pub use config::{Asks, Config, Fallback, FallbackOf, VhostConfig};
pub use fast_path::Conn;
pub use local::LocalError;
pub use refused::{Refused, Requested};
pub use shared::Core;
pub use vhost::{ApplicationSnapshot, VhostSnapshot};

use crate::capture::{Replayer, Tap};
use crate::hls;
use crate::http::Answer;
use crate::hub::StreamId;
use crate::message::Message;
pub use crate::policy::Verdict;
use crate::session::{CloseReason, Session};
use crate::stats::ConnStatsView;
use crate::url::StreamKey;

/// What an adapter calls, in any order. Calls that change anything go through `Conn::slow_path`, which first brings the
/// state up to date with what the fast path wrote. [`poll`](Conn::poll), [`outbound`](Conn::outbound) and
/// [`wrote`](Conn::wrote) are in `fast_path.rs`.
impl Conn {
    /// The connection's number; one server never uses the same twice.
    pub fn id(&self) -> u64 {
        self.inner().id
    }

    /// Takes bytes from the peer, cut anywhere. Errors in them appear in [`Output::Closed`].
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.slow_path().handle_input(now, bytes);
    }

    /// Acts on what was due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.slow_path().handle_timeout(now);
    }

    /// The peer closed its side, or the connection broke.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.slow_path().handle_disconnect(now, reason);
    }

    /// Closes the connection by order of the server.
    pub fn close(&mut self, reason: CloseReason) {
        self.slow_path().close(reason);
    }

    /// Another server has the name of a stream that this connection publishes, as
    /// [`Order::LoseName`](crate::relay::Order::LoseName) says: it publishes that no more. It is closed if it does nothing
    /// else.
    pub fn lose_name(&mut self, key: &StreamKey) {
        self.slow_path().lose_name(key);
    }

    /// Closes because the server is going down: players get a message that their stream is over.
    pub fn shutdown(&mut self) {
        self.slow_path().shutdown();
    }

    /// Answers a question. A verdict that comes too late, or a second one, has no effect.
    pub fn answer(&mut self, now: Instant, id: AskId, verdict: Verdict) {
        self.slow_path().answer(now, id, verdict);
    }

    /// Answers a request by HTTP. A second answer, or one that comes too late, has no effect.
    pub fn respond(&mut self, now: Instant, id: u64, answer: &Answer) {
        self.slow_path().respond(now, id, answer);
    }

    /// What becomes of a client without a socket ([`Core::view`], [`Core::offer`]); each once. After a refusal, call
    /// [`handle_disconnect`](Self::handle_disconnect).
    pub fn take_admission(&mut self) -> Option<Admission> {
        self.slow_path().session.take_admission()
    }

    /// Takes media of a publisher without a socket ([`Core::offer`]), as if it had come in a message of RTMP. Then poll.
    pub fn publish_media(&mut self, now: Instant, message: Message) {
        self.slow_path().publish_media(now, message);
    }

    /// A player without a socket ([`Core::view`]) was sent so much, for its statistics.
    pub fn note_sent(&mut self, now: Instant, frames: u32, bytes: usize) {
        self.slow_path().note_sent(now, frames, bytes);
    }

    /// A client without a socket says that it leaves: that is an end in good order, which a publisher's disconnect alone is
    /// not.
    pub fn leave(&mut self, now: Instant) {
        self.slow_path().session.leave(now);
    }

    /// The stream that a [viewer](Core::view) views, and how it is segmented, once that is granted.
    pub fn viewing(&self) -> Option<(&StreamKey, hls::Settings)> {
        let first = self.inner().playing.first()?;
        Some((first.key(), first.application().config.hls.clone()))
    }

    /// The server has other settings: closes the connection if its virtual host or that of one of its streams is gone,
    /// if the rules by address no longer allow what it does, or if a request that waits for a verdict would be refused
    /// now. Otherwise it stays unchanged: the new settings apply to its later requests, the old ones to what it does
    /// already. A replay of its capture knows only the settings at the beginning.
    pub fn reconfigured(&mut self) {
        self.slow_path().reconfigured();
    }

    /// Releases all it holds, and sends nothing more: for a caller that caught a panic during its work. Returns the
    /// streams it published: wake their players, because the streams have changed. Afterwards only drop the connection.
    pub fn abandon(&mut self) -> Vec<StreamId> {
        self.slow_path().abandon()
    }

    /// Asks the client to reconnect, see [`Session::request_reconnect`].
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        self.slow_path().request_reconnect(tc_url, description)
    }

    /// Asks the client to disconnect because the server is to go down. A client that supports it gets a request to
    /// reconnect, to `tc_url` or the same address; a player goes on to the end of its GOP; a connection that is left at
    /// `deadline` is closed. A `tc_url` that names only a server, such as `rtmp://HOST`, leads to the same application there.
    pub fn drain(&mut self, deadline: Instant, tc_url: Option<&str>) {
        self.slow_path().drain(deadline, tc_url);
    }

    /// True if a [`drain`](Self::drain) asks the client to reconnect: it has said that it understands that.
    pub fn can_reconnect(&self) -> bool {
        self.inner().can_reconnect()
    }

    /// Undoes [`drain`](Self::drain): the connection has no deadline any more, and a player that has not reached the
    /// end of its GOP goes on. A client that was asked to reconnect may do so all the same: RTMP has no message that
    /// takes the request back.
    pub fn stop_draining(&mut self) {
        self.slow_path().stop_draining();
    }

    /// Captures the connection from now on, in both directions. The capture can be shown as a timeline, and cannot be
    /// run again: [`Core::connect_captured`] makes captures that can. It ends with the connection, or when the tap [is
    /// over](Tap::is_over). While it runs, the connection gets no batches.
    ///
    /// # Errors
    /// The connection is captured already, is in its handshake, or is being closed.
    pub fn capture(&mut self, now: Instant, tap: Box<dyn Tap>) -> Result<(), NotCaptured> {
        self.slow_path().capture(now, tap)
    }

    /// Since when it waits for the next request by HTTP, and plays nothing; `None` if it does something else. Such a
    /// connection can be closed for others without harm.
    pub fn asks_since(&self) -> Option<Instant> {
        self.inner().session.asks_since()
    }

    /// The client's address: the one that a trusted proxy gave, otherwise that of the TCP connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.inner().peer()
    }

    /// What is known of the client.
    pub fn facts(&self) -> ClientFacts {
        self.inner().facts()
    }

    /// The virtual hosts that count it as a connection: that of `connect`, once that is granted, and those that it
    /// entered for their streams.
    pub fn vhosts(&self) -> impl Iterator<Item = &str> {
        self.inner().vhosts()
    }

    /// The streams it publishes and plays at present.
    pub fn streams(&self) -> impl Iterator<Item = (Role, &StreamKey)> {
        self.inner().streams()
    }

    /// Bytes, frames, rates, drops and lag. They can be read at any time without this connection.
    pub fn stats(&self) -> ConnStatsView {
        self.inner().stats.view()
    }

    /// When the connection was made.
    pub fn start(&self) -> Instant {
        self.inner().start
    }

    /// The session, with what it knows about the peer.
    pub fn session(&self) -> &Session {
        &self.inner().session
    }

    /// For a replay: the recorded decisions until the next call.
    pub(crate) fn replayer(&mut self) -> Option<&mut Replayer> {
        self.slow_path().replayer()
    }

    /// For a replay: the request by HTTP that waits for its answer.
    pub(crate) fn open_request(&self) -> Option<u64> {
        self.inner().session.open_request()
    }

    /// For a replay: the question that waits for its answer.
    pub(crate) fn open_question(&self) -> Option<AskId> {
        self.inner().open_question()
    }
}

#[cfg(test)]
mod tests;
