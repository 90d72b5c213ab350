//! WebRTC over sockets, on both runtimes: a client made of str0m plays what an RTMP client publishes, and publishes what an
//! RTMP client plays.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anabranch_host::webrtc::desk::{Role, Settings};
use anabranch_host::{Carrier, Entrance, Handle, Listen, RtcOptions, Serve, WebListen};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::on_both_libraries;
use anabranch_tests::peer::ScriptedClient;
use anabranch_tests::rtc::{Received, RtcClient, Way, ask};
use anabranch_tests::{TIMEOUT, wait_for};

on_both_libraries!(
    players_over_udp_and_tcp_and_both_families_get_every_picture_and_all_sound,
    a_player_that_joins_later_begins_at_the_newest_key_frame,
    a_publisher_reaches_players_by_rtmp,
    a_publisher_reaches_players_by_webrtc,
    the_sound_of_an_rtmp_publisher_in_aac_is_opus_for_players,
    a_session_ends_by_its_client_by_a_kick_and_with_the_server,
    without_sockets_the_answer_says_how_to_turn_it_on,
    nothing_is_left_of_a_server_that_has_stopped,
);

/// Parameters of H.264 that FFmpeg's libx264 made for pictures of 64 x 64 in the baseline profile.
const SEQUENCE_PARAMETERS: &[u8] =
    &[0x67, 0x42, 0xC0, 0x0A, 0xDA, 0x10, 0x9B, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xF1, 0x22, 0x6A];
const PICTURE_PARAMETERS: &[u8] = &[0x68, 0xCE, 0x0F, 0xC8];
/// The same for Opus (enhanced RTMP): OpusHead with two channels.
const AUDIO_HEADER: &[u8] = b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00";

struct Server {
    inner: Embedded,
    web: SocketAddr,
    tcp: SocketAddr,
}

impl Server {
    fn start<S: Serve + Send + 'static>() -> Self {
        let free: Listen = "127.0.0.1:0".parse().expect("an address");
        let options =
            RtcOptions { listen: WebListen::At(vec![Listen::Any(0)]), tcp_listen: vec![free], ..RtcOptions::default() };
        let builder = S::builder().listen(free).listen_as(free, Entrance::web(Carrier::Plain)).rtc(options);
        let server = builder.build().expect("the server can be built");
        let web = server.web_addresses()[0];
        let inner = Embedded::run(server);
        let addresses = inner.handle.rtc_addresses();
        let port = addresses.udp[0].port();
        let candidates = ["127.0.0.1", "::1"].map(|host| SocketAddr::new(host.parse().expect("an address"), port));
        let tcp = addresses.tcp[0];
        inner.handle.configure_rtc(Settings {
            candidates: candidates.to_vec(),
            tcp_candidates: vec![tcp],
            ..Settings::default()
        });
        Server { inner, web, tcp }
    }

    fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    fn ways(&self) -> [Way; 3] {
        [Way::V4, Way::V6, Way::Tcp(self.tcp)]
    }

    fn publisher(&self) -> ScriptedClient {
        let mut publisher = ScriptedClient::publisher(self.inner.address, "cam");
        publisher.video(0, &video_header());
        publisher.audio(0, AUDIO_HEADER);
        publisher
    }

    fn wait_sessions(&self, count: usize) {
        wait_for("list of sessions", TIMEOUT, || (self.handle().rtc_sessions().len() == count).then_some(()));
    }
}

/// The body of a message of RTMP with them.
fn video_header() -> Vec<u8> {
    let sets = [&[0xE1, 0, 22], SEQUENCE_PARAMETERS, &[1, 0, 4], PICTURE_PARAMETERS].concat();
    [&[0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x0A, 0xFF], &sets[..]].concat()
}

/// The payload of a unit that says its number. Some are longer than a packet.
fn unit(number: u32) -> Vec<u8> {
    let header = if number.is_multiple_of(50) { 0x65 } else { 0x41 };
    let content = (0..200 + number % 7 * 700).map(|at| (at % 200 + 5) as u8);
    [header, 0x80].into_iter().chain((number + 0x0101_0101).to_be_bytes()).chain(content).collect()
}

