//! Peers of the library and plain ones, in virtual time and without sockets.

mod many;
mod playing;
mod publishing;
mod qualities;
mod requests;
mod rooms;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::http::{self, Answer, Limits, Request, RequestReader};
use anabranch_core::hub::{Hub, HubConfig, Publisher, StreamId};
use anabranch_core::message::Message;
use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event as ClientEvent, Input, Output, Rtc, RtcConfig};

use super::{Desk, Effect, Opening, Peers, Remark, Role, SessionId, Settings, SoundJob};
use crate::engine::{Engines, Identity};
use crate::peer::{Path, Transport};
use crate::signal::Target;

const SERVER: &str = "192.0.2.1:8000";

/// The number of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slip(u32);

impl Ticket for Slip {
    fn is_gone(&self) -> bool {
        false
    }
}

#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn key() -> StreamKey {
    StreamKey::new("__defaultVhost__", "live", "cam").expect("a name")
}

fn request(method: &str, target: &str, fields: &str, body: &str) -> Request {
    let length = body.len();
    let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    let mut reader = RequestReader::new(Limits { head: 8 << 10, body: 256 << 10 });
    reader.read(&mut text.as_bytes()).expect("legal").expect("whole")
}

/// A client of the library.
struct Client {
    rtc: Rtc,
    /// Its tracks, of pictures and of sound.
    mids: [Mid; 2],
    pending: Option<SdpPendingOffer>,
    offer: String,
    due: Instant,
    seen: Vec<ClientEvent>,
    /// Where its session is.
    location: String,
}

impl Client {
    fn new(now: Instant, address: SocketAddr, direction: Direction, config: RtcConfig) -> Self {
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut api = rtc.sdp_api();
        let mids = [MediaKind::Video, MediaKind::Audio].map(|kind| api.add_media(kind, direction, None, None, None));
        let (offer, pending) = api.apply().expect("there is something to offer");
        let offer = offer.to_sdp_string();
        Client { rtc, mids, pending: Some(pending), offer, due: now, seen: Vec::new(), location: String::new() }
    }

    fn is_connected(&self) -> bool {
        self.seen.iter().any(|event| matches!(event, ClientEvent::Connected))
    }

    /// The pictures that came, whole.
    fn pictures(&self) -> Vec<Vec<u8>> {
        let of = |event: &ClientEvent| match event {
            ClientEvent::MediaData(media) if media.params.spec().codec.is_video() => Some(media.data.to_vec()),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }

    /// The numbers of the pictures that came, see [`picture`].
    fn numbers(&self) -> Vec<u8> {
        self.pictures().iter().filter_map(|picture| number_of(picture)).collect()
    }

    fn sounds(&self) -> Vec<Vec<u8>> {
        let of = |event: &ClientEvent| match event {
            ClientEvent::MediaData(media) if media.params.spec().codec.is_audio() => Some(media.data.to_vec()),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }
}

/// An AVCDecoderConfigurationRecord with small parameters.
const RECORD: &[u8] = &[1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80];

/// A picture that says its number: a key frame, one that others need, or one that none needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Reference,
    Disposable,
}

fn picture(kind: Kind, number: u8, length: usize) -> Vec<u8> {
    let header = match kind {
        Kind::Key => 0x65,
        Kind::Reference => 0x41,
        Kind::Disposable => 0x01,
    };
    let unit: Vec<u8> = [header, 0x80, number].into_iter().chain((0..length).map(|at| (at % 200 + 5) as u8)).collect();
    [&(unit.len() as u32).to_be_bytes()[..], &unit].concat()
}

fn number_of(picture: &[u8]) -> Option<u8> {
    let start = picture.windows(3).position(|three| matches!(three, [0x65 | 0x41 | 0x01, 0x80, _]))?;
    Some(picture[start + 2])
}

fn video(time: u32, kind: Kind, number: u8, shift: u32, length: usize) -> Message {
    let frame_type = if kind == Kind::Key { 0x17 } else { 0x27 };
    let shift = shift.to_be_bytes();
    Message::video(time, [&[frame_type, 1, shift[1], shift[2], shift[3]], &picture(kind, number, length)[..]].concat())
}

fn avc_header() -> Message {
    Message::video(0, [&[0x17, 0, 0, 0, 0], RECORD].concat())
}

fn opus(time: u32, number: u8) -> Message {
    Message::audio(time, [&b"\x91Opus"[..], &[number; 40]].concat())
}

struct World {
    now: Instant,
    begun: Instant,
    hub: Hub,
    desk: Desk<Slip>,
    publisher: Option<Publisher>,
    clients: BTreeMap<SocketAddr, Client>,
    requests: u32,
    answers: BTreeMap<u32, Answer>,
    openings: Vec<Opening>,
    /// Whether openings are granted at once.
    grants: bool,
    followed: Vec<StreamId>,
    left: Vec<SessionId>,
    remarks: Vec<Remark>,
    jobs: Vec<SoundJob>,
    published: Vec<(SessionId, Message)>,
    sent: (u64, u64),
    /// Whether what peers publish is published to the hub.
    relays: bool,
    /// Of the datagrams to clients each n-th is lost.
    lost: Option<usize>,
    datagrams: usize,
}

impl World {
    fn new() -> Self {
        World::with(Settings::default(), Box::new(Engines(Identity::new().expect("a certificate"))))
    }

