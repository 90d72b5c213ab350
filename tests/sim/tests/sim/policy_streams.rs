//! The rules of a stream: where players begin, what happens to its time, players that are too slow, clients that are
//! alone.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::source::{SourceLimits, StartRule, Timestamps};
use anabranch_sim::{ClientId, Encoder, Media, Received, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn with(change: impl FnOnce(&mut VhostConfig)) -> Config {
    let mut settings = VhostConfig::default();
    change(&mut settings);
    settings.into()
}

/// One key frame every ten seconds.
fn long_groups() -> Encoder {
    Encoder { gop: 300, ..Encoder::default() }
}

fn first_key(net: &Sim, player: ClientId) -> Option<Received> {
    net.player(player).frames().iter().find(|frame| frame.media == Media::Key).copied()
}

/// How long a player waits for a picture that comes so long after the last key frame, under this rule, if it may wait
/// for as long as a group.
fn wait(rule: StartRule, after: Duration) -> Duration {
    wait_at_most(SECOND * 20, rule, after)
}

fn wait_at_most(longest: Duration, rule: StartRule, after: Duration) -> Duration {
    let mut net = Sim::with_config(
        1,
        with(|settings| {
            settings.start_rule = rule;
            settings.start_limits.wait = longest;
        }),
    );
    let encoder = net.publish_with("live", "cam", long_groups());
    net.run_until(SECOND, |net| net.sent(encoder).iter().any(|sent| sent.media == Media::Key));
    net.run_for(SECOND * 99 / 10 + after);
    let player = net.play("live", "cam");
    let came = net.elapsed();
    net.run_for(SECOND * 11);
    let first = first_key(&net, player).expect("it begins");
    assert_eq!(net.player(player).skipped().frames, 0);
    net.since_start(first.at) - came
}

fn newest(bytes: u64, milliseconds: u32, frames: u64) -> StartRule {
    StartRule::NewestKeyFrame { bytes, milliseconds, frames }
}

#[test]
fn players_begin_at_the_next_key_frame_if_the_rule_says_so() {
    assert!(wait(StartRule::default(), SECOND * 4) < SECOND / 4);
    let waited = wait(StartRule::NextKeyFrame, SECOND * 4);
    assert!(waited > SECOND * 5 && waited < SECOND * 7, "{waited:?}");
    // No longer than players wait at the most: then at the newest key frame that is there.
    let waited = wait_at_most(SECOND * 3, StartRule::NextKeyFrame, SECOND * 4);
    assert!(waited >= SECOND * 3 && waited < SECOND * 7 / 2, "{waited:?}");
}

#[test]
fn a_key_frame_further_back_than_a_bound_is_not_begun_at() {
    // About 75 kB, 30 pictures and 43 sounds a second.
    for (rule, near, far) in [
        (newest(u64::MAX, 2_500, u64::MAX), SECOND * 2, SECOND * 3),
        (newest(u64::MAX, u32::MAX, 180), SECOND * 2, SECOND * 3),
        (newest(150_000, u32::MAX, u64::MAX), SECOND, SECOND * 4),
    ] {
        assert!(wait(rule, near) < SECOND / 4, "{rule:?}");
        let waited = wait(rule, far);
        let rest = SECOND * 10 - far;
        assert!(waited > rest - SECOND && waited < rest + SECOND, "{rule:?}: {waited:?}");
    }
}

#[test]
fn the_rule_does_not_apply_to_clients_that_came_before_it() {
    let mut net = Sim::with_config(2, with(|settings| settings.start_rule = StartRule::NextKeyFrame));
    let player = net.play("live", "cam");
    net.run_for(SECOND);
    net.publish_with("live", "cam", long_groups());
    net.run_for(SECOND);
    assert_eq!(first_key(&net, player).expect("it begins at once").timestamp, 0);
}

#[test]
fn sound_alone_begins_at_once_or_with_the_next_message() {
    for rule in [StartRule::default(), StartRule::NextKeyFrame] {
        let mut net = Sim::with_config(3, with(|settings| settings.start_rule = rule));
        net.publish_with("live", "cam", Encoder::audio_only());
        net.run_for(SECOND * 2);
        let player = net.play("live", "cam");
        net.run_for(SECOND / 2);
        assert!(net.player(player).count(Media::Sound) > 5);
    }
}

/// An encoder whose clock jumps ahead, jumps back, and starts again.
fn erratic() -> Encoder {
    let jumps = vec![
        (SECOND * 4, 9_000_000),
        (SECOND * 8, 1_000),
        (SECOND * 12, 0),
        (SECOND * 16, u32::MAX - 1_000),
        (SECOND * 20, 50_000),
    ];
    Encoder { jumps, first_timestamp: 777_000, ..Encoder::default() }
}

#[test]
fn time_rises_steadily_whatever_the_encoders_clock_does() {
    let mut net = Sim::new(4);
    let first = net.publish_with("live", "cam", erratic());
    let player = net.play("live", "cam");
    net.run_for(SECOND * 10);
    let late = net.play("live", "cam");
    net.run_for(SECOND * 15);
    net.kill(first);
    net.run_for(SECOND * 3);
    net.publish_with("live", "cam", Encoder { jumps: vec![(SECOND * 2, 5)], ..Encoder::default() });
    net.run_for(SECOND * 5);
    // That no frame goes back, and that sound and pictures stay together, is checked with each of them.
    for player in [player, late] {
        let coded = net.player(player).frames().iter().filter(|frame| !frame.media.is_header());
        let coded: Vec<_> = coded.collect();
        let (begin, end) = (coded[0], coded[coded.len() - 1]);
        let (stream, real) = (end.timestamp.wrapping_sub(begin.timestamp), (end.at - begin.at).as_millis() as u32);
        assert!(stream.abs_diff(real) < 1_500, "{stream} ms of the stream in {real} ms");
        let steps = coded.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp));
        assert!(steps.max().expect("there are many") < 4_000);
        assert_eq!(net.player(player).skipped().frames, 0);
    }
}

