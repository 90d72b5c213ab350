//! Core's client on a socket that blocks.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::client::{
    Client, ClientConfig, ClientOutput, CloseReason, Destination, Event, PlayOptions, Rejection, StreamHandle,
};
use anabranch_core::command::PublishType;
use bytes::Buf;

/// The longest that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the server.
pub(crate) struct Peer {
    pub(crate) client: Client,
    socket: TcpStream,
    events: VecDeque<Event>,
    closed: bool,
}

impl Peer {
    /// One that says `connect` to the application of a URL.
    pub(crate) fn to(address: SocketAddr, url: &str) -> Peer {
        let destination = Destination::parse(url).unwrap();
        Peer::with(address, ClientConfig::to(&destination))
    }

    pub(crate) fn with(address: SocketAddr, config: ClientConfig) -> Peer {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let client = Client::new(Arc::new(config), [7; 32], Instant::now());
        Peer { client, socket, events: VecDeque::new(), closed: false }
    }

    /// Asks for a stream, and waits until it is published or refused.
    pub(crate) fn publish(&mut self, name: &str) -> Result<StreamHandle, Rejection> {
        self.client.publish(name, PublishType::Live).unwrap();
        self.granted()
    }

    /// The same for playing.
    pub(crate) fn play(&mut self, name: &str) -> Result<StreamHandle, Rejection> {
        self.client.play(name, PlayOptions::default()).unwrap();
        self.granted()
    }

    fn granted(&mut self) -> Result<StreamHandle, Rejection> {
        self.wait_event(|event| match event {
            Event::Publishing { stream } | Event::Playing { stream } => Some(Ok(stream)),
            Event::Rejected { rejection, .. } => Some(Err(*rejection)),
            _ => None,
        })
    }

    /// Waits for the first event that `pick` takes.
    pub(crate) fn wait_event<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = pick(event) {
                    return found;
                }
            }
            assert!(!self.closed, "the connection is over");
            assert!(start.elapsed() < PATIENCE, "it takes too long");
            self.step();
        }
    }

    /// Writes all there is.
    pub(crate) fn flush(&mut self) {
        while !self.closed && !self.client.outbound().is_empty() {
            self.step();
        }
    }

    /// Ends the connection without a word.
    pub(crate) fn leave(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn step(&mut self) {
        let wait = loop {
            match self.client.poll_output() {
                ClientOutput::Event(event) => self.events.push_back(event),
                ClientOutput::Wait(wait) => break wait,
                ClientOutput::Closed(_) => {
                    self.closed = true;
                    return;
                }
            }
        };
        if wait.write {
            let mut slices = [IoSlice::new(&[]); 16];
            let outbound = self.client.outbound();
            let count = outbound.chunks_vectored(&mut slices);
            match self.socket.write_vectored(&slices[..count]) {
                Ok(written) => outbound.advance(written),
                Err(error) => {
                    self.client.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string()));
                }
            }
            return;
        }
        if !self.events.is_empty() {
            return;
        }
        let left = wait.deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
        self.socket.set_read_timeout(Some(left.clamp(Duration::from_millis(1), PATIENCE))).unwrap();
        let mut buffer = [0; 4096];
        let now = Instant::now();
        match self.socket.read(&mut buffer) {
            Ok(0) => self.client.handle_disconnect(now, CloseReason::PeerClosed),
            // The error, if any, shows when it closes.
            Ok(count) => _ = self.client.handle_input(now, &buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.client.handle_timeout(Instant::now());
            }
            Err(error) => self.client.handle_disconnect(now, CloseReason::PeerLost(error.to_string())),
        }
    }
}
