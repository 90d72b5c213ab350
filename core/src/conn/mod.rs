//! What an adapter drives: a connection with the streams it publishes and plays, what it may, and what is to be done
//! about it. The [crate's first page](crate) has the loop.
//!
//! A [`Core`] holds what all connections share; [`Core::connect_from`] makes a [`Conn`] for each. The adapter feeds
//! it bytes and time and asks [`Conn::poll`] what to do: [`Action`]s, then a [`Wait`](crate::session::Wait), at the end
//! `Closed` with a [`Report`].
//!
//! It is the glue between the parts below, each of which can be had alone: the events of a [`Session`] become questions
//! to the [`policy`](crate::policy), and calls of a [`Hub`](crate::hub::Hub). What a connection may and how it is
//! served comes from one [`VhostConfig`], chosen by the host name in `connect`; [`Config`] has them all.
//!
//! # Questions to the outside
//! Where [`Asks`] says so, a `connect`, `publish` or `play` is granted only after somebody outside has agreed. The
//! connection returns [`Action::Ask`] with the facts and a deadline; meanwhile it grants nothing and wants no more
//! input. Hand the verdict to [`Conn::answer`] whenever it is there, then poll. A verdict that comes too late is
//! nothing, and so is one for a connection that has ended. When what was allowed is over, [`Action::Tell`] says so,
//! once.
//!
//! # At the end
//! A connection ends with `Closed` only after everything it held is given back: streams detached, players woken, the
//! outside told. So poll on after [`Conn::handle_disconnect`]. The [`Report`] says why it ended, and counts what was
//! missed, left out and ignored.

mod action;
mod agreement;
mod allowance;
mod ask;
mod bandwidth;
mod budget;
mod capturing;
mod config;
mod enter;
mod fast_path;
mod grant;
mod local;
mod player;
mod pool;
mod publisher;
mod react;
mod reading;
mod reconfigure;
mod rules;
mod shared;
mod slow_path;
mod vhost;

use std::net::SocketAddr;
use std::time::Instant;

pub use action::{Action, Attachment, LeftOut, Output, Remark, Report, Role};
pub use agreement::Agreement;
pub use ask::{Ask, AskId, ClientFacts, Closed, Notice, StreamFacts, Subject};
pub use budget::{Budget, Scope, Term};
pub(crate) use capturing::returned;
pub use config::{Asks, Config, VhostConfig};
pub use fast_path::{Batches, Conn, Share};
pub use local::LocalError;
pub use shared::Core;
pub use vhost::VhostSnapshot;

use crate::capture::Replayer;
use crate::hub::StreamId;
pub use crate::policy::Verdict;
use crate::session::{CloseReason, Session};
use crate::stats::ConnStatsView;
use crate::url::StreamKey;

/// What an adapter calls, in any order. Calls that change anything go through `Conn::slow_path`, which first makes up
/// for what the fast path wrote.
impl Conn {
    /// The connection's number; never used twice by one server.
    pub fn id(&self) -> u64 {
        self.read().id
    }

    /// Takes bytes from the peer, cut anywhere. What is wrong with them shows in [`Output::Closed`].
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.slow_path().handle_input(now, bytes);
    }

    /// True if so much waits for the peer that it may come to hold memory that nothing else does: then it is to be polled
    /// when its streams go on, even if nothing can be written.
    pub fn has_large_queue(&self) -> bool {
        self.read().has_large_queue()
    }

    /// Acts on what was due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.slow_path().handle_timeout(now);
    }

    /// The peer closed its side, or the connection broke.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.slow_path().handle_disconnect(now, reason);
    }

    /// Closes from our side.
    pub fn close(&mut self, reason: CloseReason) {
        self.slow_path().close(reason);
    }

    /// Closes because the server is going down: players are told that their stream is over.
    pub fn shutdown(&mut self) {
        self.slow_path().shutdown();
    }

    /// Answers a question. A verdict that comes too late, or twice, is nothing.
    pub fn answer(&mut self, now: Instant, id: AskId, verdict: Verdict) {
        self.slow_path().answer(now, id, verdict);
    }

    /// The server has other settings: closes the connection if its virtual host or that of one of its streams is gone,
    /// if its address may no longer do what it does, or if a request that waits for a verdict would be refused now. Else
    /// nothing happens to it. What it asks for next goes by the new settings; what it does already, by the old. A replay of
    /// its capture knows only those of the beginning.
    pub fn reconfigured(&mut self) {
        self.slow_path().reconfigured();
    }

    /// Gives back all it holds, and says nothing more to anybody: for whoever caught a panic in the midst of its work.
    /// Returns the streams it published: their players are to be woken, for they have something to learn. The
    /// connection is good for nothing afterwards but to be dropped.
    pub fn abandon(&mut self) -> Vec<StreamId> {
        self.slow_path().abandon()
    }

    /// Asks the client to connect anew, see [`Session::request_reconnect`].
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        self.slow_path().request_reconnect(tc_url, description)
    }

    /// Takes leave of the client because the server is to go down, without cutting it off: it is asked to connect anew
    /// where it understands that, to `tc_url` or the same address; a player goes on to the end of its GOP; what is left
    /// at `deadline` is closed.
    pub fn drain(&mut self, deadline: Instant, tc_url: Option<&str>) {
        self.slow_path().drain(deadline, tc_url);
    }

    /// The client's address: what a trusted proxy said, else where the connection comes from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.read().peer()
    }

    /// What is known of the client.
    pub fn facts(&self) -> ClientFacts {
        self.read().facts()
    }

    /// The virtual hosts of which it counts as a connection: that of `connect`, once that is granted, and those that it came
    /// to for their streams.
    pub fn vhosts(&self) -> impl Iterator<Item = &str> {
        self.read().vhosts()
    }

    /// The streams it publishes and plays at present.
    pub fn streams(&self) -> impl Iterator<Item = (Role, &StreamKey)> {
        self.read().streams()
    }

    /// Bytes, frames, rates, drops and lag, to be read at any time without this connection.
    pub fn stats(&self) -> ConnStatsView {
        self.read().stats.view()
    }

    /// When it was made.
    pub fn start(&self) -> Instant {
        self.read().start
    }

    /// The session, for what it knows about the peer.
    pub fn session(&self) -> &Session {
        &self.read().session
    }

    /// For a replay: what the connection is to go by until the next call.
    pub(crate) fn replayer(&mut self) -> Option<&mut Replayer> {
        self.slow_path().replayer()
    }

    /// For a replay: the question that waits for its answer.
    pub(crate) fn open_question(&self) -> Option<AskId> {
        self.read().open_question()
    }
}

#[cfg(test)]
mod tests;
