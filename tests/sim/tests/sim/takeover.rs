//! A name is taken over: at once with the same credentials, never with others.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_sim::{ClientId, Encoder, Media, Rng, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn taking_over() -> Config {
    VhostConfig { conflict: Conflict::TakeOver, ..VhostConfig::default() }.into()
}

/// When the player got the first frame of this publisher.
fn first_of(net: &Sim, player: ClientId, publisher: ClientId) -> Option<Duration> {
    let mut frames = net.player(player).frames().iter();
    frames.find(|frame| frame.publisher == publisher.index()).map(|frame| net.since_start(frame.at))
}

/// An encoder whose path is dead, a player, and a second encoder that comes; when that was.
fn frozen(net: &mut Sim, token: &str) -> (ClientId, ClientId, ClientId, Duration) {
    let first = net.publish("live", "cam?token=secret");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 4);
    net.link(first).up.stall();
    net.link(first).down.stall();
    net.run_for(SECOND * 2);
    let came = net.elapsed();
    let second = net.publish("live", &format!("cam?token={token}"));
    (first, player, second, came)
}

#[test]
fn the_same_token_takes_over_from_a_frozen_encoder_within_a_second() {
    for seed in 0..20 {
        let mut net = Sim::with_config(seed, taking_over());
        let (first, player, second, came) = frozen(&mut net, "secret");
        net.run_for(SECOND);
        let seen = first_of(&net, player, second).expect("its frames reach the player");
        assert!(seen - came < SECOND, "after {:?}", seen - came);
        assert!(net.is_open(first), "it has had no message yet");
        let frames = net.player(player).frames();
        let resumed = frames.iter().position(|frame| frame.publisher == second.index()).expect("it came");
        let media: Vec<_> = frames[resumed..].iter().map(|frame| frame.media).take(4).collect();
        assert_eq!(media, [Media::Metadata, Media::VideoHeader, Media::AudioHeader, Media::Key]);
        // The players' clock goes on by as much as time did.
        let (before, after) = (frames[resumed - 1], frames[resumed + 3]);
        let (pause, passed) = (after.timestamp - before.timestamp, (after.at - before.at).as_millis() as u32);
        assert!(pause.abs_diff(passed) < 100, "{pause} ms in the stream for {passed} ms");
        assert_eq!(net.client(player).count("NetStream.Play.UnpublishNotify"), 0, "players get no message");
        // It never speaks again.
        net.run_for(SECOND * 20);
        assert_eq!(net.report(first).expect("it is closed").close.reason.name(), "next_message_timeout");
        assert!(net.client(second).is_running() && net.client(player).is_running());
    }
}

#[test]
fn a_publisher_that_was_taken_over_gets_the_refusal_when_it_sends_again() {
    let mut net = Sim::with_config(1, taking_over());
    let (first, player, second, _) = frozen(&mut net, "secret");
    net.run_for(SECOND * 3);
    net.link(first).up.resume();
    net.link(first).down.resume();
    net.run_for(SECOND * 4);
    assert_eq!(net.report(first).expect("it is closed").close.reason.name(), "taken_over");
    assert_eq!(net.client(first).count("NetStream.Publish.BadName"), 1, "once, for all that it had sent");
    // No player gets what it sent during that time: one of its frames would be an error.
    assert!(net.client(second).is_running());
    let last = net.player(player).frames().last().expect("it plays");
    assert_eq!(last.publisher, second.index());
    assert!(net.elapsed() - net.since_start(last.at) < SECOND / 4);
}

#[test]
fn another_token_or_none_is_refused() {
    for token in ["other", "", "secret2", "SECRET"] {
        let mut net = Sim::with_config(2, taking_over());
        let (first, player, second, _) = frozen(&mut net, token);
        net.run_for(SECOND * 4);
        assert_eq!(net.client(second).statuses().last(), Some(&"NetStream.Publish.BadName"), "{token}");
        assert!(net.is_open(first));
        assert_eq!(first_of(&net, player, second), None);
    }
}

#[test]
fn without_takeover_the_same_token_is_refused_too() {
    let mut net = Sim::new(3);
    let (first, _, second, _) = frozen(&mut net, "secret");
    net.run_for(SECOND * 4);
    assert_eq!(net.client(second).statuses().last(), Some(&"NetStream.Publish.BadName"));
    assert!(net.is_open(first));
}

#[test]
fn a_live_encoder_is_taken_over_from_as_well_and_again() {
    let mut net = Sim::with_config(4, taking_over());
    let player = net.play("live", "cam");
    let mut publishers = Vec::new();
    for _ in 0..5 {
        publishers.push(net.publish("live", "cam?token=secret"));
        net.run_for(SECOND * 5);
    }
    let last = publishers.pop().expect("there are five");
    assert!(net.client(last).is_running());
    for publisher in publishers {
        assert!(first_of(&net, player, publisher).is_some());
        assert_eq!(net.report(publisher).expect("it is closed").close.reason.name(), "taken_over");
    }
    assert_eq!(net.player(player).count(Media::Metadata), 5);
}

#[test]
fn of_two_that_come_at_once_exactly_one_publishes() {
    for seed in 0..100 {
        for conflict in [Conflict::Reject, Conflict::TakeOver] {
            let mut net = Sim::with_config(seed, VhostConfig { conflict, ..VhostConfig::default() }.into());
            let mut rng = Rng::new(seed);
            let same = conflict == Conflict::TakeOver && rng.once_in(2);
            let names = ["cam?token=a", if same { "cam?token=a" } else { "cam?token=b" }];
            let player = net.play("live", "cam");
            let two = names.map(|name| {
                let publisher = net.publish_with("live", name, Encoder::small());
                net.link(publisher).latency(Duration::from_millis(20));
                publisher
            });
            net.run_for(SECOND * 6);
            let running = two.map(|publisher| net.client(publisher).is_running());
            assert!(running[0] != running[1], "seed {seed}: {running:?}");
            let loser = two[usize::from(running[0])];
            let reason = net.report(loser).expect("it is closed").close.reason.name();
            assert_eq!(reason, if same { "taken_over" } else { "rejected" }, "seed {seed}");
            let last = net.player(player).frames().last().expect("it plays");
            assert_eq!(last.publisher, two[usize::from(running[1])].index());
        }
    }
}
