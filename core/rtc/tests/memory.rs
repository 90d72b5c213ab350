//! What a viewer takes on the heap.

use std::alloc::System;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::http::{self, Limits, Request, RequestReader};
use anabranch_core::hub::{Hub, HubConfig, StreamId};
use anabranch_core::message::Message;
use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;
use anabranch_rtc::desk::{Desk, Effect, Settings};
use anabranch_rtc::engine::{Engines, Identity};
use anabranch_rtc::peer::{Path, Transport};
use anabranch_rtc::signal::Target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VIEWERS: u16 = 30;
/// docs and `anabranch check` count with it.
const MOST: usize = 256 * 1024;

#[derive(Debug)]
struct Slip;

impl Ticket for Slip {
    fn is_gone(&self) -> bool {
        false
    }
}

struct Client {
    rtc: Rtc,
    address: SocketAddr,
    pictures: usize,
}

fn request(offer: &str) -> Request {
    let length = offer.len();
    let text = format!(
        "POST /live/cam/whep HTTP/1.1\r\nHost: a\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{offer}"
    );
    let mut reader = RequestReader::new(Limits { head: 8 << 10, body: 256 << 10 });
    reader.read(&mut text.as_bytes()).expect("legal").expect("whole")
}

struct World {
    now: Instant,
    desk: Desk<Slip>,
    key: StreamKey,
    clients: Vec<Client>,
    followed: Vec<StreamId>,
    answer: Option<String>,
}

impl World {
    fn time(&self) -> Time {
        Time { now: self.now, wall: 0 }
    }

    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(datagram) = self.desk.poll_datagram() {
                is_idle = false;
                let to = datagram.path.remote;
                let Some(client) = self.clients.iter_mut().find(|client| client.address == to) else { continue };
                let received = Receive::new(Protocol::Udp, datagram.path.local, to, &datagram.bytes).expect("readable");
                client.rtc.handle_input(Input::Receive(self.now, received)).expect("it is taken");
                self.drain();
            }
            while let Some(effect) = self.desk.poll() {
                is_idle = false;
                match effect {
                    Effect::Open(opening) => self.desk.granted(self.time(), opening.session, &self.key.clone()),
                    Effect::Answer(Slip, answer) => {
                        self.answer = Some(String::from_utf8(answer.body.to_vec()).expect("text"));
                    }
                    Effect::Follow(stream) => {
                        self.followed.push(stream);
                        self.desk.wake(self.time(), stream);
                    }
                    _ => {}
                }
            }
            is_idle &= !self.drain();
            if is_idle {
                return;
            }
        }
    }

    fn drain(&mut self) -> bool {
        let mut has_sent = false;
        for client in &mut self.clients {
            loop {
                match client.rtc.poll_output().expect("the client works") {
                    Output::Timeout(_) => break,
                    Output::Event(event) => client.pictures += usize::from(matches!(event, Event::MediaData(_))),
                    Output::Transmit(datagram) => {
                        has_sent = true;
                        let (local, remote) = (datagram.destination, datagram.source);
                        let path = Path { transport: Transport::Udp, local, remote };
                        self.desk.receive(Time { now: self.now, wall: 0 }, path, &datagram.contents);
                    }
                }
            }
        }
        has_sent
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        self.desk.turn(self.time());
        for client in &mut self.clients {
            client.rtc.handle_input(Input::Timeout(self.now)).expect("the client works");
        }
        self.settle();
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn a_viewer_takes_less_than_is_counted_for_it() {
    let (hub, now) = (Hub::new(HubConfig::default()), Instant::now());
    let peers = Engines(Identity::new().expect("a certificate"));
    let desk = Desk::new(hub.clone(), [7; 32], Settings::default(), Box::new(peers));
    let key = StreamKey::new("__defaultVhost__", "live", "cam").expect("a name");
    let mut publisher = hub.publish(&key).expect("it is free");
    let mut world = World { now, desk, key, clients: Vec::new(), followed: Vec::new(), answer: None };
    let record = [1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80];
    let header = [&[0x17, 0, 0, 0, 0][..], &record].concat();
    publisher.push(now, Message::video(0, header)).expect("it is on air");
    // One megabit a second: 25 pictures of 5000 bytes.
    let picture = |time: u32, is_key: bool| {
        let unit = [&[if is_key { 0x65 } else { 0x41 }, 0x80][..], &[7; 5000]].concat();
        let body = [&[if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0][..], &(unit.len() as u32).to_be_bytes(), &unit];
        Message::video(time, body.concat())
    };
    publisher.push(now, picture(0, true)).expect("it is on air");
    for viewer in 0..VIEWERS {
        let mut rtc = Rtc::new(world.now);
        let address = SocketAddr::from(([198, 51, 100, 7], 2000 + viewer));
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().expect("there is something to offer");
        let request = request(&offer.to_sdp_string());
        let target = Target::of(&request).expect("it is for WebRTC");
        let (local, settings) = ("192.0.2.1:8080".parse().ok(), http::Settings::default());
        world.desk.request(world.time(), target, &request, Some(address), local, &settings, Slip);
        world.settle();
        let answer = SdpAnswer::from_sdp_string(&world.answer.take().expect("an answer")).expect("an answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("it is accepted");
        world.clients.push(Client { rtc, address, pictures: 0 });
        world.step();
    }
    for index in 0..400_u32 {
        if index.is_multiple_of(4) {
            let (time, is_key) = ((world.now - now).as_millis() as u32, index.is_multiple_of(200));
            publisher.push(world.now, picture(time, is_key)).expect("it is on air");
            for stream in world.followed.clone() {
                world.desk.wake(world.time(), stream);
            }
        }
        world.step();
    }
    assert!(world.clients.iter().all(|client| client.pictures > 80), "all play");
    let kept = world.desk.stats().kept;
    let World { desk, clients, .. } = world;
    let region = Region::new(ALLOCATOR);
    drop(desk);
    let freed = region.change().bytes_deallocated - region.change().bytes_allocated;
    drop(clients);
    let each = (freed - kept) / usize::from(VIEWERS);
    assert!(each < MOST, "{each} bytes for each viewer of 1 Mb/s");
}