    fn with(settings: Settings, peers: Box<dyn Peers>) -> Self {
        let (hub, now) = (Hub::new(HubConfig::default()), start());
        let desk = Desk::new(hub.clone(), [7; 32], settings, peers);
        World {
            now,
            begun: now,
            hub,
            desk,
            publisher: None,
            clients: BTreeMap::new(),
            requests: 0,
            answers: BTreeMap::new(),
            openings: Vec::new(),
            grants: true,
            followed: Vec::new(),
            left: Vec::new(),
            remarks: Vec::new(),
            jobs: Vec::new(),
            published: Vec::new(),
            sent: (0, 0),
            relays: false,
            lost: None,
            datagrams: 0,
        }
    }

    fn time(&self) -> Time {
        Time { now: self.now, wall: 1_700_000_000_000 + (self.now - self.begun).as_millis() as u64 }
    }

    fn milliseconds(&self) -> u32 {
        (self.now - self.begun).as_millis() as u32
    }

    /// A publisher by RTMP, which has sent its header.
    fn publish(&mut self) {
        self.publisher = Some(self.hub.publish(&key()).expect("the name is free"));
        self.push(avc_header());
    }

    fn push(&mut self, message: Message) {
        self.publisher.as_mut().expect("a publisher").push(self.now, message).expect("it is on air");
        self.wake();
    }

    fn end_publication(&mut self) {
        self.publisher.take().expect("a publisher").end(self.now);
        self.wake();
    }

    fn wake(&mut self) {
        for stream in self.followed.clone() {
            self.desk.wake(self.time(), stream);
        }
        self.settle();
    }

    fn request(&mut self, request: &Request) -> u32 {
        self.requests += 1;
        let target = Target::of(request).expect("it is for WebRTC");
        let (client, local) = ("198.51.100.7:4000".parse().ok(), "192.0.2.1:8080".parse().ok());
        let (time, settings) = (self.time(), http::Settings::default());
        self.desk.request(time, target, request, client, local, &settings, Slip(self.requests));
        self.settle();
        self.requests
    }

    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &str) -> Answer {
        let number = self.request(&request(method, target, fields, body));
        self.answers.get(&number).cloned().expect("it is answered at once")
    }

    fn post(&mut self, target: &str, offer: &str) -> u32 {
        self.request(&request("POST", target, "Content-Type: application/sdp\r\n", offer))
    }

    /// A client asks to play, and takes the answer.
    fn play(&mut self, address: &str) -> SocketAddr {
        self.client(address, "/live/cam/whep", Direction::RecvOnly, RtcConfig::new())
    }

    fn client(&mut self, address: &str, target: &str, direction: Direction, config: RtcConfig) -> SocketAddr {
        let address = address.parse().expect("an address");
        let client = Client::new(self.now, address, direction, config);
        let number = self.post(target, &client.offer);
        self.clients.insert(address, client);
        self.take_answer(address, number);
        address
    }

