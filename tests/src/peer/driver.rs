use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::{
    Client, ClientClose, ClientCloseReason, ClientConfig, ClientEvent, ClientOutput, ClientRejection, Destination,
    PlayOptions, StreamHandle,
};
use anabranch_core::command::PublishType;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::source::{Frame, WireFormat};
use bytes::Buf;
use socket2::{Domain, Socket, Type};

use crate::TIMEOUT;
use crate::media::{Tag, TagKind};
use crate::sim::Rng;

/// How long a driver waits for its socket before it looks at its client again.
const PAUSE: Duration = Duration::from_millis(20);
/// The same while the server takes nothing more.
const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// Core's client with its socket: the smallest adapter there can be. Nothing happens by itself: a test with several of
/// them gives each its turn with [`step`](Self::step) or [`events`](Self::events), a test with one waits with
/// [`wait_event`](Self::wait_event).
#[derive(Debug)]
pub struct Driver {
    /// The client, to ask and to send with.
    pub client: Client,
    /// Bytes read from the server.
    pub received: u64,
    /// Bytes that the system took for the server.
    pub written: u64,
    /// Audio, video and data messages that came.
    pub frames: u64,
    /// Pictures of H.264 among them.
    pub pictures: u64,
    socket: TcpStream,
    buffer: Vec<u8>,
    events: VecDeque<ClientEvent>,
    close: Option<ClientClose>,
    /// The stream that was granted last.
    stream: Option<StreamHandle>,
}

impl Driver {
    /// Opens a connection to the server in a URL, with default settings for its application.
    ///
    /// # Panics
    /// If it is no URL, or the server does not accept.
    pub fn to(url: &str) -> Self {
        let destination = Destination::parse(url).expect("the URL is one");
        let mut addresses = (destination.host(), destination.port()).to_socket_addrs().expect("the host is known");
        let address = addresses.next().expect("the host has an address");
        Driver::with(address, ClientConfig::to(&destination))
    }

    /// Opens a connection to this address as if it were that of the host in the URL.
    ///
    /// # Panics
    /// If it is no URL, or the server does not accept.
    pub fn at(address: SocketAddr, url: &str) -> Self {
        Driver::with(address, ClientConfig::to(&Destination::parse(url).expect("the URL is one")))
    }

