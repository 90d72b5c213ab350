//! Proof that a peer is where its messages seem to come from.
//!
//! Addresses of datagrams can be forged, also by a client that has a session. Until a peer has answered a message that was sent
//! to an address, that address gets at most as many bytes as came from it, so that a server cannot be had to flood others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::Credentials;
use crate::peer::{Datagram, Path, Transport};

use super::stun;

/// Datagrams that are held back for an address.
const MOST_HELD: usize = 16;
/// How often an address is asked.
const ASK: Duration = Duration::from_millis(100);

/// A path of a peer.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) path: Path,
    is_proven: bool,
    received: usize,
    sent: usize,
    /// The number of the question, and when it was sent.
    asked: Option<([u8; 12], Instant)>,
    held: VecDeque<Datagram>,
}

impl Proof {
    /// A path that a genuine message has come from. A connection of TCP is proof enough.
    pub(super) fn new(path: Path) -> Self {
        let is_proven = path.transport == Transport::Tcp;
        Proof { path, is_proven, received: 0, sent: 0, asked: None, held: VecDeque::new() }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Bytes have come.
    pub(super) fn received(&mut self, bytes: usize) {
        self.received += bytes;
    }

    /// The number of the question, if there is one.
    pub(super) fn question(&self) -> Option<[u8; 12]> {
        self.asked.map(|(number, _)| number)
    }

    /// True if a datagram is the answer to the question of this number, by the peer of this password. Then the path is proven.
    pub(super) fn is_answer(&mut self, bytes: &[u8], number: [u8; 12], password: &str) -> bool {
        let is_answer = self.question() == Some(number) && stun::shows(bytes, password);
        self.is_proven |= is_answer;
        is_answer
    }

    /// Hands a datagram to `send`, or holds it back.
    pub(super) fn send(&mut self, datagram: Datagram, send: &mut impl FnMut(Datagram)) {
        if self.is_proven && self.held.is_empty() {
            return send(datagram);
        }
        if self.held.len() < MOST_HELD {
            self.held.push_back(datagram);
        }
        if self.is_proven {
            self.flush(send);
        }
    }

    /// Sends what may be sent: first the question, which takes no more bytes than the message that it is an answer to, then
    /// what is held back.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        number: impl FnOnce() -> [u8; 12],
        names: (&str, &Credentials),
        send: &mut impl FnMut(Datagram),
    ) {
        if self.is_proven {
            return self.flush(send);
        }
        if self.asked.is_none() {
            self.ask(now, number, names, send);
        } else {
            self.flush(send);
            if self.asked.is_some_and(|(_, asked)| now.saturating_duration_since(asked) >= ASK) {
                self.ask(now, number, names, send);
            }
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        number: impl FnOnce() -> [u8; 12],
        (local, remote): (&str, &Credentials),
        send: &mut impl FnMut(Datagram),
    ) {
        // The same number again, so that the answer to each counts.
        let number = self.asked.map_or_else(number, |(number, _)| number);
        let bytes = stun::request(number, local, remote);
        if self.sent + bytes.len() <= self.received {
            self.asked = Some((number, now));
            self.sent += bytes.len();
            send(Datagram { path: self.path, bytes });
        }
    }

    fn flush(&mut self, send: &mut impl FnMut(Datagram)) {
        while let Some(held) = self.held.front() {
            if !self.is_proven && self.sent + held.bytes.len() > self.received {
                return;
            }
            self.sent += held.bytes.len();
            if let Some(held) = self.held.pop_front() {
                send(held);
            }
        }
    }
}
