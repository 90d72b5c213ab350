//! A peer of the server and a client of str0m's, in virtual time.

use std::time::{Duration, Instant};

use anabranch_rtc::engine::{Engine, Purpose};
use anabranch_rtc::peer::{Event, Gone, Output, Path, Peer, Transport};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Output as ClientOutput, Rtc, RtcConfig};

use super::{IDENTITY, candidates, credentials};
use crate::time::any_instant;

const CLIENT: &str = "198.51.100.7:50000";
const STRANGER: &str = "203.0.113.9:40000";
/// More than any input makes a peer do before it waits.
const MOST_OUTPUT: usize = 20_000;

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: Rtc,
    /// The client's pictures and sound.
    pub(super) tracks: [Mid; 2],
    pub(super) is_connected: bool,
    pub(super) is_gone: bool,
    server: Box<dyn Peer>,
    due: (Instant, Instant),
    /// Bytes to and from the address of nobody that was ever answered.
    to_stranger: usize,
    from_stranger: usize,
}

/// Between the server and its client, or a stranger that forges what it can.
pub(super) fn path(is_stranger: bool) -> Path {
    let remote = if is_stranger { STRANGER } else { CLIENT };
    Path {
        transport: Transport::Udp,
        local: "192.0.2.1:8000".parse().expect("an address"),
        remote: remote.parse().expect("an address"),
    }
}

impl Pair {
    /// A client that publishes or plays, and does or does not connect.
    pub(super) fn new(purpose: &Purpose, connects: bool) -> Pair {
        let now = any_instant();
        let mut client = RtcConfig::new().enable_h265(true).enable_av1(true).build(now);
        client.add_local_candidate(Candidate::host(path(false).remote, "udp").expect("a candidate"));
        let direction = match purpose {
            Purpose::Publish => Direction::SendOnly,
            Purpose::Play { .. } => Direction::RecvOnly,
        };
        let mut api = client.sdp_api();
        let tracks = [MediaKind::Video, MediaKind::Audio].map(|kind| api.add_media(kind, direction, None, None, None));
        let (offer, pending) = api.apply().expect("there is something to offer");
        let offer = offer.to_sdp_string();
        let (credentials, candidates) = (credentials(), candidates());
        let accepted =
            IDENTITY.with(|identity| Engine::accept(now, &offer, purpose, identity, &credentials, &candidates));
        let accepted = accepted.expect("it is accepted");
        let answer = SdpAnswer::from_sdp_string(&accepted.answer).expect("an answer");
        client.sdp_api().accept_answer(pending, answer).expect("it is accepted");
        let mut pair = Pair {
            now,
            client,
            tracks,
            server: accepted.peer,
            due: (now, now),
            is_connected: false,
            is_gone: false,
            to_stranger: 0,
            from_stranger: 0,
        };
        if connects {
            pair.run(Duration::from_secs(2));
            assert!(pair.is_connected, "it does not connect");
        }
        pair
    }

    /// Bytes come to the server.
    pub(super) fn receive(&mut self, is_stranger: bool, bytes: &[u8]) {
        if is_stranger {
            self.from_stranger += bytes.len();
        }
        self.server.receive(self.now, path(is_stranger), bytes);
        self.drain_server(true);
    }

    /// Both do what they want until they wait.
    pub(super) fn settle(&mut self) {
        while self.drain_client() | self.drain_server(true) {}
    }

    /// True if the server sent something to the client.
    fn drain_server(&mut self, arrives: bool) -> bool {
        let mut has_sent = false;
        for _ in 0..MOST_OUTPUT {
            match self.server.poll() {
                Output::Wait(due) => {
                    self.due.0 = due;
                    return has_sent;
                }
                Output::Event(event) => {
                    assert!(!self.is_gone, "{event:?} of a peer that is gone");
                    assert_ne!(event, Event::Gone(Gone::Bug), "the library panicked");
                    self.is_connected |= event == Event::Connected;
                    self.is_gone = matches!(event, Event::Gone(_));
                }
                Output::Send(datagram) if datagram.path.remote == path(true).remote => {
                    self.to_stranger += datagram.bytes.len();
                    assert!(self.to_stranger <= self.from_stranger, "a stranger gets more than it sends");
                }
                Output::Send(datagram) => {
                    assert!(datagram.bytes.len() <= 1400, "{datagram:?}");
                    has_sent = true;
                    let (from, to) = (datagram.path.local, datagram.path.remote);
                    let received = Receive::new(Protocol::Udp, from, to, &datagram.bytes).expect("it is readable");
                    if arrives && self.client.is_alive() {
                        // The client is not what is looked at.
                        let _ = self.client.handle_input(Input::Receive(self.now, received));
                        self.drain_client();
                    }
                }
            }
        }
        panic!("the peer never waits");
    }

    /// True if the client sent something.
    pub(super) fn drain_client(&mut self) -> bool {
        let mut has_sent = false;
        while let Ok(output) = self.client.poll_output() {
            match output {
                ClientOutput::Timeout(due) => {
                    self.due.1 = due;
                    break;
                }
                ClientOutput::Event(_) => {}
                ClientOutput::Transmit(datagram) => {
                    has_sent = true;
                    let path = Path { transport: Transport::Udp, local: datagram.destination, remote: datagram.source };
                    self.server.receive(self.now, path, &datagram.contents);
                }
            }
        }
        has_sent
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            let due = self.due.0.min(self.due.1);
            self.now = due.max(self.now + Duration::from_millis(1)).min(end);
            if self.due.0 <= self.now {
                self.server.handle_timeout(self.now);
            }
            if self.client.is_alive() {
                let _ = self.client.handle_input(Input::Timeout(self.now));
            }
            self.settle();
        }
    }
}
