//! A client of WebRTC over sockets: it plays by WHEP or publishes by WHIP.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
pub use str0m::media::Direction;
use str0m::media::{Frequency, KeyframeRequestKind, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crate::{TIMEOUT, wait_for};

/// The longest wait for a datagram: what the test wants is done by then.
const TICK: Duration = Duration::from_millis(5);

/// How a client reaches the server.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// By UDP, from an address of this host.
    Udp(IpAddr),
    /// By TCP, to this address of the server.
    Tcp(SocketAddr),
}

impl Way {
    /// By UDP over IPv4.
    pub const V4: Way = Way::Udp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    /// By UDP over IPv6.
    pub const V6: Way = Way::Udp(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
}

/// What has come: a picture, or the sound of a moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// True for a picture.
    pub is_picture: bool,
    /// H.264 and HEVC with start codes, the others as they are in files.
    pub data: Vec<u8>,
    /// The time that it is shown at, from an arbitrary beginning, in the track's own units.
    pub time: MediaTime,
    /// False if something was lost before it.
    pub is_contiguous: bool,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Received { is_picture, data, time, is_contiguous } = self;
        let length = data.len();
        write!(f, "picture: {is_picture}, {length} bytes at {time:?}, contiguous: {is_contiguous}")
    }
}

/// What the client has seen so far.
#[derive(Debug, Default)]
struct Seen {
    is_connected: bool,
    is_over: bool,
    received: Vec<Received>,
    keys_wanted: usize,
}

enum Order {
    Write { is_picture: bool, data: Vec<u8>, time: Duration },
    AskForKey,
    Close,
}

/// An answer by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// Its lines up to the empty one.
    pub head: String,
    /// The rest.
    pub body: String,
}

