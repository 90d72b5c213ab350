use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::url::StreamKey;

use super::SessionId;
use super::answers::Reply;
use super::effect::Role;
use super::names::Named;
use super::proof::Proof;
use super::publishing::Publishing;
use super::viewer::Viewer;
use crate::engine::{Candidates, Credentials};
use crate::peer::{Network, Path, Peer, Transport};
use crate::signal::SessionName;

/// Addresses of one peer that datagrams may come from. If there are more, the oldest one is forgotten.
const MOST_PATHS: usize = 8;

/// Different addresses that one peer may ever have had.
pub(super) const MOST_SOURCES: usize = 100;

/// A session: a peer, or a client that is to become one.
#[derive(Debug)]
pub(super) struct Session<T> {
    pub(super) role: Role,
    pub(super) begun: Instant,
    pub(super) name: SessionName,
    pub(super) stage: Stage<T>,
}

#[derive(Debug)]
pub(super) enum Stage<T> {
    /// It is not known whether the client may do what it wants.
    Asking(Box<Offer<T>>),
    /// It may play a stream that is not live yet.
    Waiting(Box<Offer<T>>, StreamKey),
    /// It has its answer.
    Open(Box<Open>),
}

/// An offer that has no answer yet.
pub(super) struct Offer<T> {
    pub(super) reply: Reply<T>,
    pub(super) text: String,
    /// The server's address that the request reached.
    pub(super) local: Option<SocketAddr>,
    pub(super) named: Named,
    /// How long it may wait for the stream.
    pub(super) wait: Duration,
    pub(super) until: Instant,
    pub(super) turn: Turn,
}

/// Whether an offer may be answered: so many may be in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// That was not asked yet.
    None,
    /// It waits among the others.
    Awaited,
    /// It may.
    Come,
}

impl<T> fmt::Debug for Offer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("bytes", &self.text.len()).field("local", &self.local).finish_non_exhaustive()
    }
}

/// What a peer does.
#[derive(Debug)]
pub(super) enum Kind {
    Viewer(Box<Viewer>),
    Publisher(Box<Publishing>),
}

/// A peer that has its answer.
pub(super) struct Open {
    pub(super) peer: Box<dyn Peer>,
    pub(super) kind: Kind,
    pub(super) key: StreamKey,
    /// Its name in messages of the peer.
    pub(super) name: String,
    /// The name of the peer, and its password.
    pub(super) remote: Credentials,
    pub(super) etag: String,
    /// Where the peer believes the server to be.
    pub(super) candidates: Candidates,
    /// Where genuine messages of the peer came from, the latest last.
    pub(super) paths: Vec<Proof>,
    /// All that genuine messages have ever come from.
    pub(super) sources: Vec<Path>,
    /// Where it was sent something last.
    pub(super) path: Option<Path>,
    pub(super) is_connected: bool,
    /// True once the server has said goodbye: what the peer says then is of no interest.
    pub(super) is_closing: bool,
    pub(super) network: Network,
    /// When it is due, as the list of all knows it.
    pub(super) due: Option<Instant>,
    /// When it is gone unless it has connected.
    pub(super) connect_by: Instant,
    /// Bytes and pictures that were sent and not told yet, and when that was done last.
    pub(super) bytes: u64,
    pub(super) frames_told: u64,
    pub(super) told: Instant,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open { kind, key, path, is_connected, .. } = self;
        f.debug_struct("Open")
            .field("kind", kind)
            .field("key", key)
            .field("path", path)
            .field("is_connected", is_connected)
            .finish_non_exhaustive()
    }
}

impl Open {
    pub(super) fn viewer(&mut self) -> Option<&mut Viewer> {
        if let Kind::Viewer(viewer) = &mut self.kind { Some(viewer) } else { None }
    }

    /// The path as the peer knows it: behind a translation of addresses the server has another address than it tells.
    pub(super) fn seen(&self, path: Path) -> Path {
        let told = match path.transport {
            Transport::Udp => &self.candidates.udp,
            Transport::Tcp => &self.candidates.tcp,
        };
        let is_family = |address: &&SocketAddr| address.is_ipv4() == path.local.is_ipv4();
        let known = told.iter().find(|address| **address == path.local);
        let local = known.or_else(|| told.iter().find(is_family)).or(told.first());
        Path { local: local.copied().unwrap_or(path.local), ..path }
    }

    /// The path as the system knows it. `current` is the one that something has just come from.
    pub(super) fn real(&self, path: Path, current: Option<Path>) -> Path {
        let is_it = |known: &Path| known.transport == path.transport && known.remote == path.remote;
        if let (None, Some(known)) = (current, self.path.filter(is_it)) {
            return known;
        }
        let mut known = self.paths.iter().rev().map(|proof| proof.path);
        current.filter(is_it).or_else(|| known.find(is_it)).unwrap_or(path)
    }

    /// What is known of a path, if a genuine message has come from it.
    pub(super) fn proof(&mut self, path: Path) -> Option<&mut Proof> {
        self.paths.iter_mut().find(|proof| proof.path == path)
    }

    /// False if a peer has had so many addresses that it gets no further one.
    pub(super) fn may_come_from(&self, path: Path) -> bool {
        self.sources.len() < MOST_SOURCES || self.sources.contains(&path)
    }

    /// A genuine message has come from a path. Returns one that is to be forgotten: an unproven one if there is any, as a client
    /// can have it seem that its messages come from anywhere.
    pub(super) fn learn(&mut self, path: Path, bytes: usize) -> Option<Proof> {
        if !self.sources.contains(&path) {
            self.sources.push(path);
        }
        let mut proof = Proof::new(path);
        proof.received(bytes);
        self.paths.push(proof);
        if self.paths.len() <= MOST_PATHS {
            return None;
        }
        let may_go = |known: &Proof| Some(known.path) != self.path && known.path != path;
        let unproven = self.paths.iter().position(|known| may_go(known) && !known.is_proven());
        let oldest = || self.paths.iter().position(may_go);
        let at = unproven.or_else(oldest).unwrap_or(0);
        Some(self.paths.remove(at))
    }
}

/// The session that datagrams of a path are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) session: SessionId,
    /// True if its peer has shown that it is there.
    pub(super) is_proven: bool,
}
