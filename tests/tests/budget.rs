//! What a server holds at the worst stays below what its budget says, and what it does for a byte is bounded: counted
//! where memory is allocated.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{Asks, Budget, Config, Conn, Core, Output, Scope, VhostConfig};
use anabranch_core::message::{Control, Message, MessageType, UserControl};
use anabranch_core::session::{CloseReason, SessionLimits, TimeoutKind, Wait};
use bytes::Buf;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One measurement at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes allocated and not freed since the region began.
fn held(region: &Region<'_, System>) -> u64 {
    let stats = region.change();
    u64::try_from(stats.bytes_allocated as i64 - stats.bytes_deallocated as i64).unwrap_or(0)
}

/// A peer that reads nothing of what it is sent.
struct Peer {
    conn: Box<Conn>,
    /// The most that was held after any call.
    most: u64,
    wait: Wait,
    closed: Option<CloseReason>,
}

impl Peer {
    fn new(server: &Core, now: Instant) -> Self {
        let wait = Wait::default();
        Peer { conn: Box::new(server.connect(now)), most: 0, wait, closed: None }
    }

    /// Sends it in as large pieces as an adapter reads, as long as the server reads at all.
    fn send(&mut self, now: Instant, region: &Region<'_, System>, mut bytes: &[u8]) -> usize {
        let mut sent = 0;
        while !bytes.is_empty()
            && let Some(read) = self.wait.read
            && self.closed.is_none()
        {
            let piece;
            (piece, bytes) = bytes.split_at(bytes.len().min(read.most).min(64 << 10));
            self.conn.handle_input(now, piece);
            sent += piece.len();
            self.most = self.most.max(held(region));
            self.poll(now);
            self.most = self.most.max(held(region));
        }
        sent
    }

    fn poll(&mut self, now: Instant) {
        loop {
            match self.conn.poll(now) {
                Output::Action(_) => {}
                Output::Wait(wait) => return self.wait = wait,
                Output::Closed(report) => return self.closed = Some(report.close.reason),
            }
        }
    }

    fn take(&mut self, now: Instant) {
        let waiting = self.conn.outbound().remaining();
        self.conn.outbound().advance(waiting);
        self.poll(now);
    }
}

fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

fn control(control: &Control) -> Vec<u8> {
    let mut out = Vec::new();
    control.write(128, &mut out);
    out
}

fn message(chunk_stream: u8, type_id: u8, message_stream_id: u32, chunk_size: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, chunk_size, chunk_stream, 0, type_id, message_stream_id, body);
    out
}

fn connect() -> Vec<u8> {
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://host/live");
    message(3, 20, 0, 128, &Command::new("connect", 1.0, Value::Object(app)).encode())
}

fn command(name: &str, message_stream_id: u32, arguments: &[Value]) -> Vec<u8> {
    let mut command = Command::new(name, 2.0, Value::Null);
    command.arguments = arguments.to_vec();
    message(3, 20, message_stream_id, 128, &command.encode())
}

/// The beginning of a message that is announced as `length` bytes long: two chunks of `chunk_size`.
fn begun(chunk_stream: u8, length: u32, chunk_size: usize) -> [Vec<u8>; 2] {
    let mut first = vec![chunk_stream, 0, 0, 0];
    first.extend_from_slice(&length.to_be_bytes()[1..]);
    first.extend_from_slice(&[MessageType::VIDEO, 1, 0, 0, 0]);
    first.resize(first.len() + chunk_size, 7);
    let mut second = vec![0xc0 | chunk_stream];
    second.resize(1 + chunk_size, 7);
    [first, second]
}

/// Pings until the server has enough of them.
fn pings(count: usize) -> Vec<u8> {
    control(&Control::User(UserControl::PingRequest(1))).repeat(count)
}