/// A picture as publishers by RTMP send it.
fn picture(number: u32) -> Vec<u8> {
    let first = if number.is_multiple_of(50) { 0x17 } else { 0x27 };
    let unit = unit(number);
    [&[first, 1, 0, 0, 0], &(unit.len() as u32).to_be_bytes()[..], &unit].concat()
}

/// A packet of Opus that says its number: 20 ms of CELT.
fn packet(number: u32) -> Vec<u8> {
    [&[0xFC][..], &number.to_be_bytes(), &[7; 60]].concat()
}

fn sound(number: u32) -> Vec<u8> {
    [b"\x91Opus", &packet(number)[..]].concat()
}

/// The numbers of pictures, which must be whole.
fn numbers(received: &[Received]) -> Vec<u32> {
    let number = |received: &Received| {
        let units: Vec<_> = split(&received.data);
        let last = units.last().expect("a picture has a unit");
        let number = u32::from_be_bytes(last[2..6].try_into().expect("four bytes")) - 0x0101_0101;
        assert_eq!(*last, unit(number), "picture {number} is not whole");
        if number.is_multiple_of(50) {
            assert_eq!(units.len(), 3, "a key frame has its parameters with it");
        }
        number
    };
    received.iter().map(number).collect()
}

/// The units between start codes.
fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<_> = data.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).map(|start| if data[start - 1] == 0 { start - 1 } else { *start });
    starts.iter().zip(ends.chain([data.len()])).map(|(start, end)| data[start + 3..end].to_vec()).collect()
}

fn players_over_udp_and_tcp_and_both_families_get_every_picture_and_all_sound<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    let mut publisher = server.publisher();
    publisher.video(0, &picture(0));
    publisher.audio(0, &sound(0));
    let clients = server.ways().map(|way| RtcClient::play(server.web, "/live/cam/whep", way));
    clients.iter().for_each(RtcClient::wait_connected);
    server.wait_sessions(3);
    for number in 1..150 {
        publisher.video(number * 40, &picture(number));
        publisher.audio(number * 40, &sound(number));
        if number.is_multiple_of(10) {
            for client in &clients {
                wait_for("picture", TIMEOUT, || (client.pictures().len() as u32 >= number - 5).then_some(()));
            }
        }
    }
    for client in &clients {
        // A client holds the last one back until it knows that it is whole.
        wait_for("last picture", TIMEOUT, || (client.pictures().len() >= 149).then_some(()));
        let pictures = client.pictures();
        assert_eq!(numbers(&pictures), (0..pictures.len() as u32).collect::<Vec<_>>());
        let ticks: Vec<_> = pictures.windows(2).map(|two| two[1].time.numer() - two[0].time.numer()).collect();
        assert!(ticks.iter().all(|ticks| *ticks == 40 * 90), "{ticks:?}");
        let sounds = client.sounds();
        assert!(sounds.len() >= 148, "{} packets of sound", sounds.len());
        let first = u32::from_be_bytes(sounds[0].data[1..5].try_into().expect("four bytes"));
        for (number, received) in (first..).zip(&sounds) {
            assert_eq!(received.data, packet(number));
        }
    }
    let sessions = server.handle().rtc_sessions();
    assert_eq!(sessions.iter().filter(|session| session.view.by_tcp).count(), 1, "{sessions:?}");
    assert!(sessions.iter().all(|session| session.view.role == Role::Player));
    let connections = server.handle().connections();
    for session in sessions {
        let connection = connections.iter().find(|connection| connection.id == session.connection);
        let connection = connection.expect("each session has a connection");
        assert_eq!(connection.streams.len(), 1);
    }
    let totals = server.handle().totals();
    assert!(totals.played >= 3, "{totals:?}");
    let stats = server.handle().rtc_stats();
    assert_eq!((stats.desk.players, stats.desk.connecting, stats.lost), (3, 0, 0), "{stats:?}");
    assert!(stats.tcp_connections == 1 && stats.sent > 150, "{stats:?}");
}

