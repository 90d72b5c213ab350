//! Clients by WebRTC.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anabranch_tests::peer::Wire;
use anabranch_tests::rtc::{Direction, HttpAnswer, RtcClient, Way, ask, candidates, offer};

use super::Attackers::{FewerThreads, Of};
use super::{Case, Memory, assert_hangs_up};
use crate::arena::Arena;

/// How requests and sessions that clients end themselves are over.
const GONE: &[&str] = &["served", "peer_closed", "peer_lost"];

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "webrtc_datagrams_by_the_hundred_thousand_that_are_for_no_session",
        "a look into a table for each; nothing is kept",
        Of(2, 8),
        Memory::MoreOnThreads(16, 64, 128),
        GONE,
        |arena| {
            let server = address(arena, false);
            arena.each(|_, number| flood(server, number, 50_000));
            a_client_is_served(arena);
        },
    )
    .with_rtc(),
    Case::new(
        "webrtc_offers_that_are_none",
        "rtc::desk::Settings::longest_offer 32 KiB, 600 lines; read before anything is done for them",
        Of(4, 20),
        Memory::MoreOnThreads(8, 256, 320),
        &["served", "peer_closed", "peer_lost", "http_error"],
        |arena| {
            arena.each(|_, number| strange_offers(arena.web(), number));
            a_client_is_served(arena);
        },
    )
    .with_rtc(),
    Case::new(
        "webrtc_sessions_that_never_connect",
        "rtc::desk::Settings::connect 15 s, SessionTimeouts::first_message 20 s",
        FewerThreads(60, 400, 400),
        Memory::MoreOnThreads(12, 300, 300),
        &["served", "peer_closed", "webrtc_not_connected", "first_message_timeout"],
        |arena| {
            let offer = offer(Direction::SendOnly);
            arena.each(|target, number| {
                let path = format!("/live/{}/whip", target.named(&format!("half{number}")));
                let answer = retry(|| post(arena.web(), &path, &offer));
                assert_eq!(answer.status, 201, "{answer:?}");
            });
            a_client_is_served(arena);
            // The first counts from the answer, for which they wait on a busy machine, and the second from the right to publish.
            arena.wait_closed(&["webrtc_not_connected", "first_message_timeout"], arena.attackers);
        },
    )
    .with_rtc()
    .waiting(),
    Case::new(
        "webrtc_clients_with_another_certificate_than_they_have_told",
        "the handshake compares it with the fingerprint of the offer",
        Of(3, 20),
        Memory::MoreOnThreads(12, 512, 512),
        &["served", "peer_closed", "webrtc_error", "webrtc_not_connected"],
        |arena| {
            arena.each(|target, number| {
                let path = format!("/live/{}/whip", target.named(&format!("false{number}")));
                let other = |offer: String| {
                    let start = offer.find("a=fingerprint:sha-256 ").expect("it has one") + 22;
                    let digits = if &offer[start..start + 2] == "00" { "11" } else { "00" };
                    // All media have the same.
                    let wrong = format!("{digits}{}", &offer[start + 2..start + 95]);
                    let right = offer[start..start + 95].to_owned();
                    offer.replace(&right, &wrong)
                };
                let client = RtcClient::try_begin_with(arena.web(), &path, Way::V4, Direction::SendOnly, other);
                client.expect("its offer is a good one").wait_over();
            });
            a_client_is_served(arena);
        },
    )
    .with_rtc()
    .waiting(),
    Case::new(
        "webrtc_connections_of_tcp_that_say_nothing_or_rubbish",
        "256 that no peer was found for, 10 s; the first bytes must be those of a peer",
        Of(300, 2000),
        Memory::Of(8, 16),
        GONE,
        |arena| {
            let server = address(arena, true);
            let wires = arena.crowd(|_, number| {
                let mut wire = Wire::dial(server);
                let rubbish: &[u8] = match number % 4 {
                    0 => b"",
                    1 => b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                    2 => &[0xFF; 4000],
                    _ => &[0, 20, 0, 1, 0, 0],
                };
                wire.write_until_blocked(rubbish, Duration::from_secs(5));
                wire
            });
            wires.into_iter().for_each(|mut wire| assert_hangs_up(&mut wire));
            a_client_is_served(arena);
        },
    )
    .with_settings("[rtc]\ntcp_listen = ['127.0.0.1:0']", "an option for ICE over TCP")
    .with_rtc()
    .waiting(),
];