#[test]
fn a_connection_before_connect_holds_at_most_its_budget_for_ten_seconds() {
    let _alone = alone();
    let config = Config::default();
    let budget = Budget::new(&config, &config.defaults).total(Scope::BeforeConnect);
    assert!(budget <= 64 << 10);
    let longest = SessionLimits::LONGEST_CONNECT;
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    // Half received messages on all chunk streams but the one for control messages, as long as may be; few and many.
    for streams in [1u8, 2, 3, 7] {
        // Room for one ping more.
        let chunk_size = (longest as usize - 16) / usize::from(streams) / 2;
        let mut bytes = handshake();
        bytes.extend(control(&Control::SetChunkSize(chunk_size as u32)));
        // In two turns, so that buffers have to grow.
        for turn in 0..2 {
            bytes.extend((0..streams).flat_map(|stream| begun(3 + stream, longest, chunk_size)[turn].clone()));
        }
        for bytes in [bytes.clone(), [bytes.clone(), pings(5000)].concat()] {
            // Cut so that C1 has to be kept, and buffers grow byte by byte.
            for cut in [1, 700, 1538, usize::MAX] {
                let region = Region::new(ALLOCATOR);
                let mut peer = Peer::new(&server, now);
                for piece in bytes.chunks(cut) {
                    peer.send(now, &region, piece);
                }
                assert!(peer.closed.is_none(), "{:?}", peer.closed);
                assert!(peer.most <= budget, "{} bytes of {budget} with {streams} streams, cut {cut}", peer.most);
                if streams == 7 && peer.wait.read.is_none() {
                    assert!(peer.most > budget / 3 * 2, "only {} bytes: this is not the worst", peer.most);
                }
                // It sends nothing more.
                let mut then = now;
                assert!(peer.wait.deadline().is_some_and(|deadline| deadline <= now + Duration::from_secs(10)));
                while peer.closed.is_none() {
                    then = peer.wait.deadline().expect("a closing connection has a deadline");
                    peer.conn.handle_timeout(then);
                    peer.poll(then);
                }
                assert_eq!(peer.closed, Some(CloseReason::Timeout(TimeoutKind::Connect)));
                assert!(then <= now + Duration::from_secs(13), "it had some seconds for the last bytes");
            }
        }
    }
}

#[test]
fn a_connection_before_connect_behind_a_proxy_holds_at_most_its_budget() {
    let _alone = alone();
    let config = Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Config::default() };
    let budget = Budget::new(&config, &config.defaults).total(Scope::BeforeConnect);
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    let region = Region::new(ALLOCATOR);
    let mut peer = Peer::new(&server, now);
    *peer.conn = server.connect_from(now, "127.0.0.1:5".parse().unwrap());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\x00".to_vec();
    header.resize(4100, 0);
    peer.send(now, &region, &header);
    assert!(peer.most > 4100 && peer.most <= budget, "{} of {budget}", peer.most);
}

#[test]
fn a_request_that_waits_for_a_verdict_holds_no_more_than_its_budget() {
    let _alone = alone();
    let asks = Asks { connect: true, ..Asks::default() };
    let config = Config::from(VhostConfig { asks, ..VhostConfig::default() });
    let budget = Budget::new(&config, &config.defaults);
    let budget = budget.total(Scope::BeforeConnect) + budget.total(Scope::Asked);
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    let request = |tc_url: &str, arguments: Vec<Value>| {
        let app = Object::default().with("app", "live").with("tcUrl", tc_url);
        let mut command = Command::new("connect", 1.0, Value::Object(app));
        command.arguments = arguments;
        message(3, 20, 0, 128, &command.encode())
    };
    let long =
        format!("rtmp://host/live?{}", "k=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv&".repeat(60))
            + &"v".repeat(4000);
    let thrice = {
        let url = format!("rtmp://host/live?jwt={}", "x".repeat(8000));
        let object = [("app", &url["rtmp://host/".len()..]), ("tcUrl", &url), ("swfUrl", &url), ("pageUrl", &url)];
        let object = object.iter().fold(Object::default(), |object, (name, value)| object.with(*name, *value));
        message(3, 20, 0, 128, &Command::new("connect", 1.0, Value::Object(object)).encode())
    };
    let requests = [
        thrice,
        request("rtmp://host/live", vec![Value::Null; 120]),
        request("rtmp://host/live", vec![Value::Object(Object::default().with("a", 1.0)); 50]),
        request(&long, Vec::new()),
    ];
    for request in requests {
        let region = Region::new(ALLOCATOR);
        let mut peer = Peer::new(&server, now);
        peer.send(now, &region, &[handshake(), request, pings(1000)].concat());
        assert!(peer.closed.is_none() && peer.wait.read.is_none(), "{:?}", peer.closed);
        println!("{} of {budget} bytes", peer.most);
        assert!(peer.most <= budget, "{} bytes of {budget}", peer.most);
        // Who is asked has so long.
        assert!(peer.wait.deadline().is_some_and(|deadline| deadline <= now + Duration::from_secs(10)));
    }
}

