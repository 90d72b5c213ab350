//! The glue, written once: a connection's session, the streams it publishes and plays, and what the adapter must do.
//!
//! A [`Server`] holds what all connections share; [`Server::connect`] makes a [`Conn`] for each. The adapter feeds it
//! bytes and time and asks [`Conn::poll`] what to do: [`Action`]s, then a [`Wait`](crate::session::Wait), at the end
//! `Closed`.

mod action;
mod config;
mod player;
mod react;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub use action::{Action, Attachment, Output, Report, Role};
pub use config::Config;

use crate::hub::{Hub, HubConfig, Publisher, StreamId};
use crate::session::{self, CloseReason, Outbound, Session, SessionConfig};
use crate::source::{Gap, WireFormat};
use crate::url;
use player::Playing;

/// What all connections of one server share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<Config>,
    session: Arc<SessionConfig>,
    hub: Hub,
    seeds: Arc<Seeds>,
}

/// A different seed for each connection, all from one.
#[derive(Debug)]
struct Seeds {
    root: [u8; 32],
    used: AtomicU64,
}

impl Seeds {
    /// The handshake hashes its seed, so numbering them makes them different enough.
    fn next(&self) -> [u8; 32] {
        let mut seed = self.root;
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        for (byte, number) in seed.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        seed
    }
}

impl Server {
    /// A server without connections. All randomness of its connections comes from `seed`; equal seeds and equal input
    /// give equal output.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let hub = Hub::new(HubConfig {
            format: WireFormat { chunk_size: config.session.chunk_size },
            source: config.source,
            merge_window: config.merge_window,
            ..HubConfig::default()
        });
        let session = Arc::new(config.session.clone());
        let seeds = Arc::new(Seeds { root: seed, used: AtomicU64::new(0) });
        Server { config: Arc::new(config), session, hub, seeds }
    }

    /// A connection just accepted, from nobody knows where.
    pub fn connect(&self, now: Instant) -> Conn {
        self.conn(now, None, Session::new(self.session.clone(), self.seeds.next(), now))
    }

    /// A connection just accepted from this address. If that is a trusted proxy's, the client's own address may follow.
    pub fn connect_from(&self, now: Instant, peer: SocketAddr) -> Conn {
        let trusted = self.config.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
        let new = if trusted { Session::behind_proxy } else { Session::new };
        self.conn(now, Some(peer), new(self.session.clone(), self.seeds.next(), now))
    }

    fn conn(&self, now: Instant, peer: Option<SocketAddr>, session: Session) -> Conn {
        Conn {
            session,
            peer,
            server: self.clone(),
            urls: None,
            agent: None,
            publishing: Vec::new(),
            playing: Vec::new(),
            actions: VecDeque::new(),
            missed: Gap::default(),
            start: now,
        }
    }

    /// The live streams.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// One connection with all it is attached to.
#[derive(Debug)]
pub struct Conn {
    session: Session,
    /// The client's address, as far as it is known.
    peer: Option<SocketAddr>,
    server: Server,
    /// What `connect` said about names.
    urls: Option<Box<url::Connect>>,
    /// The client's own name and version.
    agent: Option<String>,
    publishing: Vec<Publishing>,
    playing: Vec<Playing>,
    actions: VecDeque<Action>,
    /// What players of this connection that have ended missed.
    missed: Gap,
    start: Instant,
}

#[derive(Debug)]
struct Publishing {
    /// Message stream id.
    stream_id: u32,
    publisher: Publisher,
}

