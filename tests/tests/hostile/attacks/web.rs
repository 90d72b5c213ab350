//! Clients by HTTP and WebSocket.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anabranch_tests::peer::{End, UPGRADE, WebPlayer, Wire};

use super::Attackers::{FewerThreads, Of};
use super::slow::publish_while;
use super::{Case, LONG, Memory, assert_hangs_up, trickle};

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "web_connections_that_say_nothing",
        "SessionTimeouts::connect 10 s",
        FewerThreads(300, 2000, 1000),
        Memory::MoreOnThreads(4, 16, 64),
        &["connect_timeout"],
        |arena| {
            let mut wires = arena.crowd(|_, _| Wire::dial(arena.web()));
            wires.iter_mut().for_each(assert_hangs_up);
        },
    )
    .with_web()
    .lasting(10.0),
    Case::new(
        "a_web_request_byte_by_byte",
        "SessionTimeouts::connect 10 s",
        Of(20, 100),
        Memory::MoreOnThreads(4, 24, 72),
        &["connect_timeout"],
        |arena| {
            arena.each(|_, number| {
                let mut wire = Wire::dial(arena.web());
                let head = match number % 3 {
                    0 => "",
                    1 => "GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nCookie: ",
                    _ => "POST /api/v1/clients HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\n",
                };
                wire.write(head.as_bytes());
                let rest = b"GET /".iter().copied().chain([b'a'; 5000]);
                trickle(&mut wire, rest, Duration::from_millis(100));
            });
        },
    )
    .with_web()
    .lasting(10.0),
    Case::new(
        "long_web_requests_and_thousands_of_fields",
        "http::Limits::head 8 KiB, 64 fields, body 32 KiB",
        Of(20, 100),
        Memory::MoreOnThreads(4, 64, 128),
        &["http_error"],
        |arena| {
            let long = "x".repeat(1 << 20);
            let requests = [
                format!("GET /{long} HTTP/1.1\r\n"),
                format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {long}"),
                format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(1000)),
                format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(30_000)),
                format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n{long}"),
                format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n{long}"),
                format!("{long}{long}"),
            ];
            arena.each(|_, _| {
                for request in &requests {
                    let mut wire = Wire::dial(arena.web());
                    wire.write_until_blocked(request.as_bytes(), LONG);
                    assert_hangs_up(&mut wire);
                }
            });
        },
    )
    .with_web(),
    Case::new(
        "web_requests_that_can_be_read_in_two_ways",
        "RequestReader: one reading or none",
        Of(4, 20),
        Memory::MoreOnThreads(4, 256, 320),
        &["http_error"],
        |arena| arena.each(|_, _| smuggle(arena.web())),
    )
    .with_web(),
    Case::new(
        "web_requests_by_the_thousand_in_a_row",
        "one request at a time, however many have come",
        Of(4, 16),
        Memory::MoreOnThreads(8, 512, 576),
        &["served"],
        |arena| arena.each(|_, _| pipeline(arena.web(), 2000)),
    )
    .with_web(),
    Case::new(
        "web_requests_whose_answers_nobody_reads",
        "one request at a time, then SessionTimeouts::write 30 s",
        Of(10, 50),
        Memory::MoreOnThreads(4, 320, 384),
        &["write_timeout"],
        |arena| {
            let requests = "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20_000);
            arena.each(|_, _| {
                let mut wire = Wire::dial_narrow(arena.web(), 4096);
                wire.write_until_closed(requests.as_bytes(), 3 * LONG);
            });
        },
    )
    .with_web()
    .lasting(30.0),
    Case::new(
        "idle_web_connections",
        "web.connections 10 000, three quarters of the open files at most; web.idle_timeout 60 s",
        FewerThreads(300, 10_000, 2000),
        Memory::MoreOnThreads(8, 16, 88),
        GONE,
        |arena| {
            let wires = arena.crowd(|_, _| {
                let mut player = WebPlayer::asking(arena.web(), "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
                assert_eq!(player.status(), 404);
                player.into_wire()
            });
            arena.wait_open(arena.attackers);
            arena.wait_frames(200);
            drop(wires);
        },
    )
    .with_web(),
    Case::new(
        "web_players_of_streams_that_do_not_exist",
        "web.wait 10 s",
        FewerThreads(300, 3000, 1000),
        Memory::MoreOnThreads(8, 40, 112),
        &["wait_for_stream_timeout"],
        |arena| {
            let wires = arena.crowd(|target, number| {
                let mut wire = Wire::dial(arena.web());
                let upgrade = if number % 2 == 0 { "" } else { UPGRADE };
                let name = target.named(&number.to_string());
                wire.write(format!("GET /live/{name}.flv HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n").as_bytes());
                wire
            });
            for mut wire in wires {
                let (answer, _) = wire.read_to_end_in(LONG);
                assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
            }
        },
    )
    .with_web()
    .lasting(10.0),
    Case::new(
        "web_players_that_never_read_a_fat_stream",
        "VhostConfig::high_water 64 KiB, then SessionTimeouts::write 30 s",
        Of(30, 200),
        Memory::MoreOnThreads(40, 160, 224),
        &["write_timeout", "peer_closed", "peer_lost"],
        |arena| {
            let name = arena.target.named("fat");
            let wires = arena.crowd(|_, number| {
                let mut wire = Wire::dial_narrow(arena.web(), 4096);
                let upgrade = if number % 2 == 0 { "" } else { UPGRADE };
                wire.write(format!("GET /live/{name}.flv HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n").as_bytes());
                wire
            });
            publish_while(arena, &name, || arena.lines_with(" closed: ").len() < arena.attackers);
            drop(wires);
        },
    )
    .with_web()
    .lasting(30.0),
    Case::new(
        "web_connections_half_closed_or_reset_in_every_phase",
        "an end of input ends the connection",
        Of(4, 8),
        Memory::MoreOnThreads(8, 512, 768),
        GONE,
        |arena| {
            let playing = format!("/live/{}.flv", arena.target.named("neighbours"));
            arena.each(|_, _| {
                for round in 0..20 {
                    for mut wire in in_every_phase(arena.web(), &playing) {
                        if round % 2 == 0 {
                            wire.reset();
                        } else {
                            wire.shut_down_writing();
                            assert_hangs_up(&mut wire);
                        }
                    }
                }
            });
        },
    )
    .with_web(),
    Case::new(
        "a_storm_of_web_connections",
        "32 accepts in a row, then others go first (smol)",
        FewerThreads(2000, 10_000, 10_000),
        Memory::MoreOnThreads(16, 8, 16),
        &["peer_closed", "peer_lost", "http_error"],
        |arena| {
            arena.several(8, |_, attacker| {
                for number in (attacker..arena.attackers).step_by(8) {
                    let mut wire = Wire::dial(arena.web());
                    match number % 4 {
                        0 => drop(wire),
                        1 => wire.reset(),
                        2 => wire.write(b"GET / HTTP/1.1\r\nHost"),
                        _ => wire.write(&[3; 1537]),
                    }
                }
            });
        },
    )
    .with_web(),
    Case::new(
        "web_socket_frames_that_may_not_be",
        "websocket::MAX_FRAME 64 KiB, masked, control frames of 125 bytes",
        Of(4, 20),
        Memory::MoreOnThreads(4, 512, 576),
        &["http_error"],
        |arena| {
            let path = format!("/live/{}.flv", arena.target.named("neighbours"));
            arena.each(|_, _| {
                for frame in WRONG_FRAMES {
                    let mut wire = playing_web_socket(arena.web(), &path);
                    wire.write(frame);
                    assert_hangs_up(&mut wire);
                }
            });
        },
    )
    .with_web(),
    Case::new(
        "web_socket_pings_and_fragments_without_end",
        "SessionLimits::replies 64 KiB; no data of a client is kept",
        Of(4, 8),
        Memory::MoreOnThreads(8, 512, 576),
        GONE,
        |arena| {
            let path = format!("/live/{}.flv", arena.target.named("neighbours"));
            let pings = [&[0x89, 0xfd, 1, 2, 3, 4][..], &[7; 125]].concat().repeat(5000);
            // A message that is never complete, in fragments without content, and in fragments of the most.
            let empty = [vec![0x01, 0x80, 1, 2, 3, 4], [0x00, 0x80, 1, 2, 3, 4].repeat(100_000)].concat();
            let full = [&[0x00, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4][..], &vec![7; 64 << 10]].concat().repeat(50);
            arena.each(|_, number| {
                let mut wire = playing_web_socket(arena.web(), &path);
                let (flood, full) = ([&pings, &empty][number % 2], &full);
                thread::scope(|scope| {
                    let mut other = wire.again();
                    scope.spawn(move || {
                        other.write(flood);
                        if number % 2 == 1 {
                            other.write(full);
                        }
                    });
                    wire.receive_for(Duration::from_secs(3));
                });
            });
        },
    )
    .with_web(),
    Case::new(
        "web_socket_pings_whose_answers_nobody_reads",
        "SessionLimits::replies 64 KiB, then SessionTimeouts::write 30 s",
        Of(10, 50),
        Memory::MoreOnThreads(8, 448, 512),
        &["write_timeout"],
        |arena| {
            let path = format!("/live/{}.flv", arena.target.named("neighbours"));
            let pings = [&[0x89, 0xfd, 1, 2, 3, 4][..], &[7; 125]].concat().repeat(20_000);
            arena.each(|_, _| {
                let mut wire = Wire::dial_narrow(arena.web(), 4096);
                wire.write(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n").as_bytes());
                wire.write_until_closed(&pings, 3 * LONG);
            });
        },
    )
    .with_web()
    .lasting(30.0),
];

/// Frames of a client that a server refuses.
const WRONG_FRAMES: &[&[u8]] = &[
    // Not masked: text, a ping, nothing.
    &[0x81, 3, b'a', b'b', b'c'],
    &[0x89, 0],
    &[0x82, 0],
    // Extensions, unknown kinds.
    &[0xc2, 0x80, 1, 2, 3, 4],
    &[0xf9, 0x80, 1, 2, 3, 4],
    &[0x83, 0x80, 1, 2, 3, 4],
    &[0x8f, 0x80, 1, 2, 3, 4],
    // A ping that is cut in two, and one that is too long.
    &[0x09, 0x80, 1, 2, 3, 4],
    &[0x89, 0xfe, 0, 126, 1, 2, 3, 4],
    // A message that goes on and has not begun, and one that begins within another.
    &[0x80, 0x80, 1, 2, 3, 4],
    &[0x01, 0x80, 1, 2, 3, 4, 0x81, 0x80, 1, 2, 3, 4],
    // 64 KiB and a byte, 2^63 bytes, 2^64 - 1 bytes, and lengths that are written too long.
    &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4],
    &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
    &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
    &[0x82, 0xfe, 0, 5, 1, 2, 3, 4],
    // A close with half a status.
    &[0x88, 0x81, 1, 2, 3, 4, 5],
];