#[test]
fn a_connection_holds_no_more_than_its_budget() {
    let _alone = alone();
    let config = Config::default();
    let budget = Budget::new(&config, &config.defaults).total(Scope::Connection);
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    let region = Region::new(ALLOCATOR);
    let mut peer = Peer::new(&server, now);
    peer.send(now, &region, &[handshake(), connect()].concat());
    peer.take(now);
    peer.send(now, &region, &control(&Control::SetChunkSize(200_000)));
    // As much as may be half received, on nearly as many chunk streams as there may be.
    for turn in 0..2 {
        for stream in 0..60u8 {
            peer.send(now, &region, &begun(4 + stream, 0x60_0000, 200_000)[turn]);
        }
    }
    assert!(peer.most > 24_000_000, "{} bytes", peer.most);
    peer.send(now, &region, &[command("createStream", 0, &[]).repeat(20), pings(6000)].concat());
    assert!(peer.wait.read.is_none() && peer.closed.is_none());
    assert!(peer.most <= budget, "{} bytes of {budget}", peer.most);
}

fn key_frame(length: usize) -> Vec<u8> {
    let mut body = vec![0x17, 1, 0, 0, 0];
    body.resize(length, 7);
    body
}

/// A sequence header of one track, by multitrack.
fn one_track(track: u8, number: u8) -> Vec<u8> {
    [b"\x96\x00avc1".as_slice(), &[track, 1, 66, 0, number, 0xff]].concat()
}

fn small_streams() -> VhostConfig {
    let mut settings = VhostConfig::default();
    settings.source.bytes = 1 << 20;
    settings.source.frames = 2000;
    settings.source.header_bytes = 64 << 10;
    settings.session.limits.chunks.message = 256 << 10;
    settings.session.limits.chunks.partial = 256 << 10;
    settings.session.limits.command = 16 << 10;
    settings
}

#[test]
fn a_stream_holds_no_more_than_its_budget_whatever_its_frames_are() {
    let _alone = alone();
    let config = Config::from(small_streams());
    let budget = Budget::new(&config, &config.defaults).total(Scope::Stream);
    let sequence_header = |number: u32| [&[0x17, 0, 0, 0, 0][..], &number.to_be_bytes()].concat();
    let frames: [(&str, &dyn Fn(u32) -> Message); 7] = [
        ("tiny frames", &|n| Message::video(n, [0x27, 1, 0, 0, 0, 1].as_slice())),
        ("tiny key frames", &|n| Message::video(n, [0x17, 1, 0, 0, 0, 1].as_slice())),
        ("large frames", &|n| Message::video(n, key_frame(200 << 10))),
        ("another header before each key frame", &|n| match n % 2 {
            0 => Message::video(n, sequence_header(n)),
            _ => Message::video(n, [0x17, 1, 0, 0, 0, 1].as_slice()),
        }),
        ("one of many headers changes before each key frame", &|n| match n % 2 {
            0 => Message::video(n, one_track((n / 2 % 16) as u8, 5).as_slice()),
            _ => Message::video(n, [0x17, 1, 0, 0, 0, 1].as_slice()),
        }),
        ("multitrack pictures, with their plain forms", &|n| {
            Message::video(n, [b"\x96\x01avc1".as_slice(), &[0, 0, 0, 0], &n.to_be_bytes()].concat().as_slice())
        }),
        ("large metadata before each key frame", &|n| match n % 2 {
            0 => Message::data(
                n,
                [b"\x02\x00\x0aonMetaData\x0c\x00\x00\x75\x30".as_slice(), &[n as u8; 30_000]].concat(),
            ),
            _ => Message::video(n, [0x17, 1, 0, 0, 0, 1].as_slice()),
        }),
    ];
    for (name, frame) in frames {
        let region = Region::new(ALLOCATOR);
        let server = Core::new(config.clone(), [7; 32]);
        let now = Instant::now();
        let before = held(&region);
        let mut publisher = server.publish("live/cam").unwrap();
        // As long as it has a player, what lies before the newest key frame is kept.
        let _player = server.play("live/cam").unwrap();
        let mut most = 0;
        for number in 0..6000 {
            publisher.push(now, frame(number)).unwrap();
            most = most.max(held(&region) - before);
        }
        println!("{name}: {most} of {budget} bytes");
        assert!(most <= budget, "{name}: {most} bytes of {budget}");
        // The memory counted for all streams is what is allocated: not less, and not much more.
        let (counted, allocated) = (server.hub().memory().held as u64, held(&region) - before);
        println!("{name}: {counted} counted, {allocated} allocated");
        let state = 8 << 10;
        assert!(counted + state >= allocated, "{name}: {counted} bytes counted and {allocated} allocated");
        assert!(counted <= 2 * allocated + (64 << 10), "{name}: {counted} bytes counted and {allocated} allocated");
    }
}

