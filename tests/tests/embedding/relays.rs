//! Pushes and pulls of servers that are libraries.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anabranch_core::client::ClientEvent;
use anabranch_core::conn::VhostConfig;
use anabranch_core::message::Message;
use anabranch_core::relay::{Backoff, Edge, Forward, RelayKind, RelayState};
use anabranch_host::{Serve, Update};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::Driver;
use anabranch_tests::{TIMEOUT, on_both_libraries, wait_for};

on_both_libraries! {
    a_stream_is_pushed_and_arrives_unchanged,
    a_target_that_comes_later_gets_the_stream,
    a_stream_is_pulled_while_it_is_played,
    a_server_with_relays_stops,
}

const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(50), cap: Duration::from_millis(100), refused: Duration::from_millis(100) };

fn key_frame(timestamp: u32) -> Message {
    Message::video(timestamp, [0x17, 1, 0, 0, 0, 9].as_slice())
}

fn pushing<S: Serve + Send + 'static>(address: impl std::fmt::Display) -> Embedded {
    let mut forward = Forward::new(format!("rtmp://{address}/{{app}}/{{stream}}").parse().expect("a URL"));
    forward.backoff = BACKOFF;
    Embedded::start::<S>(|builder| builder.config(VhostConfig { forward: vec![forward], ..VhostConfig::default() }))
}

fn edge_of<S: Serve + Send + 'static>(address: impl std::fmt::Display) -> Embedded {
    let mut edge = Edge::of(vec![format!("rtmp://{address}").parse().expect("an origin")]);
    (edge.linger, edge.backoff) = (Duration::from_millis(100), BACKOFF);
    Embedded::start::<S>(|builder| builder.config(VhostConfig { edge: Some(edge), ..VhostConfig::default() }))
}

fn wait_state(server: &Embedded, state: RelayState) {
    wait_for(&format!("a relay that is {state}"), TIMEOUT, || {
        server.handle.relays().iter().any(|relay| relay.state == state).then_some(())
    });
}

fn a_stream_is_pushed_and_arrives_unchanged<S: Serve + Send + 'static>() {
    let target = Embedded::start::<S>(|builder| builder);
    let server = pushing::<S>(target.address);
    let mut played = target.handle.subscribe("live/cam").expect("a name");
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    publication.push(key_frame(0)).expect("the server runs");
    wait_state(&server, RelayState::Live);
    for number in 1..20 {
        publication.push(key_frame(number * 40)).expect("the server runs");
    }
    let mut last = 0;
    while last < 19 * 40 {
        match played.recv_timeout(TIMEOUT) {
            Some(Update::Frame(frame)) => {
                assert_eq!(&frame.payload()[..], [0x17, 1, 0, 0, 0, 9]);
                last = frame.timestamp();
            }
            other => panic!("{other:?}"),
        }
    }
    let relays = server.handle.relays();
    assert_eq!((relays.len(), relays[0].kind), (1, RelayKind::Push));
    assert!(relays[0].bytes_out > 0 && relays[0].connects == 1, "{relays:?}");
    assert_eq!((server.handle.stats().connections, server.handle.uplink_totals().open), (0, 1));
    drop(publication);
    assert!(matches!(played.recv_timeout(TIMEOUT), Some(Update::Ended)));
    wait_for("the end of the push", TIMEOUT, || server.handle.relays().is_empty().then_some(()));
    wait_for("the end of its connection", TIMEOUT, || (server.handle.uplink_totals().open == 0).then_some(()));
    server.stop();
    target.stop();
}

fn a_target_that_comes_later_gets_the_stream<S: Serve + Send + 'static>() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port");
    let server = pushing::<S>(address);
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    publication.push(key_frame(0)).expect("the server runs");
    wait_state(&server, RelayState::Waiting);
    assert_eq!(server.handle.relays()[0].last_error.as_ref().map(|error| error.name), Some("connect"));
    let listener = TcpListener::bind(address).expect("the port is free again");
    let target = Embedded::run(S::builder().listener(listener).build().expect("a server"));
    let mut played = target.handle.subscribe("live/cam").expect("a name");
    wait_state(&server, RelayState::Live);
    publication.push(key_frame(40)).expect("the server runs");
    assert!(matches!(played.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    server.stop();
    target.stop();
}

fn a_stream_is_pulled_while_it_is_played<S: Serve + Send + 'static>() {
    let origin = Embedded::start::<S>(|builder| builder);
    let server = edge_of::<S>(origin.address);
    let mut publication = origin.handle.publish("live/cam").expect("the name is free");
    publication.push(key_frame(0)).expect("the server runs");
    let mut players: Vec<_> = (0..5).map(|_| Driver::to(&server.url("live/cam"))).collect();
    for player in &mut players {
        player.play("cam").expect("it may play");
    }
    for player in &mut players {
        player.wait_event("a frame", |event| matches!(event, ClientEvent::Media { .. }).then_some(()));
    }
    let relays = server.handle.relays();
    assert_eq!((relays.len(), relays[0].kind, relays[0].state), (1, RelayKind::Pull, RelayState::Live));
    assert_eq!(origin.handle.stats().connections, 1);
    for player in players {
        player.close();
    }
    wait_for("the end of the pull", TIMEOUT, || server.handle.relays().is_empty().then_some(()));
    wait_for("the end of its connection", TIMEOUT, || (origin.handle.stats().connections == 0).then_some(()));
    server.stop();
    origin.stop();
}

fn a_server_with_relays_stops<S: Serve + Send + 'static>() {
    let target = Embedded::start::<S>(|builder| builder);
    let server = pushing::<S>(target.address);
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    publication.push(key_frame(0)).expect("the server runs");
    wait_state(&server, RelayState::Live);
    server.stop();
    wait_for("the end of its connection", TIMEOUT, || (target.handle.stats().connections == 0).then_some(()));
    target.stop();
}