impl HttpAnswer {
    /// The value of a field, if it has it.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Makes a request by HTTP, on a new connection. `fields` are lines.
///
/// # Panics
/// If there is no answer in time.
pub fn ask(web: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> HttpAnswer {
    let mut socket = TcpStream::connect(web).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {web}\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("the answer comes in time");
    let answer = String::from_utf8(answer).expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
    HttpAnswer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A client of WebRTC. Its session ends when this is dropped.
#[derive(Debug)]
pub struct RtcClient {
    web: SocketAddr,
    /// The path of the session.
    session: String,
    /// The answer to the offer.
    pub answer: HttpAnswer,
    seen: Arc<Mutex<Seen>>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl RtcClient {
    /// Plays what is at this path of the server's HTTP, such as `/live/cam/whep`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn play(web: SocketAddr, path: &str, way: Way) -> Self {
        RtcClient::try_begin(web, path, way, Direction::RecvOnly).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Publishes at this path of the server's HTTP, such as `/live/cam/whip`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn publish(web: SocketAddr, path: &str, way: Way) -> Self {
        RtcClient::try_begin(web, path, way, Direction::SendOnly).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Makes an offer with pictures (H.264) and sound (Opus) that go in this direction.
    ///
    /// # Errors
    /// The server refuses: its answer.
    ///
    /// # Panics
    /// If it has no socket, or the answer cannot be read.
    pub fn try_begin(web: SocketAddr, path: &str, way: Way, direction: Direction) -> Result<Self, HttpAnswer> {
        RtcClient::try_begin_with(web, path, way, direction, |offer| offer)
    }

    /// The same with another offer than the client means.
    ///
    /// # Errors
    /// The server refuses: its answer.
    ///
    /// # Panics
    /// If it has no socket, or the answer cannot be read.
    pub fn try_begin_with(
        web: SocketAddr,
        path: &str,
        way: Way,
        direction: Direction,
        change: impl FnOnce(String) -> String,
    ) -> Result<Self, HttpAnswer> {
        let now = Instant::now();
        let mut wire = Wire::open(way);
        let config = RtcConfig::new().clear_codecs().enable_h264(true).enable_opus(true, false);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(wire.candidate());
        let mut api = rtc.sdp_api();
        let tracks =
            [MediaKind::Video, MediaKind::Audio].map(|kind| (kind, api.add_media(kind, direction, None, None, None)));
        let (offer, pending) = api.apply().expect("there is something to offer");
        let offer = change(offer.to_sdp_string());
        let answer = ask(web, "POST", path, "Content-Type: application/sdp\r\n", &offer);
        if answer.status != 201 {
            return Err(answer);
        }
        accept(&mut rtc, pending, &answer.body);
        let session = answer.field("Location").expect("an answer has the address of the session").to_owned();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (orders, given) = channel();
        let of_thread = seen.clone();
        let thread = thread::spawn(move || run(rtc, &mut wire, &tracks, &of_thread, &given));
        Ok(RtcClient { web, session, answer, seen, orders, thread: Some(thread) })
    }

    /// The path of its session.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// True once packets reach both sides.
    pub fn is_connected(&self) -> bool {
        self.seen().is_connected
    }

    /// True once the server has ended the session, or does not answer any more.
    pub fn is_over(&self) -> bool {
        self.seen().is_over
    }

    /// Waits until packets reach both sides.
    ///
    /// # Panics
    /// If they do not in time.
    pub fn wait_connected(&self) {
        wait_for("connection by WebRTC", TIMEOUT, || self.is_connected().then_some(()));
    }

    /// Waits until the server has ended the session.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_over(&self) {
        wait_for("end of the session by WebRTC", TIMEOUT, || self.is_over().then_some(()));
    }

    /// What has come so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen().received.clone()
    }

    /// The pictures that have come so far.
    pub fn pictures(&self) -> Vec<Received> {
        self.seen().received.iter().filter(|received| received.is_picture).cloned().collect()
    }

    /// The sound that has come so far.
    pub fn sounds(&self) -> Vec<Received> {
        self.seen().received.iter().filter(|received| !received.is_picture).cloned().collect()
    }

    /// How often the server has asked for a key frame.
    pub fn keys_wanted(&self) -> usize {
        self.seen().keys_wanted
    }

    /// Sends a picture: H.264 with start codes.
    pub fn send_picture(&self, data: Vec<u8>, time: Duration) {
        // A client that is over sends nothing.
        let _ = self.orders.send(Order::Write { is_picture: true, data, time });
    }

    /// Sends the sound of a moment: a packet of Opus.
    pub fn send_sound(&self, data: Vec<u8>, time: Duration) {
        let _ = self.orders.send(Order::Write { is_picture: false, data, time });
    }

    /// Asks the server for a key frame.
    pub fn ask_for_key(&self) {
        let _ = self.orders.send(Order::AskForKey);
    }

    /// Ends the session by HTTP (DELETE), and returns the answer.
    pub fn delete(&self) -> HttpAnswer {
        ask(self.web, "DELETE", &self.session, "", "")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RtcClient {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Close);
        let result = self.thread.take().map(JoinHandle::join);
        assert!(result.is_none_or(|result| result.is_ok()) || thread::panicking(), "the client panicked");
    }
}

/// An offer of a client that sends pictures and sound, or takes them.
pub fn offer(direction: Direction) -> String {
    let mut rtc = RtcConfig::new().clear_codecs().enable_h264(true).enable_opus(true, false).build(Instant::now());
    let mut api = rtc.sdp_api();
    for kind in [MediaKind::Video, MediaKind::Audio] {
        api.add_media(kind, direction, None, None, None);
    }
    api.apply().expect("there is something to offer").0.to_sdp_string()
}

/// The addresses of a server that an answer tells, by UDP or by TCP.
pub fn candidates(answer: &str, is_tcp: bool) -> Vec<SocketAddr> {
    let protocol = if is_tcp { "tcp" } else { "udp" };
    let address = |line: &str| {
        let words: Vec<_> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        let is_it = words.get(2).is_some_and(|word| word.eq_ignore_ascii_case(protocol));
        let (ip, port) = (words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?);
        is_it.then_some(SocketAddr::new(ip, port))
    };
    answer.lines().filter_map(address).collect()
}

fn accept(rtc: &mut Rtc, pending: SdpPendingOffer, answer: &str) {
    let answer = SdpAnswer::from_sdp_string(answer).unwrap_or_else(|error| panic!("{error} in {answer}"));
    rtc.sdp_api().accept_answer(pending, answer).expect("it belongs to the offer");
}

/// What carries datagrams.
#[derive(Debug)]
enum Wire {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, received: Vec<u8> },
}

impl Wire {
    fn open(way: Way) -> Self {
        match way {
            Way::Udp(host) => Wire::Udp(UdpSocket::bind((host, 0)).expect("the machine has this address")),
            Way::Tcp(server) => {
                let stream = TcpStream::connect(server).expect("it listens");
                stream.set_nodelay(true).expect("it can be set");
                Wire::Tcp { stream, received: Vec::new() }
            }
        }
    }

    fn local(&self) -> SocketAddr {
        let local = match self {
            Wire::Udp(socket) => socket.local_addr(),
            Wire::Tcp { stream, .. } => stream.local_addr(),
        };
        local.expect("it is bound")
    }

    fn candidate(&self) -> Candidate {
        let local = self.local();
        let candidate = match self {
            Wire::Udp(_) => Candidate::host(local, Protocol::Udp),
            Wire::Tcp { .. } => Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build(),
        };
        candidate.expect("it is an address")
    }

    fn protocol(&self) -> Protocol {
        match self {
            Wire::Udp(_) => Protocol::Udp,
            Wire::Tcp { .. } => Protocol::Tcp,
        }
    }

    /// Sends a datagram. What is lost is lost.
    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        match self {
            Wire::Udp(socket) => _ = socket.send_to(bytes, to),
            Wire::Tcp { stream, .. } => {
                let length = (bytes.len() as u16).to_be_bytes();
                let _ = stream.write_all(&[&length, bytes].concat());
            }
        }
    }

