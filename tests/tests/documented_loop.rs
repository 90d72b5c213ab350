//! The loop that README, the page of core and `core/examples/blocking.rs` show is the same in all three, and it keeps
//! what they promise: players get frames although they send nothing, deadlines hold, and a connection takes no more
//! memory than the budget says. What runs here is the source of the example.

#[path = "../../core/examples/blocking.rs"]
#[allow(dead_code, unreachable_pub)] // its `main` is not used
mod blocking;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_core::chunk::write_message;
use anabranch_core::conn::{Asks, Budget, Config, Core, Output, Report, Scope, VhostConfig};
use anabranch_core::message::{Control, Message, MessageType, UserControl};
use anabranch_core::session::{CloseReason, TimeoutKind, Wait};
use anabranch_tests::peer::{Driver, opening};
use anabranch_tests::{TIMEOUT, wait_for};
use bytes::Buf;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

const EXAMPLE: &str = include_str!("../../core/examples/blocking.rs");
const CRATE_PAGE: &str = include_str!("../../core/src/lib.rs");
const README: &str = include_str!("../../README.md");

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time that runs the loop: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole program: what the example has after its first lines, which turn off lints of core.
fn program() -> &'static str {
    let start = EXAMPLE.find("\nuse ").expect("it uses something") + 1;
    EXAMPLE[start..].trim_end()
}

#[test]
fn the_documentation_shows_the_program_of_the_example() {
    let page: Vec<_> = CRATE_PAGE.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let page = page.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    for (place, text) in [("core/src/lib.rs", page.as_str()), ("README.md", README)] {
        let shown = text.split("```").find(|block| block.contains("fn serve("));
        let shown = shown.unwrap_or_else(|| panic!("{place} shows no loop"));
        let (language, shown) = shown.split_once('\n').expect("a block has lines");
        assert!(!language.contains("ignore"), "{place}: it compiles as printed");
        assert_eq!(shown.trim_end(), program(), "{place}");
    }
}

#[test]
fn the_loop_has_thirty_lines() {
    let start = EXAMPLE.find("\npub fn serve(").expect("the loop") + 1;
    let length = EXAMPLE[start..].find("\n}").expect("a function ends") + 2;
    assert_eq!(EXAMPLE[start..start + length].lines().count(), 30);
}

/// Accepts one connection after the other and serves each with the loop, as the example's `main` does.
struct Server {
    core: Core,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    fn new(config: impl Into<Config>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one");
        Server { core: Core::new(config.into(), [7; 32]), listener, address }
    }

    /// A client's socket, and the thread that serves it.
    fn client(&self) -> (TcpStream, JoinHandle<Report>) {
        let socket = TcpStream::connect(self.address).expect("it listens");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a socket option");
        (socket, self.accept().1)
    }

    /// Serves the connection that comes next. Also returns the server's end of it, for a look at what it has not read.
    fn accept(&self) -> (TcpStream, JoinHandle<Report>) {
        let (socket, _) = self.listener.accept().expect("a connection");
        let (core, end) = (self.core.clone(), socket.try_clone().expect("a file descriptor"));
        (end, thread::spawn(move || blocking::serve(socket, &core).expect("the connection was there")))
    }
}

#[test]
fn a_client_that_hangs_up_is_reported() {
    let _alone = alone();
    let (mut client, serving) = Server::new(Config::default()).client();
    client.write_all(&opening::c0_c1()).expect("it reads");
    client.read_exact(&mut [0; opening::ANSWER_LENGTH]).expect("its part of the handshake");
    drop(client);
    let report = serving.join().expect("it does not panic");
    assert_eq!(report.close.reason, CloseReason::PeerClosed);
    assert_eq!((report.received, report.sent), (1537, 3073));
}

#[test]
fn deadlines_hold_for_a_client_that_sends_without_a_pause() {
    let _alone = alone();
    let mut config = VhostConfig::default();
    config.session.timeouts.connect = Duration::from_millis(100);
    let (mut client, serving) = Server::new(config).client();
    client.write_all(&opening::hello()).expect("it reads");
    let mut acknowledgement = Vec::new();
    Control::Acknowledgement(0).write(128, &mut acknowledgement);
    let end = Instant::now() + TIMEOUT;
    while Instant::now() < end && client.write_all(&acknowledgement).is_ok() {}
    drop(client);
    let report = serving.join().expect("it does not panic");
    assert_eq!(report.close.reason, CloseReason::Timeout(TimeoutKind::Connect));
}