fn a_player_that_joins_later_begins_at_the_newest_key_frame<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    let mut publisher = server.publisher();
    for number in 0..75 {
        publisher.video(number * 40, &picture(number));
    }
    let client = RtcClient::play(server.web, "/live/cam/whep", Way::V4);
    for number in 75..100 {
        publisher.video(number * 40, &picture(number));
    }
    wait_for("pictures", TIMEOUT, || (client.pictures().len() >= 45).then_some(()));
    let numbers = numbers(&client.pictures());
    assert_eq!(numbers, (50..50 + numbers.len() as u32).collect::<Vec<_>>());
}

fn a_publisher_reaches_players_by_rtmp<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    for way in server.ways() {
        let client = RtcClient::publish(server.web, "/live/cam/whip", way);
        client.wait_connected();
        let mut player = ScriptedClient::player(server.inner.address, "cam");
        let start: &[u8] = &[0, 0, 0, 1];
        let parameters = [start, SEQUENCE_PARAMETERS, start, PICTURE_PARAMETERS].concat();
        for number in 0..60_u32 {
            let before = if number.is_multiple_of(50) { &parameters[..] } else { &[] };
            let time = Duration::from_millis(40 * u64::from(number));
            client.send_picture([before, start, &unit(number)].concat(), time);
            client.send_sound(packet(number), time);
        }
        let mut got = Vec::new();
        while got.len() < 58 {
            let message = player.message();
            if message.type_id == 9 && message.payload.get(1) == Some(&1) {
                got.push(message.payload.to_vec());
            } else if message.type_id == 9 {
                assert_eq!(message.payload.to_vec(), video_header());
            }
            assert_ne!(message.type_id, 8, "it has not announced Opus");
        }
        for (number, body) in (0..).zip(&got) {
            assert_eq!(body[5..], picture(number)[5..], "picture {number}");
        }
        drop(client);
        wait_for("end of the publication", TIMEOUT, || server.handle().rtc_sessions().is_empty().then_some(()));
    }
}

fn a_publisher_reaches_players_by_webrtc<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    let publisher = RtcClient::publish(server.web, "/live/cam/whip", Way::V4);
    publisher.wait_connected();
    let start: &[u8] = &[0, 0, 0, 1];
    let parameters = [start, SEQUENCE_PARAMETERS, start, PICTURE_PARAMETERS].concat();
    let send = |number: u32| {
        let before = if number.is_multiple_of(50) { &parameters[..] } else { &[] };
        let time = Duration::from_millis(40 * u64::from(number));
        publisher.send_picture([before, start, &unit(number)].concat(), time);
        publisher.send_sound(packet(number), time);
    };
    send(0);
    let player = RtcClient::play(server.web, "/live/cam/whep", Way::V6);
    player.wait_connected();
    for number in 1..60 {
        send(number);
    }
    wait_for("pictures", TIMEOUT, || (player.pictures().len() >= 58).then_some(()));
    let numbers = numbers(&player.pictures());
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    wait_for("sound", TIMEOUT, || (player.sounds().len() >= 50).then_some(()));
    assert!(publisher.keys_wanted() > 0, "the server asks for a key frame at the beginning");
}

