//! Publishers come, go and come back; players stay.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::session::{ClientKind, CloseReason};
use anabranch_sim::{ClientId, Encoder, Media, Sim};

const SECOND: Duration = Duration::from_secs(1);
const UNPUBLISHED: &str = "NetStream.Play.UnpublishNotify";
const PUBLISHED: &str = "NetStream.Play.PublishNotify";

/// Frames of this publisher that the player got, headers included.
fn frames_of(net: &Sim, player: ClientId, publisher: ClientId) -> usize {
    net.player(player).frames().iter().filter(|frame| frame.publisher == publisher.index()).count()
}

#[test]
fn a_publisher_that_comes_back_within_the_grace_goes_on_where_it_stopped() {
    let mut net = Sim::new(1);
    let first = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);
    net.kill(first);
    net.run_for(SECOND * 4);
    let second = net.publish("live", "cam");
    net.run_for(SECOND * 3);

    assert_eq!(net.client(player).count(UNPUBLISHED), 0);
    assert_eq!(net.client(player).count(PUBLISHED), 0);
    let frames = net.player(player).frames();
    let resumed = frames.iter().position(|frame| frame.publisher == second.index()).expect("it came back");
    let media: Vec<_> = frames[resumed..].iter().map(|frame| frame.media).take(4).collect();
    assert_eq!(media, [Media::Metadata, Media::VideoHeader, Media::AudioHeader, Media::Key]);
    let (before, after) = (frames[resumed - 1], frames[resumed + 3]);
    assert!(frames[..resumed].iter().all(|frame| frame.publisher == first.index()));
    // The players' clock went on meanwhile, by as much as time did.
    let (pause, passed) = (after.timestamp - before.timestamp, (after.at - before.at).as_millis() as u32);
    assert!(pause.abs_diff(passed) < 100, "{pause} ms in the stream for {passed} ms");
}

#[test]
fn players_are_told_after_the_grace_and_again_when_the_publisher_comes_back() {
    let mut net = Sim::new(2);
    let first = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);
    let gone = net.elapsed();
    net.kill(first);
    net.run_for(SECOND * 30);
    let told = net.client(player).status_at(UNPUBLISHED).expect("players get the status");
    let waited = net.since_start(told) - gone;
    let grace = net.server().config().defaults.unpublish_grace;
    assert!(waited >= grace && waited < grace + SECOND / 10, "told after {waited:?}");
    assert_eq!(net.client(player).count("StreamEof"), 1);

    let second = net.publish("live", "cam");
    net.run_for(SECOND * 3);
    let statuses = net.client(player).statuses();
    assert_eq!(statuses[statuses.len() - 4..], ["StreamEof", UNPUBLISHED, "StreamBegin", PUBLISHED]);
    assert!(frames_of(&net, player, second) > 100);
    let first_frame = net.player(player).frames().iter().find(|frame| frame.publisher == second.index());
    assert!(net.client(player).status_at(PUBLISHED) <= first_frame.map(|frame| frame.at), "first the notice");
}

#[test]
fn a_player_that_joins_without_a_publisher_waits() {
    let mut net = Sim::new(3);
    let first = net.publish("live", "cam");
    let watching = net.play("live", "cam");
    net.run_for(SECOND * 3);
    net.stop(first);
    net.run_for(SECOND * 2);
    let late = net.play("live", "cam");
    net.run_for(SECOND * 3);
    // The old publisher's frames are history.
    assert_eq!(net.player(late).frames(), []);
    let second = net.publish("live", "cam");
    net.run_for(SECOND * 2);
    for player in [watching, late] {
        assert!(frames_of(&net, player, second) > 100);
        assert_eq!(net.client(player).count(UNPUBLISHED), 0);
    }
    assert_eq!(frames_of(&net, late, first), 0);
}

#[test]
fn every_manner_of_publishing_can_end_in_good_order_and_hand_over() {
    for kind in [ClientKind::Fmle, ClientKind::Haivision, ClientKind::Flash] {
        let mut net = Sim::new(4);
        let player = net.play("live", "cam");
        let first = net.publish_as(kind, "live", "cam", Encoder::default());
        net.run_for(SECOND * 2);
        net.stop_and_stay(first);
        net.run_for(SECOND);
        assert!(net.is_open(first), "{kind}: only the stream ended");
        let sent = net.sent(first).len();
        assert_eq!(frames_of(&net, player, first), sent, "{kind}: nothing is lost at the end");
        let second = net.publish("live", "cam");
        net.run_for(SECOND * 2);
        assert!(net.client(second).is_running());
        assert!(frames_of(&net, player, second) > 50);
    }
}

#[test]
fn a_second_publisher_is_refused_and_the_first_does_not_notice() {
    let mut net = Sim::new(5);
    let first = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);
    let second = net.publish("live", "cam");
    net.run_for(SECOND * 5);

    assert_eq!(net.client(second).statuses().last(), Some(&"NetStream.Publish.BadName"));
    let report = net.report(second).expect("it is closed");
    assert_eq!(report.close.reason, CloseReason::Rejected("NetStream.Publish.BadName"));
    assert!(net.client(first).is_running());
    assert_eq!(frames_of(&net, player, second), 0);
    let (sent, got) = (net.sent(first).len(), frames_of(&net, player, first));
    assert!(sent - got < 20, "{got} of {sent}");
}

#[test]
fn a_killed_publisher_frees_its_name_at_once() {
    let mut net = Sim::new(6);
    let first = net.publish("live", "cam");
    net.run_for(SECOND);
    net.kill(first);
    assert!(net.server().hub().streams().is_empty());
    let second = net.publish("live", "cam");
    net.run_for(SECOND);
    assert!(net.client(second).is_running());
    assert_eq!(net.report(first).expect("it ended").close.reason.name(), "peer_lost");
}

#[test]
fn nothing_is_missed_where_one_publisher_follows_another() {
    let mut net = Sim::new(7);
    let player = net.play("live", "cam");
    for _ in 0..3 {
        let publisher = net.publish("live", "cam");
        net.run_for(SECOND * 2);
        net.stop(publisher);
        net.run_for(SECOND);
        assert_eq!(frames_of(&net, player, publisher), net.sent(publisher).len());
    }
    net.close(player);
    net.run_for(SECOND);
    let missed = net.report(player).expect("it ended").missed;
    assert_eq!((missed.frames, missed.bytes, missed.milliseconds), (0, 0, 0), "it was never slow");
}

#[test]
fn a_stream_without_clients_is_removed() {
    let mut net = Sim::with_config(8, Config::from(VhostConfig { unpublish_grace: SECOND, ..VhostConfig::default() }));
    let publisher = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 2);
    net.close(publisher);
    net.run_for(SECOND * 2);
    assert_eq!(net.server().hub().streams().len(), 1, "the player still waits");
    net.stop_and_stay(player);
    net.run_for(SECOND);
    assert!(net.is_open(player) && net.server().hub().streams().is_empty());
}
