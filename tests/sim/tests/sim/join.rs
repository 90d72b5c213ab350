//! A client that joins a stream gets headers, a key frame, and then everything.

use std::time::Duration;

use anabranch_sim::{ClientId, Encoder, Media, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Everything the publisher sent from the first frame of this player on, but what is still on its way.
fn assert_complete(net: &Sim, publisher: ClientId, player: ClientId) {
    let coded = net.player(player).coded();
    let (_, first, _) = *coded.first().expect("the player got frames");
    let sent = net.sent(publisher).iter().enumerate().skip(first).filter(|(_, sent)| !sent.media.is_header());
    let expected: Vec<_> = sent.map(|(number, sent)| (publisher.index(), number, sent.timestamp)).collect();
    assert_eq!(coded, expected[..coded.len()]);
    assert!(expected.len() - coded.len() < 20, "{} frames on their way", expected.len() - coded.len());
}

#[test]
fn a_late_joiner_starts_at_the_newest_key_frame_with_each_header_once() {
    let mut net = Sim::new(1);
    let encoder = net.publish("live", "cam");
    net.run_for(SECOND * 5 + SECOND / 2);
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);

    let playback = net.player(player);
    let media: Vec<_> = playback.frames().iter().map(|frame| frame.media).take(4).collect();
    assert_eq!(media, [Media::Metadata, Media::VideoHeader, Media::AudioHeader, Media::Key]);
    for header in [Media::Metadata, Media::VideoHeader, Media::AudioHeader] {
        assert_eq!(playback.count(header), 1, "{header:?}");
    }
    let key = playback.frames()[3];
    assert_eq!(playback.frames()[1].timestamp, key.timestamp);
    assert_eq!(playback.frames()[0].timestamp, 0, "metadata has no place in time");
    // The newest key frame when it joined, not the first one: at most a GOP and the links' latency old.
    assert!(key.timestamp > 4_400, "{}", key.timestamp);
    assert_eq!(playback.skipped().frames, 0);
    assert_complete(&net, encoder, player);
}

#[test]
fn a_player_may_come_before_its_publisher() {
    let mut net = Sim::new(2);
    let player = net.play("live", "cam");
    net.run_for(SECOND * 20);
    assert!(net.client(player).is_running());
    assert_eq!(net.player(player).frames(), []);

    let encoder = net.publish("live", "cam");
    net.run_for(SECOND * 3);
    let first = net.player(player).frames()[3];
    assert_eq!((first.media, first.number, first.timestamp), (Media::Key, 3, 0));
    assert_complete(&net, encoder, player);
    // There was no message that the stream ended, so there is none that it begins.
    assert_eq!(net.client(player).count("NetStream.Play.PublishNotify"), 0);
}

#[test]
fn audio_alone_and_video_alone() {
    for (encoder, kinds) in [
        (Encoder::audio_only(), [Media::Metadata, Media::AudioHeader, Media::Sound]),
        (Encoder::video_only(), [Media::Metadata, Media::VideoHeader, Media::Key]),
        (Encoder { metadata: false, ..Encoder::default() }, [Media::VideoHeader, Media::AudioHeader, Media::Key]),
    ] {
        let mut net = Sim::new(3);
        let early = net.play("live", "cam");
        let publisher = net.publish_with("live", "cam", encoder);
        net.run_for(SECOND * 4);
        let late = net.play("live", "cam");
        net.run_for(SECOND * 2);
        for player in [early, late] {
            let media: Vec<_> = net.player(player).frames().iter().map(|frame| frame.media).take(3).collect();
            assert_eq!(media, kinds);
            assert_complete(&net, publisher, player);
        }
        assert!(net.player(late).frames().len() < net.player(early).frames().len() / 2, "it starts late");
    }
}

#[test]
fn new_headers_in_mid_stream_reach_present_and_later_players() {
    let mut net = Sim::new(4);
    let encoder = net.publish("live", "cam");
    let early = net.play("live", "cam");
    net.run_for(SECOND * 2);
    net.reconfigure(encoder);
    net.run_for(SECOND * 2);
    let late = net.play("live", "cam");
    net.run_for(SECOND);
    // That the headers are the right ones is checked with every frame.
    assert_eq!(net.player(early).count(Media::VideoHeader), 2);
    assert_eq!(net.player(late).count(Media::VideoHeader), 1);
    assert_complete(&net, encoder, early);
    assert_complete(&net, encoder, late);
}

#[test]
fn timestamps_pass_unchanged_through_every_boundary() {
    for first_timestamp in [0, 0xff_fff0 - 2_000, u32::MAX - 2_000] {
        let mut net = Sim::new(5);
        let encoder = net.publish_with("live", "cam", Encoder { first_timestamp, ..Encoder::default() });
        let player = net.play("live", "cam");
        net.run_for(SECOND * 4);
        let late = net.play("live", "cam");
        net.run_for(SECOND);
        assert_complete(&net, encoder, player);
        assert_complete(&net, encoder, late);
    }
}

#[test]
fn streams_do_not_mix() {
    let mut net = Sim::new(6);
    let pairs: Vec<_> = [("live", "a"), ("live", "b"), ("other", "a")]
        .into_iter()
        .map(|(app, name)| (net.publish(app, name), net.play(app, name)))
        .collect();
    net.run_for(SECOND * 3);
    for (publisher, player) in pairs {
        assert_complete(&net, publisher, player);
        assert!(net.player(player).frames().iter().all(|frame| frame.publisher == publisher.index()));
    }
}