    fn take_answer(&mut self, address: SocketAddr, number: u32) {
        let answer = self.answers.get(&number).expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", String::from_utf8_lossy(&answer.body));
        let field = |name: &str| {
            let found = answer.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).expect("the field")
        };
        let text = std::str::from_utf8(&answer.body).expect("text");
        let client = self.clients.get_mut(&address).expect("the client");
        client.location = field("Location");
        let pending = client.pending.take().expect("it waits for an answer");
        let answer = SdpAnswer::from_sdp_string(text).expect("an answer");
        client.rtc.sdp_api().accept_answer(pending, answer).expect("it is accepted");
        self.settle();
    }

    fn connected(&mut self, address: &str) -> SocketAddr {
        let address = self.play(address);
        self.run(Duration::from_millis(500));
        assert!(self.clients[&address].is_connected());
        address
    }

    /// Does what all want until they wait.
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(datagram) = self.desk.poll_datagram() {
                is_idle = false;
                self.datagrams += 1;
                assert_eq!(datagram.path.local, SERVER.parse().expect("an address"));
                if self.lost.is_some_and(|each| self.datagrams.is_multiple_of(each)) {
                    continue;
                }
                let (from, to) = (datagram.path.local, datagram.path.remote);
                let Some(client) = self.clients.get_mut(&to) else { continue };
                let received = Receive::new(Protocol::Udp, from, to, &datagram.bytes).expect("it is readable");
                client.rtc.handle_input(Input::Receive(self.now, received)).expect("it is taken");
                self.drain_client(to);
            }
            while let Some(effect) = self.desk.poll() {
                is_idle = false;
                self.effect(effect);
            }
            for address in self.clients.keys().copied().collect::<Vec<_>>() {
                is_idle &= !self.drain_client(address);
            }
            if is_idle {
                return;
            }
        }
    }

    fn effect(&mut self, effect: Effect<Slip>) {
        match effect {
            Effect::Answer(slip, answer) => assert!(self.answers.insert(slip.0, answer).is_none(), "a second answer"),
            Effect::Open(opening) => {
                let session = opening.session;
                let app = opening.app.trim_matches('/').replace("//", "/");
                let key = StreamKey::new("__defaultVhost__", &app, &opening.stream).expect("a name");
                self.openings.push(*opening);
                if self.grants {
                    self.desk.granted_with(self.time(), session, &key, &["_low".into()]);
                }
            }
            Effect::Leave(session) => self.left.push(session),
            Effect::Publish(_, message) if self.relays => {
                self.publisher.as_mut().expect("a publisher").push(self.now, message).expect("it is on air");
                for stream in self.followed.clone() {
                    self.desk.wake(self.time(), stream);
                }
            }
            Effect::Publish(session, message) => self.published.push((session, message)),
            Effect::Follow(stream) => {
                self.followed.push(stream);
                self.desk.wake(self.time(), stream);
            }
            Effect::Unfollow(stream) => self.followed.retain(|known| *known != stream),
            Effect::Sound(job) => self.jobs.push(job),
            Effect::Sent { frames, bytes, .. } => self.sent = (self.sent.0 + frames, self.sent.1 + bytes),
            Effect::Tell(remark) => self.remarks.push(remark),
        }
    }

    /// True if the client sent something.
    fn drain_client(&mut self, address: SocketAddr) -> bool {
        let mut has_sent = false;
        let Some(client) = self.clients.get_mut(&address) else { return false };
        loop {
            match client.rtc.poll_output().expect("the client works") {
                Output::Timeout(due) => {
                    client.due = due;
                    return has_sent;
                }
                Output::Event(event) => client.seen.push(event),
                Output::Transmit(datagram) => {
                    has_sent = true;
                    let path = Path { transport: Transport::Udp, local: datagram.destination, remote: datagram.source };
                    let time = Time { now: self.now, wall: 0 };
                    self.desk.receive(time, path, &datagram.contents);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            let due = self.clients.values().map(|client| client.due).chain(self.desk.deadline()).min().unwrap_or(end);
            self.now = due.clamp(self.now + Duration::from_millis(1), end);
            if self.desk.deadline().is_some_and(|due| due <= self.now) {
                self.desk.turn(self.time());
            }
            for client in self.clients.values_mut() {
                client.rtc.handle_input(Input::Timeout(self.now)).expect("the client works");
            }
            self.settle();
        }
    }

    /// Pictures at 25 a second with sound, the first one a key frame.
    fn send(&mut self, numbers: impl IntoIterator<Item = u8>, length: usize) {
        for (index, number) in numbers.into_iter().enumerate() {
            let kind = if index == 0 { Kind::Key } else { Kind::Reference };
            let time = self.milliseconds();
            self.push(video(time, kind, number, 0, length));
            self.push(opus(time, number));
            self.push(opus(time + 20, number));
            self.run(Duration::from_millis(40));
        }
    }
}