#[test]
fn absolute_time_passes_as_it_is() {
    let mut net = Sim::with_config(5, with(|settings| settings.timestamps = Timestamps::Pass));
    let first = net.publish_with("live", "cam", erratic());
    let player = net.play("live", "cam");
    net.run_for(SECOND * 25);
    net.kill(first);
    net.run_for(SECOND);
    let encoder = Encoder { first_timestamp: 123, ..Encoder::default() };
    let second = net.publish_with("live", "cam", encoder);
    net.run_for(SECOND * 2);
    // That each is as it was sent is checked when it comes.
    let frames = net.player(player).frames();
    assert!(frames.iter().any(|frame| frame.timestamp > 9_000_000));
    let back = frames.windows(2).filter(|pair| pair[1].timestamp < pair[0].timestamp && !pair[1].media.is_header());
    assert!(back.count() >= 3);
    let resumed = frames.iter().find(|frame| frame.publisher == second.index() && !frame.media.is_header());
    assert_eq!(resumed.map(|frame| frame.timestamp), Some(123));
}

#[test]
fn a_publisher_that_only_describes_its_stream_does_not_turn_back_time() {
    let mut net = Sim::new(6);
    let player = net.play("live", "cam");
    let first = net.publish("live", "cam");
    net.run_for(SECOND * 20);
    net.kill(first);
    net.run_for(SECOND);
    // Metadata is sent at 0.
    let silent = net.publish_with("live", "cam", Encoder { video: None, audio: None, ..Encoder::default() });
    net.run_for(SECOND);
    net.kill(silent);
    net.run_for(SECOND);
    let second = net.publish("live", "cam");
    net.run_for(SECOND * 2);
    let frames = net.player(player).frames().iter();
    let mut resumed = frames.filter(|frame| frame.publisher == second.index() && !frame.media.is_header());
    let first = resumed.next().expect("it goes on");
    assert!((22_000..24_000).contains(&first.timestamp), "{}", first.timestamp);
}

/// Headers with every frame, some of them at 0; a player that takes them one by one and stalls in between.
fn described_all_along(seed: u64, max_gap: Option<Duration>) -> (Sim, ClientId) {
    let source = SourceLimits { milliseconds: 2_000, ..SourceLimits::default() };
    let config = with(|settings| {
        settings.max_gap = max_gap;
        settings.source = source;
        settings.high_water = 1;
    });
    let mut net = Sim::with_config(seed, config);
    let encoder = Encoder { gop: 1, repeat_headers: true, first_timestamp: 5_000_000, ..Encoder::video_only() };
    net.publish_with("live", "cam", encoder);
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3 + Duration::from_millis(seed * 7));
    net.link(player).down.buffer(2_000);
    net.stall(player, SECOND * 8);
    net.run_for(SECOND * 12);
    (net, player)
}

