//! Tests of the session as a whole: what a client sends, and what it receives.

mod bounds;
mod closing;
mod commands;
mod flow;
mod ours;
pub(crate) mod peer;
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;

use super::*;
use peer::ServerOutput;

/// A session with a client on the other end of the wire.
#[derive(Debug)]
struct Link {
    session: Session,
    server_output: ServerOutput,
    start: Instant,
    now: Instant,
    /// What the client received while time passed.
    received: Vec<String>,
}

impl Link {
    fn new(config: SessionConfig) -> Self {
        let start = support::any_instant();
        let session = Session::new(Arc::new(config), [5; 32], start);
        Link { session, server_output: ServerOutput::new(), start, now: start, received: Vec::new() }
    }

    /// Handshake and `connect` are done, and the client has read the answers.
    fn connected() -> Self {
        Link::connected_with(SessionConfig::default())
    }

    fn connected_with(config: SessionConfig) -> Self {
        let mut link = Link::new(config);
        link.send(&peer::handshake());
        link.receive();
        link.send(&peer::connect());
        link.accept_connect();
        link.receive();
        link
    }

    /// Connected, and publishing "cam" on stream 1.
    fn publishing(config: SessionConfig) -> Self {
        let mut link = Link::connected_with(config);
        link.send(&peer::create_stream(2.0));
        link.send(&peer::publish(1, "cam"));
        link.accept_publish();
        link.receive();
        link
    }

    /// Connected, and playing "cam" on stream 1.
    fn playing() -> Self {
        let mut link = Link::connected();
        link.send(&peer::create_stream(2.0));
        link.send(&peer::play(1, "cam"));
        link.accept_play();
        link.receive();
        link
    }

    fn send(&mut self, bytes: &[u8]) {
        // An error shows in `Closed`.
        let _ = self.session.handle_input(self.now, bytes);
    }

    /// Lets time pass: every deadline calls the timeout, and the peer takes what it is sent.
    fn pass(&mut self, time: Duration) {
        self.pass_with(time, true);
    }

    /// The same with a peer that takes nothing.
    fn stall(&mut self, time: Duration) {
        self.pass_with(time, false);
    }

    fn pass_with(&mut self, time: Duration, takes: bool) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < 10_000, "it asks for a timeout and does nothing then");
            if takes {
                let received = self.receive();
                self.received.extend(received);
            }
            let Some(deadline) = self.wait().deadline().filter(|deadline| *deadline <= end) else {
                break;
            };
            self.now = self.now.max(deadline);
            self.session.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// The process is stopped for this long; when it continues, it handles its deadlines first.
    fn freeze(&mut self, time: Duration) {
        self.freeze_full(time);
        let received = self.receive();
        self.received.extend(received);
    }

    /// The same with a peer that takes nothing.
    fn freeze_full(&mut self, time: Duration) {
        self.now += time;
        for turn in 0.. {
            assert!(turn < 10_000, "it asks for a timeout and does nothing then");
            if self.wait().deadline().is_none_or(|deadline| deadline > self.now) {
                break;
            }
            self.session.handle_timeout(self.now);
        }
    }

    fn seconds(&self) -> u64 {
        (self.now - self.start).as_secs()
    }

    /// Everything that the server sends, written and received.
    fn receive(&mut self) -> Vec<String> {
        let bytes = self.take();
        let mut lines = std::mem::take(&mut self.received);
        lines.extend(self.server_output.lines(&bytes));
        lines
    }

    fn take(&mut self) -> Vec<u8> {
        let waiting = self.session.outbound().remaining();
        self.session.outbound().copy_to_bytes(waiting).to_vec()
    }

    fn event(&mut self) -> SessionEvent {
        match self.session.poll_output() {
            SessionOutput::Event(event) => event,
            other => panic!("no event but {other:?}"),
        }
    }

    /// What the session waits for; a closed session waits for nothing.
    fn wait(&mut self) -> Wait {
        match self.session.poll_output() {
            SessionOutput::Wait(wait) => wait,
            SessionOutput::Closed(_) => Wait { read: None, ..Wait::default() },
            SessionOutput::Event(event) => panic!("an unexpected event: {event:?}"),
        }
    }

    /// The close, if the session has ended; everything that was to be written is written.
    fn closed(&mut self) -> Option<Close> {
        self.take();
        match self.session.poll_output() {
            SessionOutput::Closed(close) => Some(close),
            SessionOutput::Wait(_) => None,
            SessionOutput::Event(event) => panic!("an unexpected event: {event:?}"),
        }
    }

    fn accept_connect(&mut self) {
        match self.event() {
            SessionEvent::Connect(request) => self.session.accept(request),
            other => panic!("no connect but {other:?}"),
        }
    }

    fn accept_publish(&mut self) -> ClientKind {
        match self.event() {
            SessionEvent::Publish(request) => {
                let client = request.client();
                self.session.accept(request);
                client
            }
            other => panic!("no publish but {other:?}"),
        }
    }

    fn accept_play(&mut self) {
        match self.event() {
            SessionEvent::Play(request) => self.session.accept(request),
            other => panic!("no play but {other:?}"),
        }
    }

    /// The events, as text; none of them is a request.
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let SessionOutput::Event(event) = self.session.poll_output() {
            events.push(match event {
                SessionEvent::Media(message) => peer::line(&message),
                other => format!("{other:?}"),
            });
        }
        events
    }
}