#[test]
fn a_player_that_takes_nothing_pins_no_more_than_its_budget() {
    let _alone = alone();
    let config = Config::from(small_streams());
    let budget = Budget::new(&config, &config.defaults).total(Scope::Player);
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    let mut publisher = server.publish("live/cam").unwrap();
    let mut push = |count: u32| {
        for number in 0..count {
            let mut body = key_frame(5000);
            body[0] = if number % 100 == 0 { 0x17 } else { 0x27 };
            publisher.push(now, Message::video(number, body)).unwrap();
        }
    };
    push(1000);
    let region = Region::new(ALLOCATOR);
    let mut players = Vec::new();
    for _ in 0..10 {
        let mut peer = Peer::new(&server, now);
        peer.send(now, &region, &[handshake(), connect()].concat());
        peer.take(now);
        peer.send(now, &region, &[command("createStream", 0, &[]), command("play", 1, &["cam".into()])].concat());
        // The log goes on without it.
        push(550);
        peer.poll(now);
        players.push(peer);
    }
    push(1000);
    let each = held(&region) / 10;
    assert!(each > 64 << 10, "they pin {each} bytes each: they should hold a full queue");
    assert!(each <= budget, "{each} bytes of {budget}");
}

#[test]
fn players_of_huge_frames_that_take_nothing_pin_no_more_than_all_connections_may() {
    const PLAYERS: u64 = 48;
    const FRAME: usize = 2 << 20;
    let _alone = alone();
    let mut config = Config::from(VhostConfig::default());
    config.defaults.source.bytes = FRAME;
    config.memory = 64 << 20;
    let budget = Budget::new(&config, &config.defaults);
    let server = Core::new(config, [7; 32]);
    let now = Instant::now();
    let mut publisher = server.publish("live/cam").unwrap();
    publisher.push(now, Message::video(0, key_frame(FRAME))).unwrap();
    let region = Region::new(ALLOCATOR);
    let mut players = Vec::new();
    let mut most = 0;
    for number in 1..=PLAYERS {
        let mut peer = Peer::new(&server, now);
        peer.send(now, &region, &[handshake(), connect()].concat());
        peer.take(now);
        peer.send(now, &region, &[command("createStream", 0, &[]), command("play", 1, &["cam".into()])].concat());
        // One byte of the frame less keeps no less of it.
        let waits = peer.conn.outbound().remaining();
        assert!(waits > FRAME, "{waits} bytes wait for player {number}");
        peer.conn.outbound().advance(if number % 2 == 0 { waits - 1 } else { 0 });
        players.push(peer);
        // The stream has it no more.
        publisher.push(now, Message::video(number as u32, key_frame(FRAME))).unwrap();
        players.iter_mut().filter(|peer| peer.closed.is_none()).for_each(|peer| peer.poll(now));
        most = most.max(held(&region));
    }
    let closed = players.iter().filter(|peer| peer.closed == Some(CloseReason::MemoryShort)).count();
    let kept = players.iter().filter(|peer| peer.closed.is_none()).count();
    assert_eq!(closed + kept, PLAYERS as usize);
    assert!(kept >= 4, "memory is there for some of them");
    let bound = budget.all_kept() + PLAYERS * (256 << 10);
    assert!(most <= bound, "{most} bytes of {bound}");
    // Those that share a frame with the stream take nothing, however many they are.
    drop(players);
    let mut players: Vec<Peer> = (0..PLAYERS)
        .map(|_| {
            let mut peer = Peer::new(&server, now);
            peer.send(now, &region, &[handshake(), connect()].concat());
            peer.take(now);
            peer.send(now, &region, &[command("createStream", 0, &[]), command("play", 1, &["cam".into()])].concat());
            peer
        })
        .collect();
    players.iter_mut().for_each(|peer| peer.poll(now));
    assert!(players.iter().all(|peer| peer.closed.is_none()), "they hold what the stream has");
}