#[test]
fn metadata_does_not_make_a_gap_longer() {
    for seed in 0..20 {
        let (mut net, player) = described_all_along(seed, Some(SECOND * 20));
        assert!(net.is_open(player), "seed {seed}: {:?}", net.report(player));
        net.close(player);
        net.run_for(SECOND);
        let missed = net.report(player).expect("it ended").missed;
        assert!(missed.milliseconds < 60_000, "seed {seed}: {missed:?}");
    }
}

#[test]
fn headers_at_an_old_time_do_not_empty_the_log() {
    // The clock falls back, and headers at the old time follow it at once: they are no reason to forget what came.
    let jumps = vec![(SECOND * 4, 9_000_000), (SECOND * 8, 3_000)];
    let mut net = Sim::new(9);
    let encoder = Encoder { repeat_headers: true, jumps, ..Encoder::default() };
    net.publish_with("live", "cam", encoder);
    let players: Vec<_> = (0..10).map(|_| net.play("live", "cam")).collect();
    net.run_for(SECOND * 3);
    // Each misses the moment of a jump, and gets it from the log.
    for (number, player) in players.iter().enumerate() {
        net.stall(*player, SECOND * 4 + SECOND * number as u32 / 5);
    }
    net.run_for(SECOND * 12);
    for player in players {
        assert_eq!(net.player(player).skipped().frames, 0);
    }
}

#[test]
fn a_player_that_misses_more_than_it_may_is_closed() {
    let source = SourceLimits { milliseconds: 3_000, ..SourceLimits::default() };
    for (max_gap, stays) in [(None, true), (Some(SECOND * 60), true), (Some(SECOND * 5), false)] {
        let mut net = Sim::with_config(
            7,
            with(|settings| {
                settings.max_gap = max_gap;
                settings.source = source;
            }),
        );
        net.publish("live", "cam");
        let slow = net.play("live", "cam");
        let fast = net.play("live", "cam");
        net.run_for(SECOND * 5);
        net.stall(slow, SECOND * 20);
        net.run_for(SECOND * 25);
        assert_eq!(net.is_open(slow), stays, "{max_gap:?}");
        assert_eq!(net.player(fast).skipped().frames, 0);
        if !stays {
            let report = net.report(slow).expect("it is closed");
            assert_eq!(report.close.reason.name(), "player_too_slow");
            assert!(report.missed.milliseconds > 5_000);
        }
    }
}

#[test]
fn a_publisher_that_freezes_early_is_given_no_more_time_than_later() {
    for before in [1, 3, 12, 40] {
        let mut net = Sim::new(10);
        let publisher = net.publish("live", "cam");
        net.run_for(SECOND * before);
        net.link(publisher).up.stall();
        let froze = net.elapsed();
        net.run_until(SECOND * 60, |net| !net.is_open(publisher));
        assert_eq!(net.report(publisher).expect("it is closed").close.reason.name(), "next_message_timeout");
        let (took, limit) = (net.elapsed() - froze, net.server().config().defaults.session.timeouts.next_message);
        assert!(took <= limit && took > limit - SECOND, "closed after {took:?}");
    }
}

#[test]
fn a_publisher_without_players_is_closed_after_the_limit() {
    let limit = SECOND * 20;
    let mut net = Sim::with_config(8, with(|settings| settings.idle_publisher = Some(limit)));
    let alone = net.publish("live", "alone");
    let watched = net.publish("live", "watched");
    let left = net.publish("live", "left");
    net.play("live", "watched");
    let viewer = net.play("live", "left");
    net.run_until(SECOND * 60, |net| !net.is_open(alone));
    assert!(net.elapsed() >= limit && net.elapsed() < limit + SECOND * 2, "{:?}", net.elapsed());
    assert_eq!(net.report(alone).expect("it is closed").close.reason.name(), "idle_publisher");
    net.run_for(SECOND * 20);
    assert!(net.is_open(left));
    net.kill(viewer);
    let gone = net.elapsed();
    net.run_until(SECOND * 60, |net| !net.is_open(left));
    let waited = net.elapsed() - gone;
    // It is looked at now and then.
    assert!(waited > limit - SECOND && waited < limit * 3 / 2 + SECOND, "{waited:?}");
    net.run_for(SECOND * 100);
    assert!(net.client(watched).is_running());
}
