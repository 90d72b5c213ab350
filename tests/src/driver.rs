//! Core's client on a socket: the smallest adapter there can be, for tests and tools that talk to real servers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::{
    Client, ClientConfig, ClientOutput, Close, CloseReason, Destination, Event, StreamHandle,
};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::source::{Frame, WireFormat};
use bytes::Buf;

use crate::clients::{PATIENCE, Tag, TagKind, wait_for};
use crate::sim::Rng;

/// A [`Client`] with its socket. Nothing happens by itself: whoever has several of them gives each its turn with
/// [`step`](Self::step), whoever has one waits with [`wait_event`](Self::wait_event).
#[derive(Debug)]
pub struct Driver {
    /// The client, to ask and to send with.
    pub client: Client,
    socket: TcpStream,
    buffer: Vec<u8>,
    events: VecDeque<Event>,
    close: Option<Close>,
}

impl Driver {
    /// Opens a connection to the server in a URL, with default settings for its application.
    ///
    /// # Panics
    /// If it is no URL, or nobody listens there.
    pub fn to(url: &str) -> Self {
        let destination = Destination::parse(url).expect("the URL is one");
        let mut addresses = (destination.host(), destination.port()).to_socket_addrs().expect("the host is known");
        let address = addresses.next().expect("the host has an address");
        Driver::connect(address, Arc::new(ClientConfig::to(&destination))).expect("somebody listens there")
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The system's, if there is none within a minute.
    pub fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // The port is the seed: different for each connection that is open.
        let seed = Rng::new(u64::from(socket.local_addr()?.port())).seed();
        let client = Client::new(config, seed, Instant::now());
        Ok(Driver { client, socket, buffer: vec![0; 64 << 10], events: VecDeque::new(), close: None })
    }

    /// Does all that can be done without waiting; true if that was anything.
    pub fn step(&mut self) -> bool {
        let mut any = false;
        let mut wait = self.poll();
        while self.close.is_none() {
            let wrote = wait.write && self.write();
            let read = wait.read && self.read();
            let now = Instant::now();
            if wait.deadline.is_some_and(|deadline| deadline <= now) {
                self.client.handle_timeout(now);
            }
            wait = self.poll();
            if !wrote && !read {
                break;
            }
            any = true;
        }
        any
    }

    /// The next thing that the server did, if it has done anything since the last time.
    pub fn event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.step();
        }
        self.events.pop_front()
    }

    /// Waits for the first event that `pick` takes; those before it are dropped.
    ///
    /// # Panics
    /// If it does not come in time, or the connection ends without it.
    pub fn wait_event<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || {
            while let Some(event) = self.event() {
                if let Some(found) = pick(event) {
                    return Some(found);
                }
            }
            assert!(self.close.is_none(), "no {what}: {:?}", self.close);
            None
        })
    }

    /// Waits until everything is written.
    ///
    /// # Panics
    /// If the server does not take it in time, or the connection ends.
    pub fn flush(&mut self) {
        let start = Instant::now();
        while !self.client.outbound().is_empty() {
            if !self.step() {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(self.close.is_none(), "not all was written: {:?}", self.close);
            assert!(start.elapsed() < PATIENCE, "the server takes nothing");
        }
    }

    /// Sends a tag of an FLV file.
    ///
    /// # Panics
    /// If the stream is not being published.
    pub fn send_tag(&mut self, stream: StreamHandle, tag: &Tag) {
        let type_id = match tag.kind {
            TagKind::Audio => MessageType::AUDIO,
            TagKind::Video => MessageType::VIDEO,
            TagKind::Data => MessageType::DATA_AMF0,
        };
        let payload = tag.body.as_slice().into();
        let message = Message { chunk_stream: 0, timestamp: tag.timestamp, type_id, stream_id: 0, payload };
        let frame = Frame::encode(message, WireFormat { chunk_size: self.client.config().chunk_size });
        self.client.send_frame(stream, &frame).expect("the stream is being published");
    }

    /// Takes leave in good order, and waits for the end.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn close(mut self) -> Close {
        self.client.close();
        self.wait_close()
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait_close(&mut self) -> Close {
        wait_for("end of the connection", PATIENCE, || {
            self.step();
            self.close.clone()
        })
    }

    /// How it ended, once it has.
    pub fn closed(&self) -> Option<&Close> {
        self.close.as_ref()
    }

    fn poll(&mut self) -> anabranch_core::session::Wait {
        loop {
            match self.client.poll_output() {
                ClientOutput::Event(event) => self.events.push_back(event),
                ClientOutput::Wait(wait) => return wait,
                ClientOutput::Closed(close) => {
                    self.close = Some(close);
                    return anabranch_core::session::Wait { deadline: None, read: false, write: false, source: false };
                }
            }
        }
    }

    fn write(&mut self) -> bool {
        let mut slices = [IoSlice::new(&[]); 64];
        let outbound = self.client.outbound();
        let count = outbound.chunks_vectored(&mut slices);
        match self.socket.write_vectored(&slices[..count]) {
            Ok(written) => {
                outbound.advance(written);
                written > 0
            }
            Err(error) => self.failed(&error),
        }
    }

    fn read(&mut self) -> bool {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => self.client.handle_disconnect(Instant::now(), CloseReason::PeerClosed),
            // The error, if any, shows in Closed.
            Ok(count) => _ = self.client.handle_input(Instant::now(), &self.buffer[..count]),
            Err(error) => return self.failed(&error),
        }
        true
    }

    /// True if the connection is lost, and not only has nothing to do.
    fn failed(&mut self, error: &io::Error) -> bool {
        let lost = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
        if lost {
            self.client.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string()));
        }
        lost
    }
}

/// The tag that a message of a played stream is.
pub fn tag_of(message: &Message) -> Tag {
    let kind = match message.type_id {
        MessageType::AUDIO => TagKind::Audio,
        MessageType::VIDEO => TagKind::Video,
        _ => TagKind::Data,
    };
    Tag { kind, timestamp: message.timestamp, body: message.payload.to_vec() }
}