    /// The next datagram, if one comes within the time, and where it is from. False if none will come.
    fn receive(&mut self, wait: Duration, buffer: &mut Vec<u8>) -> (Option<SocketAddr>, bool) {
        let wait = wait.max(Duration::from_millis(1));
        match self {
            Wire::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).expect("it can be set");
                buffer.resize(64 << 10, 0);
                // An error is that of a datagram that was sent before.
                let Ok((length, from)) = socket.recv_from(buffer) else { return (None, true) };
                buffer.truncate(length);
                (Some(from), true)
            }
            Wire::Tcp { stream, received } => {
                if take_frame(received, buffer) {
                    return (stream.peer_addr().ok(), true);
                }
                stream.set_read_timeout(Some(wait)).expect("it can be set");
                let mut piece = [0; 16 << 10];
                match stream.read(&mut piece) {
                    Ok(0) => return (None, false),
                    Ok(length) => received.extend_from_slice(&piece[..length]),
                    Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                    Err(_) => return (None, false),
                }
                let is_whole = take_frame(received, buffer);
                (stream.peer_addr().ok().filter(|_| is_whole), true)
            }
        }
    }
}

/// Takes the first datagram from the bytes of a connection of TCP.
fn take_frame(received: &mut Vec<u8>, buffer: &mut Vec<u8>) -> bool {
    let Some((head, rest)) = received.split_first_chunk::<2>() else { return false };
    let length = usize::from(u16::from_be_bytes(*head));
    let Some(frame) = rest.get(..length) else { return false };
    buffer.clear();
    buffer.extend_from_slice(frame);
    received.drain(..2 + length);
    true
}

fn run(mut rtc: Rtc, wire: &mut Wire, tracks: &[(MediaKind, Mid)], seen: &Mutex<Seen>, orders: &Receiver<Order>) {
    let (local, mut buffer) = (wire.local(), Vec::new());
    while let Some(due) = drain(&mut rtc, wire, seen) {
        match orders.try_recv() {
            Ok(Order::Close) | Err(TryRecvError::Disconnected) => {
                let _ = rtc.close();
                drain(&mut rtc, wire, seen);
                break;
            }
            Ok(order) => {
                obey(&mut rtc, tracks, order);
                continue;
            }
            Err(TryRecvError::Empty) => {}
        }
        let wait = due.saturating_duration_since(Instant::now()).min(TICK);
        let (from, is_open) = wire.receive(wait, &mut buffer);
        if !is_open {
            break;
        }
        let now = Instant::now();
        if let Some(from) = from
            && let Ok(receive) = Receive::new(wire.protocol(), from, local, &buffer)
        {
            // A server that was told of another certificate ends the handshake with an error.
            if rtc.handle_input(Input::Receive(now, receive)).is_err() {
                break;
            }
        }
        rtc.handle_input(Input::Timeout(now)).expect("the client works");
    }
    seen.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
}

/// Sends what is to be sent, and notes what has happened. `None` at the end.
fn drain(rtc: &mut Rtc, wire: &mut Wire, seen: &Mutex<Seen>) -> Option<Instant> {
    loop {
        let output = rtc.poll_output().expect("the client works");
        if !rtc.is_alive() {
            return None;
        }
        let event = match output {
            Output::Timeout(due) => return Some(due),
            Output::Transmit(datagram) => {
                wire.send(datagram.destination, &datagram.contents);
                continue;
            }
            Output::Event(event) => event,
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => seen.is_connected = true,
            Event::KeyframeRequest(_) => seen.keys_wanted += 1,
            Event::MediaData(media) => seen.received.push(Received {
                is_picture: media.params.spec().codec.is_video(),
                data: media.data.to_vec(),
                time: media.time,
                is_contiguous: media.contiguous,
            }),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) | Event::Closed => return None,
            _ => {}
        }
    }
}

fn obey(rtc: &mut Rtc, tracks: &[(MediaKind, Mid)], order: Order) {
    let track = |of: MediaKind| tracks.iter().find(|(kind, _)| *kind == of).map(|(_, mid)| *mid);
    match order {
        Order::Close => {}
        Order::AskForKey => {
            if let Some(mut writer) = track(MediaKind::Video).and_then(|mid| rtc.writer(mid)) {
                let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
            }
        }
        Order::Write { is_picture, data, time } => {
            let kind = if is_picture { MediaKind::Video } else { MediaKind::Audio };
            let mid = track(kind).expect("both sides have this track");
            let writer = rtc.writer(mid).expect("it sends this track");
            let params = writer.payload_params().find(|params| {
                let spec = params.spec();
                spec.codec != Codec::H264 || spec.format.packetization_mode == Some(1)
            });
            let pt = params.expect("both sides have a codec").pt();
            let (rate, ticks) = if is_picture { (Frequency::NINETY_KHZ, 90) } else { (Frequency::FORTY_EIGHT_KHZ, 48) };
            let time = MediaTime::new(time.as_micros() as u64 * ticks / 1000, rate);
            writer.write(pt, Instant::now(), time, data).expect("it is taken");
        }
    }
}