#[test]
fn players_get_each_frame_although_they_send_nothing() {
    let _alone = alone();
    let server = Server::new(Config::default());
    let mut players: Vec<_> = (0..3).map(|_| server.client()).collect();
    for (player, _) in &mut players {
        // All that it ever sends.
        player.write_all(&opening::player("cam")).expect("it reads");
    }
    let address = server.address;
    let connecting = thread::spawn(move || Driver::at(address, "rtmp://localhost/live/cam"));
    let (_, publishing) = server.accept();
    let mut publisher = connecting.join().expect("it connects");
    publisher.publish("cam").expect("the name is free");
    let mut received = vec![Vec::new(); players.len()];
    for number in 0..50u32 {
        let mark = format!("frame {number:06}");
        let body = [&[if number == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0][..], mark.as_bytes()].concat();
        publisher.send(Message::video(number * 40, body.as_slice()));
        // The next frame is sent only when all players have this one.
        for ((player, _), received) in players.iter_mut().zip(&mut received) {
            while !received.windows(mark.len()).any(|bytes| bytes == mark.as_bytes()) {
                let mut buffer = [0; 4096];
                let count = player.read(&mut buffer).unwrap_or_else(|error| panic!("{mark}: {error}"));
                assert!(count > 0, "{mark}: the server hung up");
                received.extend_from_slice(&buffer[..count]);
            }
            received.clear();
        }
    }
    publisher.drop_connection();
    publishing.join().expect("it does not panic");
    for (player, serving) in players {
        drop(player);
        let report = serving.join().expect("it does not panic");
        assert_eq!((report.missed.frames, report.unsent.frames), (0, 0), "{report}");
    }
}

/// The read buffer of the loop, and what a thread takes.
const ADAPTER: u64 = (16 << 10) + (2 << 10);
/// Connections at the same time.
const CLIENTS: u64 = 8;

/// Bytes allocated and not freed since the region began.
fn held(region: &Region<'_, System>) -> u64 {
    let stats = region.change();
    u64::try_from(stats.bytes_allocated as i64 - stats.bytes_deallocated as i64).unwrap_or(0)
}

/// The most that a connection holds that reads exactly as its `Wait` says, and what it holds at the end, when it reads
/// no more.
fn held_by_one(core: &Core, bytes: &[u8]) -> (u64, u64) {
    let region = Region::new(ALLOCATOR);
    let now = Instant::now();
    let mut conn = core.connect_from(now, ([127, 0, 0, 1], 5000).into());
    let (mut rest, mut most) = (bytes, 0);
    let mut wait = Wait::default();
    while let Some(read) = wait.read.filter(|_| !rest.is_empty()) {
        let piece;
        (piece, rest) = rest.split_at(rest.len().min(read.most).min(16 << 10));
        conn.handle_input(now, piece);
        most = most.max(held(&region));
        wait = loop {
            match conn.poll(now) {
                Output::Action(_) => {}
                Output::Wait(wait) if wait.write => {
                    let outbound = conn.outbound();
                    outbound.advance(outbound.remaining());
                }
                Output::Wait(wait) => break wait,
                Output::Closed(report) => panic!("{report}"),
            }
        };
        most = most.max(held(&region));
    }
    assert!(wait.read.is_none(), "there is more than it reads");
    (most, held(&region))
}