impl Conn {
    /// Takes bytes from the peer, cut anywhere. What is wrong with them shows in [`Output::Closed`].
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        // The session remembers the error and comes to Closed with it.
        let _ = self.session.handle_input(now, bytes);
    }

    /// Acts on what was due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    /// The peer closed its side, or the connection broke.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.session.handle_disconnect(now, reason);
    }

    /// Closes from our side.
    pub fn close(&mut self, reason: CloseReason) {
        self.session.close(reason);
    }

    /// Closes because the server is going down: players are told that their stream is over.
    pub fn shutdown(&mut self) {
        for playing in &mut self.playing {
            playing.tell_unpublished(&mut self.session);
        }
        if self.playing.is_empty() {
            self.session.close(CloseReason::Shutdown);
        } else {
            self.session.close_with_words(CloseReason::Shutdown);
        }
    }

    /// Bytes to write to the peer: write what it shows, then advance it by what was taken, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        self.session.outbound()
    }

    /// What to do next. Call it after every other call and after every wake-up, until it returns a `Wait` or `Closed`.
    pub fn poll(&mut self, now: Instant) -> Output {
        // A player may hear nothing from its peer for long: what it is given now starts the write timer now.
        self.session.tell_time(now);
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Output::Action(action);
            }
            match self.session.poll_output() {
                session::Output::Event(event) => self.react(now, event),
                session::Output::Wait(mut wait) => {
                    // A session that closes plays no more, and must not say anything behind its last words.
                    let deadline = if wait.source { self.pull(now) } else { None };
                    self.flush(now);
                    // Media that was queued just now: once more, so that the session watches its write.
                    let unwatched = !wait.write && !self.session.outbound().is_empty();
                    if unwatched || !self.actions.is_empty() {
                        continue;
                    }
                    wait.write = !self.session.outbound().is_empty();
                    let flush = self.publishing.iter().filter_map(|publishing| publishing.publisher.flush_deadline());
                    wait.deadline = wait.deadline.into_iter().chain(deadline).chain(flush).min();
                    return Output::Wait(wait);
                }
                session::Output::Closed(close) => {
                    self.detach_all(now);
                    if self.actions.is_empty() {
                        return Output::Closed(self.report(now, close));
                    }
                }
            }
        }
    }

    /// The client's address: what a trusted proxy said, else where the connection comes from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.session.client_address().or(self.peer)
    }

    /// Asks the client to connect anew, see [`Session::request_reconnect`].
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        self.session.request_reconnect(tc_url, description)
    }

    /// The session, for what it knows about the peer.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Wakes the players of streams whose frames have waited long enough.
    fn flush(&mut self, now: Instant) {
        for publishing in &mut self.publishing {
            if publishing.publisher.take_flush(now) {
                self.actions.push_back(Action::Wake(publishing.publisher.stream_id()));
            }
        }
    }

    /// Serves every stream being played; the next time one of them needs to be looked at.
    fn pull(&mut self, now: Instant) -> Option<Instant> {
        let config = &self.server.config;
        let deadline = self.playing.iter_mut().filter_map(|playing| playing.pull(now, config, &mut self.session)).min();
        while let Some(complete) = self.playing.iter().find(|playing| playing.is_complete()) {
            let stream_id = complete.stream_id();
            self.session.complete_play(stream_id);
            self.stop_playing(stream_id);
        }
        deadline
    }

    fn stop_publishing(&mut self, now: Instant, stream_id: u32) {
        if let Some(index) = self.publishing.iter().position(|publishing| publishing.stream_id == stream_id) {
            let publisher = self.publishing.swap_remove(index).publisher;
            let stream = publisher.stream_id();
            publisher.end(now);
            self.actions.push_back(Action::Detach { role: Role::Publisher, stream });
            self.actions.push_back(Action::Wake(stream));
        }
    }

    fn stop_playing(&mut self, stream_id: u32) {
        if let Some(index) = self.playing.iter().position(|playing| playing.stream_id() == stream_id) {
            let playing = self.playing.swap_remove(index);
            self.missed.add(playing.missed());
            self.detach_player(playing.stream());
        }
    }

    /// Tells the adapter, unless another message stream of this connection plays the same stream.
    fn detach_player(&mut self, stream: StreamId) {
        if self.playing.iter().all(|playing| playing.stream() != stream) {
            self.actions.push_back(Action::Detach { role: Role::Player, stream });
        }
    }

    fn detach_all(&mut self, now: Instant) {
        while let Some(publishing) = self.publishing.first() {
            self.stop_publishing(now, publishing.stream_id);
        }
        while let Some(playing) = self.playing.first() {
            self.stop_playing(playing.stream_id());
        }
    }

    fn report(&mut self, now: Instant, close: session::Close) -> Report {
        Report {
            close,
            peer: self.peer(),
            received: self.session.received(),
            sent: self.session.outbound().written(),
            duration: now.saturating_duration_since(self.start),
            missed: self.missed,
            ignored: self.session.counters(),
        }
    }
}

#[cfg(test)]
mod tests;
