//! Unusual streams: endless audio, long and huge groups of pictures, headers sent repeatedly.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_sim::{ClientId, Encoder, Media, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// The player has all that was sent from its first frame on, but what is on its way.
fn assert_complete(net: &Sim, publisher: ClientId, player: ClientId) {
    let playback = net.player(player);
    assert_eq!(playback.skipped().frames, 0);
    let last = playback.frames().last().expect("it got frames");
    let behind = net.sent(publisher).len() - last.number;
    assert!(behind < 20, "{behind} frames on their way");
}

fn log(net: &Sim) -> usize {
    net.server().hub().streams().iter().map(|stream| stream.log_bytes).sum()
}

#[test]
fn headers_with_every_key_frame_pass_as_they_are() {
    let mut net = Sim::new(1);
    let encoder = net.publish_with("live", "cam", Encoder { repeat_headers: true, ..Encoder::default() });
    let early = net.play("live", "cam");
    net.run_for(SECOND * 10);
    let late = net.play("live", "cam");
    net.run_for(SECOND * 5);
    for (player, groups) in [(early, 15..=16), (late, 6..=7)] {
        assert_complete(&net, encoder, player);
        let playback = net.player(player);
        for header in [Media::Metadata, Media::VideoHeader, Media::AudioHeader] {
            assert!(groups.contains(&playback.count(header)), "{} of {header:?}", playback.count(header));
        }
    }
}

#[test]
fn repeated_sequence_headers_are_left_out_if_wanted_and_metadata_is_not() {
    let config = VhostConfig { reduce_sequence_headers: true, ..VhostConfig::default() };
    let mut net = Sim::with_config(2, config.into());
    let encoder = net.publish_with("live", "cam", Encoder { repeat_headers: true, ..Encoder::default() });
    let early = net.play("live", "cam");
    net.run_for(SECOND * 10);
    let late = net.play("live", "cam");
    net.run_for(SECOND * 2);
    // A header that is another one still comes, and in time.
    net.reconfigure(encoder);
    net.run_for(SECOND * 3);
    for (player, repetitions) in [(early, 15..=17), (late, 6..=8)] {
        assert_complete(&net, encoder, player);
        let playback = net.player(player);
        assert_eq!((playback.count(Media::VideoHeader), playback.count(Media::AudioHeader)), (2, 2));
        assert!(repetitions.contains(&playback.count(Media::Metadata)), "{}", playback.count(Media::Metadata));
    }
}

#[test]
fn a_change_of_resolution_reaches_all_players_before_the_frames_that_need_it() {
    let mut net = Sim::new(3);
    let encoder = net.publish("live", "cam");
    let early = net.play("live", "cam");
    let slow = net.play("live", "cam");
    net.link(slow).down.bandwidth(50_000).buffer(16 << 10);
    for change in 1..=10 {
        net.run_for(SECOND * 3 + SECOND / 3);
        net.reconfigure(encoder);
        net.run_for(SECOND * 6 / 5);
        let late = net.play("live", "cam");
        net.run_for(SECOND);
        // That the headers are the right ones is checked with every frame.
        assert_eq!(net.player(early).count(Media::VideoHeader), change + 1);
        assert_eq!(net.player(late).count(Media::VideoHeader), 1);
        assert_complete(&net, encoder, late);
    }
    assert_complete(&net, encoder, early);
    assert!(net.player(slow).resumptions() > 0);
}

#[test]
fn a_day_of_sound_alone_takes_no_more_memory_than_a_minute() {
    let mut net = Sim::new(4);
    // Many frames in each message, for a day to pass within seconds.
    let encoder = Encoder { audio: Some(SECOND), ..Encoder::audio_only() };
    let encoder = net.publish_with("live", "radio", encoder);
    let first = net.play("live", "radio");
    net.run_for(SECOND * 60);
    let minute = log(&net);
    let mut most = 0;
    for _ in 0..24 {
        net.run_for(SECOND * 3_600);
        most = most.max(log(&net));
        let late = net.play("live", "radio");
        net.run_for(SECOND * 2);
        assert!(net.player(late).count(Media::Sound) >= 1, "it starts at once");
        assert!(net.player(late).frames().len() < 10, "and at the present");
        net.kill(late);
    }
    // Sizes vary: ten messages or so are kept, of up to 300 bytes each.
    assert!(most < minute + 2_000 && most < 12 * 400, "{minute} bytes after a minute, up to {most} later");
    assert!(net.most_outbound(first) < 10_000);
    assert_complete(&net, encoder, first);
    assert!(net.player(first).count(Media::Sound) >= 24 * 3_600);
}

#[test]
fn groups_of_twenty_seconds_can_be_joined_at_any_time() {
    let mut net = Sim::new(5);
    let encoder = net.publish_with("live", "cam", Encoder { gop: 600, ..Encoder::default() });
    net.run_for(SECOND);
    for _ in 0..12 {
        net.run_for(SECOND * 4);
        let player = net.play("live", "cam");
        net.run_for(SECOND / 2);
        assert!(net.player(player).first_video_is_key(), "it starts at once");
        assert_complete(&net, encoder, player);
    }
    assert_eq!(net.sent(encoder).iter().filter(|sent| sent.media == Media::Key).count(), 3);
}

#[test]
fn a_group_larger_than_the_log_is_watched_on_and_cannot_be_joined() {
    let mut net = Sim::new(6);
    let limit = Config::default().defaults.source.bytes;
    // 40 MB in ten seconds.
    let large = Encoder { gop: 300, inter: 130_000..=137_000, ..Encoder::default() };
    let encoder = net.publish_with("live", "cam", large);
    let early = net.play("live", "cam");
    net.run_for(SECOND * 2);
    let joined = net.play("live", "cam");
    net.run_for(SECOND * 6 + SECOND * 4 / 5);
    assert!(net.player(joined).first_video_is_key(), "while it is small enough");
    // The key frame has left the log.
    let waiting = net.play("live", "cam");
    net.run_for(SECOND * 9 / 10);
    assert!(net.client(waiting).is_running());
    assert_eq!(net.player(waiting).frames(), [], "it waits for the next one");
    assert!(log(&net) <= limit && log(&net) > limit - 200_000, "{} bytes", log(&net));
    net.run_for(SECOND);
    for player in [early, joined, waiting] {
        assert!(net.player(player).first_video_is_key());
        assert_complete(&net, encoder, player);
    }
    let keys = net.sent(encoder).iter().enumerate().filter(|(_, sent)| sent.media == Media::Key);
    let keys: Vec<_> = keys.map(|(number, _)| number).collect();
    let first = net.player(waiting).frames().iter().find(|frame| frame.media == Media::Key).expect("it plays");
    assert_eq!((first.number, keys.len()), (keys[1], 2));
}
