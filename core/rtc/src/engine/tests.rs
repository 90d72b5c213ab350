//! Peers of the same library, in virtual time and without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::flv::{Codec, Slices, VideoCodec};
use bytes::Bytes;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, MediaTime, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event as ClientEvent, Input, Output as ClientOutput, Rtc, RtcConfig};

use super::{Candidates, Credentials, Engine, Identity, Purpose};
use crate::peer::{Event, Gone, Medium, Output, Packet, Path, Peer, Transport, Unit};
use crate::rtp::VideoPacketizer;
use crate::signal::SignalError;

const SERVER: &str = "192.0.2.1:8000";
const CLIENT: &str = "198.51.100.7:50000";

/// A server's peer and its client, with a network between them that loses some datagrams.
struct Pair {
    now: Instant,
    server: Engine,
    client: Rtc,
    due: (Instant, Instant),
    events: Vec<Event>,
    seen: Vec<ClientEvent>,
    /// Of the datagrams of the server each n-th is lost.
    lost: Option<usize>,
    sent: usize,
}

/// A client with an offer for these directions.
fn offer(now: Instant, direction: Direction, config: RtcConfig) -> (Rtc, String, SdpPendingOffer) {
    let mut client = config.build(now);
    client.add_local_candidate(Candidate::host(CLIENT.parse().expect("an address"), "udp").expect("a candidate"));
    let mut api = client.sdp_api();
    api.add_media(MediaKind::Video, direction, None, None, None);
    api.add_media(MediaKind::Audio, direction, None, None, None);
    let (offer, pending) = api.apply().expect("there is something to offer");
    let offer = offer.to_sdp_string();
    (client, offer, pending)
}

fn credentials() -> Credentials {
    Credentials { name: "abcd1234".to_owned(), password: "0123456789abcdef01234567".to_owned() }
}

fn accept(now: Instant, offer: &str, purpose: &Purpose) -> Result<(Engine, String, Vec<Medium>), SignalError> {
    let candidates = Candidates { udp: vec![SERVER.parse().expect("an address")], tcp: Vec::new() };
    Engine::negotiate(now, offer, purpose, &Identity::new().expect("a certificate"), &credentials(), &candidates)
}

#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn h264_and_sound() -> Purpose {
    Purpose::Play { video: Some(VideoCodec::Avc), audio: true }
}

impl Pair {
    fn connect(direction: Direction, purpose: &Purpose) -> Pair {
        let now = start();
        let (mut client, offer, pending) = offer(now, direction, RtcConfig::new());
        let (server, answer, media) = accept(now, &offer, purpose).expect("it is accepted");
        assert_eq!(media, [Medium::Video, Medium::Audio]);
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        client.sdp_api().accept_answer(pending, answer).expect("it is accepted");
        let mut pair =
            Pair { now, server, client, due: (now, now), events: Vec::new(), seen: Vec::new(), lost: None, sent: 0 };
        pair.run(Duration::from_secs(2));
        assert!(pair.events.contains(&Event::Connected), "{:?}", pair.events);
        assert!(pair.client.is_connected());
        pair
    }