/// Requests that a proxy could read in another way, each with a second request hidden in it or behind it. There is one
/// answer, and it is a refusal.
fn smuggle(web: SocketAddr) {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = "POST /nothing HTTP/1.1\r\nHost: h\r\n";
    let requests = [
        format!("{post}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: identity\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding\t: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post} Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}X: y\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}X: \0\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("{post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len()),
        format!("{post}Content-Length: +0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: -1\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0x10\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 1_0\r\n\r\n{hidden}"),
        format!("{post}Content-Length:\r\n\r\n{hidden}"),
        format!("{post}Host: other\r\n\r\n{hidden}"),
        format!("GET /nothing HTTP/1.1\r\n\r\n{hidden}"),
        format!("GET /nothing HTTP/1.1\nHost: h\n\n{hidden}"),
        format!("GET /no thing HTTP/1.1\r\nHost: h\r\n\r\n{hidden}"),
        format!("GET /nothing HTTP/2.0\r\nHost: h\r\n\r\n{hidden}"),
        format!("GET /nothing\r\n\r\n{hidden}"),
        format!("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n{hidden}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}"),
        format!("\0{hidden}"),
        format!("\n{hidden}"),
    ];
    for request in requests {
        let mut wire = Wire::dial(web);
        wire.write(request.as_bytes());
        let (answer, end) = wire.read_to_end_in(LONG);
        let answer = String::from_utf8_lossy(&answer);
        assert_ne!(end, End::Open, "{request:?} is waited with");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer:?}");
        let status: u16 = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        assert!([400, 501, 505].contains(&status), "{request:?}: {answer:?}");
    }
}