/// A request that waits for its verdict, with much behind it: what came with the request is kept, so the size of a read
/// is what the connection holds.
#[test]
fn the_loop_takes_no_more_memory_than_the_budget_says() {
    let _alone = alone();
    let time = Duration::from_secs(6);
    let asks = Asks { connect: true, timeout: time, ..Asks::default() };
    let config = Config::from(VhostConfig { asks, ..VhostConfig::default() });
    let budget = Budget::new(&config, &config.defaults);
    let budget = budget.total(Scope::BeforeConnect) + budget.total(Scope::Asked);
    let mut pings = Vec::new();
    Control::User(UserControl::PingRequest(1)).write(128, &mut pings);
    let opening = [opening::hello(), opening::connect("a client")].concat();
    let bytes = [opening.as_slice(), &pings.repeat(2000)].concat();
    let server = Server::new(config);
    let (most, end) = held_by_one(&server.core, &bytes);
    assert!(most <= budget, "{most} bytes of {budget}");

    let region = Region::new(ALLOCATOR);
    let mut served = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(server.address).expect("it listens");
        // All of it is there before the first read, so that each read brings as much as it asks for.
        client.write_all(&bytes).expect("the sockets take it");
        served.push((client, server.accept()));
    }
    let unread = |end: &TcpStream| end.peek(&mut [0; 1 << 16]).expect("its peer is there");
    let read = |unread: usize| bytes.len().saturating_sub(unread) > opening.len();
    wait_for("requests that wait", time / 2, || {
        let asked = served.iter().all(|(_, (end, _))| read(unread(end)));
        (asked && held(&region) >= CLIENTS * (end + (16 << 10))).then_some(())
    });
    let present = held(&region);
    println!("{} bytes a connection, {end} to {most} without the loop", present / CLIENTS);
    assert!(present <= CLIENTS * (most + ADAPTER), "the loop reads more than `Wait` says");
    assert!(present <= CLIENTS * (budget + ADAPTER), "the budget does not hold");
    // A read of what is wanted, and no byte more, was the last one.
    for (_, (end, _)) in &served {
        let taken = bytes.len() - unread(end);
        assert!(taken <= opening.len() + (2 << 10), "{taken} bytes were read for a request of {}", opening.len());
    }
    for (client, (_, serving)) in served {
        drop(client);
        serving.join().expect("it does not panic");
    }
}

/// Half received messages, the largest that a connection before `connect` may have.
#[test]
fn the_loop_holds_half_received_messages_within_the_budget() {
    let _alone = alone();
    let mut settings = VhostConfig::default();
    settings.session.timeouts.connect = Duration::from_secs(5);
    let config = Config::from(settings);
    let budget = Budget::new(&config, &config.defaults).total(Scope::BeforeConnect);
    let server = Server::new(config);
    let mut message = Vec::new();
    write_message(&mut message, 1 << 20, 3, 0, MessageType::COMMAND_AMF0, 0, &[7; 36 << 10]);
    let mut chunk_size = Vec::new();
    Control::SetChunkSize(1 << 20).write(128, &mut chunk_size);
    let last = message.len() - 1;
    let bytes = [opening::hello(), chunk_size, message[..last].to_vec()].concat();
    let region = Region::new(ALLOCATOR);
    let mut served = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(server.address).expect("it listens");
        client.write_all(&bytes).expect("the sockets take it");
        served.push((client, server.accept().1));
    }
    let mut most = 0;
    wait_for("half received messages", TIMEOUT, || {
        most = most.max(held(&region));
        (most >= CLIENTS * ((36 << 10) + (16 << 10))).then_some(())
    });
    for (_, serving) in served {
        while !serving.is_finished() {
            most = most.max(held(&region));
            thread::yield_now();
        }
        let report = serving.join().expect("it does not panic");
        assert_eq!(report.close.reason, CloseReason::Timeout(TimeoutKind::Connect), "{report}");
    }
    assert!(most <= CLIENTS * (budget + ADAPTER), "{} bytes a connection of {budget}", most / CLIENTS);
}

/// A program that is built like an example needs one crate: each example uses the paths of its own one only.
#[test]
fn examples_use_the_paths_of_one_crate() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for (folder, own) in [("core/examples", "anabranch_core"), ("runtime-smol/examples", "anabranch_smol")] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("it has examples") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("it is text");
                for (at, _) in text.match_indices("anabranch_") {
                    let used: String =
                        text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                    assert_eq!(used, own, "{}", path.display());
                }
                for other in ["\nuse bytes::", "\nuse rustls::"] {
                    assert!(!text.contains(other), "{} uses another crate: {other}", path.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen >= 7, "only {seen} files were found");
}