    /// Does what both want until they wait.
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            loop {
                match self.server.poll() {
                    Output::Wait(due) => break self.due.0 = due,
                    Output::Event(event) => self.events.push(event),
                    Output::Send(datagram) => {
                        is_idle = false;
                        self.sent += 1;
                        assert_eq!(datagram.path.local, SERVER.parse().expect("an address"));
                        if self.lost.is_some_and(|each| self.sent.is_multiple_of(each)) {
                            continue;
                        }
                        let (from, to) = (datagram.path.local, datagram.path.remote);
                        let received = Receive::new(Protocol::Udp, from, to, &datagram.bytes).expect("it is readable");
                        self.client.handle_input(Input::Receive(self.now, received)).expect("it is taken");
                        self.drain_client();
                    }
                }
            }
            is_idle &= !self.drain_client();
            if is_idle {
                return;
            }
        }
    }

    /// True if the client sent something.
    fn drain_client(&mut self) -> bool {
        let mut has_sent = false;
        loop {
            match self.client.poll_output().expect("the client works") {
                ClientOutput::Timeout(due) => {
                    self.due.1 = due;
                    return has_sent;
                }
                ClientOutput::Event(event) => self.seen.push(event),
                ClientOutput::Transmit(datagram) => {
                    has_sent = true;
                    let path = Path { transport: Transport::Udp, local: datagram.destination, remote: datagram.source };
                    self.server.receive(self.now, path, &datagram.contents);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            self.now = self.due.0.min(self.due.1).clamp(self.now + Duration::from_millis(1), end);
            if self.due.0 <= self.now {
                self.server.handle_timeout(self.now);
            }
            self.client.handle_input(Input::Timeout(self.now)).expect("the client works");
            self.settle();
        }
    }

    fn send(&mut self, packet: Packet) {
        self.server.write(self.now, packet);
        self.server.handle_timeout(self.now);
        self.settle();
    }

    fn pictures(&self) -> Vec<Vec<u8>> {
        let of = |event: &ClientEvent| match event {
            ClientEvent::MediaData(media) if media.params.spec().codec.is_video() => Some(media.data.to_vec()),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }
}

/// An AVCDecoderConfigurationRecord with small parameters.
const RECORD: &[u8] = &[1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80];

/// A picture of one unit that says its number.
fn picture(number: u8, length: usize) -> Slices {
    let header = if number == 0 { 0x65 } else { 0x41 };
    let unit: Vec<u8> = [header, 0x80 | number].into_iter().chain((0..length).map(|at| (at % 200 + 5) as u8)).collect();
    Bytes::from([&(unit.len() as u32).to_be_bytes()[..], &unit].concat()).into()
}

fn packets(pair: &Pair, packetizer: &mut VideoPacketizer, number: u8, next: &mut u64) -> Vec<Packet> {
    let packets = packetizer.packetize(&picture(number, 3000), number == 0).expect("a picture");
    let last = packets.payloads.len() - 1;
    let packet = |(index, payload): (usize, Arc<[u8]>)| {
        *next += 1;
        Packet {
            medium: Medium::Video,
            payload,
            number: *next,
            time: u32::from(number) * 3000,
            wall: pair.now,
            marker: index == last,
        }
    };
    packets.payloads.into_iter().enumerate().map(packet).collect()
}

#[test]
fn a_viewer_gets_pictures_and_sound() {
    let mut pair = Pair::connect(Direction::RecvOnly, &h264_and_sound());
    let mut packetizer = VideoPacketizer::new(VideoCodec::Avc, RECORD).expect("a record");
    let mut next = 0;
    for number in 0..30 {
        for packet in packets(&pair, &mut packetizer, number, &mut next) {
            pair.send(packet);
        }
        let sound = Packet {
            medium: Medium::Audio,
            payload: Arc::from([number; 40]),
            number: number.into(),
            time: u32::from(number) * 1600,
            wall: pair.now,
            marker: false,
        };
        pair.send(sound);
        pair.run(Duration::from_millis(33));
    }
    let pictures = pair.pictures();
    assert!(pictures.len() >= 29, "{} pictures", pictures.len());
    assert!(pictures[0].windows(2).any(|two| two == [0x65, 0x80]), "it begins with the key frame");
    let sounds =
        pair.seen.iter().filter(|event| matches!(event, ClientEvent::MediaData(media) if media.data.len() == 40));
    assert!(sounds.count() >= 25);
}

#[test]
fn what_was_lost_is_sent_again() {
    let mut pair = Pair::connect(Direction::RecvOnly, &h264_and_sound());
    let mut packetizer = VideoPacketizer::new(VideoCodec::Avc, RECORD).expect("a record");
    pair.lost = Some(20);
    let mut next = 0;
    for number in 0..100 {
        for packet in packets(&pair, &mut packetizer, number, &mut next) {
            pair.send(packet);
        }
        pair.run(Duration::from_millis(33));
    }
    pair.lost = None;
    pair.run(Duration::from_secs(1));
    let pictures = pair.pictures();
    assert!(pictures.len() >= 98, "{} pictures", pictures.len());
}

#[test]
fn a_key_frame_that_the_viewer_wants_is_told() {
    let mut pair = Pair::connect(Direction::RecvOnly, &h264_and_sound());
    let mut packetizer = VideoPacketizer::new(VideoCodec::Avc, RECORD).expect("a record");
    let mut next = 0;
    for packet in packets(&pair, &mut packetizer, 0, &mut next) {
        pair.send(packet);
    }
    pair.run(Duration::from_millis(100));
    let mid = pair.server.video.expect("a track").mid;
    let mut api = pair.client.direct_api();
    let stream = api.stream_rx_by_mid(mid, None).expect("the track");
    stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    pair.run(Duration::from_secs(2));
    assert!(pair.events.contains(&Event::WantsKey), "{:?}", pair.events);
}

#[test]
fn a_publisher_sends_pictures_and_sound() {
    let mut pair = Pair::connect(Direction::SendOnly, &Purpose::Publish);
    let mids: Vec<_> = [pair.server.video, pair.server.audio].into_iter().flatten().map(|track| track.mid).collect();
    for number in 0..30_u32 {
        for (index, mid) in mids.iter().enumerate() {
            let is_video = index == 0;
            let now = pair.now;
            let writer = pair.client.writer(*mid).expect("the track");
            let params = writer.payload_params().find(|params| {
                let spec = params.spec();
                !is_video || spec.codec == str0m::format::Codec::H264 && spec.format.packetization_mode == Some(1)
            });
            let pt = params.expect("a payload type").pt();
            let (time, data) = if is_video {
                let parameters = [0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1F, 0, 0, 0, 1, 0x68, 0xCE, 0x3C, 0x80];
                let header = if number == 0 { 0x65 } else { 0x41 };
                let unit = [&[0, 0, 0, 1, header, 0x80][..], &vec![number as u8 + 5; 3000]].concat();
                let data = if number == 0 { [&parameters[..], &unit].concat() } else { unit };
                (MediaTime::from_90khz(u64::from(number) * 3000), data)
            } else {
                (MediaTime::new(u64::from(number) * 960, str0m::media::Frequency::FORTY_EIGHT_KHZ), vec![7; 40])
            };
            writer.write(pt, now, time, data).expect("it is taken");
            pair.settle();
        }
        pair.run(Duration::from_millis(20));
    }
    let units: Vec<&Unit> =
        pair.events.iter().filter_map(|event| if let Event::Unit(unit) = event { Some(unit) } else { None }).collect();
    let pictures: Vec<_> = units.iter().filter(|unit| unit.codec == Codec::from(VideoCodec::Avc)).collect();
    assert!(pictures.len() >= 28, "{}", pictures.len());
    assert!(pictures[0].is_key && !pictures[1].is_key);
    assert!(pictures.iter().map(|unit| unit.time).is_sorted());
    assert!(units.len() - pictures.len() >= 28, "{}", units.len());
}

#[test]
fn a_peer_that_leaves_or_falls_silent_is_told() {
    let mut pair = Pair::connect(Direction::RecvOnly, &h264_and_sound());
    pair.client.close().expect("the client works");
    pair.run(Duration::from_secs(1));
    assert!(pair.events.contains(&Event::Gone(Gone::Left)), "{:?}", pair.events);

    let mut pair = Pair::connect(Direction::RecvOnly, &h264_and_sound());
    let end = pair.now + Duration::from_secs(120);
    while pair.now < end && !pair.events.iter().any(|event| matches!(event, Event::Gone(_))) {
        pair.now += Duration::from_millis(500);
        pair.server.handle_timeout(pair.now);
        loop {
            match pair.server.poll() {
                Output::Wait(_) => break,
                Output::Event(event) => pair.events.push(event),
                Output::Send(_) => {}
            }
        }
    }
    assert!(pair.events.contains(&Event::Gone(Gone::Silent)), "{:?}", pair.events);
}

#[test]
fn what_is_no_offer_is_refused() {
    let now = start();
    for offer in ["", "v=0\r\n", "hello", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"] {
        let refused = accept(now, offer, &h264_and_sound());
        assert!(matches!(refused, Err(SignalError::BadOffer(_))), "{offer:?}: {refused:?}");
    }
    let (_, no_opus, _) = self::offer(now, Direction::RecvOnly, RtcConfig::new().clear_codecs().enable_vp8(true));
    let refused = accept(now, &no_opus, &h264_and_sound());
    assert!(matches!(refused, Err(SignalError::NothingInCommon | SignalError::BadOffer(_))), "{refused:?}");
}

#[test]
fn a_viewer_without_a_codec_of_the_pictures_gets_the_sound() {
    let now = start();
    let config = RtcConfig::new().clear_codecs().enable_vp8(true).enable_opus(true, false);
    let (_, offer, _) = self::offer(now, Direction::RecvOnly, config);
    let (_, _, media) = accept(now, &offer, &h264_and_sound()).expect("there is sound");
    assert_eq!(media, [Medium::Audio]);
}

#[test]
fn a_server_behind_addresses_of_both_kinds_tells_them_all() {
    let now = start();
    let (_, offer, _) = self::offer(now, Direction::RecvOnly, RtcConfig::new());
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let candidates =
        Candidates { udp: vec![address(SERVER), address("[2001:db8::1]:8000")], tcp: vec![address("192.0.2.1:8443")] };
    let identity = Identity::new().expect("a certificate");
    let accepted = Engine::negotiate(now, &offer, &h264_and_sound(), &identity, &credentials(), &candidates);
    let (_, answer, _) = accepted.expect("it is accepted");
    for part in ["192.0.2.1 8000 typ host", "2001:db8::1 8000 typ host", "192.0.2.1 8443 typ host", "tcptype passive"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(answer.contains("a=ice-lite") && answer.contains("a=ice-ufrag:abcd1234"), "{answer}");
    assert!(answer.contains("a=sendonly") && answer.contains("a=setup:passive"), "{answer}");
}

#[test]
fn of_a_simulcast_the_highest_layer_is_taken() {
    let now = start();
    let mut client = RtcConfig::new().build(now);
    client.add_local_candidate(Candidate::host(CLIENT.parse().expect("an address"), "udp").expect("a candidate"));
    let mut simulcast = Simulcast::new();
    for name in ["low", "high"] {
        simulcast.add_send_layer(SimulcastLayer::new(name));
    }
    let mut api = client.sdp_api();
    let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, Some(simulcast));
    let (offer, pending) = api.apply().expect("there is something to offer");
    let (server, answer, _) = accept(now, &offer.to_sdp_string(), &Purpose::Publish).expect("it is accepted");
    assert!(answer.contains("a=simulcast:recv low;high"), "{answer}");
    let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
    client.sdp_api().accept_answer(pending, answer).expect("it is accepted");
    let mut pair =
        Pair { now, server, client, due: (now, now), events: Vec::new(), seen: Vec::new(), lost: None, sent: 0 };
    pair.run(Duration::from_secs(2));
    for number in 0..100_u32 {
        for (layer, length) in [("low", 300), ("high", 3000)] {
            let now = pair.now;
            let writer = pair.client.writer(mid).expect("the track");
            let params = writer.payload_params().find(|params| {
                params.spec().codec == str0m::format::Codec::H264 && params.spec().format.packetization_mode == Some(1)
            });
            let pt = params.expect("a payload type").pt();
            let is_key = number.is_multiple_of(25);
            let parameters: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1F, 0, 0, 0, 1, 0x68, 0xCE, 0x3C, 0x80];
            let unit = [&[0, 0, 0, 1, if is_key { 0x65 } else { 0x41 }, 0x80][..], &vec![5; length]].concat();
            let data = if is_key { [parameters, &unit].concat() } else { unit };
            let time = MediaTime::from_90khz(u64::from(number) * 3600);
            writer.rid(layer.into()).write(pt, now, time, data).expect("it is taken");
            pair.settle();
        }
        pair.run(Duration::from_millis(40));
    }
    let pictures = pair.events.iter().filter_map(|event| if let Event::Unit(unit) = event { Some(unit) } else { None });
    let lengths: Vec<_> = pictures.map(|unit| unit.data.len()).collect();
    assert!(lengths.len() > 90, "{lengths:?}");
    assert!(lengths[30..].iter().all(|length| *length > 3000), "{lengths:?}");
}

#[test]
fn forged_packets_of_many_sources_make_a_bounded_number_of_streams() {
    let mut pair = Pair::connect(Direction::SendOnly, &Purpose::Publish);
    let (mid, pt) = {
        let track = pair.server.video.expect("it publishes pictures");
        (track.mid.to_string(), *track.pt)
    };
    // One element of the header extension (RFC 8285, section 4.2) that names the medium, by each id that it may have.
    let forged = |ssrc: u32, number: u16, id: u8| {
        let mut element = vec![id << 4 | (mid.len() as u8 - 1)];
        element.extend(mid.bytes());
        element.resize(element.len().next_multiple_of(4), 0);
        let head = [&[0x90, pt][..], &number.to_be_bytes(), &[0; 4], &ssrc.to_be_bytes(), &[0xBE, 0xDE]].concat();
        [&head[..], &(element.len() as u16 / 4).to_be_bytes(), &element, &[7; 100]].concat()
    };
    let path = Path {
        transport: Transport::Udp,
        local: SERVER.parse().expect("an address"),
        remote: CLIENT.parse().expect("an address"),
    };
    const SOURCES: u32 = 2000;
    let mut number = 0;
    for ssrc in 1..SOURCES {
        // Back to the one before, and on: the library keeps both.
        for ssrc in [ssrc, ssrc - 1, ssrc] {
            number += 1;
            for id in 1..=14 {
                pair.server.receive(pair.now, path, &forged(1_000_000 + ssrc, number, id));
            }
        }
    }
    pair.settle();
    let mut api = pair.server.rtc.direct_api();
    let streams = (0..SOURCES).filter(|ssrc| api.stream_rx(&(1_000_000 + ssrc).into()).is_some()).count();
    assert!(streams > 0, "the packets are what makes streams");
    assert!(streams <= super::ssrcs::MOST_SSRCS, "{streams} streams");
}