fn the_sound_of_an_rtmp_publisher_in_aac_is_opus_for_players<S: Serve + Send + 'static>() {
    // A second of AAC-LC in 48 kHz, made by FFmpeg: see the README beside it.
    let mut recording = &include_bytes!("../../core/rtc/src/sound/fixtures/lc-48000-stereo.aac")[..];
    let server = Server::start::<S>();
    let mut publisher = ScriptedClient::publisher(server.inner.address, "cam");
    publisher.video(0, &video_header());
    publisher.audio(0, &[0xAF, 0, 0x11, 0x90]);
    publisher.video(0, &picture(0));
    let client = RtcClient::play(server.web, "/live/cam/whep", Way::V4);
    client.wait_connected();
    server.wait_sessions(1);
    let mut number = 0;
    while let &[0xFF, _, _, third, fourth, fifth, ..] = recording {
        let length = usize::from(third & 3) << 11 | usize::from(fourth) << 3 | usize::from(fifth >> 5);
        publisher.audio(number * 1024 / 48, &[&[0xAF, 1], &recording[7..length]].concat());
        (recording, number) = (&recording[length..], number + 1);
    }
    assert!(number > 45, "{number} frames");
    wait_for("sound", TIMEOUT, || (client.sounds().len() >= 45).then_some(()));
    let sounds = client.sounds();
    let ticks: Vec<_> = sounds.windows(2).map(|two| two[1].time.numer() - two[0].time.numer()).collect();
    assert!(ticks.iter().all(|ticks| *ticks == 960), "{ticks:?}");
    let bytes: usize = sounds.iter().map(|sound| sound.data.len()).sum();
    assert!(bytes > 45 * 100, "silence takes three bytes a packet, and this is a tone: {bytes} bytes");
    wait_for("statistics", TIMEOUT, || (server.handle().rtc_stats().desk.sounds == 1).then_some(()));
    drop(client);
    wait_for("end of the work", TIMEOUT, || (server.handle().rtc_stats().desk.sounds == 0).then_some(()));
}

fn a_session_ends_by_its_client_by_a_kick_and_with_the_server<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    let mut publisher = server.publisher();
    publisher.video(0, &picture(0));
    let closed = |reason: &str| {
        wait_for("end of the connection", TIMEOUT, || {
            let closes = server.handle().closes();
            closes.iter().any(|closed| closed.reason == reason).then_some(())
        });
    };

    let client = RtcClient::play(server.web, "/live/cam/whep", Way::V4);
    client.wait_connected();
    // A client that has said so needs no further word.
    assert_eq!(client.delete().status, 200);
    closed("peer_closed");

    let client = RtcClient::play(server.web, "/live/cam/whep", Way::V4);
    client.wait_connected();
    server.wait_sessions(1);
    let kicked = server.handle().rtc_sessions()[0].connection;
    assert!(server.handle().close(kicked, "a test"));
    client.wait_over();
    closed("closed");

    let clients = [Way::V4, Way::Tcp(server.tcp)].map(|way| RtcClient::play(server.web, "/live/cam/whep", way));
    clients.iter().for_each(RtcClient::wait_connected);
    let Server { inner, .. } = server;
    inner.stop();
    clients.iter().for_each(RtcClient::wait_over);
}

fn without_sockets_the_answer_says_how_to_turn_it_on<S: Serve + Send + 'static>() {
    let free: Listen = "127.0.0.1:0".parse().expect("an address");
    let server = S::builder().listen(free).listen_as(free, Entrance::web(Carrier::Plain)).build().expect("it is built");
    let web = server.web_addresses()[0];
    let _inner = Embedded::run(server);
    let answer = ask(web, "POST", "/live/cam/whep", "Content-Type: application/sdp\r\n", "v=0\r\n");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("rtc.listen"), "{answer:?}");
}

fn nothing_is_left_of_a_server_that_has_stopped<S: Serve + Send + 'static>() {
    let server = Server::start::<S>();
    let mut publisher = server.publisher();
    publisher.video(0, &picture(0));
    let client = RtcClient::play(server.web, "/live/cam/whep", Way::V4);
    client.wait_connected();
    let (udp, tcp) = (server.handle().rtc_addresses().udp[0], server.tcp);
    let Server { inner, .. } = server;
    inner.stop();
    // Nothing holds the ports: the sockets are closed, and so is what waited for them.
    UdpSocket::bind(udp).expect("the port is free");
    std::net::TcpListener::bind(tcp).expect("the port is free");
    client.wait_over();
}
