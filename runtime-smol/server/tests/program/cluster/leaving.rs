//! A server of a cluster that drains: its publishers go to another one, and players elsewhere stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anabranch_core::client::{ClientConfig, ClientEvent, Destination};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Program, free_address};
use anabranch_tests::redis::Redis;
use anabranch_tests::{TIMEOUT, wait_for};

use super::cluster;
use super::streams::{names, node_at, times};
use anabranch_tests::media::frames::{video, video_header};

/// Milliseconds between two pictures.
const PICTURE: u32 = 20;

/// An encoder that connects again when a server asks it to: to where that says. Returns how many servers it was at.
struct Follower {
    over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Follower {
    fn start(program: &Program, name: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let mut driver = program.publisher(name);
        let thread = thread::spawn(move || {
            let mut servers = 1;
            driver.send(video_header());
            for number in 0.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                driver.send(video(number * PICTURE, number % 25 == 0, 300));
                thread::sleep(Duration::from_millis(PICTURE.into()));
                let next = driver.events().into_iter().find_map(|event| match event {
                    ClientEvent::ReconnectRequest { tc_url, .. } => tc_url,
                    _ => None,
                });
                if let Some(tc_url) = next {
                    let destination = Destination::within(&tc_url, name).expect("it names a stream");
                    let address = SocketAddr::new(destination.host().parse().expect("an address"), destination.port());
                    let mut there = Driver::with(address, ClientConfig::to(&destination));
                    there.publish(name).expect("the server that drains gives the name to this one");
                    there.send(video_header());
                    // It leaves the old one when the new one has granted it the stream.
                    std::mem::replace(&mut driver, there).close();
                    servers += 1;
                }
            }
            driver.close();
            servers
        });
        Follower { over, thread }
    }

    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the publisher was served to its end")
    }
}

#[test]
fn a_publisher_that_is_asked_to_connect_again_gets_its_name_at_the_other_server() {
    let redis = Redis::new();
    let [a, b, c] = [(); 3].map(|()| node_at(free_address(), &redis, "redirect = true\n"));
    let encoder = Follower::start(&a, "cam");
    let mut player = c.player("cam");
    let mut seen = times(&mut player, 25);
    // The second time the server itself chooses the other one: the one without a player.
    for (from, tc_url) in [(&a, format!("&tc_url=rtmp%3A%2F%2F{}", b.address())), (&b, String::new())] {
        assert_eq!(from.ask("POST", &format!("/api/v1/drain?seconds=30{tc_url}")).status, 200);
        seen.extend(times(&mut player, 100));
        assert_eq!(from.ask("DELETE", "/api/v1/drain").status, 200);
    }
    assert_eq!(encoder.end(), 3);
    let gap = seen.windows(2).map(|pair| pair[1].checked_sub(pair[0]).expect("times rise")).max();
    assert!(gap.is_some_and(|gap| gap <= 2000), "{gap:?}: {seen:?}");
    wait_for("no name in the directory", TIMEOUT, || (names(&redis) == 0).then_some(()));
    assert_eq!(c.metric("anabranch_plays_total"), Some(1.0), "the player is the same");
}

#[test]
fn the_clients_of_a_server_that_drains_are_spread_over_the_others() {
    let redis = Redis::new();
    let [a, b, c] = [(); 3].map(|()| node_at(free_address(), &redis, "redirect = true\n"));
    let nodes = || cluster(&a)["nodes"].as_array().map_or(0, Vec::len);
    wait_for("all servers in the directory", TIMEOUT, || (nodes() == 3).then_some(()));
    let mut publishers: Vec<_> = (0..6).map(|number| a.publisher(&format!("cam{number}"))).collect();
    assert_eq!(a.ask("POST", "/api/v1/drain?seconds=30").status, 200);
    let mut sent: Vec<_> = publishers
        .iter_mut()
        .map(|publisher| {
            publisher.wait_event("a request to connect again", |event| match event {
                ClientEvent::ReconnectRequest { tc_url, .. } => tc_url.map(|url| url.to_string()),
                _ => None,
            })
        })
        .collect();
    sent.sort_unstable();
    let mut expected: Vec<_> =
        [&b, &c].into_iter().flat_map(|server| vec![format!("rtmp://{}/live", server.address()); 3]).collect();
    expected.sort_unstable();
    assert_eq!(sent, expected);
    a.wait_line("clients are spread over 2 servers");
}