    /// Opens a connection with these settings.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn with(address: SocketAddr, config: ClientConfig) -> Self {
        Driver::connect(address, Arc::new(config)).expect("the server accepts")
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The system's, if there is none within a minute.
    pub fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Driver::on(TcpStream::connect_timeout(&address, TIMEOUT)?, config)
    }

    /// Opens a connection from one of this machine's addresses.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn from(local: IpAddr, address: SocketAddr, config: ClientConfig) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("the system has sockets");
        socket.bind(&SocketAddr::new(local, 0).into()).expect("it is an address of this machine");
        socket.connect_timeout(&address.into(), TIMEOUT).expect("the server accepts");
        Driver::on(socket.into(), Arc::new(config)).expect("the system has sockets")
    }

    fn on(socket: TcpStream, config: Arc<ClientConfig>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // The port is the seed: different for each connection that is open.
        let seed = Rng::new(u64::from(socket.local_addr()?.port())).seed();
        let client = Client::new(config, seed, Instant::now());
        Ok(Driver {
            client,
            received: 0,
            written: 0,
            frames: 0,
            pictures: 0,
            socket,
            buffer: vec![0; 64 << 10],
            events: VecDeque::new(),
            close: None,
            stream: None,
        })
    }

    /// Asks for a stream to publish, or to play, and waits for what comes of it: false if it is refused, or the
    /// connection ends, which is how some servers refuse.
    ///
    /// # Panics
    /// If nothing comes.
    pub fn is_granted(&mut self, publish: bool, name: &str) -> bool {
        let asked = if publish {
            self.client.publish(name, PublishType::Live)
        } else {
            self.client.play(name, PlayOptions::default())
        };
        let asked = asked.expect("it may ask");
        let start = Instant::now();
        loop {
            while let Some(event) = self.event() {
                match event {
                    ClientEvent::Publishing { stream } | ClientEvent::Playing { stream } if stream == asked => {
                        self.stream = Some(stream);
                        return true;
                    }
                    ClientEvent::Rejected { stream, .. } if stream.is_none_or(|stream| stream == asked) => {
                        return false;
                    }
                    _ => {}
                }
            }
            if self.close.is_some() {
                return false;
            }
            assert!(start.elapsed() < TIMEOUT, "no answer in {TIMEOUT:?}");
            self.pause();
        }
    }

    /// Asks for a stream to publish, and waits until it is granted or refused.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If the client may not ask, or there is no answer.
    pub fn publish(&mut self, name: &str) -> Result<StreamHandle, ClientRejection> {
        let asked = self.client.publish(name, PublishType::Live).expect("it may ask");
        self.granted(asked)
    }

    /// Asks for a stream to play, and waits until it is granted or refused.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If the client may not ask, or there is no answer.
    pub fn play(&mut self, name: &str) -> Result<StreamHandle, ClientRejection> {
        let asked = self.client.play(name, PlayOptions::default()).expect("it may ask");
        self.granted(asked)
    }

    fn granted(&mut self, asked: StreamHandle) -> Result<StreamHandle, ClientRejection> {
        let answer = self.wait_event("answer to a request", |event| match event {
            ClientEvent::Publishing { stream } | ClientEvent::Playing { stream } if stream == asked => Some(Ok(stream)),
            ClientEvent::Rejected { stream, rejection } if stream.is_none_or(|stream| stream == asked) => {
                Some(Err(*rejection))
            }
            _ => None,
        });
        self.stream = answer.as_ref().ok().copied().or(self.stream);
        answer
    }

    /// Does all that can be done without waiting; true if that was anything.
    pub fn step(&mut self) -> bool {
        let mut any = false;
        let mut wait = self.poll();
        while self.close.is_none() {
            let wrote = wait.write && self.write();
            let read = wait.read.is_some() && self.read();
            let now = Instant::now();
            if wait.deadline().is_some_and(|deadline| deadline <= now) {
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
    pub fn event(&mut self) -> Option<ClientEvent> {
        if self.events.is_empty() {
            self.step();
        }
        self.events.pop_front()
    }

    /// All that the server did since the last time.
    pub fn events(&mut self) -> Vec<ClientEvent> {
        self.step();
        self.events.drain(..).collect()
    }

    /// Waits for the first event that `pick` takes; those before it are dropped.
    ///
    /// # Panics
    /// If it does not come in time, or the connection ends without it.
    pub fn wait_event<T>(&mut self, what: &str, mut pick: impl FnMut(ClientEvent) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            while let Some(event) = self.event() {
                if let Some(found) = pick(event) {
                    return found;
                }
            }
            assert!(self.close.is_none(), "no {what}: {:?}", self.close);
            assert!(start.elapsed() < TIMEOUT, "no {what} in {TIMEOUT:?}");
            self.pause();
        }
    }

    /// Waits until everything is written.
    ///
    /// # Panics
    /// If the server does not take it in time, or the connection ends.
    pub fn flush(&mut self) {
        let start = Instant::now();
        while !self.client.outbound().is_empty() {
            if !self.step() {
                thread::sleep(SHORT_PAUSE);
            }
            assert!(self.close.is_none(), "not all was written: {:?}", self.close);
            assert!(start.elapsed() < TIMEOUT, "the server takes nothing");
        }
    }

    /// Sends a message to the stream that was granted last, and waits until it is written.
    ///
    /// # Panics
    /// If no stream is published, or the server does not take it.
    pub fn send(&mut self, message: Message) {
        self.client.send_message(self.stream.expect("a stream was granted"), message).expect("it is published");
        self.flush();
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
        let message = Message { chunk_stream: 0, timestamp: tag.timestamp, type_id, message_stream_id: 0, payload };
        let frame = Frame::encode(message, WireFormat { chunk_size: self.client.config().chunk_size });
        self.client.send_frame(stream, &frame).expect("the stream is being published");
    }

    /// Takes leave in good order, and waits for the end.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn close(mut self) -> ClientClose {
        self.client.close();
        self.wait_close()
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait_close(&mut self) -> ClientClose {
        let start = Instant::now();
        loop {
            self.step();
            if let Some(close) = &self.close {
                return close.clone();
            }
            assert!(start.elapsed() < TIMEOUT, "the connection does not end in {TIMEOUT:?}");
            self.pause();
        }
    }

    /// Ends the connection without a word.
    pub fn drop_connection(self) {
        // One that the server has closed already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// How it ended, once it has.
    pub fn closed(&self) -> Option<&ClientClose> {
        self.close.as_ref()
    }

    /// Waits a moment, and not much longer than until the server sends something.
    fn pause(&mut self) {
        let wait = self.poll();
        if wait.read.is_none() || wait.write {
            return thread::sleep(SHORT_PAUSE);
        }
        let until_deadline = wait.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let time = until_deadline.map_or(PAUSE, |left| left.clamp(SHORT_PAUSE, PAUSE));
        // What peeking finds, an error too, is found again by reading.
        let peek = || {
            self.socket.set_nonblocking(false)?;
            self.socket.set_read_timeout(Some(time))?;
            self.socket.peek(&mut [0]).map(drop)
        };
        let _ = peek();
        self.socket.set_nonblocking(true).expect("a socket option");
    }

    fn poll(&mut self) -> anabranch_core::session::Wait {
        loop {
            match self.client.poll_output() {
                ClientOutput::Event(event) => {
                    if let ClientEvent::Media { message, .. } = &event {
                        self.frames += 1;
                        self.pictures += u64::from(tag_of(message).is_picture());
                    }
                    self.events.push_back(event);
                }
                ClientOutput::Wait(wait) => return wait,
                ClientOutput::Closed(close) => {
                    self.close = Some(close);
                    return anabranch_core::session::Wait { read: None, ..anabranch_core::session::Wait::default() };
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
                self.written += written as u64;
                written > 0
            }
            Err(error) => self.failed(&error),
        }
    }

    fn read(&mut self) -> bool {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => self.client.handle_disconnect(Instant::now(), ClientCloseReason::PeerClosed),
            // The error, if any, shows in Closed.
            Ok(count) => {
                self.received += count as u64;
                let _ = self.client.handle_input(Instant::now(), &self.buffer[..count]);
            }
            Err(error) => return self.failed(&error),
        }
        true
    }

    /// True if the connection is lost, and not only has nothing to do.
    fn failed(&mut self, error: &io::Error) -> bool {
        let lost = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
        if lost {
            self.client.handle_disconnect(Instant::now(), ClientCloseReason::PeerLost(error.to_string()));
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
