//! What a frame costs in memory: something for its stream, and nothing for each player.
//!
//! A frame is a buffer and a place in the log; with none for a player, nothing of its payload can have been copied for
//! one. Connections are served in memory, by polling each and by batches, as adapters do.

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::client::{Client, ClientConfig, ClientEvent, Destination, PlayOptions};
use anabranch_core::conn::{Batches, Config, Conn, Core, Output};
use anabranch_core::hub::Publisher;
use anabranch_core::message::Message;
use anabranch_core::{client, session::Outbound};
use bytes::Buf;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Frames of which the cost is counted. All of them belong to one GOP, so that the log only grows.
const FRAMES: u32 = 200;
const BODY: usize = 4000;

/// One stream and its players.
struct Scene {
    now: Instant,
    publisher: Publisher,
    players: Vec<Conn>,
    timestamp: u32,
}

impl Scene {
    fn new(players: usize) -> Self {
        let (now, server) = (Instant::now(), Core::new(Config::default(), [1; 32]));
        let publisher = server.publish("live/cam").expect("there is no publisher");
        let players = (0..players).map(|number| player(&server, now, number)).collect();
        let mut scene = Scene { now, publisher, players, timestamp: 0 };
        // Until all have begun, and their queues have the room that they need.
        for _ in 0..20 {
            scene.push();
            scene.poll_all();
        }
        scene
    }

    fn push(&mut self) {
        let mut body = vec![if self.timestamp == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        body.resize(BODY, 0x5a);
        self.publisher.push(self.now, Message::video(self.timestamp, body)).expect("there was no takeover");
        self.timestamp += 33;
        self.now += Duration::from_millis(33);
    }

    fn poll_all(&mut self) -> u64 {
        self.players.iter_mut().map(|player| serve(player, self.now)).sum()
    }

    fn write_batches(&mut self) -> u64 {
        let (mut batches, mut written) = (Batches::default(), 0);
        for player in &mut self.players {
            let share = batches.share(player).expect("it takes what the others take");
            let length = share.bytes().len();
            assert!(player.wrote(self.now, share, length).expect("it is of this player"));
            written += length as u64;
        }
        written
    }

    /// Allocations and bytes of `FRAMES` frames that are sent to all players, by what `serve` does for each.
    fn cost(&mut self, serve: fn(&mut Scene) -> u64) -> (usize, usize) {
        let region = Region::new(ALLOCATOR);
        let mut delivered = 0;
        for _ in 0..FRAMES {
            self.push();
            delivered += serve(self);
        }
        let change = region.change();
        let expected = (FRAMES as usize * BODY * self.players.len()) as u64;
        assert!(delivered >= expected, "{delivered} bytes of {expected} are delivered");
        (change.allocations + change.reallocations, change.bytes_allocated)
    }
}

/// Polls, and takes all that is to be written.
fn serve(conn: &mut Conn, now: Instant) -> u64 {
    let mut written = 0;
    loop {
        match conn.poll(now) {
            Output::Action(_) => {}
            Output::Wait(wait) if !wait.write => return written,
            Output::Wait(_) => {
                let outbound = conn.outbound();
                written += outbound.remaining() as u64;
                outbound.advance(outbound.remaining());
            }
            Output::Closed(report) => panic!("{report}"),
        }
    }
}

/// A connection whose client plays `live/cam`.
fn player(server: &Core, now: Instant, number: usize) -> Conn {
    let take = |outbound: &mut Outbound| outbound.copy_to_bytes(outbound.remaining());
    let destination = Destination::parse("rtmp://localhost/live/cam").expect("a URL");
    let mut seed = [2; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let (mut client, mut conn) =
        (Client::new(Arc::new(ClientConfig::to(&destination)), seed, now), server.connect(now));
    loop {
        match client.poll_output() {
            client::ClientOutput::Event(ClientEvent::Connected(_)) => {
                client.play("cam", PlayOptions::default()).expect("it is connected");
            }
            client::ClientOutput::Event(ClientEvent::Playing { .. }) => return conn,
            client::ClientOutput::Event(_) => {}
            client::ClientOutput::Closed(close) => panic!("{close:?}"),
            client::ClientOutput::Wait(_) => {
                conn.handle_input(now, &take(client.outbound()));
                while !matches!(conn.poll(now), Output::Wait(_)) {}
                client.handle_input(now, &take(conn.outbound())).expect("the server keeps to the protocol");
            }
        }
    }
}

/// Without the test harness: what its threads allocate would count, too.
fn main() {
    for serve in [Scene::poll_all as fn(&mut Scene) -> u64, Scene::write_batches] {
        let [one, many] = [1, 1000].map(|players| Scene::new(players).cost(serve));
        println!("{FRAMES} frames: {one:?} allocations and bytes for one player, {many:?} for a thousand");
        // The log doubles its room now and then, at the same frame for both.
        assert_eq!(one, many);
        assert!(one.0 <= 8 * FRAMES as usize, "{one:?}");
    }
}