fn post(web: SocketAddr, path: &str, offer: &str) -> HttpAnswer {
    ask(web, "POST", path, "Content-Type: application/sdp\r\n", offer)
}

/// Asks again while there are too many at once.
fn retry(ask: impl Fn() -> HttpAnswer) -> HttpAnswer {
    loop {
        let answer = ask();
        if answer.status != 503 {
            return answer;
        }
    }
}

/// Where the server takes datagrams.
fn address(arena: &Arena, is_tcp: bool) -> SocketAddr {
    let answer = post(arena.web(), "/live/where/whip", &offer(Direction::SendOnly));
    assert_eq!(answer.status, 201, "{answer:?}");
    let session = answer.field("Location").expect("it has an address");
    assert_eq!(ask(arena.web(), "DELETE", session, "", "").status, 200);
    *candidates(&answer.body, is_tcp).first().unwrap_or_else(|| panic!("no address in {}", answer.body))
}

/// A client that does everything right gets through.
fn a_client_is_served(arena: &Arena) {
    let path = format!("/live/{}/whip", arena.target.named("right"));
    RtcClient::publish(arena.web(), &path, Way::V4).wait_connected();
}

/// Sends datagrams of many kinds.
fn flood(server: SocketAddr, number: usize, count: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let user = format!("{number:08x}:abcd");
    let length = (user.len().next_multiple_of(4) + 4) as u16;
    let mut binding = [&[0, 1][..], &length.to_be_bytes(), &[0x21, 0x12, 0xA4, 0x42], &[7; 12], &[0, 6]].concat();
    binding.extend_from_slice(&(user.len() as u16).to_be_bytes());
    binding.extend_from_slice(user.as_bytes());
    binding.resize(binding.len().next_multiple_of(4), 0);
    let answer = [&[1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[9; 12]].concat();
    let handshake = [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0][..], &[1; 1024]].concat();
    let media = [&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7][..], &[5; 1000]].concat();
    let kinds = [&binding[..], &answer, &handshake, &media, &[], &[0xFF; 40], &[0; 1400]];
    for index in 0..count {
        let mut bytes = kinds[index as usize % kinds.len()].to_vec();
        // Each has another name, number or text.
        let at = bytes.len() / 2;
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&index.to_be_bytes());
        }
        // A full buffer of the system is none of the server's.
        let _ = socket.send_to(&bytes, server);
    }
    socket.set_nonblocking(true).expect("it can be set");
    assert!(socket.recv(&mut [0; 100]).is_err(), "none of them is answered");
}

/// Bodies that are no offers, and offers that cannot be answered.
fn strange_offers(web: SocketAddr, number: usize) {
    let good = offer(Direction::SendOnly);
    let path = format!("/live/strange{number}/whip");
    let lines = |count: usize| format!("{good}{}", "a=x\r\n".repeat(count));
    for (body, status) in [
        (String::new(), 400),
        ("v=0\r\n".to_owned(), 400),
        ("x".repeat(20_000), 400),
        (good.replace("a=ice-pwd", "a=ice-pw"), 400),
        (good.replace("sendonly", "recvonly"), 422),
        (good.replace("H264", "H263").replace("opus", "speex"), 422),
        (lines(1000), 400),
        (good[..good.len() / 2].replace("a=rtpmap", "a=nothing"), 422),
    ] {
        let answer = post(web, &path, &body);
        assert_eq!(answer.status, status, "{answer:?} to {body:.200}");
    }
    // Longer than a body may be, and than an offer may be.
    for length in [32 << 10, 40 << 10] {
        let answer = post(web, &path, &lines(length / 5));
        assert!([400, 413].contains(&answer.status), "{answer:?}");
    }
}