/// Input of some kind, so many times its smallest.
type Family<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// Allocations and bytes allocated by all that a connection did.
fn work(bytes: &[u8]) -> (f64, f64) {
    let server = Core::new(Config::default(), [7; 32]);
    let now = Instant::now();
    let mut peer = Peer::new(&server, now);
    let idle = Region::new(ALLOCATOR);
    let publish = [command("createStream", 0, &[]), command("publish", 1, &["cam".into(), "live".into()])].concat();
    peer.send(now, &idle, &[handshake(), connect(), publish].concat());
    peer.take(now);
    let region = Region::new(ALLOCATOR);
    let mut rest = bytes;
    while !rest.is_empty() && peer.closed.is_none() {
        let sent = peer.send(now, &idle, rest);
        rest = &rest[sent..];
        peer.take(now);
    }
    let stats = region.change();
    ((stats.allocations + stats.reallocations) as f64, stats.bytes_allocated as f64)
}

#[test]
fn work_grows_with_the_bytes_and_no_faster() {
    let _alone = alone();
    let chunks_of_one = |n: usize| {
        let body = vec![0x27; 2000 * n];
        [control(&Control::SetChunkSize(1)), message(6, MessageType::VIDEO, 1, 1, &body)].concat()
    };
    let nulls =
        |n: usize| message(3, 20, 0, 128, &[b"\x02\0\x01x\0\0\0\0\0\0\0\0\0".as_slice(), &vec![5; 900 * n]].concat());
    let nested = |n: usize| {
        let object = [b"\x02\0\x01x\0\0\0\0\0\0\0\0\0".as_slice(), &[3, 0, 1, b'a'].repeat(30)].concat();
        message(3, 20, 0, 128, &object).repeat(20 * n)
    };
    let properties = |n: usize| {
        let mut body = b"\x02\0\x01x\0\0\0\0\0\0\0\0\0\x03".to_vec();
        for number in 0..900 * n as u32 {
            body.extend([&[0, 4][..], &number.to_be_bytes(), &[5]].concat());
        }
        body.extend([0, 0, 9]);
        message(3, 20, 0, 128, &body)
    };
    let aggregates = |n: usize| {
        // Parts without a body.
        let part = [[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(), &11u32.to_be_bytes()].concat();
        message(6, MessageType::AGGREGATE, 1, 128, &part.repeat(200)).repeat(5 * n)
    };
    let empty = |n: usize| message(6, MessageType::VIDEO, 1, 128, &[]).repeat(500 * n);
    let answered = |n: usize| pings(500 * n);
    let windows = |n: usize| [control(&Control::WindowAckSize(1)), vec![0x42; 0], empty(4 * n)].concat();
    let families: [(&str, Family<'_>); 8] = [
        ("chunks of one byte", &chunks_of_one),
        ("a command of many nulls", &nulls),
        ("nested objects", &nested),
        ("an object of many properties", &properties),
        ("aggregates of empty parts", &aggregates),
        ("empty messages", &empty),
        ("pings", &answered),
        ("acknowledgements at every chance", &windows),
    ];
    for (name, make) in families {
        let sizes = [1, 2, 4].map(make);
        let done = sizes.clone().map(|bytes| work(&bytes));
        let per_byte = sizes
            .iter()
            .zip(&done)
            .map(|(bytes, (calls, allocated))| (calls / bytes.len() as f64, allocated / bytes.len() as f64));
        for (calls, allocated) in per_byte {
            println!("{name}: {calls:.3} allocations and {allocated:.1} bytes allocated a byte");
            assert!(calls <= 0.5, "{name}: {calls} allocations a byte");
            assert!(allocated <= 100.0, "{name}: {allocated} bytes allocated a byte");
        }
        let growth = done[2].1 / done[0].1;
        // Four times the input; what is there anyway makes it less, doubling buffers a little more.
        assert!(growth <= 6.0, "{name}: four times the input allocates {growth:.1} times as much");
    }
}