/// Requests that are all sent before the first answer is read; they are answered in order, and the last one closes.
fn pipeline(web: SocketAddr, count: usize) {
    let wire = Wire::dial(web);
    thread::scope(|scope| {
        let (mut writing, mut reading) = (wire.again(), wire);
        scope.spawn(move || {
            for number in 0..count {
                let last = if number + 1 == count { "Connection: close\r\n" } else { "" };
                let method = ["GET", "HEAD", "POST"][number % 3];
                let request = format!("{method} /nothing/{number} HTTP/1.1\r\nHost: h\r\n{last}\r\n");
                writing.write(request.as_bytes());
            }
        });
        let (answers, end) = reading.read_to_end_in(LONG);
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(end, End::Closed);
        assert_eq!(answers.matches("HTTP/1.1 404 ").count(), count, "{}", answers.len());
    });
}

/// Connections at every point of what a player does.
fn in_every_phase(web: SocketAddr, path: &str) -> Vec<Wire> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n");
    let socket = format!("{request}{UPGRADE}\r\n");
    let post = "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n0123";
    let words = ["", "G", "GET /li", &request[..], &format!("{request}\r"), post, &format!("{request}\r\n"), &socket];
    let mut wires: Vec<Wire> = words
        .into_iter()
        .map(|words| {
            let mut wire = Wire::dial(web);
            wire.write(words.as_bytes());
            wire
        })
        .collect();
    let mut playing = WebPlayer::get(web, path);
    playing.picture();
    wires.extend([playing.into_wire(), playing_web_socket(web, path)]);
    wires
}

/// A WebSocket that gets a stream.
fn playing_web_socket(web: SocketAddr, path: &str) -> Wire {
    let mut player = WebPlayer::web_socket(web, path);
    player.picture();
    player.into_wire()
}
