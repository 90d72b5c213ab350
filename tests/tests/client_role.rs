//! Core's own clients against core's own server, over links that are slow, stop, and cut what they carry.

use std::time::Duration;

use anabranch_core::client::{ClientCloseReason, ClientEvent, ClientTimeout, Destination};
use anabranch_core::conn::{Asks, Config, Subject, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::session;
use anabranch_tests::sim::{ClientId, Encoder, Media, RoleSim};

const URL: &str = "rtmp://sim.example/live/cam";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rejection(net: &RoleSim, id: ClientId) -> Option<&anabranch_core::client::ClientRejection> {
    net.end(id).received().iter().find_map(|event| match event {
        ClientEvent::Rejected { rejection, .. } => Some(&**rejection),
        _ => None,
    })
}

#[test]
fn a_publisher_and_players_over_ordinary_links() {
    for seed in 0..20 {
        let mut net = RoleSim::new(seed);
        let encoder = net.publish("rtmp://sim.example/live/cam?key=1", Encoder::default());
        let early = net.play(URL);
        net.run_for(seconds(5));
        let late = net.play(URL);
        net.run_for(seconds(5));
        assert!(net.end(encoder).is_publishing(), "seed {seed}");
        for (player, least) in [(early, 250), (late, 120)] {
            let playback = net.end(player).playback();
            assert!(playback.first_video_is_key());
            assert!(playback.coded().len() > least, "seed {seed}: {} frames", playback.coded().len());
            assert_eq!(playback.skipped().frames, 0, "seed {seed}");
            assert_eq!(playback.count(Media::Metadata), 1, "seed {seed}");
        }
        net.leave(encoder);
        net.run_for(seconds(15));
        let report = net.end(encoder).report().expect("the server closed it, too");
        assert_eq!(report.close.reason, session::CloseReason::PeerClosed);
        assert_eq!(net.end(encoder).close().expect("closed").reason, ClientCloseReason::Closed);
        for player in [early, late] {
            let ended =
                net.end(player).received().iter().filter(|event| matches!(event, ClientEvent::Ended { .. })).count();
            assert_eq!(ended, 1, "seed {seed}: {:?}", net.end(player).received());
        }
    }
}

#[test]
fn small_buffers_and_stalls_lose_nothing_but_whole_frames() {
    for seed in 100..108 {
        let mut net = RoleSim::new(seed);
        let encoder = net.publish(URL, Encoder::default());
        net.end_mut(encoder).link.buffer(700).latency(Duration::from_millis(2));
        let tight = net.play(URL);
        net.end_mut(tight).link.buffer(300).latency(Duration::from_millis(1));
        let stalled = net.play(URL);
        net.end_mut(stalled).link.bandwidth(150_000);
        net.run_for(seconds(4));
        net.stall(stalled, seconds(8));
        net.stall(encoder, seconds(3));
        net.run_for(seconds(20));
        for player in [tight, stalled] {
            let playback = net.end(player).playback();
            assert!(playback.first_video_is_key(), "seed {seed}");
            assert!(playback.coded().len() > 200, "seed {seed}: {} frames", playback.coded().len());
            assert!(net.end(player).close().is_none(), "seed {seed}");
        }
    }
}

#[test]
fn a_publisher_comes_back_and_its_player_stays() {
    let mut net = RoleSim::new(7);
    let first = net.publish(URL, Encoder::default());
    let player = net.play(URL);
    net.run_for(seconds(3));
    net.leave(first);
    net.run_for(seconds(12));
    let received = net.end(player).received();
    assert!(received.iter().any(|event| matches!(event, ClientEvent::Ended { .. })), "{received:?}");
    let frames = net.end(player).playback().coded().len();
    net.publish(URL, Encoder::default());
    net.run_for(seconds(3));
    let received = net.end(player).received();
    assert!(received.iter().any(|event| matches!(event, ClientEvent::PublishNotify { .. })), "{received:?}");
    assert!(net.end(player).playback().coded().len() > frames + 100);
}

#[test]
fn a_draining_server_asks_its_clients_to_reconnect() {
    let mut net = RoleSim::new(8);
    let encoder = net.publish(URL, Encoder::default());
    let player = net.play(URL);
    net.run_for(seconds(3));
    net.drain(seconds(5), Some("//second.example:1936/live"));
    net.run_for(seconds(1));
    for id in [encoder, player] {
        let request = net.end(id).received().iter().find_map(|event| match event {
            ClientEvent::ReconnectRequest { tc_url, .. } => Some(tc_url.as_deref().expect("a URL")),
            _ => None,
        });
        let request = request.unwrap_or_else(|| panic!("no request in {:?}", net.end(id).received()));
        let destination = Destination::within(request, "cam").expect("a stream");
        assert_eq!(destination.to_string(), "rtmp://second.example:1936/live/cam");
    }
    assert!(net.end(encoder).is_publishing(), "it goes on until it leaves");
    net.run_for(seconds(10));
    for id in [encoder, player] {
        assert_eq!(net.end(id).close().expect("closed").reason, ClientCloseReason::PeerClosed);
    }
}

#[test]
fn a_redirect_leads_to_the_other_server() {
    let vhost = VhostConfig {
        asks: Asks { connect: true, play: true, publish: true, ..Asks::default() },
        ..VhostConfig::default()
    };
    let mut net = RoleSim::with_config(9, Config::from(vhost));
    net.back_end(|ask| match &ask.subject {
        Subject::Play(_) => Verdict::Redirect("rtmp://edge.example:1936/live/cam".into()),
        Subject::Publish(_) => Verdict::Deny("not today".into()),
        _ if ask.client.app == "closed" => Verdict::Redirect("rtmp://open.example/live/cam".into()),
        _ => Verdict::Allow,
    });
    let player = net.play(URL);
    let publisher = net.publish(URL, Encoder::default());
    let barred = net.play("rtmp://sim.example/closed/cam");
    net.run_for(seconds(10));
    let redirect = rejection(&net, player).and_then(|rejection| rejection.redirect.clone()).expect("a redirect");
    assert_eq!(redirect.destination("cam").expect("a URL").host(), "edge.example");
    let denied = rejection(&net, publisher).expect("a refusal");
    assert_eq!((denied.code.as_str(), denied.redirect.as_ref()), ("NetStream.Publish.Denied", None));
    let redirect = rejection(&net, barred).and_then(|rejection| rejection.redirect.clone()).expect("a redirect");
    assert_eq!(redirect.destination("cam").expect("a URL").to_string(), "rtmp://open.example:1935/live/cam");
    let close = net.end(barred).close().expect("closed");
    assert_eq!(close.reason, ClientCloseReason::Rejected("NetConnection.Connect.Rejected".into()));
}

#[test]
fn a_publisher_that_is_taken_over_is_told_and_players_go_on() {
    let vhost = VhostConfig { conflict: Conflict::TakeOver, ..VhostConfig::default() };
    let mut net = RoleSim::with_config(10, Config::from(vhost));
    let url = "rtmp://sim.example/live/cam?token=secret";
    let first = net.publish(url, Encoder::default());
    let player = net.play(URL);
    net.run_for(seconds(3));
    let second = net.publish(url, Encoder::default());
    net.run_for(seconds(4));
    assert_eq!(rejection(&net, first).expect("a refusal").code, "NetStream.Publish.BadName");
    assert_eq!(net.end(first).close().expect("closed").reason, ClientCloseReason::PeerClosed);
    assert!(net.end(second).is_publishing());
    let last = net.end(player).playback().frames().last().expect("frames").publisher;
    assert_eq!(last, second.index());
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut net = RoleSim::new(11);
    let player = net.play(URL);
    net.stall(player, seconds(100));
    net.run_for(seconds(9));
    assert!(net.end(player).close().is_none());
    net.run_for(seconds(6));
    assert_eq!(net.end(player).close().expect("closed").reason, ClientCloseReason::Timeout(ClientTimeout::Handshake));
}
